// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_hc_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_hc_options`: how a module mixes its streams.
public final class HcOptions {
  private HcOptions() {}

  /// Allocates and fills one.
  ///
  /// @param iterations of sinkhorn, 1 or more; 0 for `hc_head`
  /// @param hcEps 2^-100 to 1
  /// @param rmsEps 2^-100 to 1
  public static MemorySegment allocate(
      SegmentAllocator allocator, int iterations, float hcEps, float rmsEps) {
    MemorySegment options = nvfp4j_hc_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_hc_options.struct_size(options, (int) nvfp4j_hc_options.sizeof());
    nvfp4j_hc_options.iterations(options, iterations);
    nvfp4j_hc_options.hc_eps(options, hcEps);
    nvfp4j_hc_options.rms_eps(options, rmsEps);
    return options;
  }
}
