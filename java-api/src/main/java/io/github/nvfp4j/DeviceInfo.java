// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// What a device is.
///
/// @param id `cpu`, or `cuda:0` and so on: what [Device#of] takes
/// @param name the model's name, for example `NVIDIA H100 80GB HBM3`
/// @param computeCapabilityMajor 9 of 9.0; 0 for the CPU
/// @param computeCapabilityMinor 0 of 9.0; 0 for the CPU
/// @param multiprocessors streaming multiprocessors; for the CPU, the processors available to this
///   JVM
/// @param memoryBytes total device memory; for the CPU, the machine's
/// @param driverVersion what the CUDA driver supports, 13000 for 13.0; 0 for the CPU
/// @param runtimeVersion the CUDA runtime in use, 13000 for 13.0; 0 for the CPU
public record DeviceInfo(
    String id,
    String name,
    int computeCapabilityMajor,
    int computeCapabilityMinor,
    int multiprocessors,
    long memoryBytes,
    int driverVersion,
    int runtimeVersion) {}
