// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// unswizzle: block scales from [ScaleLayout#SWIZZLED_128X4] to [ScaleLayout#LINEAR]. The inverse
/// is [Swizzle].
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured.
public final class Unswizzle {
  private Unswizzle() {}

  /// Writes the scales of `swizzled` row by row; padding is dropped.
  ///
  /// @param stream where to run
  /// @param swizzled U8 `[ceil(M/128)*128 * ceil(K/64)*4]`, contiguous, 16-byte aligned, for the M
  ///   and K/16 of `linear`
  /// @param linear U8 `[M, K/16]`, any row stride of at least K/16; does not overlap `swizzled`
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Tensor swizzled, Tensor linear) {
    stream.enter("unswizzle");
    try {
      stream.reads(Op.UNSWIZZLE, "swizzled", swizzled);
      stream.writes(Op.UNSWIZZLE, "linear", linear);
      int status =
          Nvfp4jNative.unswizzle(
              stream.context(), swizzled.descriptor, linear.descriptor, stream.error());
      if (status != 0) {
        throw stream.raise(Op.UNSWIZZLE, status, Shapes.of("swizzled", swizzled, "linear", linear));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, swizzled, linear));
      }
    } finally {
      stream.exit();
    }
  }
}
