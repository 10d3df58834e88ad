// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_swiglu_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_swiglu_options`: how to apply SwiGLU.
public final class SwigluOptions {
  private SwigluOptions() {}

  /// Allocates and fills one.
  ///
  /// @param columns `Nvfp4jConstants.SWIGLU_HALVES` or `SWIGLU_INTERLEAVED`
  /// @param limit the clamp L, finite and not negative; 0 = none
  public static MemorySegment allocate(SegmentAllocator allocator, int columns, float limit) {
    MemorySegment options = nvfp4j_swiglu_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_swiglu_options.struct_size(options, (int) nvfp4j_swiglu_options.sizeof());
    nvfp4j_swiglu_options.columns(options, columns);
    nvfp4j_swiglu_options.limit(options, limit);
    return options;
  }
}
