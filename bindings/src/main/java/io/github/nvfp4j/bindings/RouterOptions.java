// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_router_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_router_options`: how to weigh experts.
public final class RouterOptions {
  private RouterOptions() {}

  /// Allocates and fills one.
  ///
  /// @param scale the routed scaling factor, finite and positive
  /// @param weightsSettled a promise: nothing enqueued before and under way writes W or the table
  public static MemorySegment allocate(
      SegmentAllocator allocator, float scale, boolean weightsSettled) {
    MemorySegment options = nvfp4j_router_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_router_options.struct_size(options, (int) nvfp4j_router_options.sizeof());
    nvfp4j_router_options.scale(options, scale);
    nvfp4j_router_options.weights_settled(options, weightsSettled ? 1 : 0);
    return options;
  }
}
