// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.ExpertsReference;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// expert_dispatch and expert_combine against the reference, bit for bit.
@Timeout(300)
final class ExpertsTest {
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

  abstract static class Contract extends ExpertsOnDevice {
    private static final int[] HOSTILE = {-1, Integer.MIN_VALUE, Integer.MAX_VALUE};

    private final Values values = new Values(301);
    private final Random random = values.random();

    Contract(String id) {
      super(id);
    }

    // --- dispatch

    private ExpertsReference.Dispatch requireSorted(
        int[] indices, int tokens, int slots, int experts, int gap, boolean weighted) {
      float @Nullable [] weights = weighted ? values.finite(DType.F32, tokens, slots) : null;
      Tensor offsets = vector(DType.I32, experts + 1);
      Tensor rows = vector(DType.I32, tokens * slots);
      Tensor positions = ids(new int[tokens * slots], tokens, slots, gap);
      @Nullable Tensor w =
          weights == null ? null : upload(DType.F32, weights, tokens, slots, slots + gap);
      @Nullable Tensor rowWeights = weights == null ? null : vector(DType.F32, tokens * slots);
      Tensor chosen = ids(indices, tokens, slots, gap);
      ExpertDispatch.run(stream, chosen, w, offsets, rows, positions, rowWeights);
      ExpertsReference.Dispatch expected =
          ExpertsReference.dispatch(indices, weights, tokens, slots, experts);
      assertThat(ints(offsets)).isEqualTo(expected.offsets());
      assertThat(ints(rows)).isEqualTo(expected.rows());
      assertThat(ints(positions)).isEqualTo(expected.positions());
      float[] taken = expected.rowWeights();
      if (rowWeights != null && taken != null) {
        requireEqual("rowWeights", taken, floats(rowWeights));
      }
      return expected;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
    void dispatchEqualsTheReference(int slots) {
      for (int experts : new int[] {1, 7, 256, 384, 1024}) {
        for (int tokens : new int[] {0, 1, 2, 16, 200}) {
          int[] chosen = choices(random, tokens * slots, experts);
          requireSorted(chosen, tokens, slots, experts, slots % 3, experts != 256);
        }
      }
      stream.synchronize();
    }

    @Test
    void dispatchOfManyChoices() {
      for (int experts : new int[] {1, 256, 1024}) {
        requireSorted(choices(random, 65536, experts), 8192, 8, experts, 0, true);
        requireSorted(choices(random, 65538, experts), 10923, 6, experts, 1, false);
      }
      stream.synchronize();
    }

    @Test
    void dispatchOfSpecialChoices() {
      int[] one = new int[20000];
      Arrays.fill(one, 17);
      requireSorted(one, 4000, 5, 64, 0, true);
      int[] each = IntStream.range(0, 1024).map(i -> (i * 389 + 5) % 1024).toArray();
      ExpertsReference.Dispatch d = requireSorted(each, 128, 8, 1024, 0, true);
      assertThat(d.offsets()).isEqualTo(IntStream.rangeClosed(0, 1024).toArray());
      int[] two = IntStream.range(0, 3000).map(i -> i % 7 == 0 ? 200 : 3).toArray();
      requireSorted(two, 500, 6, 256, 0, true);
      stream.synchronize();
    }

    @Test
    void dispatchReportsWhatIsNoExpert() {
      for (int bad : new int[] {-1, 64, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
        for (int at : new int[] {0, 3, 299, 6005}) {
          int tokens = at < 6 ? 1 : at < 300 ? 50 : 1001;
          int[] chosen = choices(random, tokens * 6, 64);
          chosen[at] = bad;
          requireSorted(chosen, tokens, 6, 64, 1, true);
          requireReport(Op.EXPERT_DISPATCH, at / 6, at % 6);
        }
      }
      int[] none = new int[600];
      Arrays.fill(none, -1);
      requireSorted(none, 100, 6, 64, 0, true);
      assertThat(catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize()))
          .isNotNull();
    }

    private void requireReport(Op op, long row, long column) {
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.op()).isEqualTo(op);
      assertThat(report.causes().get(op)).containsExactly(Cause.INDEX_OUT_OF_RANGE);
      assertThat(report.row()).isEqualTo(row);
      assertThat(report.column()).isEqualTo(column);
      stream.synchronize(); // A fault is reported once.
    }

    @Test
    void dispatchWritesNothingBetweenRows() {
      Tensor whole = ids(new int[40], 5, 8, 0);
      poison(whole);
      Tensor positions = whole.slice(arena, 1, 1, 3);
      int[] chosen = choices(random, 15, 4);
      ExpertDispatch.run(
          stream, ids(chosen, 5, 3, 0), vector(DType.I32, 5), vector(DType.I32, 15), positions);
      int[] expected = ExpertsReference.dispatch(chosen, null, 5, 3, 4).positions();
      int[] all = ints(whole);
      for (int i = 0; i < all.length; i++) {
        int j = i % 8 - 1;
        assertThat(all[i]).isEqualTo(j >= 0 && j < 3 ? expected[i / 8 * 3 + j] : 0xA5A5A5A5);
      }
      stream.synchronize();
    }

    @Test
    void dispatchOfNoTokensHasOffsets() {
      Tensor offsets = vector(DType.I32, 385);
      Tensor none = device.allocate(arena, DType.I32, 0, 6);
      ExpertDispatch.run(stream, none, offsets, device.allocate(arena, DType.I32, 0), none);
      assertThat(ints(offsets)).containsOnly(0).hasSize(385);
      stream.synchronize();
    }

    // --- combine

    /// Positions of which some are -1, and weights that are NaN there.
    private int[] positions(int count, int rows) {
      return random
          .ints(count, 0, Math.max(1, rows) * 10)
          .map(p -> rows == 0 || p % 10 == 9 ? -1 : p / 10)
          .toArray();
    }

    private float[] weights(int[] positions) {
      float[] weights = new float[positions.length];
      for (int i = 0; i < weights.length; i++) {
        weights[i] = positions[i] == -1 ? Float.NaN : (float) random.nextGaussian();
      }
      return weights;
    }

    private static float[] rounded(DType dtype, float[] values) {
      float[] result = values.clone();
      for (int i = 0; dtype == DType.BF16 && i < result.length; i++) {
        result[i] = Bf16.round(result[i]);
      }
      return result;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 6, 7, 8, 9, 16})
    void combineEqualsTheReference(int slots) {
      for (DType dtype : List.of(DType.BF16, DType.F32)) {
        for (DType to : List.of(DType.BF16, DType.F32)) {
          for (int columns : new int[] {1, 8, 67, 256, 1024}) {
            for (int rows : new int[] {0, 1, 40}) {
              for (int form = 0; form < 4; form++) {
                int tokens = 1 + random.nextInt(12);
                int gap = random.nextInt(3) * (random.nextBoolean() ? 8 : 1);
                float[] y = rows == 0 ? new float[0] : values.withNonFinite(dtype, rows, columns);
                float[] shared = values.finite(dtype, tokens, columns);
                int[] at = positions(tokens * slots, rows);
                float[] w = weights(at);
                boolean weighted = (form & 1) != 0;
                boolean extra = (form & 2) != 0;
                Tensor out = output(to, tokens, columns, columns + gap);
                ExpertCombine.run(
                    stream,
                    upload(dtype, y, rows, columns, columns + gap),
                    ids(at, tokens, slots, gap),
                    weighted ? upload(DType.F32, w, tokens, slots, slots + gap) : null,
                    extra ? upload(dtype, shared, tokens, columns, columns + gap) : null,
                    out);
                float[] expected =
                    ExpertsReference.combine(
                        y, columns, at, weighted ? w : null, extra ? shared : null, tokens, slots);
                requireEqual("out", rounded(to, expected), floats(out));
              }
            }
          }
        }
      }
      stream.synchronize();
    }

    @Test
    void combineInPlace() {
      for (DType dtype : List.of(DType.BF16, DType.F32)) {
        for (int columns : new int[] {64, 99}) {
          float[] y = values.finite(dtype, 30, columns);
          float[] shared = values.finite(dtype, 11, columns);
          int[] at = positions(11 * 6, 30);
          float[] w = weights(at);
          Tensor out = upload(dtype, shared, 11, columns, columns + 8);
          ExpertCombine.run(
              stream,
              upload(dtype, y, 30, columns),
              ids(at, 11, 6, 0),
              upload(DType.F32, w, 11, 6),
              out,
              out);
          float[] expected = ExpertsReference.combine(y, columns, at, w, shared, 11, 6);
          requireEqual("out", rounded(dtype, expected), floats(out));
        }
      }
      stream.synchronize();
    }

    @Test
    void combineReportsWhatIsNoRow() {
      float[] y = values.finite(DType.BF16, 20, 64);
      for (int bad : new int[] {-2, 20, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
        for (int columns : new int[] {64, 61}) {
          int[] at = positions(50 * 6, 20);
          at[41 * 6 + 5] = bad;
          Tensor out = output(DType.F32, 50, columns, columns);
          Tensor all = upload(DType.BF16, y, 20, 64);
          ExpertCombine.run(
              stream, all.slice(arena, 1, 0, columns), ids(at, 50, 6, 2), null, null, out);
          float[] some = new float[20 * columns];
          for (int i = 0; i < some.length; i++) {
            some[i] = y[i / columns * 64 + i % columns];
          }
          requireEqual(
              "out", ExpertsReference.combine(some, columns, at, null, null, 50, 6), floats(out));
          requireReport(Op.EXPERT_COMBINE, 41, 5);
        }
      }
    }

    @Test
    void combineOfNothing() {
      Tensor y = upload(DType.F32, new float[32], 2, 16);
      Tensor none = device.allocate(arena, DType.F32, 0, 16);
      ExpertCombine.run(stream, y, device.allocate(arena, DType.I32, 0, 6), null, null, none);
      // No rows at all: zeros, or what the shared expert gave.
      Tensor out = output(DType.F32, 3, 16, 16);
      ExpertCombine.run(stream, none, ids(new int[] {-1, -1, -1}, 3, 1, 0), null, null, out);
      requireEqual("out", new float[48], floats(out));
      stream.synchronize();
    }

    /// Hostile ids and positions, and weights of any kind: nothing but the outputs changes.
    @Test
    void anyBitsAreSafe() {
      for (int tokens : new int[] {1, 300}) {
        int[] chosen = random.ints(tokens * 6L).toArray();
        for (int i = 0; i < chosen.length; i += 5) {
          chosen[i] = HOSTILE[i / 5 % 3];
        }
        requireSorted(chosen, tokens, 6, 1024, 0, true);
        float[] y = values.finite(DType.F32, 4, 32);
        Tensor out = output(DType.F32, tokens, 32, 40);
        ExpertCombine.run(
            stream, upload(DType.F32, y, 4, 32), ids(chosen, tokens, 6, 0), null, null, out);
        requireEqual(
            "out", ExpertsReference.combine(y, 32, chosen, null, null, tokens, 6), floats(out));
      }
      assertThat(catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize()))
          .isNotNull();
    }

    /// Replays of a graph, each with other choices.
    @Test
    void replaysGiveTheSameBitsEveryTime() {
      int tokens = 400;
      int columns = 128;
      Tensor chosen = ids(new int[tokens * 6], tokens, 6, 0);
      Tensor weights = upload(DType.F32, values.finite(DType.F32, tokens, 6), tokens, 6);
      Tensor offsets = vector(DType.I32, 257);
      Tensor rows = vector(DType.I32, tokens * 6);
      Tensor positions = ids(new int[tokens * 6], tokens, 6, 0);
      Tensor rowWeights = vector(DType.F32, tokens * 6);
      Tensor y =
          upload(DType.BF16, values.finite(DType.BF16, tokens * 6, columns), tokens * 6, columns);
      Tensor out = output(DType.BF16, tokens, columns, columns);
      Tensor[] written = {offsets, rows, positions, rowWeights, out};
      try (Graph graph =
          stream.capture(() -> {
            ExpertDispatch.run(stream, chosen, weights, offsets, rows, positions, rowWeights);
            ExpertCombine.run(stream, y, positions, weights, null, out);
          })) {
        for (int round = 0; round < 3; round++) {
          int[] ids = choices(random, tokens * 6, 256);
          ids(ids, tokens, 6, 0).copyTo(stream, chosen);
          byte[][] first = new byte[written.length][];
          for (int i = 0; i < 4; i++) {
            for (Tensor each : written) {
              poison(each);
            }
            graph.launch(stream);
            for (int n = 0; n < written.length; n++) {
              byte[] bytes = bytes(written[n]);
              first[n] = i == 0 ? bytes : first[n];
              requireEqual("output " + n, first[n], bytes);
            }
          }
          ExpertsReference.Dispatch d =
              ExpertsReference.dispatch(ids, floats(weights), tokens, 6, 256);
          assertThat(ints(positions)).isEqualTo(d.positions());
          requireEqual(
              "out",
              rounded(
                  DType.BF16,
                  ExpertsReference.combine(
                      floats(y), columns, d.positions(), floats(weights), null, tokens, 6)),
              floats(out));
        }
      }
      stream.synchronize();
    }
  }
}
