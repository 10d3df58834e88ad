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
  if (!device.read) {
    read_properties(name, device, ordinal);
    device.read = true;
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

DeviceGuard::DeviceGuard(const char* name, CudaDevice& device) {
  int current = -1;
  cudaError_t error = cudaGetDevice(&current);
  if (error != cudaSuccess) fail_cuda_call(name, "cudaGetDevice", device, error);
  if (current == device.properties.ordinal) return;
  error = cudaSetDevice(device.properties.ordinal);
  if (error != cudaSuccess) fail_cuda_call(name, "cudaSetDevice", device, error);
  previous_ = current;
}

DeviceGuard::~DeviceGuard() {
  if (previous_ >= 0) (void)cudaSetDevice(previous_);
}

}  // namespace nvfp4j
#endif
