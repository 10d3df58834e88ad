// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.CacheAppend;
import io.github.nvfp4j.CacheAppendWindow;
import io.github.nvfp4j.DType;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.CacheReference;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// The selftest's cases of cache_append_window and cache_append: every byte.
final class SelftestCaches {
  private static final DType[] DTYPES = {DType.F32, DType.BF16, DType.F16, DType.U8};
  private static final int PADDING = 3;

  private SelftestCaches() {}

  /// A cache of `slots` rows and `tokens` new ones; what is strided lies among other bytes, which
  /// an op would leave alone.
  private record Variant(int slots, int tokens, int columns, DType dtype, boolean strided) {
    String name(String op) {
      return op
          + " "
          + tokens
          + "x"
          + columns
          + " into "
          + slots
          + " "
          + dtype.name().toLowerCase(Locale.ROOT)
          + (strided ? " strided" : "");
    }

    int rowBytes() {
      return columns * dtype.bytes();
    }

    int stride() {
      return columns + (strided ? PADDING : 0);
    }

    /// Rows of bytes, as they lie.
    byte[] padded(byte[] rows) {
      int count = rows.length / rowBytes();
      byte[] padded = new byte[count * stride() * dtype.bytes()];
      for (int i = 0; i < count; i++) {
        System.arraycopy(rows, i * rowBytes(), padded, i * stride() * dtype.bytes(), rowBytes());
      }
      return padded;
    }

    Tensor whole(Workbench bench, byte[] rows) {
      return bench.upload(
          MemorySegment.ofArray(padded(rows)), dtype, rows.length / rowBytes(), stride());
    }

    @Nullable String difference(Workbench bench, Tensor whole, byte[] expected) {
      return SelftestData.compare(
          "cache", SelftestData.bytes(bench, whole), MemorySegment.ofArray(padded(expected)));
    }
  }

  static void add(BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add) {
    for (DType dtype : DTYPES) {
      for (boolean strided : new boolean[] {false, true}) {
        for (int slots : new int[] {1, 5, 128}) {
          for (int tokens :
              IntStream.of(0, 1, slots, slots + 1, 3 * slots + 2).distinct().toArray()) {
            for (int columns : new int[] {7, 512}) {
              Variant v = new Variant(slots, tokens, columns, dtype, strided);
              for (long position : new long[] {3, 5L * slots - 1, 1_000_003, Long.MAX_VALUE}) {
                add.accept(
                    v.name("cache_append_window") + " at " + position,
                    (bench, random) -> window(bench, random, v, position));
              }
            }
          }
        }
        for (int tokens : new int[] {0, 1, 3, 100}) {
          for (int columns : new int[] {7, 512}) {
            Variant v = new Variant(3 * tokens + 2, tokens, columns, dtype, strided);
            add.accept(v.name("cache_append"), (bench, random) -> append(bench, random, v));
          }
        }
      }
    }
    Variant v = new Variant(8, 3, 16, DType.BF16, false);
    add.accept("fault negative position", (bench, random) -> negative(bench, random, v));
    add.accept("fault cache overflow", (bench, random) -> overflow(bench, random, v));
  }

  private static Tensor counter(Workbench bench, long value) {
    return bench.upload(MemorySegment.ofArray(new long[] {value}), DType.I64, 1);
  }

  private static @Nullable String window(
      Workbench bench, RandomData random, Variant v, long position) {
    byte[] before = random.bytes(v.slots * v.rowBytes());
    byte[] rows = random.bytes(v.tokens * v.rowBytes());
    Tensor whole = v.whole(bench, before);
    CacheAppendWindow.run(
        bench.stream(),
        bench.leftColumns(whole, v.columns),
        bench.leftColumns(v.whole(bench, rows), v.columns),
        counter(bench, position));
    bench.stream().synchronize();
    return v.difference(
        bench, whole, CacheReference.appendWindow(before, rows, v.rowBytes(), position));
  }

  /// Thrice, with a length that the device advances.
  private static @Nullable String append(Workbench bench, RandomData random, Variant v) {
    byte[] expected = random.bytes(v.slots * v.rowBytes());
    Tensor whole = v.whole(bench, expected);
    Tensor length = counter(bench, 1);
    for (int i = 0; i < 3; i++) {
      byte[] rows = random.bytes(v.tokens * v.rowBytes());
      CacheAppend.run(
          bench.stream(),
          bench.leftColumns(whole, v.columns),
          bench.leftColumns(v.whole(bench, rows), v.columns),
          length);
      expected = CacheReference.append(expected, rows, v.rowBytes(), 1L + i * v.tokens);
    }
    bench.stream().synchronize();
    String difference = v.difference(bench, whole, expected);
    return difference == null
        ? SelftestData.compare(
            "length",
            SelftestData.bytes(bench, length),
            MemorySegment.ofArray(new long[] {1L + 3 * v.tokens}))
        : difference;
  }

  private static @Nullable String negative(Workbench bench, RandomData random, Variant v) {
    byte[] before = random.bytes(v.slots * v.rowBytes());
    Tensor whole = v.whole(bench, before);
    Tensor rows = v.whole(bench, random.bytes(v.tokens * v.rowBytes()));
    CacheAppendWindow.run(bench.stream(), whole, rows, counter(bench, -1));
    String silent = SelftestData.reported(bench);
    return silent == null ? v.difference(bench, whole, before) : silent;
  }

  private static @Nullable String overflow(Workbench bench, RandomData random, Variant v) {
    byte[] before = random.bytes(v.slots * v.rowBytes());
    Tensor whole = v.whole(bench, before);
    Tensor rows = v.whole(bench, random.bytes(v.tokens * v.rowBytes()));
    Tensor length = counter(bench, v.slots - v.tokens + 1L);
    CacheAppend.run(bench.stream(), whole, rows, length);
    String silent = SelftestData.reported(bench);
    if (silent == null) {
      silent = v.difference(bench, whole, before);
    }
    return silent == null
        ? SelftestData.compare(
            "length",
            SelftestData.bytes(bench, length),
            MemorySegment.ofArray(new long[] {v.slots - v.tokens + 1L}))
        : silent;
  }
}
