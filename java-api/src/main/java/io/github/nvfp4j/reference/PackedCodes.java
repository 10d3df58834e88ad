// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// e2m1 codes two to a byte: byte `j` is `code[2j] | code[2j + 1] << 4`, the element of even index
/// in the low nibble.
///
/// Source: `float4_e2m1fn_x2` of PyTorch; Model Optimizer, Transformer Engine, FlashInfer, vLLM and
/// compressed-tensors agree.
public final class PackedCodes {
  private PackedCodes() {}

  /// Packs codes.
  ///
  /// @param codes an even number of codes, one per byte; only the four low bits of each are read
  /// @return half as many bytes
  /// @throws IllegalArgumentException if the number of codes is odd
  public static byte[] pack(byte[] codes) {
    if (codes.length % 2 != 0) {
      throw new IllegalArgumentException(
          "pack: codes has " + codes.length + " elements, expected an even number");
    }
    byte[] packed = new byte[codes.length / 2];
    for (int j = 0; j < packed.length; j++) {
      packed[j] = (byte) (codes[2 * j] & 15 | (codes[2 * j + 1] & 15) << 4);
    }
    return packed;
  }

  /// Unpacks codes.
  ///
  /// @return twice as many bytes, each 0 to 15
  public static byte[] unpack(byte[] packed) {
    byte[] codes = new byte[Math.multiplyExact(packed.length, 2)];
    for (int i = 0; i < codes.length; i++) {
      codes[i] = (byte) get(packed, i);
    }
    return codes;
  }

  /// The code of element `index`, 0 to 15.
  public static int get(byte[] packed, int index) {
    return packed[index / 2] >>> 4 * (index % 2) & 15;
  }
}
