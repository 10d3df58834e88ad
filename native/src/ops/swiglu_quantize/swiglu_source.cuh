// SPDX-License-Identifier: Apache-2.0
// SwiGLU's results as a source of blocks for the quantising kernels.
#pragma once
#include "ops/quantize/quantize_launch.cuh"
#include "ops/swiglu/swiglu_math.cuh"
#include "ops/swiglu_quantize/swiglu_quantize_args.hpp"

namespace nvfp4j {

template <typename T, bool ALIGNED>
struct SwigluSource {
  using Element = T;
  static constexpr bool kComputed = true;
  const char* base;
  std::int64_t stride;  // bytes
  std::int64_t half;    // bytes from a row's gate to its up projection
  const float* weight;
  float limit;
  std::uint32_t packed_limit;
  bool interleaved;

  static constexpr bool flat = false;

  struct Row {
    const char* data;
    float weight;
    __device__ __forceinline__ bool valid() const { return true; }
  };

  static SwigluSource of(const SwigluInput& in) {
    return {static_cast<const char*>(in.gate_up),
            in.stride * T::kBytes,
            in.columns * T::kBytes,
            in.weight,
            in.limit > 0.0f ? in.limit : INFINITY,
            device::packed_bf16_limit(in.limit > 0.0f ? in.limit : INFINITY),
            in.layout == NVFP4J_SWIGLU_INTERLEAVED};
  }
  __device__ __forceinline__ Row row(std::int64_t m) const {
    return {base + m * stride, weight != nullptr ? device::load(weight + m) : 1.0f};
  }
  __device__ __forceinline__ std::uint32_t row_bytes(std::uint32_t blocks) const {
    return blocks * (32 * T::kBytes);
  }
  __device__ __forceinline__ device::Block<T> from_shared(const char* data, Row r,
                                                          std::uint32_t block) const {
    const char* p = data + block * (16 * T::kBytes) * (interleaved ? 2u : 1u);
    const bool swapped = (block & 4u) != 0u;
    const device::Block<T> a = device::load_block_shared<T>(p, swapped);
    const device::Block<T> b =
        device::load_block_shared<T>(p + (interleaved ? 16 * T::kBytes : half), swapped);
    return device::swiglu_block<T>(device::gate_up_of<T>(a, b, interleaved),
                                   {limit, r.weight, packed_limit});
  }
  // The result lies where its gates were (its own 16 or, interleaved, 32 columns).
  __device__ __forceinline__ void keep_shared(char* data, std::uint32_t block,
                                              const device::Block<T>& x) const {
    device::store_block_shared<T>(data + block * (16 * T::kBytes) * (interleaved ? 2u : 1u), x,
                                  (block & 4u) != 0u);
  }
  __device__ __forceinline__ device::Block<T> kept_shared(const char* data,
                                                          std::uint32_t block) const {
    return device::load_block_shared<T>(data + block * (16 * T::kBytes) * (interleaved ? 2u : 1u),
                                        (block & 4u) != 0u);
  }
  __device__ __forceinline__ device::Block<T> load_flat(std::uint64_t) const { return {}; }
  __device__ __forceinline__ device::Block<T> load(Row r, std::uint32_t block) const {
    const char* p =
        r.data + static_cast<std::int64_t>(block) * (16 * T::kBytes) * (interleaved ? 2 : 1);
    return device::swiglu_block<T>(device::load_gate_up<T, ALIGNED>(p, p + half, interleaved),
                                   {limit, r.weight, packed_limit});
  }
};

}  // namespace nvfp4j
