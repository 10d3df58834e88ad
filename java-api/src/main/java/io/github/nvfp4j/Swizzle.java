// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// swizzle: block scales from [ScaleLayout#LINEAR] to [ScaleLayout#SWIZZLED_128X4], the order in
/// which block-scaled tensor cores read them. The inverse is [Unswizzle].
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured.
public final class Swizzle {
  private Swizzle() {}

  /// Writes the scales of `linear` in tiles; padding is zeroed.
  ///
  /// @param stream where to run
  /// @param linear U8 `[M, K/16]`, any row stride of at least K/16
  /// @param swizzled U8 `[ceil(M/128)*128 * ceil(K/64)*4]`, contiguous, 16-byte aligned; does not
  ///   overlap `linear`
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Tensor linear, Tensor swizzled) {
    stream.enter("swizzle");
    try {
      stream.reads(Op.SWIZZLE, "linear", linear);
      stream.writes(Op.SWIZZLE, "swizzled", swizzled);
      int status =
          Nvfp4jNative.swizzle(
              stream.context(), linear.descriptor, swizzled.descriptor, stream.error());
      if (status != 0) {
        throw stream.raise(Op.SWIZZLE, status, Shapes.of("linear", linear, "swizzled", swizzled));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, linear, swizzled));
      }
    } finally {
      stream.exit();
    }
  }
}
