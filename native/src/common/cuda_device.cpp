// SPDX-License-Identifier: Apache-2.0
#include "common/cuda_device.hpp"

#if NVFP4J_WITH_CUDA
#include <cuda_runtime_api.h>

#include "common/device_code.hpp"
#include "common/error.hpp"
#include "common/op_table.hpp"

namespace nvfp4j {
namespace {

CudaDevice devices[kMaxCudaDevices];

// Errors after which every later call on the device fails, until the process ends (CUDA runtime
// API, error types).
bool is_sticky(int error) {
  switch (error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorContained:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

int attribute(const char* name, CudaDevice& device, int ordinal, cudaDeviceAttr which,
              const char* what) {
  int value = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&value, which, ordinal);
  if (error != cudaSuccess) fail_cuda_call(name, what, device, error);
  return value;
}

struct DriverCalls {
  CurrentDeviceCalls current;
  int (*retain_primary)(CUctx_st** context, int ordinal);
};

template <class Function>
void find_driver_call(const char* name, CudaDevice& device, const char* symbol,
                      Function*& function) {
  // The functions as they were in CUDA 12.0; no driver that this runtime works with is older.
  constexpr unsigned kVersion = 12000;
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(symbol, &address, kVersion, cudaEnableDefault, &result);
  if (error != cudaSuccess) fail_cuda_call(name, "cudaGetDriverEntryPointByVersion", device, error);
  if (address == nullptr) {
    fail_cuda(NVFP4J_ERROR_CUDA, cudaErrorNotSupported, "%s: the CUDA driver has no %s", name,
              symbol);
  }
  function = reinterpret_cast<Function*>(address);
}

DriverCalls find_driver_calls(const char* name, CudaDevice& device) {
  DriverCalls calls{};
  find_driver_call(name, device, "cuCtxGetCurrent", calls.current.get_current);
  find_driver_call(name, device, "cuCtxSetCurrent", calls.current.set_current);
  find_driver_call(name, device, "cuDevicePrimaryCtxRetain", calls.retain_primary);
  calls.current.get_device = [](int* ordinal) -> int { return cudaGetDevice(ordinal); };
  return calls;
}

const DriverCalls& driver_calls(const char* name, CudaDevice& device) {
  // A failure is thrown, and then the next call tries again.
  static const DriverCalls calls = find_driver_calls(name, device);
  return calls;
}

void read_properties(const char* name, CudaDevice& device, int ordinal) {
  const auto get = [&](cudaDeviceAttr which) {
    return attribute(name, device, ordinal, which, "cudaDeviceGetAttribute");
  };
  CudaDeviceProperties& p = device.properties;
  p.ordinal = ordinal;
  p.major = get(cudaDevAttrComputeCapabilityMajor);
  p.minor = get(cudaDevAttrComputeCapabilityMinor);
  p.sm_count = get(cudaDevAttrMultiProcessorCount);
  p.shared_memory_per_block_optin = get(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  p.shared_memory_per_sm = get(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  p.l2_bytes = get(cudaDevAttrL2CacheSize);
  p.cooperative_launch = get(cudaDevAttrCooperativeLaunch);
}

}  // namespace

CudaDevice& cuda_device(const char* name, int ordinal) {
  // Every device_enter and device_leave comes here. A thread that finds the record read asks nobody,
  // and does not wait for another one that loads kernels under the mutex.
  if (ordinal >= 0 && ordinal < kMaxCudaDevices &&
      devices[ordinal].read.load(std::memory_order_acquire)) [[likely]] {
    return devices[ordinal];
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    fail_cuda(NVFP4J_ERROR_NOT_SUPPORTED, error, "%s: device is cuda:%d, but no CUDA %s: %s (%s)",
              name, ordinal, error == cudaErrorNoDevice ? "device" : "driver",
              cudaGetErrorString(error), cudaGetErrorName(error));
  }
  if (ordinal >= count || ordinal >= kMaxCudaDevices) {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: device is cuda:%d, which does not exist: %d device%s",
         name, ordinal, count, count == 1 ? "" : "s");
  }
  CudaDevice& device = devices[ordinal];
  const std::lock_guard lock(device.mutex);
  if (!device.read.load(std::memory_order_relaxed)) {
    read_properties(name, device, ordinal);
    device.read.store(true, std::memory_order_release);
  }
  return device;
}

void fail_cuda_call(const char* name, const char* call, CudaDevice& device, int error) {
  const cudaError_t code = static_cast<cudaError_t>(error);
  // Reported here, and so not again by the next caller of the runtime.
  (void)cudaGetLastError();
  const int ordinal = device.properties.ordinal;
  if (is_sticky(error)) {
    int none = 0;
    device.failed.compare_exchange_strong(none, error);
    fail_cuda(NVFP4J_ERROR_DEVICE_FAILED, error,
              "%s: %s on cuda:%d failed with %s: %s; the device is unusable until the process is "
              "restarted",
              name, call, ordinal, cudaGetErrorName(code), cudaGetErrorString(code));
  }
  const int status =
      code == cudaErrorMemoryAllocation ? NVFP4J_ERROR_OUT_OF_MEMORY : NVFP4J_ERROR_CUDA;
  fail_cuda(status, error, "%s: %s on cuda:%d failed with %s: %s", name, call, ordinal,
            cudaGetErrorName(code), cudaGetErrorString(code));
}

void warm_up(const char* name, CudaDevice& device) {
  const std::lock_guard lock(device.mutex);
  if (device.warm) return;
  int architecture = 0;
  const int probed = device_code_architecture(&architecture);
  if (probed != 0) fail_cuda_call(name, "cudaFuncGetAttributes", device, probed);
  device.properties.programmatic_launch =
      device.properties.major >= 9 && architecture >= kProgrammaticArchitecture;
  for (const OpInfo& op : op_table) {
    if (op.cuda_warm_up == nullptr || op.cuda_path(device.properties) == nullptr) continue;
    const int error = op.cuda_warm_up(device.properties);
    if (error != 0) fail_cuda_call(name, op.name, device, error);
  }
  device.warm = true;
}

const CurrentDeviceCalls& current_device_calls(const char* name, CudaDevice& device) {
  return driver_calls(name, device).current;
}

CUctx_st* primary_context(const char* name, CudaDevice& device) {
  CUctx_st* context = device.primary.load(std::memory_order_acquire);
  if (context != nullptr) [[likely]]
    return context;
  const std::lock_guard lock(device.mutex);
  context = device.primary.load(std::memory_order_relaxed);
  if (context == nullptr) {
    const int ordinal = device.properties.ordinal;
    // Makes it with the runtime's settings, and current nowhere.
    int error = cudaInitDevice(ordinal, 0, 0);
    if (error != cudaSuccess) fail_cuda_call(name, "cudaInitDevice", device, error);
    error = driver_calls(name, device).retain_primary(&context, ordinal);
    if (error != 0) fail_cuda_call(name, "cuDevicePrimaryCtxRetain", device, error);
    device.primary.store(context, std::memory_order_release);
  }
  return context;
}

DeviceGuard::DeviceGuard(const char* name, CudaDevice& device)
    : calls_(current_device_calls(name, device)), primary_(primary_context(name, device)) {
  const FailedCall failed = enter_device(calls_, device.properties.ordinal, primary_, &former_);
  if (failed.error != 0) fail_cuda_call(name, failed.call, device, failed.error);
}

DeviceGuard::~DeviceGuard() {
  // Most often the thread had the device already, and nothing is asked.
  if (former_ != primary_) (void)leave_device(calls_, former_);
}

}  // namespace nvfp4j
#endif
