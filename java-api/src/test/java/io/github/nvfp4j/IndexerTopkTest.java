// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.IndexerReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// indexer_topk: scores within the bound, indices exactly as the scores say.
final class IndexerTopkTest {
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

    /// Shapes that take the whole card, and more than one launch.
    @Test
    void manyRowsAndQueries() {
      Random random = new Values(90).random();
      for (int[] shape : new int[][] {{1, 32768, 8, 64}, {8, 9000, 4, 64}, {60, 5000, 2, 32}}) {
        Call call = Call.random(random, DType.BF16, shape[0], shape[1], shape[2], shape[3]);
        requireRight(call, run(call, 512, Gaps.NONE, true));
      }
      stream.synchronize();
    }
  }

  /// A call's inputs.
  private record Call(
      DType dtype,
      int queries,
      int rows,
      int heads,
      int columns,
      float[] q,
      float[] keys,
      float[] weights,
      int[] valid) {
    static Call random(Random random, DType dtype, int queries, int rows, int heads, int columns) {
      int[] valid = new int[queries];
      for (int s = 0; s < queries; s++) {
        valid[s] = s % 3 == 0 ? rows : random.nextInt(rows + 1);
      }
      return new Call(
          dtype,
          queries,
          rows,
          heads,
          columns,
          gaussian(random, dtype, queries * heads * columns),
          gaussian(random, dtype, rows * columns),
          gaussian(random, DType.F32, queries * heads),
          valid);
    }

    private static float[] gaussian(Random random, DType dtype, int count) {
      float[] x = new float[count];
      for (int i = 0; i < count; i++) {
        x[i] = Values.round(dtype, (float) random.nextGaussian());
      }
      return x;
    }

    Call with(float[] q, float[] keys, float[] weights, int... valid) {
      return new Call(dtype, queries, rows, heads, columns, q, keys, weights, valid);
    }
  }

  /// A call's results.
  private record Chosen(int k, int[] indices, float @Nullable [] scores) {}

  abstract static class Contract extends HcOnDevice {
    Contract(String id) {
      super(id);
    }

    private Tensor ints(int[] values) {
      MemorySegment memory = arena.allocate(Math.max(1, values.length * 4L), 64);
      for (int i = 0; i < values.length; i++) {
        memory.setAtIndex(ValueLayout.JAVA_INT, i, values[i]);
      }
      Tensor host =
          Tensor.of(arena, memory.asSlice(0, values.length * 4L), DType.I32, values.length);
      return device.isCuda() ? host.to(stream, arena) : host;
    }

    Chosen run(Call c, int k, Gaps gaps, boolean withScores) {
      Tensor q = strided(c.dtype, c.q, gaps, c.queries, c.heads, c.columns).view();
      Tensor keys = strided(c.dtype, c.keys, gaps, c.rows, c.columns).view();
      Tensor weights = strided(DType.F32, c.weights, gaps, c.queries, c.heads).view();
      Tensor whole = device.allocate(arena, DType.I32, c.queries, k + gaps.columns());
      poison(whole);
      Strided scores = strided(DType.F32, null, gaps, c.queries, c.rows);
      Tensor indices = whole.slice(arena, 1, 0, k);
      IndexerTopk.run(
          stream, q, keys, weights, ints(c.valid), indices, withScores ? scores.view() : null);
      int[] all = whole.toHost(stream, arena).segment().toArray(ValueLayout.JAVA_INT);
      int width = k + gaps.columns();
      int[] chosen = new int[c.queries * k];
      for (int s = 0; s < c.queries; s++) {
        System.arraycopy(all, s * width, chosen, s * k, k);
        for (int i = k; i < width; i++) {
          assertThat(all[s * width + i]).as("between rows").isEqualTo(0xA5A5A5A5);
        }
      }
      return new Chosen(k, chosen, withScores ? values(scores) : null);
    }

    /// Scores against the exact ones, indices against the scores.
    static void requireRight(Call c, Chosen chosen) {
      float[] scores = chosen.scores;
      if (scores == null) {
        throw new AssertionError("without scores there is nothing to compare");
      }
      double[] exact =
          IndexerReference.exactScores(c.q, c.keys, c.weights, c.valid, c.heads, c.columns);
      double[] allowed =
          IndexerReference.tolerances(c.q, c.keys, c.weights, c.valid, c.heads, c.columns);
      for (int i = 0; i < scores.length; i++) {
        if (Double.isFinite(exact[i])) {
          if (!(Math.abs(scores[i] - exact[i]) <= allowed[i])) {
            throw new AssertionError(
                "score " + i + " is " + scores[i] + ", expected " + exact[i] + " +- " + allowed[i]);
          }
        } else if (Double.isNaN(exact[i])) {
          assertThat(Float.floatToRawIntBits(scores[i])).isEqualTo(0x7FC00000);
        } else {
          assertThat((double) scores[i]).isEqualTo(exact[i]);
        }
      }
      assertThat(chosen.indices)
          .isEqualTo(IndexerReference.indices(scores, c.valid, c.rows, chosen.k));
    }

    private void check(Call c, int k, Gaps gaps) {
      Chosen with = run(c, k, gaps, true);
      requireRight(c, with);
      assertThat(run(c, k, gaps, false).indices).isEqualTo(with.indices);
    }

    @Test
    void isNearTheGolden() throws Exception {
      Golden golden = golden("indexer_score");
      double[] exactWeights = golden.doubles("weights_f64");
      float[] weights = new float[exactWeights.length];
      for (int i = 0; i < weights.length; i++) {
        weights[i] = (float) (exactWeights[i] / Math.sqrt(128)); // d^-1/2 is not in them
      }
      int[] valid = golden.file().data("valid").toArray(ValueLayout.JAVA_INT_UNALIGNED);
      int[] best = golden.file().data("topk_idx").toArray(ValueLayout.JAVA_INT_UNALIGNED);
      float[] q = golden.floats("q");
      float[] keys = golden.floats("k_comp");
      Call c = new Call(DType.F32, 5, 37, 64, 128, q, keys, weights, valid);
      Chosen chosen = run(c, golden.dim("topk_idx", 1), Gaps.NONE, true);
      requireRight(c, chosen);
      assertThat(chosen.indices).isEqualTo(best);
      stream.synchronize();
    }

    @Test
    void isWithinTheBound() {
      Random random = new Values(80).random();
      for (DType dtype : List.of(DType.BF16, DType.F32)) {
        for (int heads : new int[] {1, 3, 16, 64, 128}) {
          for (int columns : new int[] {16, 48, 64, 128, 256}) {
            Call c = Call.random(random, dtype, 2, 45, heads, columns);
            check(c, 20, new Gaps(random.nextInt(2) * 8, random.nextInt(2)));
          }
        }
        for (int queries : new int[] {1, 7, 8, 9, 33}) {
          check(Call.random(random, dtype, queries, 700, 2, 16), 100, new Gaps(1, 1));
        }
        for (int k : new int[] {1, 512, 2048}) {
          check(Call.random(random, dtype, 1, 1500, 2, 16), k, Gaps.NONE);
        }
      }
      stream.synchronize();
    }

    /// All scores are 0, few are different, many are equal, none is positive.
    @Test
    void ties() {
      Random random = new Values(81).random();
      Call c = Call.random(random, DType.BF16, 2, 1100, 4, 32);
      float[] small = new float[c.keys.length];
      float[] copies = new float[c.keys.length];
      float[] negative = c.weights.clone();
      for (int i = 0; i < small.length; i++) {
        small[i] = random.nextInt(3) - 1;
        copies[i] = c.keys[i % (7 * 32)];
      }
      for (int i = 0; i < negative.length; i++) {
        negative[i] = -Math.abs(negative[i]);
      }
      float[] ones = new float[c.q.length];
      Arrays.fill(ones, 1);
      for (Call each :
          List.of(
              c.with(new float[c.q.length], c.keys, c.weights, c.valid),
              c.with(c.q, c.keys, new float[c.weights.length], c.valid),
              c.with(ones, small, c.weights, c.valid),
              c.with(c.q, copies, c.weights, c.valid),
              c.with(c.q, c.keys, negative, c.valid))) {
        for (int k : new int[] {1, 300, 2000}) {
          check(each, k, Gaps.NONE);
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(ints = {90, 900})
    void whatIsVisible(int rows) {
      Random random = new Values(82).random();
      Call c = Call.random(random, DType.BF16, 1, rows, 3, 32);
      for (int valid : new int[] {0, 1, 31, 32, 33, rows - 1, rows}) {
        check(c.with(c.q, c.keys, c.weights, valid), 32, Gaps.NONE);
      }
      stream.synchronize();
    }

    @Test
    void reportsWhatIsNotFinite() {
      Random random = new Values(83).random();
      for (DType dtype : List.of(DType.BF16, DType.F32)) {
        for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
          Call c = Call.random(random, dtype, 2, 700, 3, 32);
          c.valid[1] = 700;
          float[] keys = with(c.keys, 650 * 32 + 7, bad);
          float[] weights = c.weights.clone();
          Arrays.fill(weights, 3, 6, 1);
          Call one = c.with(c.q, keys, weights, 600, 700);
          float[] q = one.q.clone();
          Arrays.fill(q, 3 * 32, 6 * 32, 1);
          one = one.with(q, keys, weights, 600, 700);
          Chosen chosen = run(one, 700, Gaps.NONE, true);
          requireRight(one, chosen);
          // A NaN is last, infinity first; the first query does not see it.
          assertThat(chosen.indices[700 + (Float.isNaN(bad) ? 699 : 0)]).isEqualTo(650);
          ReportedByKernelException report =
              catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
          assertThat(report.op()).isEqualTo(Op.INDEXER_TOPK);
          assertThat(report.causes().get(Op.INDEXER_TOPK)).containsExactly(Cause.NON_FINITE_RESULT);
          assertThat(report.row()).isEqualTo(1);
          assertThat(report.column()).isEqualTo(650);
          stream.synchronize(); // A fault is reported once.
        }
      }
    }

    @Test
    void reportsWhatIsBeyondTheRows() {
      Random random = new Values(84).random();
      for (int hostile : new int[] {-1, 601, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
        Call c = Call.random(random, DType.BF16, 3, 600, 2, 16);
        Call bad = c.with(c.q, c.keys, c.weights, 600, 5, hostile);
        Chosen chosen = run(bad, 40, Gaps.NONE, true);
        requireRight(bad, chosen);
        assertThat(chosen.indices[80]).isEqualTo(-1);
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.causes().get(Op.INDEXER_TOPK)).containsExactly(Cause.INDEX_OUT_OF_RANGE);
        assertThat(report.row()).isEqualTo(2);
        assertThat(report.column()).isEqualTo(-1);
      }
    }

    @Test
    void acceptsNoQueriesAndNoRows() {
      Tensor q = device.allocate(arena, DType.BF16, 0, 4, 32);
      Tensor keys = device.allocate(arena, DType.BF16, 7, 32);
      IndexerTopk.run(
          stream,
          q,
          keys,
          device.allocate(arena, DType.F32, 0, 4),
          device.allocate(arena, DType.I32, 0),
          device.allocate(arena, DType.I32, 0, 8),
          device.allocate(arena, DType.F32, 0, 7));
      Call none = Call.random(new Values(85).random(), DType.BF16, 2, 0, 4, 32);
      Chosen chosen = run(none, 3, Gaps.NONE, true);
      assertThat(chosen.indices).containsOnly(-1);
      stream.synchronize();
    }

    @Test
    void givesTheSameBitsEveryTime() {
      Call c = Call.random(new Values(86).random(), DType.BF16, 3, 2000, 16, 64);
      Chosen first = run(c, 512, Gaps.NONE, true);
      for (int i = 0; i < 5; i++) {
        Chosen again = run(c, 512, Gaps.NONE, true);
        assertThat(again.indices).isEqualTo(first.indices);
        assertThat(again.scores).isEqualTo(first.scores);
      }
      stream.synchronize();
    }

    @Test
    void aGraphReadsWhatIsVisibleAtEachLaunch() {
      Call c = Call.random(new Values(87).random(), DType.BF16, 1, 800, 2, 32);
      Tensor q = contiguous(c.dtype, c.q, 1, 2, 32);
      Tensor keys = contiguous(c.dtype, c.keys, 800, 32);
      Tensor weights = contiguous(DType.F32, c.weights, 1, 2);
      Tensor valid = ints(new int[] {0});
      Tensor indices = device.allocate(arena, DType.I32, 1, 16);
      Tensor scores = device.allocate(arena, DType.F32, 1, 800);
      try (Graph graph =
          stream.capture(() -> IndexerTopk.run(stream, q, keys, weights, valid, indices, scores))) {
        for (int visible : new int[] {0, 5, 800, 300}) {
          valid.copyFrom(stream, ints(new int[] {visible}));
          graph.launch(stream);
          Call now = c.with(c.q, c.keys, c.weights, visible);
          int[] got = indices.toHost(stream, arena).segment().toArray(ValueLayout.JAVA_INT);
          requireRight(now, new Chosen(16, got, floats(scores)));
        }
        stream.synchronize();
      }
    }
  }
}
