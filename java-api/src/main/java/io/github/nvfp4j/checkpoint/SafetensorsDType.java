// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// Every element type that the safetensors format knows, under the name that it has in the file.
///
/// Elements are little-endian and densely packed. Those narrower than a byte ([#F4], [#F6_E2M3],
/// [#F6_E3M2]) fill bytes without a gap, so that a tensor of them must come to whole bytes.
public enum SafetensorsDType {
  /// A byte that is 0 or 1.
  BOOL(8),
  /// 4-bit float e2m1, two to a byte.
  F4(4),
  /// 6-bit float e2m3, four to three bytes.
  F6_E2M3(6),
  /// 6-bit float e3m2, four to three bytes.
  F6_E3M2(6),
  /// Unsigned byte.
  U8(8),
  /// Signed byte.
  I8(8),
  /// 8-bit float e5m2.
  F8_E5M2(8),
  /// 8-bit float e4m3 (finite, with NaN): NVFP4's block scales.
  F8_E4M3(8),
  /// 8-bit float e5m2 without a negative zero.
  F8_E5M2FNUZ(8),
  /// 8-bit float e4m3 without a negative zero.
  F8_E4M3FNUZ(8),
  /// 8-bit power of two: MXFP4's block scales.
  F8_E8M0(8),
  /// Signed 16-bit integer.
  I16(16),
  /// Unsigned 16-bit integer.
  U16(16),
  /// IEEE binary16.
  F16(16),
  /// bfloat16.
  BF16(16),
  /// Signed 32-bit integer.
  I32(32),
  /// Unsigned 32-bit integer.
  U32(32),
  /// IEEE binary32.
  F32(32),
  /// Complex number of two binary32.
  C64(64),
  /// IEEE binary64.
  F64(64),
  /// Signed 64-bit integer.
  I64(64),
  /// Unsigned 64-bit integer.
  U64(64);

  private static final Map<String, SafetensorsDType> BY_NAME;
  private static final String NAMES =
      Arrays.stream(values()).map(SafetensorsDType::name).collect(Collectors.joining(", "));

  static {
    Map<String, SafetensorsDType> byName = new HashMap<>();
    for (SafetensorsDType dtype : values()) {
      byName.put(dtype.name(), dtype);
    }
    BY_NAME = Collections.unmodifiableMap(byName);
  }

  private final int bits;

  SafetensorsDType(int bits) {
    this.bits = bits;
  }

  /// Width of one element.
  ///
  /// @return bits per element: 4, 6, 8, 16, 32 or 64
  public int bits() {
    return bits;
  }

  /// Alignment that an element wants in memory.
  ///
  /// @return bytes: 1 for everything of a byte or less, and 4 for the pairs of [#C64]
  public int alignment() {
    return this == C64 ? 4 : Math.max(1, bits / 8);
  }

  /// Whether this is a real floating-point type of 16 bits or more, which is what quantisation
  /// reads.
  ///
  /// @return true for [#F16], [#BF16], [#F32] and [#F64]
  public boolean isWideFloat() {
    return this == F16 || this == BF16 || this == F32 || this == F64;
  }

  static @Nullable SafetensorsDType find(String name) {
    return BY_NAME.get(name);
  }

  static String names() {
    return NAMES;
  }
}
