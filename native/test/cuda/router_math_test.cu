// SPDX-License-Identifier: Apache-2.0
// The routers' arithmetic on the GPU over all floats: sqrt_rn against __fsqrt_rn, score_of against router_score, and nearly against the score within the bound that choose relies on.
// With --quick: the ends of every binade, and every 4099th float.
#include "gpu_test.cuh"
#include "ops/router_dense/router_choose.cuh"

namespace nvfp4j::test {
namespace {

struct Found {
  unsigned long long seen;
  unsigned long long wrong;
  std::uint32_t input;    // one that is
  std::uint32_t bias;     // and its bias
  std::uint32_t largest;  // error of what is allowed, as the bits of a float
};

// What one thread saw.
struct Seen {
  unsigned long long count = 0;
  float largest = 0.0f;

  __device__ void add_to(Found* found) const {
    atomicAdd(&found->seen, count);
    atomicMax(&found->largest, __float_as_uint(largest));
  }
};

__device__ void note(Found* found, bool right, float input, float bias = 0.0f) {
  if (right) return;
  atomicAdd(&found->wrong, 1ull);
  found->input = __float_as_uint(input);
  found->bias = __float_as_uint(bias);
}

// The root of 0, of positive numbers, of infinity and of NaN.
struct Roots {
  static __device__ bool takes(float x) { return !(x < 0.0f) && __float_as_uint(x) != 0x80000000u; }
  static __device__ void see(float x, Found* found, Seen&) {
    const float root = device::sqrt_rn(x);
    const float expected = __fsqrt_rn(x);
    note(found,
         __float_as_uint(root) == __float_as_uint(expected) ||
             (root != root && expected != expected),
         x);
  }
};

// Of any logit, NaN included.
struct Scores {
  static __device__ bool takes(float) { return true; }
  static __device__ void see(float z, Found* found, Seen&) {
    note(found, __float_as_uint(device::score_of(z)) == __float_as_uint(router_score(z)), z);
  }
};

// Of logits up to kNearlyMost with biases that leave the score alone, take it back nearly or altogether, are a thousand times as large, and any.
struct Nearly {
  static __device__ bool takes(float z) { return !(z > device::kNearlyMost); }
  static __device__ void see(float z, Found* found, Seen& seen) {
    const float score = device::score_of(z);
    if (z != z) {
      note(found, device::nearly(z, 1.0f) != device::nearly(z, 1.0f), z);
      return;
    }
    std::uint32_t h = __float_as_uint(z) * 2654435761u;
    h = (h ^ h >> 15) * 2246822519u;
    // Magnitudes from 2^-15 to 2^17.
    const float any = __uint_as_float((h & 0x807FFFFFu) | (112u + (h >> 23 & 31u)) << 23);
    const float biases[] = {0.0f, -score, __fmul_rn(score, -0.999f), __fmul_rn(score, 1024.0f),
                            any};
    for (const float bias : biases) {
      const float exact = __fadd_rn(score, bias);
      const double error =
          fabs(static_cast<double>(device::nearly(z, bias)) - static_cast<double>(exact));
      const double allowed =
          static_cast<double>(device::kNearly) + 0x1p-19 * fabs(static_cast<double>(exact));
      note(found, error <= allowed, z, bias);
      // A NaN was noted, and is not among the largest.
      seen.largest = fmaxf(seen.largest, static_cast<float>(error / allowed));
    }
  }
};

template <class Of>
__device__ void see(std::uint32_t bits, Found* found, Seen& seen) {
  const float x = __uint_as_float(bits);
  if (!Of::takes(x)) return;
  ++seen.count;
  Of::see(x, found, seen);
}

// Every `step`-th float.
template <class Of>
__global__ void see_all(std::uint32_t step, Found* found) {
  Seen seen;
  const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t i = blockIdx.x * blockDim.x + threadIdx.x; i * step < 1ull << 32; i += threads)
    see<Of>(static_cast<std::uint32_t>(i * step), found, seen);
  seen.add_to(found);
}

// The first and the last 256 of every exponent, of either sign.
template <class Of>
__global__ void see_ends(Found* found) {
  Seen seen;
  const std::uint32_t first = blockIdx.x << 23;
  see<Of>(first + threadIdx.x, found, seen);
  see<Of>(first + 0x7FFFFFu - threadIdx.x, found, seen);
  seen.add_to(found);
}

// `all`: as many floats as it takes.
template <class Of>
void run(const char* name, unsigned long long all, bool quick) {
  Buffer memory(sizeof(Found));
  Found found = {};
  memory.put(&found, sizeof found);
  if (quick) {
    see_ends<Of><<<512, 256>>>(memory.as<Found>());
    MUST(cudaGetLastError());
  }
  see_all<Of><<<quick ? 64 : 2048, 256>>>(quick ? 4099 : 1, memory.as<Found>());
  MUST(cudaGetLastError());
  MUST(cudaDeviceSynchronize());
  const std::vector<std::uint8_t> got = memory.get(name);
  std::memcpy(&found, got.data(), sizeof found);
  char text[160];
  std::snprintf(text, sizeof text, "%s: %llu of %llu are wrong, one of them of 0x%08x, bias 0x%08x",
                name, found.wrong, found.seen, found.input, found.bias);
  check(found.wrong == 0, text);
  check(quick ? found.seen > all / 4099 : found.seen == all,
        std::string(name) + " took another number of floats: " + std::to_string(found.seen));
  if (found.largest != 0)
    std::printf("%s: the largest error is %.3f of what is allowed\n", name,
                static_cast<double>(float_of(found.largest)));
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  constexpr unsigned long long kFloats = 1ull << 32;
  constexpr unsigned long long kNaNs = (1ull << 23) - 1;  // of either sign
  // From 0 to infinity, and NaN.
  run<Roots>("roots", 0x7F800001ull + 2 * kNaNs, quick);
  run<Scores>("scores", kFloats, quick);
  // But for what is above 2^20.
  run<Nearly>("nearly scores", kFloats - (0x7F800000ull - 0x49800000ull), quick);
  return finish();
}
