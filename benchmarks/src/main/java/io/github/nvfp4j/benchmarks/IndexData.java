// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.SplittableRandom;

/// Random integers for the buffers of several calls: which experts, which tokens, which places.
///
/// @param buffer one call's
/// @param calls of how many calls there are contents, no two of them alike
/// @param segment theirs, a pitch apart
record IndexData(Buffer buffer, long calls, MemorySegment segment) {
  /// Contents that are made; larger buffers than this are all filled alike.
  private static final long LARGEST = 4L << 20;

  /// Of a [Buffer.Fill#COUNTS].
  private static final int BELOW = 15;

  /// Makes the contents of at most `calls` calls.
  static IndexData of(Arena arena, Buffer buffer, long calls, SplittableRandom random) {
    long each = buffer.pitch() * buffer.rowBytes();
    long different = Math.clamp(LARGEST / each, 1, calls);
    IndexData data = new IndexData(buffer, different, arena.allocate(different * each, 64));
    for (long call = 0; call < different; call++) {
      data.fill(data.segment.asSlice(call * each, each), random);
    }
    return data;
  }

  /// @return those of the first `count` calls, stacked
  Tensor first(Arena arena, long count) {
    long bytes = count * buffer.pitch() * buffer.rowBytes();
    return Tensor.of(arena, segment.asSlice(0, bytes), buffer.dtype(), buffer.stacked(count));
  }

  private void fill(MemorySegment call, SplittableRandom random) {
    int rows = Math.toIntExact(buffer.rows());
    int columns = Math.toIntExact(Math.max(1, buffer.columns()));
    long bound = buffer.bound();
    long[] values =
        switch (buffer.fill()) {
          case INDICES -> random.longs((long) rows * columns, 0, bound).toArray();
          case COUNTS -> random.longs((long) rows * columns, bound - BELOW, bound + 1).toArray();
          case CHOICES -> choices(rows, columns, bound, random);
          case POSITIONS ->
              positions(choices(rows, columns, bound, random), Math.toIntExact(bound));
          default -> throw new IllegalStateException(buffer.fill().name());
        };
    for (int i = 0; i < values.length; i++) {
      if (buffer.dtype() == DType.I64) {
        call.setAtIndex(ValueLayout.JAVA_LONG, i, values[i]);
      } else {
        call.setAtIndex(ValueLayout.JAVA_INT, i, Math.toIntExact(values[i]));
      }
    }
  }

  private static long[] choices(int rows, int columns, long bound, SplittableRandom random) {
    long[] choices = new long[rows * columns];
    for (int row = 0; row < rows; row++) {
      for (int j = 0; j < columns; ) {
        long drawn = random.nextLong(bound);
        if (!contains(choices, row * columns, j, drawn)) {
          choices[row * columns + j++] = drawn;
        }
      }
    }
    return choices;
  }

  private static boolean contains(long[] values, int from, int count, long value) {
    for (int i = from; i < from + count; i++) {
      if (values[i] == value) {
        return true;
      }
    }
    return false;
  }

  /// The place of each choice when they are sorted by expert, those of one in their order.
  private static long[] positions(long[] choices, int experts) {
    int[] next = new int[experts + 1];
    for (long choice : choices) {
      next[(int) choice + 1]++;
    }
    for (int e = 0; e < experts; e++) {
      next[e + 1] += next[e];
    }
    long[] positions = new long[choices.length];
    for (int i = 0; i < choices.length; i++) {
      positions[i] = next[(int) choices[i]]++;
    }
    return positions;
  }
}
