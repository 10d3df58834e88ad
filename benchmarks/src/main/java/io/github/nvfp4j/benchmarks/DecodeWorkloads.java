// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.CacheAppend;
import io.github.nvfp4j.CacheAppendWindow;
import io.github.nvfp4j.DType;
import io.github.nvfp4j.IndexerTopk;
import io.github.nvfp4j.Sample;
import io.github.nvfp4j.Tensor;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The indexer, the caches of attention, and the choice of the next token, with their goals: 64
/// heads of 128 columns, rows of 512 in a cache, and a vocabulary of 129280, as DeepSeek-V4 has
/// them.
final class DecodeWorkloads {
  static final int HEADS = 64;
  static final int HEAD_COLUMNS = 128;

  /// Rows of a linear cache: calls on one that are repeated in a measurement do not fill it.
  private static final long CACHE_ROWS = 8192;

  private static final long WINDOW = 128;
  private static final long CACHE_COLUMNS = 512;
  private static final String H100 = "H100";
  private static final Sample.Options DRAWN = Sample.Options.of(1, 20_250_101, 0);

  private DecodeWorkloads() {}

  /// @return all of them, or with `quick` one small shape of each op and variant
  static List<Workload> all(boolean quick) {
    List<Workload> all = new ArrayList<>();
    if (quick) {
      all.add(indexer(4, 512, 64));
    } else {
      all.add(indexer(1, 8192, 1024));
      all.add(indexer(1, 32_768, 1024));
      all.add(indexer(1, 65_536, 1024));
      all.add(indexer(4, 32_768, 1024));
      all.add(indexer(64, 16_384, 1024));
    }
    for (long rows : quick ? new long[] {64} : new long[] {1, 128}) {
      all.add(appendWindow(rows));
    }
    for (long rows : quick ? new long[] {64} : new long[] {1, 128}) {
      all.add(append(rows));
    }
    long vocabulary = quick ? 1024 : 129_280;
    for (long rows : quick ? new long[] {64} : new long[] {1, 64}) {
      all.add(greedy(rows, vocabulary));
      all.add(drawn(rows, vocabulary));
    }
    return List.copyOf(all);
  }

  private static Workload indexer(long queries, long rows, long topk) {
    return new Workload(
        "indexer_topk",
        "top " + topk + ", " + HEADS + " x " + HEAD_COLUMNS,
        queries,
        rows,
        List.of(
            new Buffer("q", DType.BF16, queries, HEADS * HEAD_COLUMNS, Buffer.Fill.VALUES),
            new Buffer("keys", DType.BF16, rows, HEAD_COLUMNS, Buffer.Fill.VALUES),
            new Buffer("weights", DType.F32, queries, HEADS, Buffer.Fill.LOGITS),
            new Buffer("valid", DType.I32, queries, 0, Buffer.Fill.COUNTS, rows)),
        List.of(new Buffer("indices", DType.I32, queries, topk, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> {
          Tensor q = in.get(0).reshaped(arena, queries, HEADS, HEAD_COLUMNS);
          return () ->
              IndexerTopk.run(stream, q, in.get(1), in.get(2), in.get(3), out.getFirst(), null);
        },
        DecodeBounds.INDEXER,
        // 2.5 times as long as reading the keys.
        queries == 1 && rows == 32_768 ? new Goal.FractionOf(Ceiling.READ, 0.40) : null);
  }

  private static Workload appendWindow(long rows) {
    return new Workload(
        "cache_append_window",
        "window " + WINDOW,
        rows,
        CACHE_COLUMNS,
        List.of(
            new Buffer("rows", DType.BF16, rows, CACHE_COLUMNS, Buffer.Fill.VALUES),
            new Buffer("position", DType.I64, 1, 0, Buffer.Fill.INDICES, 1 << 20)),
        List.of(cache(WINDOW, rows)),
        (stream, arena, in, out) ->
            () -> CacheAppendWindow.run(stream, out.getFirst(), in.get(0), in.get(1)),
        null);
  }

  /// The length is written and read, and counts on either side: a call finds what the call before
  /// on the same cache left there.
  private static Workload append(long rows) {
    return new Workload(
        "cache_append",
        "",
        rows,
        CACHE_COLUMNS,
        List.of(new Buffer("rows", DType.BF16, rows, CACHE_COLUMNS, Buffer.Fill.VALUES)),
        List.of(cache(CACHE_ROWS, rows), new Buffer("length", DType.I64, 1, 0, Buffer.Fill.ZEROS)),
        (stream, arena, in, out) ->
            () -> CacheAppend.run(stream, out.get(0), in.getFirst(), out.get(1)),
        DecodeBounds.APPENDED,
        null);
  }

  private static Buffer cache(long capacity, long rows) {
    Buffer cache = new Buffer("cache", DType.BF16, capacity, CACHE_COLUMNS, Buffer.Fill.POISON);
    return cache.needing(Math.min(rows, capacity) * cache.rowBytes());
  }

  private static Workload greedy(long rows, long vocabulary) {
    return new Workload(
        "sample",
        "greedy",
        rows,
        vocabulary,
        List.of(logits(rows, vocabulary)),
        List.of(tokens(rows)),
        (stream, arena, in, out) ->
            () ->
                Sample.run(
                    stream, in.getFirst(), null, null, out.getFirst(), Sample.Options.GREEDY),
        sampleGoal(rows));
  }

  /// With an offset on the device, as a captured decode step has it.
  private static Workload drawn(long rows, long vocabulary) {
    return new Workload(
        "sample",
        "drawn",
        rows,
        vocabulary,
        List.of(
            logits(rows, vocabulary),
            new Buffer("offset", DType.I64, 1, 0, Buffer.Fill.INDICES, 1L << 40)),
        List.of(tokens(rows)),
        (stream, arena, in, out) ->
            () -> Sample.run(stream, in.get(0), null, in.get(1), out.getFirst(), DRAWN),
        sampleGoal(rows));
  }

  private static @Nullable Goal sampleGoal(long rows) {
    return rows == 1 ? new Goal.Micros(3.5, H100) : null;
  }

  private static Buffer logits(long rows, long vocabulary) {
    return new Buffer("logits", DType.F32, rows, vocabulary, Buffer.Fill.LOGITS);
  }

  private static Buffer tokens(long rows) {
    return new Buffer("tokens", DType.I32, rows, 0, Buffer.Fill.POISON);
  }
}
