// SPDX-License-Identifier: Apache-2.0
#include "ops/sample/sample_cpu.hpp"

#include <algorithm>
#include <mutex>

#include "common/faults.hpp"
#include "common/names.hpp"
#include "ops/sample/sample_kernels.hpp"
#include "ops/sample/sample_math.hpp"

namespace nvfp4j {
namespace {

class Sampler {
 public:
  Sampler(const SampleArgs& args, Faults& faults)
      : args_(args),
        kernels_(sample_kernels[static_cast<int>(cpu_isa())]),
        faults_(faults),
        key_{static_cast<std::uint32_t>(args.seed), static_cast<std::uint32_t>(args.seed >> 32)},
        offset_(args.offset + (args.mode == SampleMode::kPhilox && args.more_offset != nullptr
                                   ? *args.more_offset
                                   : 0)) {}

  /// Columns begin to end of a row, of which begin is a multiple of 4.
  SampleKey scan(std::int64_t row, std::int64_t begin, std::int64_t end) const noexcept {
    SampleKey found = 0;
    std::int64_t nan = -1;
    std::int64_t bad_noise = -1;
    alignas(64) float v[kSampleChunk];
    alignas(64) float e[kSampleChunk];
    for (std::int64_t first = begin; first < end; first += kSampleChunk) {
      const int count = static_cast<int>(std::min<std::int64_t>(kSampleChunk, end - first));
      kernels_.widen(static_cast<const char*>(args_.logits) +
                         (row * args_.logits_stride + first) * dtype_bytes(args_.dtype),
                     args_.dtype, count, v);
      bool above = false;
      for (int i = 0; i < count; ++i) {
        if (v[i] != v[i] && nan < 0) nan = first + i;
        above = above || math::detail::bits(v[i]) != kMinusInfinity;
      }
      if (args_.mode == SampleMode::kGiven) {
        const float* noise = args_.noise + row * args_.noise_stride + first;
        for (int i = 0; i < count; ++i) {
          const bool usable = usable_noise(noise[i]);
          if (!usable && bad_noise < 0) bad_noise = first + i;
          e[i] = usable ? noise[i] : 1.0f;
        }
        kernels_.given(v, e, args_.temperature, count);
      } else if (args_.mode == SampleMode::kPhilox) {
        kernels_.drawn(
            v,
            {static_cast<std::uint32_t>(first / 4), static_cast<std::uint32_t>(row),
             static_cast<std::uint32_t>(offset_), static_cast<std::uint32_t>(offset_ >> 32)},
            key_, args_.temperature, count);
      }
      int best = 0;
      for (int i = 1; i < count; ++i) best = v[i] > v[best] ? i : best;
      // With a NaN among them it is any column: the row has no token.
      found = merge_keys(found, sample_key(ordered_bits(v[best]),
                                           static_cast<std::uint32_t>(first + best), above));
    }
    if (nan >= 0) faults_.report(NVFP4J_CAUSE_NON_FINITE_INPUT, row, nan);
    if (bad_noise >= 0) faults_.report(NVFP4J_CAUSE_BAD_NOISE, row, bad_noise);
    return nan >= 0 || bad_noise >= 0 ? merge_keys(found, static_cast<SampleKey>(kBadRow) << 32)
                                      : found;
  }

  void finish(std::int64_t row, SampleKey found) const noexcept {
    if (!is_above(found)) faults_.report(NVFP4J_CAUSE_NON_FINITE_RESULT, row, -1);
    args_.out[row] = token_of(found);
  }

 private:
  static constexpr std::uint32_t kMinusInfinity = 0xFF800000u;

  const SampleArgs& args_;
  const SampleKernels& kernels_;
  Faults& faults_;
  PhiloxKey key_;
  std::uint64_t offset_;
};

}  // namespace

void sample_cpu(CpuPool& pool, DeviceStatus& status, const SampleArgs& args) {
  Faults faults;
  const Sampler sampler(args, faults);
  // Columns that are worth waking a thread.
  constexpr std::int64_t kGrain = 8192;
  const std::int64_t chunks = (std::int64_t{args.columns} + kSampleChunk - 1) / kSampleChunk;
  if (args.tokens >= pool.threads() || chunks == 1) {
    pool.run(args.tokens, std::max<std::int64_t>(1, kGrain / args.columns),
             [&](int, std::int64_t begin, std::int64_t end) noexcept {
               for (std::int64_t row = begin; row < end; ++row)
                 sampler.finish(row, sampler.scan(row, 0, args.columns));
             });
  } else {
    for (std::int64_t row = 0; row < args.tokens; ++row) {
      SampleKey found = 0;
      std::mutex mutex;
      pool.run(chunks, kGrain / kSampleChunk,
               [&](int, std::int64_t begin, std::int64_t end) noexcept {
                 const SampleKey part =
                     sampler.scan(row, begin * kSampleChunk,
                                  std::min<std::int64_t>(end * kSampleChunk, args.columns));
                 const std::lock_guard lock(mutex);
                 found = merge_keys(found, part);
               });
      sampler.finish(row, found);
    }
  }
  faults.publish(status, NVFP4J_OP_SAMPLE);
}

const char* sample_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {"cpu: sample_cpu, x86-64 baseline (no AVX2)",
                                                      "cpu: sample_cpu, x86-64-v3 (AVX2)",
                                                      "cpu: sample_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
