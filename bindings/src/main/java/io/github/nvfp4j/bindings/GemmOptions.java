// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_gemm_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_gemm_options`: how to multiply.
public final class GemmOptions {
  private GemmOptions() {}

  /// Allocates and fills one.
  ///
  /// @param limit the clamp of SwiGLU, finite and not negative; 0 = none
  /// @param weightsSettled a promise: nothing enqueued before and under way writes W
  /// @param path one of `Nvfp4jConstants.GEMM_PATH_*`
  public static MemorySegment allocate(
      SegmentAllocator allocator,
      boolean batchInvariant,
      boolean swiglu,
      float limit,
      int path,
      boolean weightsSettled) {
    MemorySegment options = nvfp4j_gemm_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_gemm_options.struct_size(options, (int) nvfp4j_gemm_options.sizeof());
    nvfp4j_gemm_options.batch_invariant(options, batchInvariant ? 1 : 0);
    nvfp4j_gemm_options.swiglu(options, swiglu ? 1 : 0);
    nvfp4j_gemm_options.limit(options, limit);
    nvfp4j_gemm_options.path(options, path);
    nvfp4j_gemm_options.weights_settled(options, weightsSettled ? 1 : 0);
    return options;
  }
}
