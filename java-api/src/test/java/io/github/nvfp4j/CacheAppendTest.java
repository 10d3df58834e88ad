// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.CacheReference;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// cache_append_window and cache_append against the reference, byte for byte.
final class CacheAppendTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }
  }

  @Nested
  @Gpu
  final class Cuda extends Contract {
    Cuda() {
      super("cuda:0");
    }
  }

  abstract static class Contract extends CacheOnDevice {
    private static final int W = 128;

    Contract(String id) {
      super(id);
    }

    private void window(
        Values values, DType dtype, int slots, int tokens, int columns, long position) {
      boolean wide = position > Integer.MAX_VALUE || values.random().nextBoolean();
      int rowBytes = columns * dtype.bytes();
      byte[] before = values.bytes(slots * rowBytes);
      byte[] added = values.bytes(tokens * rowBytes);
      Rows cache = rows(dtype, before, slots, columns, values.random().nextInt(3));
      Rows rows = rows(dtype, added, tokens, columns, values.random().nextInt(3));
      Tensor at = counter(wide, position);
      CacheAppendWindow.run(stream, cache.view(), rows.view(), at);
      requireEqual(
          "cache", CacheReference.appendWindow(before, added, rowBytes, position), read(cache));
      requireEqual("rows", added, read(rows));
      assertThat(value(at)).isEqualTo(position);
    }

    @Test
    void windowEqualsTheReference() {
      Values values = new Values(80);
      for (DType dtype : DTYPES) {
        for (int slots : new int[] {1, 3, W}) {
          // Fewer than the window, as many, more, and many times as many.
          for (int tokens : new int[] {1, slots - 1, slots, slots + 1, 5 * slots + 2}) {
            int columns = 1 + values.random().nextInt(40);
            window(values, dtype, slots, tokens, columns, 0);
            window(values, dtype, slots, tokens, columns, slots - 1);
            window(values, dtype, slots, tokens, columns, values.random().nextInt(100_000));
          }
        }
        window(values, dtype, W, 1, 512, 1_000_003);
        window(values, dtype, W, 700, 512, 99);
      }
      stream.synchronize();
    }

    @Test
    void windowAtHugePositions() {
      Values values = new Values(81);
      for (int slots : new int[] {1, 127, W}) {
        for (long position :
            new long[] {
              Long.MAX_VALUE,
              Long.MAX_VALUE - 1,
              Long.MAX_VALUE - 200,
              1L << 32,
              (1L << 32) - 1,
              Integer.MAX_VALUE,
              Integer.MAX_VALUE + 1L
            }) {
          window(values, DType.BF16, slots, 1, 8, position);
          window(values, DType.BF16, slots, 300, 8, position);
        }
      }
      stream.synchronize();
    }

    @Test
    void aNegativePositionIsReportedAndNothingWritten() {
      byte[] before = new Values(82).bytes(W * 64);
      for (boolean wide : new boolean[] {false, true}) {
        for (int tokens : new int[] {1, 300}) {
          Rows cache = rows(DType.U8, before, W, 64, 0);
          Rows rows = rows(DType.U8, new byte[tokens * 64], tokens, 64, 0);
          CacheAppendWindow.run(stream, cache.view(), rows.view(), counter(wide, -1));
          requireEqual("cache", before, read(cache));
          requireReport(Op.CACHE_APPEND_WINDOW, Cause.INDEX_OUT_OF_RANGE, -1);
        }
      }
    }

    private void requireReport(Op op, Cause cause, long row) {
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report).isNotNull();
      assertThat(report).hasMessageContaining(op.opName() + ": " + cause.name());
      assertThat(report.op()).isEqualTo(op);
      assertThat(report.causes().get(op)).containsExactly(cause);
      assertThat(report.row()).isEqualTo(row);
      assertThat(report.column()).isEqualTo(-1);
      stream.synchronize(); // A fault is reported once.
    }

    @Test
    void appendsUntilTheCacheIsFull() {
      Values values = new Values(83);
      for (DType dtype : DTYPES) {
        for (int tokens : new int[] {1, 3, 40}) {
          for (boolean wide : new boolean[] {false, true}) {
            int columns = 1 + values.random().nextInt(600);
            int rowBytes = columns * dtype.bytes();
            int capacity = 4 * tokens + (tokens > 1 ? 1 : 0);
            byte[] expected = values.bytes(capacity * rowBytes);
            Rows cache = rows(dtype, expected, capacity, columns, values.random().nextInt(3));
            Tensor length = counter(wide, 0);
            for (int n = 0; n < 4; n++) {
              byte[] added = values.bytes(tokens * rowBytes);
              Rows rows = rows(dtype, added, tokens, columns, values.random().nextInt(3));
              CacheAppend.run(stream, cache.view(), rows.view(), length);
              expected = CacheReference.append(expected, added, rowBytes, (long) n * tokens);
            }
            requireEqual("cache", expected, read(cache));
            assertThat(value(length)).isEqualTo(4L * tokens);
            stream.synchronize();
            Rows rows = rows(dtype, new byte[tokens * rowBytes], tokens, columns, 0);
            CacheAppend.run(stream, cache.view(), rows.view(), length);
            requireEqual("cache", expected, read(cache));
            assertThat(value(length)).isEqualTo(4L * tokens);
            requireReport(Op.CACHE_APPEND, Cause.CACHE_OVERFLOW, capacity);
          }
        }
      }
    }

    @Test
    void aLengthThatCannotBeIsReportedAndNothingWritten() {
      byte[] before = new Values(84).bytes(10 * 16);
      for (boolean wide : new boolean[] {false, true}) {
        for (long n : new long[] {-1, 11, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
          Rows cache = rows(DType.U8, before, 10, 16, 0);
          Rows rows = rows(DType.U8, new byte[2 * 16], 2, 16, 0);
          Tensor length = counter(wide, n);
          CacheAppend.run(stream, cache.view(), rows.view(), length);
          requireEqual("cache", before, read(cache));
          assertThat(value(length)).isEqualTo(n);
          requireReport(Op.CACHE_APPEND, Cause.INDEX_OUT_OF_RANGE, -1);
        }
      }
    }

    @Test
    void acceptsNoRows() {
      byte[] before = new Values(85).bytes(10 * 16);
      Rows cache = rows(DType.U8, before, 10, 16, 0);
      Tensor none = device.allocate(arena, DType.U8, 0, 16);
      Tensor length = counter(true, -3);
      CacheAppendWindow.run(stream, cache.view(), none, length);
      CacheAppend.run(stream, cache.view(), none, length);
      requireEqual("cache", before, read(cache));
      assertThat(value(length)).isEqualTo(-3);
      stream.synchronize();
    }

    /// A captured step, whose position and length advance on the device between replays.
    @Test
    void aCapturedStepAdvances() {
      Values values = new Values(86);
      int columns = 64;
      int rowBytes = columns * 2;
      byte[] ring = values.bytes(W * rowBytes);
      byte[] linear = values.bytes(7 * rowBytes);
      Rows window = rows(DType.BF16, ring, W, columns, 0);
      Rows cache = rows(DType.BF16, linear, 7, columns, 0);
      Rows rows = rows(DType.BF16, new byte[2 * rowBytes], 2, columns, 0);
      Tensor position = counter(true, 0);
      Tensor length = counter(false, 0);
      try (Graph graph =
          stream.capture(() -> {
            CacheAppendWindow.run(stream, window.view(), rows.view(), position);
            CacheAppend.run(stream, cache.view(), rows.view(), length);
          })) {
        requireEqual("recorded, not run", ring, read(window));
        for (int step = 0; step < 5; step++) {
          byte[] added = values.bytes(2 * rowBytes);
          rows(DType.BF16, added, 2, columns, 0).whole().copyTo(stream, rows.whole());
          hostCounter(true, 125 + 2 * step).copyTo(stream, position);
          graph.launch(stream);
          ring = CacheReference.appendWindow(ring, added, rowBytes, 125 + 2 * step);
          if (step < 3) {
            linear = CacheReference.append(linear, added, rowBytes, 2L * step);
            stream.synchronize();
          } else {
            requireReport(Op.CACHE_APPEND, Cause.CACHE_OVERFLOW, 7);
          }
          requireEqual("window", ring, read(window));
          requireEqual("cache", linear, read(cache));
          assertThat(value(length)).isEqualTo(Math.min(2 * step + 2, 6));
        }
      }
    }
  }
}
