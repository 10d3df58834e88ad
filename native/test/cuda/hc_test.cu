// SPDX-License-Identifier: Apache-2.0
// Sinkhorn and hyper-connections on the GPU, through the C ABI: every kernel against hc_model.hpp, and Sinkhorn's reciprocals over every mantissa.
#include <cuda_runtime.h>

#include "../hc_cases.hpp"
#include "ops/hc_post/hc_post_cuda.hpp"
#include "ops/hc_pre/hc_pre_cuda.hpp"
#include "ops/sinkhorn/sinkhorn_cuda.hpp"
#include "ops/sinkhorn/sinkhorn_math.cuh"

using namespace hc;

namespace {

bool quick = false;

void must(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(status));
  std::exit(3);
}
#define MUST(call) must((call), #call)

class Gpu final : public Machine {
 public:
  Gpu() {
    nvfp4j_context_options options{};
    options.struct_size = sizeof options;
    CHECK_OK(nvfp4j_context_create(&options, &context_, error));
    if (context_ == nullptr) throw std::runtime_error("no context");
  }
  ~Gpu() override { CHECK_OK(nvfp4j_context_destroy(context_, error)); }
  nvfp4j_context* context() override { return context_; }
  std::int32_t memory() const override { return NVFP4J_MEMORY_DEVICE; }
  std::shared_ptr<void> allocate(std::size_t bytes) override {
    void* p = nullptr;
    MUST(cudaMalloc(&p, bytes + 256));
    return {p, [](void* q) { (void)cudaFree(q); }};
  }
  void put(void* to, const void* from, std::size_t bytes) override {
    MUST(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
  }
  void get(void* to, const void* from, std::size_t bytes) override {
    MUST(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost));
  }

 private:
  nvfp4j_context* context_ = nullptr;
};

Gpu& gpu() {
  static Gpu one;
  return one;
}

__global__ void compare_reciprocals(unsigned long long* wrong) {
  for (std::uint32_t m = blockIdx.x * blockDim.x + threadIdx.x; m < 1u << 23;
       m += gridDim.x * blockDim.x) {
    for (const std::uint32_t exponent : {27u, 64u, 126u, 127u, 128u, 131u, 227u}) {
      const float s = __uint_as_float(exponent << 23 | m);
      const float exact = __frcp_rn(s);
      if (nvfp4j::device::reciprocal_rn(s) != exact) atomicAdd(wrong, 1ull);
      if (fabsf(s - 1.0f) <= 0x1p-6f && nvfp4j::device::reciprocal_rn_near_one(s) != exact)
        atomicAdd(wrong, 1ull);
    }
  }
}

}  // namespace

TEST(reciprocals_are_rounded_correctly) {
  unsigned long long* wrong;
  unsigned long long n = 1;
  MUST(cudaMalloc(&wrong, 8));
  MUST(cudaMemset(wrong, 0, 8));
  compare_reciprocals<<<1024, 256>>>(wrong);
  MUST(cudaGetLastError());
  MUST(cudaMemcpy(&n, wrong, 8, cudaMemcpyDeviceToHost));
  MUST(cudaFree(wrong));
  CHECK_EQ(n, 0ull);
}

TEST(sinkhorn_equals_the_definition) {
  auto& g = fixture::generator();
  for (int n = 1; n <= 16; n += quick ? 5 : 1) {
    run(gpu(), g, {n == 4 && !quick ? 3001 : 37, n, 20, 1e-6f, 1.0f, n % 3 * 5});
    run(gpu(), g, {18, n, 1, 1e-6f, 20.0f, 0, true});
    run(gpu(), g, {9, n, 3, 0x1p-100f, 50.0f});
    run(gpu(), g, {5, n, 200, 1.0f, 1.0f});
    run(gpu(), g, {23, n, 5, 1e-6f, 1.0f, 7, false, (n * n) * 11 + n * n / 2});
  }
  for (const float deviation : {0.1f, 1.0f, 5.0f, 30.0f})
    run(gpu(), g, {1, 4, 20, 1e-6f, deviation});
  if (quick) return;
  run(gpu(), g, {20000, 4, 20, 1e-6f, 3.0f});     // a thread a token
  run(gpu(), g, {16384, 4, 20, 1e-6f, 3.0f, 4});  // two lanes a token
  run(gpu(), g, {100, 4, 5000, 1e-6f, 3.0f});  // more iterations than are trusted to stay settled
  run(gpu(), g, {20001, 2, 7, 1e-6f, 3.0f, 1});
  run(gpu(), g, {4001, 3, 7, 1e-6f, 3.0f});
}

TEST(hc_post_equals_the_definition) {
  auto& g = fixture::generator();
  for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (int n = 1; n <= 16; n += quick ? 5 : 1) {
      run(gpu(), g, {Op::kPost, 5, n, 8 * (n % 5 + 1), dtype, n % 3, n % 2});
      run(gpu(), g, {Op::kPost, 3, n, 520, dtype, 0, 0, true});
    }
    run(gpu(), g, {Op::kPost, quick ? 3 : 300, 4, 4104, dtype, 8, 0, true});
    run(gpu(), g, {Op::kPost, 3, 4, 7168, dtype, 4});
    Case bad = {Op::kPost, 7, 4, 64, dtype};
    bad.bad_token = 3;
    bad.huge_token = 5;
    run(gpu(), g, bad);
  }
}

TEST(hc_pre_hc_head_and_hc_post_pre_are_within_their_bounds) {
  auto& g = fixture::generator();
  for (const Op op : {Op::kPre, Op::kHead, Op::kPostPre}) {
    for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
      for (int n = 1; n <= 16; n += quick ? 6 : n < 5 ? 1 : 3)
        run(gpu(), g, {op, 5, n, 8 * (n % 4 + 1), dtype, n % 3, n % 2, n % 2 == 0});
      run(gpu(), g, {op, 19, 4, 512, dtype, 0, 0, false, true});
      run(gpu(), g, {op, 33, 4, 1000, dtype, 8});
      if (!quick) run(gpu(), g, {op, 600, 4, 264, dtype, 1, 1});  // several tokens a thread block
      Case spoiled = {op, 20, 4, 64, dtype};
      spoiled.zero_token = 2;
      spoiled.bad_token = 17;
      run(gpu(), g, spoiled);
      spoiled.bad_token = -1;
      spoiled.huge_token = 4;
      run(gpu(), g, spoiled);
    }
    // Slices: few and many, a last one that is narrow, tiles that go round, groups of all sizes.
    for (const std::int64_t columns : {8, 16, 24, 72, 512, 1000, 4096, 7168, 7176, 16384}) {
      for (const std::int64_t tokens : {1, 2, 15, 16, 17, 33, 64, 65, 130, 300}) {
        if (quick && (columns > 1000 || tokens > 65 || tokens % 5 != 0)) continue;
        if (tokens * columns > 1 << 20 && tokens != 300) continue;
        Case c = {op, tokens, 4, columns};
        c.in_place = tokens % 2 == 0;
        c.gap = tokens % 3 == 0 ? 8 : 0;
        run(gpu(), g, c);
      }
    }
    if (!quick) run(gpu(), g, {op, 1025, 4, 7168});
    run(gpu(), g, {op, 2, 4, 7168, NVFP4J_DTYPE_BF16, 0, 0, false, true});
    if (!quick) run(gpu(), g, {op, 40, 4, 4096, NVFP4J_DTYPE_BF16, 0, 0, false, true});
  }
}

TEST(hc_post_pre_normalises_and_quantises) {
  auto& g = fixture::generator();
  for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const std::int64_t columns : {16, 528, 4096, 7168}) {
      if (quick && columns > 528) continue;
      for (const std::int64_t tokens : {1, 21, 64, 200}) {
        if ((quick || dtype == NVFP4J_DTYPE_F32) && tokens > 21) continue;
        for (const std::int32_t norm : {-1, NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
          for (const std::int32_t layout :
               {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4}) {
            Case c = {Op::kPostPre, tokens, 4, columns, dtype};
            c.norm = norm;
            c.quantize = norm != NVFP4J_DTYPE_BF16 || layout == NVFP4J_SCALE_LAYOUT_LINEAR;
            c.scale_layout = layout;
            run(gpu(), g, c);
            c.no_collapsed = c.quantize;
            run(gpu(), g, c);
          }
        }
      }
    }
  }
}

TEST(launches_of_other_shapes_follow_each_other) {
  // What a launch leaves in the workspace is of no tile of the next.
  auto& g = fixture::generator();
  const Case cases[] = {{Op::kPre, 40, 4, 512},  {Op::kPostPre, 3, 4, 7168},
                        {Op::kHead, 100, 4, 64}, {Op::kPostPre, 70, 4, 1000},
                        {Op::kPre, 1, 4, 7168},  {Op::kPre, 300, 4, 72}};
  std::vector<Inputs> in;
  std::vector<Written> first;
  for (const Case& c : cases) {
    in.push_back(inputs(g, c));
    first.push_back(call(gpu(), c, in.back()));
  }
  for (int round = 0; round < (quick ? 1 : 20); ++round) {
    for (std::size_t i = 0; i < in.size(); ++i) {
      const std::size_t j = g() % in.size();
      CHECK(call(gpu(), cases[j], in[j]) == first[j]);
    }
  }
}

int main(int count, char** arguments) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 77;
  }
  if (count > 1 && std::strcmp(arguments[1], "--quick") == 0) {
    quick = true;
    arguments[1] = arguments[0];
    ++arguments;
    --count;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return check::main(count, arguments);
}
