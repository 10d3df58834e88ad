// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;

/// One buffer of a [Workload]: its shape for one call, and what it is filled with.
///
/// @param name the argument's name in messages
/// @param dtype element type
/// @param rows first dimension of one call's buffer; buffers of several calls are stacked along it
/// @param columns second dimension, or 0 for a rank-1 buffer
/// @param fill what an input holds; outputs are poisoned
record Buffer(String name, DType dtype, long rows, long columns, Fill fill) {

  /// Small buffers lie that far apart, so that no call brings another's into the cache.
  private static final long APART = 256;

  /// Contents of a buffer before the first call.
  enum Fill {
    /// Bell-shaped BF16 values, a few of them sixteen times as large.
    VALUES,
    /// Finite positive global scales around 1e-3.
    GLOBAL_SCALES,
    /// Any E4M3 block scale from the smallest subnormal to 448 (0x01 to 0x7E).
    BLOCK_SCALES,
    /// Any byte.
    BYTES,
    /// Any finite E4M3 number: any byte but 0x7F and 0xFF.
    E4M3,
    /// Bell-shaped F32 values of variance 1.
    LOGITS,
    /// The same divided by 64: sums of products with tens of thousands of values, divided by their
    /// root mean square, are then logits.
    MIXING_WEIGHTS,
    /// F32 from 0 to 1.
    FRACTIONS,
    /// 0xA5 throughout: an element that a kernel leaves out is seen.
    POISON
  }

  /// @return the shape of one call's buffer
  long[] shape() {
    return shape(rows);
  }

  /// @return the shape of the buffers of `calls` calls, stacked along the first dimension
  long[] stacked(long calls) {
    return shape(pitch() * calls);
  }

  private long[] shape(long count) {
    return columns == 0 ? new long[] {count} : new long[] {count, columns};
  }

  /// @return rows from one call's buffer to the next one's
  long pitch() {
    return Math.max(rows, Math.ceilDiv(APART, rowBytes()));
  }

  /// @return bytes of one row (of one element when the rank is 1)
  long rowBytes() {
    return Math.max(1, columns) * dtype.bytes();
  }

  /// @return bytes that one call reads or writes here
  long bytes() {
    return rows * rowBytes();
  }
}
