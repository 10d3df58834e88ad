// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_sinkhorn_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_sinkhorn_options`: how to iterate.
public final class SinkhornOptions {
  private SinkhornOptions() {}

  /// Allocates and fills one.
  ///
  /// @param iterations column normalisations, 1 or more
  /// @param eps 2^-100 to 1
  public static MemorySegment allocate(SegmentAllocator allocator, int iterations, float eps) {
    MemorySegment options = nvfp4j_sinkhorn_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_sinkhorn_options.struct_size(options, (int) nvfp4j_sinkhorn_options.sizeof());
    nvfp4j_sinkhorn_options.iterations(options, iterations);
    nvfp4j_sinkhorn_options.eps(options, eps);
    return options;
  }
}
