// SPDX-License-Identifier: Apache-2.0
// What the op-independent code asks every op for. Filled in ops/op_table.cpp, the one list of
// all ops.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "nvfp4j/base.h"

namespace nvfp4j {

struct OpInfo {
  const char* name;
  /// The CPU implementation and its reason.
  const char* (*cpu_path)();
  // All NULL where the library was built without CUDA.
  /// The CUDA implementation and its reason, or NULL.
  const char* (*cuda_path)(const CudaDeviceProperties&);
  /// Why a device has no implementation.
  const char* (*cuda_refusal)(const CudaDeviceProperties&);
  /// Loads the kernels and sets their attributes on the current device; a cudaError_t.
  int (*cuda_warm_up)(const CudaDeviceProperties&);
  std::int64_t (*cuda_workspace_bytes)(const CudaDeviceProperties&, std::int64_t rows,
                                       std::int64_t columns);
};

/// Indexed by NVFP4J_OP_*.
extern const OpInfo op_table[NVFP4J_OP_COUNT];

}  // namespace nvfp4j
