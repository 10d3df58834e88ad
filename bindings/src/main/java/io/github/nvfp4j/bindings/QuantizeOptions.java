// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_quantize_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_quantize_options`: how to quantise.
public final class QuantizeOptions {
  private QuantizeOptions() {}

  /// Allocates and fills one.
  ///
  /// @param globalScale `Nvfp4jConstants.GLOBAL_SCALE_DYNAMIC` or `GLOBAL_SCALE_GIVEN`
  /// @param recipe one of `Nvfp4jConstants.RECIPE_*`
  /// @param zeroScale one of `Nvfp4jConstants.ZERO_SCALE_*`
  public static MemorySegment allocate(
      SegmentAllocator allocator, int globalScale, int recipe, int zeroScale) {
    MemorySegment options = nvfp4j_quantize_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_quantize_options.struct_size(options, (int) nvfp4j_quantize_options.sizeof());
    nvfp4j_quantize_options.global_scale(options, globalScale);
    nvfp4j_quantize_options.recipe(options, recipe);
    nvfp4j_quantize_options.zero_scale(options, zeroScale);
    return options;
  }
}
