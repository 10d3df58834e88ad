// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// What becomes of a block scale that rounds to zero although its block is not all zero
/// ([Recipe#EXACT] only; [Recipe#TE_EXACT] does not read it).
public enum ZeroScale {
  /// It becomes 0x01 (2^-9), the smallest: the block keeps what it can. The default.
  MIN(0),
  /// It stays 0: the block decodes to zeros.
  FLUSH(1);

  private final int code;

  ZeroScale(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_ZERO_SCALE_*` of the C ABI.
  public int code() {
    return code;
  }
}
