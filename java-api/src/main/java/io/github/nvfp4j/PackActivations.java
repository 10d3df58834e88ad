// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// pack_activations: NVFP4 activations unpacked to the products `e2m1(code) * e4m3(block scale)` in
/// BF16, which are exact ([ScaleLayout#PACKED]): for several matrix products with the same A, or
/// one with many columns. The same bits on every device.
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured. A block scale that is NaN or has its sign bit set is reported
/// ([Cause#BAD_BLOCK_SCALE]); its block becomes NaN.
public final class PackActivations {
  private PackActivations() {}

  /// Unpacks `a`.
  ///
  /// @param stream where to run
  /// @param a `[M, K]`, [ScaleLayout#LINEAR], global scales [GlobalScale#TENSOR] or
  ///   [GlobalScale#ROW]
  /// @param packed `[M, K]`, [ScaleLayout#PACKED], as [Device#allocateNvfp4] makes it, and the same
  ///   kind of global scales, which are copied from `a`. Overlaps no buffer of `a`
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Nvfp4Tensor a, Nvfp4Tensor packed) {
    stream.enter("pack_activations");
    try {
      stream.reads(Op.PACK_ACTIVATIONS, "a", a);
      stream.writes(Op.PACK_ACTIVATIONS, "packed", packed);
      int status =
          Nvfp4jNative.packActivations(
              stream.context(), a.descriptor, packed.descriptor, stream.error());
      if (status != 0) {
        throw stream.raise(Op.PACK_ACTIVATIONS, status, Shapes.of("a", a, "packed", packed));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, a, packed));
      }
    } finally {
      stream.exit();
    }
  }
}
