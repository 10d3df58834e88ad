// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/device.h"

#include "common/cuda_device.hpp"
#include "common/error.hpp"
#include "common/guard.hpp"
#include "common/tensor_checks.hpp"

using namespace nvfp4j;

namespace {

void check_ordinal(const char* name, std::int32_t device) {
  if (device < 0) {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: device is %d, expected a CUDA ordinal", name, device);
  }
#if !NVFP4J_WITH_CUDA
  fail(NVFP4J_ERROR_NOT_SUPPORTED, "%s: device is cuda:%d, but nvfp4j was built without CUDA", name,
       device);
#endif
}

}  // namespace

extern "C" {

int32_t nvfp4j_device_enter(int32_t device, void** former, nvfp4j_error* error) {
  constexpr const char* name = "device_enter";
  return guard(error, name, [&] {
    check_not_null(name, "former", former);
    check_ordinal(name, device);
#if NVFP4J_WITH_CUDA
    CudaDevice& entered = cuda_device(name, device);
    CUctx_st* afterwards = nullptr;
    const FailedCall failed = enter_device(current_device_calls(name, entered), device,
                                           primary_context(name, entered), &afterwards);
    if (failed.error != 0) fail_cuda_call(name, failed.call, entered, failed.error);
    *former = afterwards;
#endif
  });
}

int32_t nvfp4j_device_leave(int32_t device, [[maybe_unused]] void* former, nvfp4j_error* error) {
  constexpr const char* name = "device_leave";
  return guard(error, name, [&] {
    check_ordinal(name, device);
#if NVFP4J_WITH_CUDA
    CudaDevice& left = cuda_device(name, device);
    const FailedCall failed =
        leave_device(current_device_calls(name, left), static_cast<CUctx_st*>(former));
    if (failed.error != 0) fail_cuda_call(name, failed.call, left, failed.error);
#endif
  });
}

}  // extern "C"
