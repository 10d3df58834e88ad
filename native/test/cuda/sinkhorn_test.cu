// SPDX-License-Identifier: Apache-2.0
// sinkhorn on the GPU: its reciprocals over every mantissa, and every kernel bit for bit against scalar host code.
#include <set>

#include "hc_expected.cuh"
#include "ops/sinkhorn/sinkhorn_cuda.hpp"
#include "ops/sinkhorn/sinkhorn_math.cuh"
#include "ops/sinkhorn/sinkhorn_plan.hpp"
#include "strided.cuh"

namespace nvfp4j::test {
namespace {

// ---- reciprocals -----------------------------------------------------------------------------------------------------

// From 2^-100 up to 2^101: what sums are and a little more.
__global__ void compare_reciprocals(unsigned long long* wrong) {
  for (std::uint32_t m = blockIdx.x * blockDim.x + threadIdx.x; m < 1u << 23;
       m += gridDim.x * blockDim.x) {
    for (std::uint32_t exponent = 27; exponent <= 227; ++exponent) {
      const float s = __uint_as_float(exponent << 23 | m);
      const float exact = __frcp_rn(s);
      if (device::reciprocal_rn(s) != exact) atomicAdd(wrong, 1ull);
      if (fabsf(s - 1.0f) <= 0x1p-6f && device::reciprocal_rn_near_one(s) != exact)
        atomicAdd(wrong, 1ull);
      if (fabsf(s - 1.0f) <= 0x1.6A09E6p-13f && device::reciprocal_rn_next_to_one(s) != exact)
        atomicAdd(wrong, 1ull);
    }
  }
}

void test_reciprocals() {
  unsigned long long* wrong;
  unsigned long long n;
  MUST(cudaMalloc(&wrong, 8));
  MUST(cudaMemset(wrong, 0, 8));
  compare_reciprocals<<<2048, 256>>>(wrong);
  MUST(cudaGetLastError());
  MUST(cudaMemcpy(&n, wrong, 8, cudaMemcpyDeviceToHost));
  MUST(cudaFree(wrong));
  check(n == 0, "reciprocals are rounded to nearest: " + std::to_string(n) + " are not");
}

// ---- the op ----------------------------------------------------------------------------------------------------------

// Of a token's logits. kMixed: all of the others in turn.
enum class Kind {
  kSmall,  // Gaussian, times 0.1
  kUnit,
  kPeaked,  // times 30
  kEighty,  // 80 or -80
  kHuge,    // 3e38 or -3e38: their difference overflows
  kEqual,
  kOneHot,     // 80 once a row and column
  kHotColumn,  // 80 in one column, so that others have little but eps
  kWide,       // all magnitudes
  kMixed,
};

struct Case {
  std::int64_t tokens;
  int n;
  int iterations;
  Kind kind = Kind::kMixed;
  float eps = 1e-6f;
  std::int64_t in_gap = 0;
  std::int64_t out_gap = 0;
  int misalign = 0;
  bool in_place = false;

  std::string name() const {
    char text[160];
    std::snprintf(
        text, sizeof text,
        "sinkhorn [%lld, %d, %d] iterations %d kind %d eps %g gaps %lld %lld misalign %d%s",
        static_cast<long long>(tokens), n, n, iterations, static_cast<int>(kind), eps,
        static_cast<long long>(in_gap), static_cast<long long>(out_gap), misalign,
        in_place ? " in place" : "");
    return text;
  }
};

struct Fault {
  std::int64_t token;
  int element;
  float value;
};

float logit(std::mt19937& g, Kind kind, int n, int j, int k, int hot) {
  const float sign = g() & 1 ? -1.0f : 1.0f;
  switch (kind) {
    case Kind::kSmall:
      return random_value(g, kGauss) * 0.1f;
    case Kind::kPeaked:
      return random_value(g, kGauss) * 30.0f;
    case Kind::kEighty:
      return sign * 80.0f;
    case Kind::kHuge:
      return sign * 3e38f;
    case Kind::kEqual:
      return 1.5f;
    case Kind::kOneHot:
      return (j + hot) % n == k ? 80.0f : -80.0f;
    case Kind::kHotColumn:
      return k == hot % n ? 80.0f : -80.0f;
    case Kind::kWide:
      return random_value(g, kWide);
    default:
      return random_value(g, kGauss);
  }
}

// Of the plans that were launched: kernel and padded n.
std::set<std::string> reached;

void note_kernel(const SinkhornArgs& args) {
  const SinkhornPlan plan = plan_sinkhorn(args.tokens, args.n);
  char text[60];
  std::snprintf(text, sizeof text, "kernel %d padded %d", static_cast<int>(plan.kernel),
                plan.padded);
  reached.insert(text);
}

void check_all_reached() {
  const struct {
    SinkhornKernel kernel;
    int padded;
  } all[] = {{SinkhornKernel::kThreads, 2},
             {SinkhornKernel::kThreads, 4},
             {SinkhornKernel::kPairs, 4},
             {SinkhornKernel::kRows, 8},
             {SinkhornKernel::kRows, 16}};
  for (const auto& k : all) {
    char text[60];
    std::snprintf(text, sizeof text, "kernel %d padded %d", static_cast<int>(k.kernel), k.padded);
    check(reached.count(text) != 0, std::string("no case reaches ") + text);
  }
}

void check_status(Gpu& gpu, const std::vector<Fault>& faults, const std::string& name) {
  const DeviceStatus s = gpu.take_status();
  bool right = (s.claimed != 0) == !faults.empty();
  for (int op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
    const bool mine = op == NVFP4J_OP_SINKHORN && !faults.empty();
    right = right && s.causes[op] == (mine ? 1ull << NVFP4J_CAUSE_NON_FINITE_INPUT : 0);
  }
  if (!faults.empty()) {
    right =
        right && s.first_op == NVFP4J_OP_SINKHORN && s.first_cause == NVFP4J_CAUSE_NON_FINITE_INPUT;
    // Any of several: thread blocks do not wait for each other.
    right = right && std::any_of(faults.begin(), faults.end(), [&](const Fault& f) {
              return s.first_row == f.token && s.first_column == f.element;
            });
  }
  char text[120];
  std::snprintf(text, sizeof text, ": reported op %d cause %d at %lld, %lld", s.first_op,
                s.first_cause, s.first_row, s.first_column);
  check(right, name + text);
}

void run_case(Gpu& gpu, std::mt19937& g, const Case& c, const std::vector<Fault>& faults = {}) {
  const int elements = c.n * c.n;
  Strided in(Role::kInput, NVFP4J_DTYPE_F32, c.tokens, 1, elements, c.in_gap, c.misalign);
  Strided out(Role::kOutput, NVFP4J_DTYPE_F32, c.in_place ? 1 : c.tokens, 1, elements, c.out_gap,
              c.misalign);
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    const Kind kind =
        c.kind == Kind::kMixed ? static_cast<Kind>(t % static_cast<int>(Kind::kMixed)) : c.kind;
    const int hot = static_cast<int>(g() % static_cast<unsigned>(c.n));
    for (int i = 0; i < elements; ++i) in.set(t, 0, i, logit(g, kind, c.n, i / c.n, i % c.n, hot));
  }
  for (const Fault& f : faults) in.set(f.token, 0, f.element, f.value);

  Strided& to = c.in_place ? in : out;
  std::vector<std::uint8_t> expected = to.image();
  parallel(c.tokens, [&](std::int64_t from, std::int64_t end) {
    float m[kMaxStreams * kMaxStreams];
    for (std::int64_t t = from; t < end; ++t) {
      in.token(in.image(), t, m);
      sinkhorn_token(m, c.n, c.iterations, c.eps);
      std::memcpy(&expected[static_cast<std::size_t>(to.at(t, 0, 0) * 4)], m,
                  static_cast<std::size_t>(elements) * 4);
    }
  });

  const HcWeights from = in.weights();
  const HcWeights result = to.weights();
  const SinkhornArgs args = {from.data, from.stride, result.data,  result.stride,
                             c.tokens,  c.n,         c.iterations, c.eps};
  note_kernel(args);
  in.upload();
  for (int run = 0; run < 2; ++run) {
    to.reset();
    if (run == 0) {
      must(static_cast<cudaError_t>(sinkhorn_cuda(gpu.launch, args)), "sinkhorn_cuda");
      gpu.wait();
    } else {
      gpu.replay(
          [&] {
            must(static_cast<cudaError_t>(sinkhorn_cuda(gpu.launch, args)),
                 "sinkhorn_cuda in a capture");
          },
          c.in_place ? 1 : 2);
    }
    const std::vector<std::uint8_t> got = to.download("sinkhorn");
    std::int64_t wrong = 0;
    for (std::int64_t t = 0; t < c.tokens; ++t) {
      const auto at = static_cast<std::size_t>(to.at(t, 0, 0) * 4);
      wrong += std::memcmp(&got[at], &expected[at], static_cast<std::size_t>(elements) * 4) != 0;
    }
    check(got == expected,
          c.name() + ": " + std::to_string(wrong) + " tokens differ; none: bytes between them do");
    check_status(gpu, faults, c.name());
  }
}

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int64_t> few =
      quick ? std::vector<std::int64_t>{1, 31} : std::vector<std::int64_t>{1, 3, 31, 127};
  for (int n = 1; n <= kMaxStreams; ++n) {
    if (quick && n > 5 && n != 8 && n != 16) continue;
    for (const std::int64_t tokens : few) {
      for (const int iterations : {1, 2, 3, 20}) {
        if (quick && iterations != 3) continue;
        Case c = {tokens, n, iterations};
        c.in_gap = static_cast<std::int64_t>(g() % 3) * 4;
        c.out_gap = static_cast<std::int64_t>(g() % 4);
        c.misalign = g() % 4 == 0 ? 1 : 0;
        run_case(gpu, g, c);
        c.in_place = true;
        run_case(gpu, g, c);
      }
    }
    if (!quick) {
      run_case(gpu, g, {1000, n, 20, Kind::kMixed, 1e-6f, 0, n % 2 * 4});
      run_case(gpu, g, {1000, n, 3, Kind::kMixed, 0x1p-100f, 3, 1, 1});
    }
  }
}

// n = 4 has more than one kernel, and short cuts for what is settled.
void test_large(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::int64_t many = 16384 + 5;  // one token a thread from there on
  run_case(gpu, g, {quick ? many : 8192 + 5, 4, quick ? 2 : 20});
  for (const Kind kind : {Kind::kSmall, Kind::kUnit, Kind::kPeaked}) {
    run_case(gpu, g, {1, 4, 20, kind});
    if (!quick) run_case(gpu, g, {127, 4, 20, kind, 1e-6f, 4, 4});
  }
  if (quick) return;
  for (const int n : {1, 2, 3, 5, 8, 16}) run_case(gpu, g, {8192 + 5, n, n == 16 ? 3 : 20});
  for (const Kind kind : {Kind::kSmall, Kind::kUnit, Kind::kMixed}) {
    run_case(gpu, g, {8192 + 5, 4, 20, kind});
    run_case(gpu, g, {many, 4, 20, kind});
    run_case(gpu, g, {many, 4, 2, kind, 1e-6f, 1, 0, 0});
  }
  // More iterations than are trusted to stay settled.
  for (const int iterations : {100, 5000}) {
    for (const Kind kind : {Kind::kSmall, Kind::kUnit}) run_case(gpu, g, {33, 4, iterations, kind});
  }
  run_case(gpu, g, {many, 4, 100, Kind::kSmall});
  for (const float eps : {0x1p-100f, 1e-3f, 1.0f}) {
    for (const int n : {2, 4, 7, 16}) run_case(gpu, g, {127, n, 20, Kind::kMixed, eps});
  }
}

void test_faults(Gpu& gpu, std::mt19937& g, bool quick) {
  const float values[] = {std::numeric_limits<float>::quiet_NaN(), float_of(0xFF800123u),
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()};
  const auto below = [&](std::int64_t end) {
    return static_cast<std::int64_t>(g() % static_cast<unsigned>(end));
  };
  for (int n = 1; n <= kMaxStreams; n += quick && n > 4 ? 4 : 1) {
    for (const std::int64_t tokens : {1, 37}) {
      for (const float value : values) {
        Case c = {tokens, n, 3};
        c.in_place = g() % 2 == 0;
        c.out_gap = c.in_place ? 0 : 1;
        run_case(gpu, g, c, {{below(tokens), static_cast<int>(below(n * n)), value}});
        if (quick) break;
      }
    }
    // Several tokens.
    const int element = static_cast<int>(below(n * n));
    run_case(gpu, g, {70, n, 2},
             {{3, 0, values[0]}, {41, element, values[2]}, {69, element, values[3]}});
  }
  if (!quick) run_case(gpu, g, {16384 + 5, 4, 2}, {{16384 + 2, 9, values[1]}});
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  std::printf("%s\n", nvfp4j::sinkhorn_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::sinkhorn_cuda_warm_up(gpu.properties)),
       "sinkhorn_cuda_warm_up");
  std::mt19937 g(20261129);
  if (!quick) test_reciprocals();
  test_shapes(gpu, g, quick);
  test_large(gpu, g, quick);
  test_faults(gpu, g, quick);
  check_all_reached();
  return finish();
}
