// SPDX-License-Identifier: Apache-2.0
// swiglu and swiglu_quantize on the GPU against scalar host code, and the fast SiLU against the definition on every float.
#include "common/math.hpp"
#include "ops/swiglu/swiglu_cuda.hpp"
#include "ops/swiglu/swiglu_math.cuh"
#include "ops/swiglu_quantize/swiglu_quantize_cuda.hpp"
#include "quantize_cases.cuh"

namespace nvfp4j::test {
namespace {

__global__ void compare_silu(unsigned long long* wrong) {
  const std::uint32_t last = __float_as_uint(device::kSiluNear);
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i <= last;
       i += gridDim.x * blockDim.x) {
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const float g = __uint_as_float(i | sign);
      const std::uint32_t exact = __float_as_uint(device::silu_any(g));
      if (__float_as_uint(device::silu_near<device::F32>(g)) != exact) atomicAdd(wrong, 1ull);
      if ((i & 0xFFFFu) == 0u && __float_as_uint(device::silu_near<device::Bf16>(g)) != exact)
        atomicAdd(wrong, 1ull);
    }
  }
}

void test_silu() {
  unsigned long long* wrong;
  unsigned long long n;
  MUST(cudaMalloc(&wrong, 8));
  MUST(cudaMemset(wrong, 0, 8));
  compare_silu<<<2048, 256>>>(wrong);
  MUST(cudaGetLastError());
  MUST(cudaMemcpy(&n, wrong, 8, cudaMemcpyDeviceToHost));
  MUST(cudaFree(wrong));
  check(n == 0, "silu_near equals the definition on every float within its range: " +
                    std::to_string(n) + " differ");
}

float reference(float g, float u, float limit, float weight) {
  if (limit > 0) {
    if (g > limit) g = limit;
    if (u > limit) u = limit;
    if (u < -limit) u = -limit;
  }
  const float e = math::exp(-g);
  const float d = 1.0f + e;
  const float q = g / d;
  float h = q * u;
  h = h * weight;
  return h;
}

// The quantising case, whose columns are those of the result, and what SwiGLU adds.
struct Case : QuantizeCase {
  bool weighted;
  int gate_up;  // NVFP4J_SWIGLU_*
  float limit;

  std::string name() const {
    char text[80];
    std::snprintf(text, sizeof text, " weight %d columns %d limit %g", weighted, gate_up, limit);
    return QuantizeCase::name() + text;
  }
};

void run_case(Gpu& gpu, std::mt19937& g, const Case& c) {
  const int bytes = element_bytes(c.dtype);
  const std::int64_t stride = 2 * c.columns + c.pad;
  std::vector<std::uint8_t> x = random_tensor(g, c.dtype, c.rows * stride, c.data);
  if (c.data == kGauss) {  // gates over the whole range of exp
    for (std::int64_t i = 0; i < c.rows * stride; i += 1 + g() % 7)
      store_element(x.data(), c.dtype, i, random_value(g, kGauss) * (g() % 50 == 0 ? 60.0f : 5.0f));
  }
  Buffer input(c.rows * stride * bytes, c.misalign * bytes);
  input.put(x.data(), static_cast<std::int64_t>(x.size()));
  std::vector<float> weight(static_cast<std::size_t>(c.rows), 1.0f);
  Buffer weights(c.rows * 4);
  if (c.weighted) {
    for (float& w : weight) w = random_value(g, kGauss);
    weights.put(weight.data(), c.rows * 4);
  }
  std::vector<std::uint8_t> y(static_cast<std::size_t>(c.rows * c.columns * bytes));
  parallel(c.rows, [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t m = from; m < to; ++m) {
      for (std::int64_t k = 0; k < c.columns; ++k) {
        const bool inter = c.gate_up == NVFP4J_SWIGLU_INTERLEAVED;
        const float gate = load_element(x.data(), c.dtype, m * stride + (inter ? 2 * k : k));
        const float up =
            load_element(x.data(), c.dtype, m * stride + (inter ? 2 * k + 1 : k + c.columns));
        store_element(y.data(), c.dtype, m * c.columns + k,
                      reference(gate, up, c.limit, weight[m]));
      }
    }
  });
  const SwigluInput in = {input.data(), c.dtype,   stride,
                          c.rows,       c.columns, c.weighted ? weights.as<float>() : nullptr,
                          c.gate_up,    c.limit};

  // swiglu, into rows with a gap that stays as it was.
  const std::int64_t out_stride = c.columns + c.pad;
  Buffer out(c.rows * out_stride * bytes, c.misalign * bytes);
  const SwigluArgs swiglu = {in, out.data(), out_stride};
  for (int run = 0; run < 2; ++run) {
    out.poison();
    if (run == 0) {
      must(static_cast<cudaError_t>(swiglu_cuda(gpu.launch, swiglu)), "swiglu_cuda");
      gpu.wait();
    } else {
      gpu.replay(
          [&] {
            must(static_cast<cudaError_t>(swiglu_cuda(gpu.launch, swiglu)),
                 "swiglu_cuda in a capture");
          },
          2);
    }
    const auto got = out.get("swiglu");
    std::int64_t wrong = 0;
    for (std::int64_t m = 0; m < c.rows; ++m) {
      wrong += std::memcmp(&got[m * out_stride * bytes], &y[m * c.columns * bytes],
                           static_cast<std::size_t>(c.columns * bytes)) != 0;
      for (std::int64_t i = (m * out_stride + c.columns) * bytes; i < (m + 1) * out_stride * bytes;
           ++i)
        wrong += got[i] != Buffer::kPoison;
    }
    check(wrong == 0, "swiglu " + c.name() + ": " + std::to_string(wrong) + " rows differ");
  }

  if (c.columns % 16 != 0) return;
  const std::vector<float> given = given_scales(g, c);
  const Quantised expected =
      quantise(c.rows, c.columns, c.recipe, c.layout, c.kind, given, [&](std::int64_t m, float* v) {
        for (std::int64_t k = 0; k < c.columns; ++k)
          v[k] = load_element(y.data(), c.dtype, m * c.columns + k);
      });
  check_quantised(gpu, c, expected, given, NVFP4J_OP_SWIGLU_QUANTIZE, 0,
                  "swiglu_quantize " + c.name(), [&](const QuantizeOutput& output) {
                    return swiglu_quantize_cuda(gpu.launch, {in, c.recipe, output});
                  });
}

Case with_swiglu(std::mt19937& g, const QuantizeCase& c) {
  const float limits[] = {10.0f, 10.0f, 0.0f, 1.5f, 100.0f};
  return {c, g() % 2 == 0, static_cast<int>(g() % 2), limits[g() % 5]};
}

void test_large(Gpu& gpu, std::mt19937& g) {
  const QuantizeRecipe exact = {NVFP4J_GLOBAL_SCALE_DYNAMIC, NVFP4J_RECIPE_EXACT,
                                NVFP4J_ZERO_SCALE_MIN};
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const std::int64_t rows : {2000, 8193}) {
      const int odd = static_cast<int>(rows & 1);
      run_case(gpu, g,
               {{dtype, rows, 3072, 0, 0, kGauss, exact, odd, NVFP4J_GLOBAL_SCALE_TENSOR},
                true,
                odd,
                10.0f});
    }
  }
}

void test_ops(Gpu& gpu, std::mt19937& g, int count, bool quick) {
  std::printf("%s\n", swiglu_quantize_cuda_path(gpu.properties));
  const auto run = [&](const QuantizeCase& c) { run_case(gpu, g, with_swiglu(g, c)); };
  for_every_kernel(gpu, true, run);
  for_random_cases(g,
                   {{1, 16},
                    {3, 48},
                    {1, 3072},
                    {4, 3072},
                    {5, 272},
                    {130, 272},
                    {64, 3072},
                    {17, 512},
                    {9, 528},
                    {3, 20000},
                    {2, 7},
                    {33, 100},
                    {257, 2064},
                    {1000, 16},
                    {300, 3072},
                    {1000, 2048},
                    {127, 48},
                    {2, 40000}},
                   count, quick ? 1 << 19 : 1 << 30, {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}, run);
  if (!quick) test_large(gpu, g);
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  must(static_cast<cudaError_t>(nvfp4j::swiglu_cuda_warm_up(gpu.properties)),
       "swiglu_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::swiglu_quantize_cuda_warm_up(gpu.properties)),
       "swiglu_quantize_cuda_warm_up");
  std::mt19937 g(20261125);
  if (!quick) test_silu();
  test_ops(gpu, g, quick ? 36 : 540, quick);
  // The other path of this device: what cards without sm_90a code get.
  if (nvfp4j::runs_sm90a(gpu.properties)) {
    gpu.properties.major = 8;
    test_ops(gpu, g, quick ? 18 : 180, quick);
  }
  return finish();
}
