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

  /// Contents of a buffer before the first call.
  enum Fill {
    /// Bell-shaped values in the buffer's type, a few of them sixteen times as large.
    VALUES,
    /// Finite positive global scales around 1e-3.
    GLOBAL_SCALES,
    /// Any E4M3 block scale from the smallest subnormal to 448 (0x01 to 0x7E).
    BLOCK_SCALES,
    /// Any byte.
    BYTES,
    /// Any finite E4M3 number: any byte but 0x7F and 0xFF.
    E4M3,
    /// 0xA5 throughout: an element that a kernel leaves out is seen.
    POISON
  }

  /// @return the shape of `calls` buffers stacked along the first dimension
  long[] shape(long calls) {
    return columns == 0 ? new long[] {rows * calls} : new long[] {rows * calls, columns};
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
