// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// What the tests of the caches share: rows of random bytes with gaps, and counters.
abstract class CacheOnDevice extends OnDevice {
  static final DType[] DTYPES = {DType.F32, DType.BF16, DType.F16, DType.U8};

  CacheOnDevice(String id) {
    super(id);
  }

  /// Rows in the first columns of a wider matrix, which holds POISON elsewhere.
  record Rows(Tensor whole, Tensor view) {}

  /// @param values `[rows, columns]` elements, as bytes
  /// @param gap elements behind each row
  Rows rows(DType dtype, byte[] values, int rows, int columns, int gap) {
    int rowBytes = columns * dtype.bytes();
    int strideBytes = rowBytes + gap * dtype.bytes();
    MemorySegment memory = arena.allocate(Math.max(1, (long) rows * strideBytes), 64).fill(POISON);
    for (int i = 0; i < rows; i++) {
      MemorySegment.copy(
          values, i * rowBytes, memory, ValueLayout.JAVA_BYTE, (long) i * strideBytes, rowBytes);
    }
    Tensor whole =
        move(
            Tensor.of(
                arena, memory.asSlice(0, (long) rows * strideBytes), dtype, rows, columns + gap));
    return new Rows(whole, whole.slice(arena, 1, 0, columns));
  }

  /// The elements of all rows, as bytes; what lies between them must be poison still.
  byte[] read(Rows rows) {
    byte[] all = bytes(rows.whole);
    int rowBytes = (int) rows.view.shape(1) * rows.view.dtype().bytes();
    int strideBytes = (int) rows.whole.shape(1) * rows.view.dtype().bytes();
    byte[] values = new byte[(int) rows.view.shape(0) * rowBytes];
    for (int i = 0; i < all.length; i++) {
      int at = i % strideBytes;
      if (at < rowBytes) {
        values[i / strideBytes * rowBytes + at] = all[i];
      } else if (all[i] != POISON) {
        throw new AssertionError("byte " + i + " lies between rows and was written");
      }
    }
    return values;
  }

  Tensor counter(boolean wide, long value) {
    return move(hostCounter(wide, value));
  }

  Tensor hostCounter(boolean wide, long value) {
    MemorySegment memory =
        wide
            ? arena.allocateFrom(ValueLayout.JAVA_LONG, value)
            : arena.allocateFrom(ValueLayout.JAVA_INT, (int) value);
    return Tensor.of(arena, memory, wide ? DType.I64 : DType.I32, 1);
  }

  long value(Tensor counter) {
    MemorySegment memory = counter.toHost(stream, arena).segment();
    return counter.dtype() == DType.I64
        ? memory.get(ValueLayout.JAVA_LONG, 0)
        : memory.get(ValueLayout.JAVA_INT, 0);
  }

  private Tensor move(Tensor tensor) {
    return device.isCuda() ? tensor.to(stream, arena) : tensor;
  }
}
