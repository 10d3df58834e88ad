// SPDX-License-Identifier: Apache-2.0
// dequantize on the GPU against scalar host code.
#include "gpu_test.cuh"
#include "ops/dequantize/dequantize_cuda.hpp"

namespace nvfp4j::test {
namespace {

void test_dequantize(Gpu& gpu, std::mt19937& g, std::int64_t rows, std::int64_t columns) {
  const int dtype = static_cast<int>(g() % 3);
  const int layout = static_cast<int>(g() % 2);
  const int kind = static_cast<int>(g() % 2);
  const std::int64_t pad = g() % 3 == 0 ? static_cast<std::int64_t>(g() % 40) : 0;
  const int misalign = g() % 4 == 0 ? static_cast<int>(g() % 8) : 0;
  const int bytes = element_bytes(dtype);
  const std::int64_t blocks = columns / 16;
  const std::int64_t stride = columns + pad;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * columns / 2));
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(scale_bytes(layout, rows, blocks)));
  std::vector<float> gs(static_cast<std::size_t>(kind == NVFP4J_GLOBAL_SCALE_ROW ? rows : 1));
  const bool any_scale = g() % 3 == 0;  // NaN and negative bytes too
  const bool odd_gs = g() % 3 == 0;
  for (auto& c : codes) c = static_cast<std::uint8_t>(g());
  for (auto& s : scales) s = static_cast<std::uint8_t>(any_scale ? g() : g() % 127);
  for (auto& v : gs) {
    v = std::ldexp(1.0f + static_cast<float>(g() >> 8) * 0x1p-24f, static_cast<int>(g() % 40) - 25);
    if (odd_gs && g() % 2 == 0) {
      const float values[] = {0.0f,
                              -1.0f,
                              std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(),
                              1e-42f,
                              3e38f,
                              1e-38f};
      v = values[g() % 7];
    }
  }
  std::vector<std::uint8_t> expected(static_cast<std::size_t>(rows * stride * bytes),
                                     Buffer::kPoison);
  bool bad = false;
  for (std::int64_t m = 0; m < rows; ++m) {
    for (std::int64_t k = 0; k < columns; ++k) {
      const std::uint8_t s = scales[scale_offset(layout, m, k / 16, blocks)];
      bad = bad || s >= 0x7F;
      const float d = e4m3_to_f32(s) * gs[kind == NVFP4J_GLOBAL_SCALE_ROW ? m : 0];
      const std::uint32_t code = codes[(m * columns + k) / 2] >> (k & 1 ? 4 : 0) & 15;
      store_element(expected.data(), dtype, m * stride + k, e2m1_to_f32(code) * d);
    }
  }
  Buffer c(rows * columns / 2);
  Buffer s(static_cast<std::int64_t>(scales.size()));
  Buffer f(static_cast<std::int64_t>(gs.size()) * 4);
  Buffer out(rows * stride * bytes, misalign * bytes);
  c.put(codes.data(), c.bytes());
  s.put(scales.data(), s.bytes());
  f.put(gs.data(), f.bytes());
  const DequantizeArgs args = {c.data(), s.data(), f.as<float>(), layout, kind,
                               rows,     columns,  out.data(),    dtype,  stride};
  char name[160];
  std::snprintf(
      name, sizeof name,
      "dequantize to %d [%lld, %lld] pad %lld misalign %d layout %d kind %d any %d odd %d", dtype,
      static_cast<long long>(rows), static_cast<long long>(columns), static_cast<long long>(pad),
      misalign, layout, kind, any_scale, odd_gs);
  for (int run = 0; run < 2; ++run) {
    out.poison();
    if (run == 0) {
      must(static_cast<cudaError_t>(dequantize_cuda(gpu.launch, args)), "dequantize_cuda");
      gpu.wait();
    } else {
      gpu.replay(
          [&] {
            must(static_cast<cudaError_t>(dequantize_cuda(gpu.launch, args)),
                 "dequantize_cuda in a capture");
          },
          2);
    }
    const auto got = out.get(name);
    std::string why;
    if (got != expected) {
      std::size_t at = 0;
      while (got[at] == expected[at]) ++at;
      why = ": first difference at byte " + std::to_string(at);
    }
    check(why.empty(), name + why);
  }
  const std::uint64_t causes = gpu.take_status().causes[NVFP4J_OP_DEQUANTIZE];
  check(causes == (bad ? 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE : 0),
        std::string(name) + ": causes " + std::to_string(causes));
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  must(static_cast<cudaError_t>(nvfp4j::dequantize_cuda_warm_up(gpu.properties)),
       "dequantize_cuda_warm_up");
  std::mt19937 g(20261126);
  const std::int64_t shapes[][2] = {{1, 16},     {3, 48},   {33, 272},   {130, 272}, {64, 1024},
                                    {129, 1040}, {5, 8192}, {300, 2064}, {1000, 16}};
  for (int i = 0; i < (quick ? 18 : 180); ++i) {
    const auto& s = shapes[static_cast<std::size_t>(i) % 9];
    test_dequantize(gpu, g, s[0], s[1]);
  }
  return finish();
}
