// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// dequantize: an NVFP4 tensor back to numbers, `y = e2m1(q) * (f32(S) * gs)`; the same bits on
/// every device.
///
/// Both products are rounded to nearest even in binary32, BF16 and F16 outputs once more. Source:
/// the inverse of [Quantize]'s scaling. A block scale byte that is NaN (0x7F) or has its sign bit
/// set is decoded as E4M3 says and reported ([Cause#BAD_BLOCK_SCALE]); global scales are used as
/// they are.
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured.
public final class Dequantize {
  private Dequantize() {}

  /// Dequantises `x` into `out`.
  ///
  /// @param stream where to run
  /// @param x `[M, K]`, either scale layout
  /// @param out F32, BF16 or F16 `[M, K]`, any row stride of at least K; overlaps no buffer of `x`
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Nvfp4Tensor x, Tensor out) {
    stream.enter("dequantize");
    try {
      stream.reads(Op.DEQUANTIZE, "input", x);
      stream.writes(Op.DEQUANTIZE, "output", out);
      int status =
          Nvfp4jNative.dequantize(stream.context(), x.descriptor, out.descriptor, stream.error());
      if (status != 0) {
        throw stream.raise(Op.DEQUANTIZE, status, Shapes.of("input", x, "output", out));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, x, out));
      }
    } finally {
      stream.exit();
    }
  }
}
