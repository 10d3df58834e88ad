// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// The type of a [Tensor]'s elements.
///
/// All are little-endian. NVFP4 is not among them: an [Nvfp4Tensor] is made of [#U8] codes, [#U8]
/// block scales and [#F32] global scales.
public enum DType {
  /// IEEE 754 binary32.
  F32(0, 4),
  /// bfloat16: the upper half of a binary32.
  BF16(1, 2),
  /// IEEE 754 binary16.
  F16(2, 2),
  /// Bytes: packed e2m1 codes, E4M3 block scales.
  U8(3, 1),
  /// Signed 32-bit integers: row numbers, ids.
  I32(4, 4),
  /// Signed 64-bit integers.
  I64(5, 8);

  private final int code;
  private final int bytes;

  DType(int code, int bytes) {
    this.code = code;
    this.bytes = bytes;
  }

  /// The size of one element in bytes.
  public int bytes() {
    return bytes;
  }

  /// The constant `NVFP4J_DTYPE_*` of the C ABI.
  public int code() {
    return code;
  }
}
