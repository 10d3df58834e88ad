// SPDX-License-Identifier: Apache-2.0
// What the process knows about each GPU, and how a thread selects one. Only where the library is
// built with CUDA.
#pragma once
#if NVFP4J_WITH_CUDA
#include <atomic>
#include <cstdint>
#include <mutex>

#include "common/cuda_launch.hpp"
#include "common/current_device.hpp"

namespace nvfp4j {

/// One GPU, for the life of the process.
struct CudaDevice {
  CudaDeviceProperties properties{};
  /// The sticky cudaError_t that made it unusable, or 0.
  std::atomic<int> failed{0};
  /// Its primary context, once that was needed; retained until the process ends.
  std::atomic<CUctx_st*> primary{nullptr};
  /// Whether `properties` are there. (The one that warm_up() sets is for launches, which follow it.)
  std::atomic<bool> read{false};
  std::mutex
      mutex;  // guards the field below, and the writing of `properties`, `primary` and `read`
  bool warm = false;
};

/// Highest ordinal + 1 that the library keeps a record for.
inline constexpr int kMaxCudaDevices = 64;

/// The device's record, its properties read. Throws NOT_SUPPORTED where there is no driver,
/// INVALID_ARGUMENT where there is no such device. `name` is the function that asks.
CudaDevice& cuda_device(const char* name, int ordinal);

/// Throws for a failed CUDA call; a sticky error marks the device failed.
[[noreturn, gnu::cold]] void fail_cuda_call(const char* name, const char* call, CudaDevice& device,
                                            int error);

/// Loads every op's kernels, once per device. The device must be current.
void warm_up(const char* name, CudaDevice& device);

/// The driver's calls, found through the runtime: the library is linked to that alone.
const CurrentDeviceCalls& current_device_calls(const char* name, CudaDevice& device);

/// The device's primary context, made at the first call.
CUctx_st* primary_context(const char* name, CudaDevice& device);

/// Selects a device for the calling thread and gives it back what it had: a context, or none.
class DeviceGuard {
 public:
  DeviceGuard(const char* name, CudaDevice& device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  const CurrentDeviceCalls& calls_;
  CUctx_st* primary_;
  CUctx_st* former_ = nullptr;
};

}  // namespace nvfp4j
#endif
