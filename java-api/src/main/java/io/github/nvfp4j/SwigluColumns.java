// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// How gate and up share a row of `2I` columns of [Swiglu]'s input.
public enum SwigluColumns {
  /// `[gate 0..I-1 | up 0..I-1]`.
  HALVES(0),
  /// `gate 0, up 0, gate 1, up 1, ...`
  INTERLEAVED(1);

  private final int code;

  SwigluColumns(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_SWIGLU_*` of the C ABI.
  public int code() {
    return code;
  }
}
