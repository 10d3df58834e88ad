// SPDX-License-Identifier: Apache-2.0
// Which code a device runs. Free of CUDA headers.
#pragma once

namespace nvfp4j {

/// The architecture (80, 90) whose instructions the generic kernels were compiled from for the
/// current device. Returns a cudaError_t.
int device_code_architecture(int* architecture);

/// From 90 on kernels wait for their predecessor themselves, so that they may be launched early.
inline constexpr int kProgrammaticArchitecture = 90;

}  // namespace nvfp4j
