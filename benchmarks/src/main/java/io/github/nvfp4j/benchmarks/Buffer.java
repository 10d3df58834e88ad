// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;

/// One buffer of a [Workload]: its shape for one call, what it is filled with, and how much of it a
/// call needs.
///
/// @param name the argument's name in messages
/// @param dtype element type
/// @param rows first dimension of one call's buffer; buffers of several calls are stacked along it
/// @param columns second dimension, or 0 for a rank-1 buffer
/// @param fill what an input holds; outputs are poisoned
/// @param bound of a fill with indices: what they stay below, of counts the highest, of positions
///   how many experts there are; 0 for others
/// @param needed bytes of one call's buffer that a call reads or writes: fewer than it has where
///   the call's other inputs say which
record Buffer(
    String name, DType dtype, long rows, long columns, Fill fill, long bound, long needed) {

  /// Small buffers lie that far apart, so that no call brings another's into the cache.
  private static final long APART = 256;

  /// What outputs hold before the first call, in each byte.
  static final byte POISON = (byte) 0xA5;

  /// A buffer of numbers, all of which a call needs.
  Buffer(String name, DType dtype, long rows, long columns, Fill fill) {
    this(name, dtype, rows, columns, fill, 0);
  }

  /// A buffer of indices, all of which a call needs.
  Buffer(String name, DType dtype, long rows, long columns, Fill fill, long bound) {
    this(name, dtype, rows, columns, fill, bound, bytes(dtype, rows, columns));
  }

  /// @return the same buffer, of which a call needs so many bytes only
  Buffer needing(long bytes) {
    return new Buffer(name, dtype, rows, columns, fill, bound, bytes);
  }

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
    POISON,
    /// Zero throughout.
    ZEROS,
    /// Bell-shaped BF16 values of variance 2^-12: sums of products with thousands of [#VALUES] are
    /// logits of a gate.
    GATE_WEIGHTS,
    /// Any E4M3 block scale from 2 to 15: with any codes and one of the [#GLOBAL_SCALES], weights
    /// of about that size.
    GATE_BLOCK_SCALES,
    /// Integers from 0 to below the bound.
    INDICES,
    /// The same, those of a row different from each other: experts of a token.
    CHOICES,
    /// Where expert_dispatch puts choices of as many rows and columns: each place once.
    POSITIONS,
    /// Integers from fifteen below the bound to the bound: rows of a cache that is nearly full.
    COUNTS;

    /// Whether contents depend on the buffer's bound or shape ([IndexData]); of the others any
    /// piece of a pool will do ([HostData]).
    boolean isIndices() {
      return switch (this) {
        case INDICES, CHOICES, POSITIONS, COUNTS -> true;
        default -> false;
      };
    }
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

  /// @return rows from one call's buffer to the next one's; each begins at a multiple of 256 bytes,
  ///   as an allocation of its own does
  long pitch() {
    long step = APART / Long.lowestOneBit(rowBytes() | APART);
    return Math.ceilDiv(rows, step) * step;
  }

  /// @return bytes of one row (of one element when the rank is 1)
  long rowBytes() {
    return Math.max(1, columns) * dtype.bytes();
  }

  /// @return bytes of one call's buffer
  long bytes() {
    return bytes(dtype, rows, columns);
  }

  /// Whether a call leaves some of it as it was, or unread.
  boolean isPartlyNeeded() {
    return needed < bytes();
  }

  private static long bytes(DType dtype, long rows, long columns) {
    return rows * Math.max(1, columns) * dtype.bytes();
  }
}
