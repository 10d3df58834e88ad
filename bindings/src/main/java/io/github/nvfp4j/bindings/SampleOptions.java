// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_sample_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_sample_options`: how to draw tokens.
public final class SampleOptions {
  private SampleOptions() {}

  /// Allocates and fills one.
  ///
  /// @param temperature finite, 0 or more; 0: the most likely token
  /// @param seed key of the random numbers, any bits
  /// @param offset which numbers of that key, any bits
  public static MemorySegment allocate(
      SegmentAllocator allocator, float temperature, long seed, long offset) {
    MemorySegment options = nvfp4j_sample_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_sample_options.struct_size(options, (int) nvfp4j_sample_options.sizeof());
    nvfp4j_sample_options.temperature(options, temperature);
    nvfp4j_sample_options.seed(options, seed);
    nvfp4j_sample_options.offset(options, offset);
    return options;
  }
}
