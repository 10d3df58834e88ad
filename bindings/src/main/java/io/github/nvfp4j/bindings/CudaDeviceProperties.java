// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.cuda.cudaDeviceProp;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// A `cudaDeviceProp`, filled by [CudaRuntime#getDeviceProperties].
public final class CudaDeviceProperties {
  private final MemorySegment segment;

  /// Allocates one; it lives as long as the allocator's memory.
  public CudaDeviceProperties(SegmentAllocator allocator) {
    segment = cudaDeviceProp.allocate(allocator);
    segment.fill((byte) 0);
  }

  MemorySegment segment() {
    return segment;
  }

  /// For example `NVIDIA H100 80GB HBM3`.
  public String name() {
    return cudaDeviceProp.name(segment).getString(0);
  }

  /// The compute capability's major number.
  public int major() {
    return cudaDeviceProp.major(segment);
  }

  /// The compute capability's minor number.
  public int minor() {
    return cudaDeviceProp.minor(segment);
  }

  /// Streaming multiprocessors.
  public int multiprocessorCount() {
    return cudaDeviceProp.multiProcessorCount(segment);
  }

  /// Bytes of device memory.
  public long totalGlobalMemory() {
    return cudaDeviceProp.totalGlobalMem(segment);
  }

  /// Bytes of level 2 cache.
  public int l2CacheSize() {
    return cudaDeviceProp.l2CacheSize(segment);
  }
}
