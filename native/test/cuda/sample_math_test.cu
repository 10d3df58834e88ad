// SPDX-License-Identifier: Apache-2.0
// sample's arithmetic on the GPU: log_exponential of every word of noise against the host's, and SampleDivisor's quotients of every logit against __fdiv_rn.
// With --quick: quotients by a few temperatures alone.
#include "gpu_test.cuh"
#include "ops/sample/sample_cuda.hpp"
#include "ops/sample/sample_math.hpp"
#include "ops/sample/sample_quotient.cuh"

namespace nvfp4j::test {
namespace {

// ---- noise -----------------------------------------------------------------------------------------------------------

__global__ void all_noise(float* out) {
  const std::uint32_t n = blockIdx.x * blockDim.x + threadIdx.x;
  out[n] = log_exponential(n << 9 | (n & 511u));
}

// Every value of the 23 bits that count, as the host has it.
void test_noise() {
  constexpr std::uint32_t kCount = 1u << 23;
  Buffer out(std::int64_t{kCount} * 4);
  all_noise<<<kCount / 256, 256>>>(out.as<float>());
  MUST(cudaDeviceSynchronize());
  const std::vector<std::uint8_t> got = out.get("noise");
  std::vector<std::uint8_t> expected(got.size());
  parallel(kCount, [&](std::int64_t from, std::int64_t end) {
    for (std::int64_t n = from; n < end; ++n) {
      const auto u = static_cast<float>((static_cast<double>(n) + 0.5) * 0x1p-23);
      const float e = math::log(-math::log(u));
      std::memcpy(&expected[static_cast<std::size_t>(4 * n)], &e, 4);
    }
  });
  check(got == expected, "noise differs from the host's");
}

// ---- division --------------------------------------------------------------------------------------------------------

struct Quotients {
  unsigned long long wrong;
  std::uint32_t logit;  // one that is
};

// Of all logits.
__global__ void all_quotients(float temperature, Quotients* out) {
  const device::SampleDivisor divisor(temperature);
  const std::uint32_t first = blockIdx.x * blockDim.x + threadIdx.x;
  for (std::uint32_t i = 0; i < 1u << 30; i += gridDim.x * blockDim.x) {
    // Neighbours are of several magnitudes: a thread has both ways for one.
    float l[4];
    float q[4];
    for (std::uint32_t j = 0; j < 4; ++j) l[j] = __uint_as_float(j << 30 | (first + i));
    divisor.divide(l, q);
    for (int j = 0; j < 4; ++j) {
      const float expected = __fdiv_rn(l[j], temperature);
      if (__float_as_uint(q[j]) == __float_as_uint(expected)) continue;
      if (q[j] != q[j] && expected != expected) continue;
      atomicAdd(&out->wrong, 1ull);
      out->logit = __float_as_uint(l[j]);
    }
  }
}

void test_quotients(std::mt19937& g, bool quick) {
  std::vector<float> temperatures = {1.0f, 0.6f, 1e-5f, 3e38f};
  if (!quick) {
    // The bounds of the quick way and what is next to them, significands of all ones, and any.
    for (const float t : {0x1p-20f, 0x1p20f, 0x1.FFFFFEp0f, 0x1.FFFFFEp-4f, 0x1.FFFFFEp19f}) {
      for (const float next : {0.0f, t, std::numeric_limits<float>::infinity()})
        temperatures.push_back(std::nextafterf(t, next));
    }
    for (int i = 0; i < 40; ++i)
      temperatures.push_back(std::ldexp(1.0f + static_cast<float>(g() >> 9) * 0x1p-23f,
                                        static_cast<int>(g() % 37) - 17));
  }
  Buffer out(sizeof(Quotients));
  for (const float temperature : temperatures) {
    Quotients found = {};
    out.put(&found, sizeof found);
    all_quotients<<<4096, 256>>>(temperature, out.as<Quotients>());
    MUST(cudaDeviceSynchronize());
    const std::vector<std::uint8_t> got = out.get("quotients");
    std::memcpy(&found, got.data(), sizeof found);
    char text[120];
    std::snprintf(text, sizeof text, "%llu quotients by %a are wrong, one of them of 0x%08x",
                  found.wrong, static_cast<double>(temperature), found.logit);
    check(found.wrong == 0, text);
  }
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  std::printf("%s\n", nvfp4j::sample_cuda_path(gpu.properties));
  std::mt19937 g(20261130);
  if (!quick) test_noise();
  test_quotients(g, quick);
  return finish();
}
