// SPDX-License-Identifier: Apache-2.0
// The context of the ABI: a CPU or a CUDA device, and the flag that keeps a second thread out.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>

#include "common/cpu_context.hpp"
#include "common/cuda_context.hpp"
#include "common/tensor_checks.hpp"
#include "nvfp4j/context.h"

struct nvfp4j_context {
  std::int32_t device = NVFP4J_DEVICE_CPU;
  /// The call that a thread is in, or NULL.
  std::atomic<const char*> inside{nullptr};
  /// Not zero once the device has failed; NULL for the CPU.
  const std::atomic<int>* failed = nullptr;
  std::unique_ptr<nvfp4j::CpuContext> cpu;
#if NVFP4J_WITH_CUDA
  std::unique_ptr<nvfp4j::CudaContext> cuda;
#endif

  /// The report that was asked for and not yet fetched. Fetching it is open to another thread
  /// than the one inside.
  enum class Report : int { none, requested, fetching };
  std::atomic<Report> report{Report::none};
  nvfp4j::DeviceStatus cpu_report{};
  /// What cancelled requests had copied: it belongs to whoever asks next. Guarded by `inside`.
  nvfp4j::DeviceStatus cancelled{};
  /// The same, handed to the request that was made next; guarded as what that copies.
  nvfp4j::DeviceStatus report_before{};
};

namespace nvfp4j {

/// The first check of every entry that takes a context.
inline Place place_of(const char* op, const nvfp4j_context* context) {
  if (context == nullptr) [[unlikely]]
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: context is NULL, expected a context", op);
  return Place{op, context->device};
}

/// A thread's stay in a context, after validation and before any effect. Throws INVALID_STATE
/// when another thread is inside, DEVICE_FAILED when the device is.
class Use {
 public:
  Use(nvfp4j_context& context, const char* name) : context_(context) {
    const char* other = nullptr;
    if (!context.inside.compare_exchange_strong(other, name, std::memory_order_acquire))
        [[unlikely]]
      fail_busy(name, other);
    if (context.failed != nullptr && context.failed->load(std::memory_order_relaxed) != 0)
        [[unlikely]] {
      context.inside.store(nullptr, std::memory_order_release);
      fail_device_failed(context, name);
    }
  }
  ~Use() { context_.inside.store(nullptr, std::memory_order_release); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  [[noreturn, gnu::cold]] static void fail_busy(const char* name, const char* other);
  [[noreturn, gnu::cold]] static void fail_device_failed(const nvfp4j_context& context,
                                                         const char* name);

  nvfp4j_context& context_;
};

}  // namespace nvfp4j
