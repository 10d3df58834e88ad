// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.cuda.cudaPointerAttributes;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// A `cudaPointerAttributes`, filled by [CudaRuntime#pointerGetAttributes].
public final class CudaPointerAttributes {
  private final MemorySegment segment;

  /// Allocates one; it lives as long as the allocator's memory.
  public CudaPointerAttributes(SegmentAllocator allocator) {
    segment = cudaPointerAttributes.allocate(allocator);
    segment.fill((byte) 0);
  }

  MemorySegment segment() {
    return segment;
  }

  /// One of `CudaConstants.MEMORY_TYPE_*`.
  public int type() {
    return cudaPointerAttributes.type(segment);
  }

  /// The device that the memory is on, or that it was allocated for.
  public int device() {
    return cudaPointerAttributes.device(segment);
  }

  /// The address by which the current device reaches it, or 0.
  public long devicePointer() {
    return cudaPointerAttributes.devicePointer(segment).address();
  }

  /// The address by which the host reaches it, or 0.
  public long hostPointer() {
    return cudaPointerAttributes.hostPointer(segment).address();
  }
}
