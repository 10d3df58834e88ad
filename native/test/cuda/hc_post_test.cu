// SPDX-License-Identifier: Apache-2.0
// hc_post on the GPU, every kernel bit for bit against scalar host code.
#include <set>

#include "hc_expected.cuh"
#include "ops/hc_post/hc_post_cuda.hpp"
#include "ops/hc_post/hc_post_plan.hpp"
#include "strided.cuh"

namespace nvfp4j::test {
namespace {

struct Case {
  int dtype;
  std::int64_t tokens;
  int n;
  std::int64_t columns;
  Data data = kGauss;
  std::int64_t gap = 0;          // of x, out and sub
  std::int64_t weights_gap = 0;  // of post and comb
  int misalign = 0;
  bool in_place = false;

  std::string name() const {
    char text[160];
    std::snprintf(text, sizeof text,
                  "hc_post dtype %d [%lld, %d, %lld] data %d gaps %lld %lld misalign %d%s", dtype,
                  static_cast<long long>(tokens), n, static_cast<long long>(columns), data,
                  static_cast<long long>(gap), static_cast<long long>(weights_gap), misalign,
                  in_place ? " in place" : "");
    return text;
  }
};

// Of the kernels that were launched: type, padded n, whether packets of 16 bytes are whole words.
std::set<std::string> reached;

std::string kernel_name(int dtype, int padded, bool aligned) {
  return "dtype " + std::to_string(dtype) + " padded " + std::to_string(padded) +
         (aligned ? " aligned" : "");
}

void note_kernel(const HcPostArgs& args) {
  const HcShape& s = args.shape;
  const int bytes = element_bytes(s.dtype);
  const auto aligned = [&](const void* data, std::int64_t stride, std::int64_t inner = 0) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride * bytes % 16 == 0 &&
           inner * bytes % 16 == 0;
  };
  reached.insert(
      kernel_name(s.dtype, plan_hc_post(s.tokens, s.n, s.columns, bytes).padded,
                  aligned(args.x.data, args.x.token_stride, args.x.stream_stride) &&
                      aligned(args.out.data, args.out.token_stride, args.out.stream_stride) &&
                      aligned(args.sub.data, args.sub.stride)));
}

void check_all_reached() {
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const int padded : {2, 4, 8, 16}) {
      for (const bool aligned : {false, true}) {
        const std::string name = kernel_name(dtype, padded, aligned);
        check(reached.count(name) != 0, "no case reaches " + name);
      }
    }
  }
}

void run_case(Gpu& gpu, std::mt19937& g, const Case& c) {
  Strided x(Role::kInput, c.dtype, c.tokens, c.n, c.columns, c.gap, c.misalign);
  Strided sub(Role::kInput, c.dtype, c.tokens, 1, c.columns, c.gap, c.misalign);
  Strided post(Role::kInput, NVFP4J_DTYPE_F32, c.tokens, 1, c.n, c.weights_gap);
  Strided comb(Role::kInput, NVFP4J_DTYPE_F32, c.tokens, 1, c.n * c.n, c.weights_gap);
  Strided separate(Role::kOutput, c.dtype, c.in_place ? 1 : c.tokens, c.n, c.columns,
                   c.gap == 0 ? 0 : c.gap + 8, c.misalign);
  x.fill(random_part(g, c.dtype, c.tokens * c.n * c.columns, c.data));
  sub.fill(random_part(g, c.dtype, c.tokens * c.columns, c.data));
  // A NaN spoils a stream, or a whole token: few.
  const Data weights = c.data == kNonFinite && g() % 4 != 0 ? kGauss : c.data;
  post.fill(random_part(g, NVFP4J_DTYPE_F32, c.tokens * c.n, weights));
  comb.fill(random_part(g, NVFP4J_DTYPE_F32, c.tokens * c.n * c.n, weights));
  for (const Strided* t : {&x, &sub, &post, &comb}) t->upload();

  Strided& out = c.in_place ? x : separate;
  std::vector<std::uint8_t> expected = out.image();
  parallel(c.tokens, [&](std::int64_t from, std::int64_t end) {
    const std::int64_t all = c.n * c.columns;
    std::vector<float> in(static_cast<std::size_t>(all));
    std::vector<float> y(static_cast<std::size_t>(all));
    std::vector<float> module(static_cast<std::size_t>(c.columns));
    float p[kMaxStreams];
    float m[kMaxStreams * kMaxStreams];
    for (std::int64_t t = from; t < end; ++t) {
      x.token(x.image(), t, in.data());
      sub.token(sub.image(), t, module.data());
      post.token(post.image(), t, p);
      comb.token(comb.image(), t, m);
      hc_post_token(in.data(), module.data(), p, m, c.n, c.columns, y.data());
      for (std::int64_t i = 0; i < all; ++i) {
        out.set(expected, t, i / c.columns, i % c.columns, y[static_cast<std::size_t>(i)]);
      }
    }
  });

  const HcPostArgs args = {{c.tokens, c.n, c.columns, c.dtype},
                           x.streams(),
                           sub.rows(),
                           post.weights(),
                           comb.weights(),
                           out.streams()};
  note_kernel(args);
  for (int run = 0; run < 2; ++run) {
    out.reset();
    if (run == 0) {
      must(static_cast<cudaError_t>(hc_post_cuda(gpu.launch, args)), "hc_post_cuda");
      gpu.wait();
    } else {
      gpu.replay(
          [&] {
            must(static_cast<cudaError_t>(hc_post_cuda(gpu.launch, args)),
                 "hc_post_cuda in a capture");
          },
          c.in_place ? 1 : 2);
    }
    const std::vector<std::uint8_t> got = out.download("hc_post");
    const std::size_t differs = static_cast<std::size_t>(
        std::mismatch(got.begin(), got.end(), expected.begin()).first - got.begin());
    check(got == expected,
          c.name() + ": differs from element " +
              std::to_string(differs / static_cast<std::size_t>(element_bytes(c.dtype))) +
              " of the buffer on");
  }
  // It reports nothing.
  const DeviceStatus s = gpu.take_status();
  check(s.claimed == 0 && s.causes[NVFP4J_OP_HC_POST] == 0, c.name() + ": reports something");
}

// The rest of a case whose shape is given.
Case varied(std::mt19937& g, int dtype, std::int64_t tokens, int n, std::int64_t columns) {
  const Data kinds[] = {kGauss, kGauss, kWide, kTiny, kSparse, kNonFinite};
  const std::int64_t gaps[] = {0, 0, 8, 24, 1, 5};
  Case c = {dtype, tokens, n, columns};
  c.data = kinds[g() % 6];
  c.gap = gaps[g() % 6];
  c.weights_gap = gaps[g() % 6];
  c.misalign = g() % 4 == 0 ? 1 + static_cast<int>(g() % 7) : 0;
  c.in_place = g() % 3 == 0;
  return c;
}

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (int n = 1; n <= kMaxStreams; ++n) {
      if (quick && n > 5 && n != 8 && n != 16) continue;
      // With and without packets of whole words, for certain.
      run_case(gpu, g, {dtype, 5, n, 24});
      run_case(gpu, g, {dtype, 5, n, 24, kNonFinite, 8, 3, 1});
      if (quick) continue;
      for (const std::int64_t columns : {8, 16, 24, 64}) {
        for (const std::int64_t tokens : {1, 2, 5, 64, 300})
          run_case(gpu, g, varied(g, dtype, tokens, n, columns));
      }
    }
  }
}

void test_long_rows(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::int64_t kMost = 40 << 20;  // fused multiply-adds of the host
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const int n : {1, 2, 3, 4, 8, 16}) {
      for (const std::int64_t columns : {4096, 7168, 7176}) {
        for (const std::int64_t tokens : {1, 2, 5, 64, 300}) {
          if (quick && (n != 4 || columns != 7176 || tokens != 2)) continue;
          if (tokens * n * n * columns > kMost) continue;
          run_case(gpu, g, varied(g, dtype, tokens, n, columns));
        }
      }
    }
  }
  if (quick) return;
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    run_case(gpu, g, {dtype, 300, 4, 7168});
    run_case(gpu, g, {dtype, 300, 4, 7168, kGauss, 0, 0, 0, true});
  }
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  std::printf("%s\n", nvfp4j::hc_post_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::hc_post_cuda_warm_up(gpu.properties)),
       "hc_post_cuda_warm_up");
  std::mt19937 g(20261129);
  test_shapes(gpu, g, quick);
  test_long_rows(gpu, g, quick);
  check_all_reached();
  return finish();
}
