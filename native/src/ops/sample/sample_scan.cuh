// SPDX-License-Identifier: Apache-2.0
// What one thread sees of a row: groups of 4 columns, which share a counter of Philox, several loads in flight.
#pragma once
#include "device/packet.cuh"
#include "device/status.cuh"
#include "ops/sample/sample_args.hpp"
#include "ops/sample/sample_math.hpp"
#include "ops/sample/sample_plan.hpp"
#include "ops/sample/sample_quotient.cuh"

namespace nvfp4j {

struct SampleTarget {
  const char* logits;
  std::int64_t logits_stride;  // bytes
  const char* noise;
  std::int64_t noise_stride;  // bytes
  const std::uint64_t* more_offset;
  std::int32_t* out;
  SampleExchange* exchange;
  DeviceStatus* status;
  std::uint64_t offset;
  std::int64_t tokens;
  PhiloxKey key;
  float temperature;
  std::int32_t columns;
  bool aligned;  // groups of 4 columns are, of logits and noise
};

namespace device {

// 4 columns as they are in memory. Columns behind the last are -infinity; they never win, as others are before them.
template <typename T>
struct SampleQuad {
  std::uint32_t w[T::kBytes];

  __device__ __forceinline__ void fetch(const char* row, std::uint32_t first, std::uint32_t columns,
                                        bool aligned) {
    const char* p = row + static_cast<std::int64_t>(first) * T::kBytes;
    if constexpr (T::kBytes == 4) {
      if (aligned && columns - first >= 4) {
        load_words<T, true>(p, w);
        return;
      }
      const auto* q = reinterpret_cast<const std::uint32_t*>(p);
#pragma unroll
      for (std::uint32_t j = 0; j < 4; ++j) w[j] = j < columns - first ? load(q + j) : 0xFF800000u;
    } else {
      if (aligned && columns - first >= 4) {
        const uint2 v = load(reinterpret_cast<const uint2*>(p));
        w[0] = v.x;
        w[1] = v.y;
        return;
      }
      const auto* q = reinterpret_cast<const std::uint16_t*>(p);
#pragma unroll
      for (std::uint32_t j = 0; j < 2; ++j) {
        const std::uint32_t low = 2 * j < columns - first ? load(q + 2 * j) : 0xFF80u;
        const std::uint32_t high = 2 * j + 1 < columns - first ? load(q + 2 * j + 1) : 0xFF80u;
        w[j] = low | high << 16;
      }
    }
  }
};

template <typename T, SampleMode MODE>
class SampleScan {
 public:
  // Groups whose loads are in flight at once.
  static constexpr int kFlight = MODE == SampleMode::kGreedy ? 4 : 2;

  __device__ __forceinline__ SampleScan(const SampleTarget& t, const SampleDivisor& temperature,
                                        std::uint64_t offset, std::int64_t row)
      : t_(t),
        temperature_(temperature),
        logits_(t.logits + row * t.logits_stride),
        noise_(MODE == SampleMode::kGiven ? t.noise + row * t.noise_stride : nullptr),
        counter_{0, static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(offset),
                 static_cast<std::uint32_t>(offset >> 32)} {}

  // The groups first, first + STEP, ... below end. `early`: nobody has waited for the kernel before. Then the first noise is made while that still runs, and this waits before it reads.
  template <int STEP>
  __device__ __forceinline__ SampleKey run(std::int64_t row, std::uint32_t first, std::uint32_t end,
                                           bool& early) {
    column_ = 4 * first;
    for (std::uint32_t quad = first; quad < end; quad += kFlight * STEP) {
      SampleQuad<T> l[kFlight];
      SampleQuad<F32> e[kFlight];
      float log_e[kFlight][4];
      if (!early) fetch<STEP>(quad, end, l, e);
      if constexpr (MODE == SampleMode::kPhilox) {
        // Before the logits are needed, which are still on their way.
#pragma unroll
        for (std::uint32_t i = 0; i < kFlight; ++i) {
          if (quad + i * STEP < end) draw(quad + i * STEP, log_e[i]);
        }
      }
      if (early) {
        await_predecessor();
        early = false;
        fetch<STEP>(quad, end, l, e);
      }
#pragma unroll
      for (std::uint32_t i = 0; i < kFlight; ++i) {
        const std::uint32_t q = quad + i * STEP;
        if (q >= end) continue;
        if constexpr (MODE == SampleMode::kGiven) take(q, e[i], log_e[i]);
        see(q, l[i], log_e[i]);
      }
    }
    if (early) {
      await_predecessor();
      early = false;
    }
    if (first >= end) return 0;
    report_faults(row);
    const bool above = MODE == SampleMode::kGreedy ? best_ > -kInfinity : above_;
    const bool nan = nan_ >= 0;
    return sample_key(nan || bad_noise_ >= 0 ? kBadRow : ordered_bits(best_), column_,
                      above || nan);
  }

 private:
  static constexpr float kInfinity = __builtin_huge_valf();

  __device__ __forceinline__ std::uint32_t columns() const {
    return static_cast<std::uint32_t>(t_.columns);
  }

  template <int STEP>
  __device__ __forceinline__ void fetch(std::uint32_t quad, std::uint32_t end,
                                        SampleQuad<T> (&l)[kFlight],
                                        SampleQuad<F32> (&e)[kFlight]) const {
#pragma unroll
    for (std::uint32_t i = 0; i < kFlight; ++i) {
      const std::uint32_t q = quad + i * STEP;
      if (q >= end) continue;
      l[i].fetch(logits_, 4 * q, columns(), t_.aligned);
      if constexpr (MODE == SampleMode::kGiven) e[i].fetch(noise_, 4 * q, columns(), t_.aligned);
    }
  }

  // Noise of its own.
  __device__ __forceinline__ void draw(std::uint32_t quad, float (&log_e)[4]) const {
    const PhiloxWords r = philox({quad, counter_.y, counter_.z, counter_.w}, t_.key);
    log_e[0] = log_exponential(r.x);
    log_e[1] = log_exponential(r.y);
    log_e[2] = log_exponential(r.z);
    log_e[3] = log_exponential(r.w);
  }
  // The caller's.
  __device__ __forceinline__ void take(std::uint32_t quad, const SampleQuad<F32>& noise,
                                       float (&log_e)[4]) {
    bool usable = true;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float e = __uint_as_float(noise.w[j]);
      log_e[j] = math::log(e);
      // What lies behind the last column is no noise.
      usable = usable && (usable_noise(e) || 4 * quad + j >= columns());
    }
    if (!usable && bad_noise_ < 0) bad_noise_ = first_bad_noise(quad, noise);
  }

  __device__ __forceinline__ void see(std::uint32_t quad, const SampleQuad<T>& logits,
                                      const float (&log_e)[4]) {
    float l[4];
    unpack<T, T::kBytes>(logits.w, l);
    const bool nan = l[0] != l[0] || l[1] != l[1] || l[2] != l[2] || l[3] != l[3];
    if (nan && nan_ < 0) nan_ = static_cast<int>(4 * quad) + first_nan(l);
    float v[4] = {l[0], l[1], l[2], l[3]};
    if constexpr (MODE != SampleMode::kGreedy) {
      temperature_.divide(l, v);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        above_ = above_ || l[j] > -kInfinity;
        v[j] = __fsub_rn(v[j], log_e[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      // Columns come in ascending order, so that of equal ones the lowest stays.
      if (v[j] > best_) {
        best_ = v[j];
        column_ = 4 * quad + static_cast<std::uint32_t>(j);
      }
    }
  }

  static __device__ __forceinline__ int first_nan(const float (&l)[4]) {
    return l[0] != l[0] ? 0 : l[1] != l[1] ? 1 : l[2] != l[2] ? 2 : 3;
  }
  static __device__ __forceinline__ int first_bad_noise(std::uint32_t quad,
                                                        const SampleQuad<F32>& noise) {
    int j = 3;
#pragma unroll
    for (int i = 2; i >= 0; --i) {
      if (!usable_noise(__uint_as_float(noise.w[i]))) j = i;
    }
    return static_cast<int>(4 * quad) + j;
  }

  __device__ __forceinline__ void report_faults(std::int64_t row) const {
    if (nan_ >= 0) report(t_.status, NVFP4J_OP_SAMPLE, NVFP4J_CAUSE_NON_FINITE_INPUT, row, nan_);
    if (bad_noise_ >= 0)
      report(t_.status, NVFP4J_OP_SAMPLE, NVFP4J_CAUSE_BAD_NOISE, row, bad_noise_);
  }

  const SampleTarget& t_;
  const SampleDivisor& temperature_;
  const char* logits_;
  const char* noise_;
  PhiloxWords counter_;
  float best_ = -kInfinity;
  std::uint32_t column_ = 0;
  int nan_ = -1;
  int bad_noise_ = -1;
  bool above_ = false;
};

// Of all lanes, in every lane.
__device__ __forceinline__ SampleKey warp_merge(SampleKey key) {
  const auto high = static_cast<std::uint32_t>(key >> 32);
  const auto low = static_cast<std::uint32_t>(key);
  const std::uint32_t largest = __reduce_max_sync(0xffffffffu, high);
  const std::uint32_t column = __reduce_max_sync(0xffffffffu, high == largest ? low : 0u);
  return static_cast<SampleKey>(largest) << 32 | column |
         (__any_sync(0xffffffffu, is_above(key)) ? 1u : 0u);
}

}  // namespace device
}  // namespace nvfp4j
