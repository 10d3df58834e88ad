// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// prepare_weights: weights in the order in which the matrix products read them
/// ([ScaleLayout#PREPARED]); once, when a model is loaded. Products with prepared weights are equal
/// to those with linear ones within the bounds of [Gemm], and on the CPU bit for bit.
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured. A block scale that is NaN or has its sign bit set is reported
/// ([Cause#BAD_BLOCK_SCALE], with its row of the `G * N` rows and its block's first column) and
/// stays bad.
public final class PrepareWeights {
  private PrepareWeights() {}

  /// Puts `w` in order.
  ///
  /// @param stream where to run
  /// @param w `[G, N, K]` or `[N, K]`, [ScaleLayout#LINEAR], any kind of global scales but
  ///   [GlobalScale#ROW]; N a positive multiple of 8
  /// @param prepared the same shape and kind of global scales, [ScaleLayout#PREPARED], as
  ///   [Device#allocateNvfp4] makes it; its global scales are copied from `w`. Overlaps no buffer
  ///   of `w`
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Nvfp4Tensor w, Nvfp4Tensor prepared) {
    stream.enter("prepare_weights");
    try {
      stream.reads(Op.PREPARE_WEIGHTS, "w", w);
      stream.writes(Op.PREPARE_WEIGHTS, "prepared", prepared);
      int status =
          Nvfp4jNative.prepareWeights(
              stream.context(), w.descriptor, prepared.descriptor, stream.error());
      if (status != 0) {
        throw stream.raise(Op.PREPARE_WEIGHTS, status, Shapes.of("w", w, "prepared", prepared));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, w, prepared));
      }
    } finally {
      stream.exit();
    }
  }
}
