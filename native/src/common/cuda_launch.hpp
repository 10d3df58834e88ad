// SPDX-License-Identifier: Apache-2.0
// What a CUDA launcher gets from its context. Kept free of CUDA headers so that host-only code can include it.
#pragma once
#include <cstdint>

#include "common/device_status.hpp"

struct CUstream_st;  // cudaStream_t is CUstream_st*

namespace nvfp4j {

// Read once per device at first use; plans are functions of this and the shapes, so they are tested without a GPU.
struct CudaDeviceProperties {
  int ordinal;
  int major;
  int minor;
  int sm_count;
  int shared_memory_per_block_optin;
  int shared_memory_per_sm;
  int l2_bytes;
  int cooperative_launch;
  int programmatic_launch;  // set when the kernels are loaded: they call device::await_predecessor()
};

// Whether the device runs what is compiled for compute capability 9.0 alone (*_sm90.cu): neither older nor newer ones do.
constexpr bool runs_sm90a(const CudaDeviceProperties& device) {
  return device.major == 9 && device.minor == 0;
}

struct CudaLaunch {
  CUstream_st* stream;
  DeviceStatus* status;  // device memory
  void*
      workspace;  // device memory, 256-byte aligned, zeroed at creation; who has which part: workspace_layout.hpp
  std::int64_t workspace_bytes;
  const CudaDeviceProperties* device;
  // Whether a kernel may start before the one before it in the stream has ended, and wait itself. Not on a foreign stream: there, that one need not have waited for its own predecessor.
  bool programmatic;
};

// Whether rows that far apart can be read and written 16 bytes at a time.
inline bool aligned16(const void* p, std::int64_t stride_bytes) {
  return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && stride_bytes % 16 == 0;
}

}  // namespace nvfp4j
