// SPDX-License-Identifier: Apache-2.0
// quantize on the GPU: its arithmetic against division, exhaustively where that is possible, and every kernel against scalar host code.
#include "device/fp4.cuh"
#include "ops/quantize/quantize_cuda.hpp"
#include "quantize_cases.cuh"

namespace nvfp4j::test {
namespace {

using namespace device;

// ---- arithmetic ------------------------------------------------------------------------------------------------------

// Blocks of 16 neighbouring magnitudes (signs alternate) under d: thresholds or factors against division.
template <typename T>
__global__ void compare_codes(const float* d, int scales, std::uint32_t first,
                              std::uint32_t magnitudes, unsigned long long* wrong) {
  const std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::uint64_t groups = magnitudes / 16;
  if (i >= groups * scales) return;
  const float f = d[i / groups];
  const std::uint32_t base = first + static_cast<std::uint32_t>(i % groups) * 16;
  Block<T> x;
  for (int k = 0; k < 16; ++k) {
    if constexpr (T::kBytes == 2) {
      const std::uint32_t v = (base + k) | (k % 3 == 0 ? 0x8000u : 0u);
      x.w[k / 2] = k & 1 ? x.w[k / 2] | v << 16 : v;
    } else {
      x.w[k] = (base + k) | (k % 3 == 0 ? 0x80000000u : 0u);
    }
  }
  const uint2 a = codes_under<T>(x, f, Block<T>::magnitude(x.amax_bits()));
  const uint2 b = codes_by_division<T>(x, f);
  if (a.x != b.x || a.y != b.y) atomicAdd(wrong, 1ull);
}

// 32 floats around each tie of e2m1 under d: the only places where an error could hide.
__global__ void compare_codes_near_ties(std::uint32_t seed, std::uint32_t count,
                                        unsigned long long* wrong) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  std::uint32_t h = (i + seed) * 0x9E3779B1u;
  h ^= h >> 15;
  h *= 0x85EBCA77u;
  h ^= h >> 13;
  h *= 0xC2B2AE3Du;
  h ^= h >> 16;
  std::uint32_t mantissa = h & 0x7FFFFFu;
  if (i % 4 == 1) mantissa &= 0x7FF000u;
  if (i % 4 == 2) mantissa |= 0x7FFFF0u;
  const std::uint32_t exponent = 127u - 90u + (h >> 23) % 190u;
  const float d = __uint_as_float(exponent << 23 | mantissa);
  const float ties[7] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  for (int t = 0; t < 7; ++t) {
    const std::uint32_t at = __float_as_uint(__fmul_rn(ties[t], d)) - 8u;
    Block<F32> x;
    for (int k = 0; k < 16; ++k) x.w[k] = at + k;
    const uint2 a = codes_by_thresholds<F32>(x, pack_thresholds<F32>(thresholds_of(d)));
    const uint2 b = codes_by_division<F32>(x, d);
    if (a.x != b.x || a.y != b.y) atomicAdd(wrong, 1ull);
  }
}

__global__ void compare_scale_quotients(std::uint32_t seed, std::uint32_t count,
                                        unsigned long long* wrong) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  std::uint32_t h = (i + seed) * 0x9E3779B1u;
  h ^= h >> 15;
  h *= 0x85EBCA77u;
  h ^= h >> 13;
  const std::uint32_t k = h * 0xC2B2AE3Du;
  // A gs in [2^-60, 2^60].
  const GlobalScale g = global_scale_of<NVFP4J_RECIPE_EXACT>(
      __uint_as_float(67u + (h >> 8) % 120u << 23 | (h & 0x7FFFFFu)), 0.0f);
  // Quotients from 2^-14 to 2^12, half of them next to a tie of e4m3; some anywhere.
  float a = __fmul_rn(
      g.divisor,
      __uint_as_float(113u + (k >> 8) % 26u << 23 |
                      (i & 1 ? k & 0x7FFFFFu : (k & 0xF80000u) >> 1 & 0x7C0000u | 0x40000u)));
  if (i % 16 == 0) a = __uint_as_float(k & 0x7F7FFFFFu);
  a = __uint_as_float(__float_as_uint(a) + (i >> 1) % 5u);
  const float exact = __fdiv_rn(a, g.divisor);
  const float q = scale_quotient(a, g);
  const bool same =
      q == exact || (exact >= 448.0f && q == 448.0f) || (exact < 0x1p-11f && q < 0x1p-11f);
  if (!same || e4m3_from_f32(q) != e4m3_from_f32(exact)) atomicAdd(wrong, 1ull);
}

__global__ void compare_e4m3(unsigned long long* wrong) {
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i <= 0x7FFFFFFFu;
       i += gridDim.x * blockDim.x) {
    const float x = __uint_as_float(i);
    if (e4m3_from_f32(x) != e4m3_from_f32_software(x)) atomicAdd(wrong, 1ull);
  }
}

unsigned long long run_counted(const std::function<void(unsigned long long*)>& f) {
  unsigned long long* wrong;
  unsigned long long n;
  MUST(cudaMalloc(&wrong, 8));
  MUST(cudaMemset(wrong, 0, 8));
  f(wrong);
  MUST(cudaGetLastError());
  MUST(cudaMemcpy(&n, wrong, 8, cudaMemcpyDeviceToHost));
  MUST(cudaFree(wrong));
  return n;
}

void test_arithmetic(bool quick) {
  std::mt19937 g(11);
  const int scales = quick ? 256 : 60000;
  std::vector<float> d(scales);
  for (int i = 0; i < scales; ++i) {
    std::uint32_t mantissa = g() & 0x7FFFFFu;
    if (i % 4 == 1) mantissa &= 0x780000u;  // a power of two times a scale
    if (i % 4 == 2) mantissa &= 0x7FF000u;
    if (i % 4 == 3) {  // a threshold within 15 ulp of a bf16 number
      const float t[4] = {1.0f, 1.5f, 1.25f, 1.75f};
      const float number = float_of(127u << 23 | (g() & 127u) << 16);
      mantissa = (bits_of(number / t[g() % 4]) + g() % 31u - 15u) & 0x7FFFFFu;
    }
    d[i] = float_of((127u - 69u + (i < 139 ? i : g() % 139u)) << 23 | mantissa);
    if (d[i] > 0x1p69f) d[i] = 0x1p69f;
  }
  float* device_d;
  MUST(cudaMalloc(&device_d, scales * 4));
  MUST(cudaMemcpy(device_d, d.data(), scales * 4, cudaMemcpyHostToDevice));
  const auto blocks = [&](std::uint64_t n) { return static_cast<unsigned>((n + 255) / 256); };
  check(run_counted([&](auto* w) {
          compare_codes<Bf16><<<blocks(0x7F80 / 16 * static_cast<std::uint64_t>(scales)), 256>>>(
              device_d, scales, 0, 0x7F80, w);
        }) == 0,
        "codes of every bf16 magnitude equal the division's");
  // The same scales where f16 lives.
  for (float& v : d)
    v = std::ldexp(std::frexp(v, std::vector<int>(1).data()), static_cast<int>(g() % 45) - 27);
  MUST(cudaMemcpy(device_d, d.data(), scales * 4, cudaMemcpyHostToDevice));
  check(run_counted([&](auto* w) {
          compare_codes<F16><<<blocks(0x7C00 / 16 * static_cast<std::uint64_t>(scales)), 256>>>(
              device_d, scales, 0, 0x7C00, w);
        }) == 0,
        "codes of every f16 magnitude equal the division's");
  const std::uint32_t ties = quick ? 1 << 16 : 1 << 26;
  check(run_counted([&](auto* w) { compare_codes_near_ties<<<blocks(ties), 256>>>(1, ties, w); }) ==
            0,
        "f32 codes next to ties equal the division's");
  const std::uint32_t quotients = quick ? 1 << 16 : 1u << 30;
  check(run_counted([&](auto* w) {
          compare_scale_quotients<<<blocks(quotients), 256>>>(3, quotients, w);
        }) == 0,
        "scale quotients equal the division's");
  if (!quick)
    check(run_counted([&](auto* w) { compare_e4m3<<<1024, 256>>>(w); }) == 0,
          "e4m3 by software equals the instruction on every float");
  MUST(cudaFree(device_d));
}

// ---- the op ----------------------------------------------------------------------------------------------------------

void run_case(Gpu& gpu, std::mt19937& g, const QuantizeCase& c, bool gather = false) {
  const int bytes = element_bytes(c.dtype);
  const std::int64_t input_rows = gather ? c.rows / 2 + 3 : c.rows;
  const std::int64_t stride = c.columns + c.pad;
  const std::vector<std::uint8_t> x = random_tensor(g, c.dtype, input_rows * stride, c.data);
  Buffer input(input_rows * stride * bytes, c.misalign * bytes);
  input.put(x.data(), static_cast<std::int64_t>(x.size()));
  std::vector<std::int32_t> ids(static_cast<std::size_t>(c.rows));
  bool bad_id = false;
  Buffer id_buffer(std::max<std::int64_t>(c.rows, 1) * 4);
  if (gather) {
    for (auto& id : ids) {
      id = static_cast<std::int32_t>(g() % static_cast<std::uint32_t>(input_rows));
      if (g() % 19 == 0) id = g() & 1 ? -1 : static_cast<std::int32_t>(input_rows);
      bad_id = bad_id || id < 0 || id >= input_rows;
    }
    id_buffer.put(ids.data(), c.rows * 4);
  }
  const std::vector<float> given = given_scales(g, c);
  const Quantised expected =
      quantise(c.rows, c.columns, c.recipe, c.layout, c.kind, given, [&](std::int64_t m, float* v) {
        if (gather) m = ids[m] < 0 || ids[m] >= input_rows ? -1 : ids[m];
        for (std::int64_t k = 0; k < c.columns; ++k)
          v[k] = m < 0 ? 0.0f : load_element(x.data(), c.dtype, m * stride + k);
      });
  check_quantised(gpu, c, expected, given, NVFP4J_OP_QUANTIZE,
                  bad_id ? 1ull << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : 0,
                  (gather ? "quantize, gathered, " : "quantize ") + c.name(),
                  [&](const QuantizeOutput& output) {
                    return quantize_cuda(
                        gpu.launch,
                        {input.data(), c.dtype, input_rows, stride, c.rows, c.columns,
                         gather ? id_buffer.as<std::int32_t>() : nullptr, c.recipe, output});
                  });
}

void test_random_cases(Gpu& gpu, std::mt19937& g, int count, std::int64_t largest) {
  for_random_cases(g, {{1, 16},      {3, 48},    {1, 7168},   {2, 7168},   {4, 7168},  {5, 272},
                       {33, 272},    {130, 272}, {129, 1040}, {64, 7168},  {17, 512},  {9, 528},
                       {3, 20000},   {2, 528},   {2, 70000},  {257, 2064}, {1000, 16}, {300, 7168},
                       {1000, 2048}, {7, 8192},  {128, 64},   {127, 48},   {16, 4096}, {200, 5120}},
                   count, largest, {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16},
                   [&](const QuantizeCase& c) { run_case(gpu, g, c, g() % 4 == 0); });
}

// Large enough on this card that elements are read twice.
void test_large(Gpu& gpu, std::mt19937& g) {
  const QuantizeRecipe exact = {NVFP4J_GLOBAL_SCALE_DYNAMIC, NVFP4J_RECIPE_EXACT,
                                NVFP4J_ZERO_SCALE_MIN};
  const QuantizeRecipe te = {NVFP4J_GLOBAL_SCALE_DYNAMIC, NVFP4J_RECIPE_TE_EXACT,
                             NVFP4J_ZERO_SCALE_MIN};
  constexpr int kTensor = NVFP4J_GLOBAL_SCALE_TENSOR;
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16, NVFP4J_DTYPE_F32}) {
    for (const std::int64_t rows : {1000, 2600, 4099}) {
      run_case(gpu, g,
               {dtype, rows, 7168, 0, 0, rows == 2600 ? kNonFinite : kGauss, exact,
                static_cast<int>(rows & 1), kTensor});
    }
    run_case(gpu, g, {dtype, 4099, 7168, 16, 0, kNonFinite, exact, 1, kTensor});
    run_case(gpu, g, {dtype, 4099, 7168, 0, 0, kGauss, te, 0, kTensor});
    run_case(gpu, g, {dtype, 3001, 7184, 0, 0, kWide, exact, 0, kTensor}, true);
    run_case(gpu, g, {dtype, 2050, 7168, 0, 0, kGauss, exact, 1, NVFP4J_GLOBAL_SCALE_ROW});
  }
}

void test_op(Gpu& gpu, std::mt19937& g, int count, bool quick) {
  std::printf("%s\n", quantize_cuda_path(gpu.properties));
  for_every_kernel(gpu, false, [&](const QuantizeCase& c) { run_case(gpu, g, c); });
  test_random_cases(gpu, g, count, quick ? 1 << 19 : 1 << 30);
  if (!quick) test_large(gpu, g);
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  must(static_cast<cudaError_t>(nvfp4j::quantize_cuda_warm_up(gpu.properties)),
       "quantize_cuda_warm_up");
  std::mt19937 g(20261124);
  test_arithmetic(quick);
  test_op(gpu, g, quick ? 48 : 720, quick);
  // The other path of this device: what cards without sm_90a code get.
  if (nvfp4j::runs_sm90a(gpu.properties)) {
    gpu.properties.major = 8;
    test_op(gpu, g, quick ? 24 : 360, quick);
  }
  return finish();
}
