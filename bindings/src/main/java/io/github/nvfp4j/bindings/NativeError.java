// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_error;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// An `nvfp4j_error` that a call fills when it fails. It may be used again for the next call, by
/// one thread at a time; a call that succeeds leaves it alone, so read it only after a status other
/// than [Nvfp4jConstants#OK].
public final class NativeError {
  private final MemorySegment segment;

  /// Allocates one; it lives as long as the allocator's memory.
  public NativeError(SegmentAllocator allocator) {
    segment = nvfp4j_error.allocate(allocator);
    segment.fill((byte) 0);
    nvfp4j_error.struct_size(segment, (int) nvfp4j_error.sizeof());
  }

  /// The struct, to be passed as the last argument of a call.
  public MemorySegment segment() {
    return segment;
  }

  /// One of `Nvfp4jConstants.ERROR_*`.
  public int status() {
    return nvfp4j_error.status(segment);
  }

  /// The `cudaError_t` behind the failure, or 0.
  public int cudaError() {
    return nvfp4j_error.cuda_error(segment);
  }

  /// The library's sentence: `op: argument is X, expected Y`.
  public String message() {
    return nvfp4j_error.message(segment).getString(0);
  }
}
