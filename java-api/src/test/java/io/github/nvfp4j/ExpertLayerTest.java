// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.ExpertsReference;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// A layer of experts from its tokens to their sums: dispatch, quantize with a gather, gate and up,
/// quantize, down, combine, against a loop over tokens that knows nothing of sorting. Operands are
/// such that every product is certain: what comes out is the loop's, bit for bit.
@Timeout(300)
final class ExpertLayerTest {
  /// Where the weights of choices come in.
  enum Weights {
    BEFORE_DOWN,
    AT_COMBINE
  }

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
    private static final int T = 41;
    private static final int SLOTS = 3;
    private static final int EXPERTS = 7;
    private static final int D = 256;
    private static final int I = 32;
    private static final float LIMIT = 10;

    private final Random random = new Values(302).random();

    Contract(String id) {
      super(id);
    }

    /// Values that quantize keeps, each block's largest the same.
    private float[] tokens() {
      float[] x = new float[T * D];
      float[] e2m1 = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
      for (int i = 0; i < x.length; i++) {
        float magnitude = i % 16 == 5 ? 6 : e2m1[random.nextInt(8)];
        x[i] = (random.nextBoolean() ? magnitude : -magnitude) * (i / D % 2 == 0 ? 1 : 0.125f);
      }
      return x;
    }

    /// Different experts for a token; the last but one is nobody's.
    private int[] chosen() {
      int[] chosen = new int[T * SLOTS];
      List<Integer> all = new ArrayList<>();
      for (int e = 0; e < EXPERTS; e++) {
        if (e != EXPERTS - 2) {
          all.add(e);
        }
      }
      for (int t = 0; t < T; t++) {
        Collections.shuffle(all, random);
        for (int j = 0; j < SLOTS; j++) {
          chosen[t * SLOTS + j] = all.get(j);
        }
      }
      return chosen;
    }

    private static float[] row(float[] x, int row) {
      return Arrays.copyOfRange(x, row * D, (row + 1) * D);
    }

    private static Nvfp4Matrix quantised(float[] x, int rows, int columns) {
      return QuantizeReference.dynamic(
          x, rows, columns, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN);
    }

    /// What one expert makes of a token, and of its weight where that comes in before w2.
    private float[] expert(
        float[] token, Nvfp4Matrix gateUp, Nvfp4Matrix down, @Nullable Float weight, DType dtype) {
      GemmProduct first = GemmReference.gemm(quantised(token, 1, D), gateUp);
      assertThat(first.allCertain()).isTrue();
      float @Nullable [] factor = weight == null ? null : new float[] {weight};
      GemmExpectation h = first.expectSwiglu(factor, LIMIT, gamma(D));
      GemmProduct second = GemmReference.gemm(quantised(h.values(), 1, I), down);
      assertThat(second.allCertain()).isTrue();
      return second.expect(dtype, gamma(I)).values();
    }

    /// The loop over tokens.
    private float[] layer(
        float[] x,
        int[] chosen,
        float[] weights,
        List<Nvfp4Matrix> gateUp,
        List<Nvfp4Matrix> down,
        float[] shared,
        Weights where,
        DType dtype) {
      float[] out = new float[T * D];
      for (int t = 0; t < T; t++) {
        float[] sum = new float[D];
        for (int j = 0; j < SLOTS; j++) {
          int e = chosen[t * SLOTS + j];
          if (e < 0 || e >= EXPERTS) {
            continue;
          }
          float weight = weights[t * SLOTS + j];
          boolean before = where == Weights.BEFORE_DOWN;
          float[] y = expert(row(x, t), gateUp.get(e), down.get(e), before ? weight : null, dtype);
          for (int d = 0; d < D; d++) {
            sum[d] = before ? sum[d] + y[d] : Math.fma(weight, y[d], sum[d]);
          }
        }
        for (int d = 0; d < D; d++) {
          float all = sum[d] + shared[t * D + d];
          out[t * D + d] = dtype == DType.BF16 ? Bf16.round(all) : all;
        }
      }
      return out;
    }

    /// The layer on the device; `out` is `shared`, in place.
    private float[] run(
        float[] x,
        int[] chosen,
        float[] weights,
        List<Nvfp4Matrix> gateUp,
        List<Nvfp4Matrix> down,
        float[] shared,
        Weights where,
        DType dtype) {
      boolean before = where == Weights.BEFORE_DOWN;
      int rows = T * SLOTS;
      Tensor w = upload(DType.F32, weights, T, SLOTS);
      Tensor offsets = vector(DType.I32, EXPERTS + 1);
      Tensor source = vector(DType.I32, rows);
      Tensor positions = ids(new int[rows], T, SLOTS, 0);
      Tensor rowWeights = vector(DType.F32, rows);
      ExpertDispatch.run(
          stream, ids(chosen, T, SLOTS, 0), w, offsets, source, positions, rowWeights);

      Nvfp4Tensor xq = output(rows, D, ScaleLayout.LINEAR, GlobalScale.ROW);
      Quantize.run(stream, upload(DType.BF16, x, T, D), source, xq, Quantize.Options.DYNAMIC);
      requireEqual(quantised(gathered(x, chosen), rows, D), xq);

      Tensor h = output(DType.BF16, rows, I, I);
      Gemm.Options gated = Gemm.Options.DEFAULT.withSwiglu(LIMIT);
      GroupedGemm.run(stream, xq, upload(gateUp), offsets, before ? rowWeights : null, h, gated);
      Nvfp4Tensor hq = output(rows, I, ScaleLayout.LINEAR, GlobalScale.ROW);
      Quantize.dynamic(stream, h, hq);
      Tensor y = output(dtype, rows, D, D);
      GroupedGemm.run(stream, hq, upload(down), offsets, y);
      Tensor out = upload(dtype, shared, T, D);
      ExpertCombine.run(stream, y, positions, before ? null : w, out, out);
      return floats(out);
    }

    /// The tokens of sorted rows; rows of nobody are zeros, as quantize makes them.
    private static float[] gathered(float[] x, int[] chosen) {
      int[] rows = ExpertsReference.dispatch(chosen, null, T, SLOTS, EXPERTS).rows();
      float[] all = new float[rows.length * D];
      for (int p = 0; p < rows.length; p++) {
        if (rows[p] >= 0) {
          System.arraycopy(x, rows[p] * D, all, p * D, D);
        }
      }
      return all;
    }

    private float[] weights() {
      float[] weights = new float[T * SLOTS];
      for (int i = 0; i < weights.length; i++) {
        weights[i] = 0.1f + random.nextFloat();
      }
      return weights;
    }

    @ParameterizedTest
    @EnumSource
    void isALoopOverTokens(Weights where) {
      for (DType dtype : List.of(DType.BF16, DType.F32)) {
        float[] x = tokens();
        int[] chosen = chosen();
        float[] weights = weights();
        List<Nvfp4Matrix> gateUp = stack(random, EXPERTS, 2 * I, D, GlobalScale.HALVES);
        List<Nvfp4Matrix> down = stack(random, EXPERTS, D, I, GlobalScale.GROUP);
        float[] shared = new Values(303).activations(dtype, T, D);
        requireEqual(
            "out",
            layer(x, chosen, weights, gateUp, down, shared, where, dtype),
            run(x, chosen, weights, gateUp, down, shared, where, dtype));
        stream.synchronize();
      }
    }

    /// Choices of no expert are reported, and cost the other choices nothing.
    @Test
    void choicesOfNoExpertAreLeftOut() {
      float[] x = tokens();
      int[] chosen = chosen();
      chosen[4] = -1;
      chosen[20 * SLOTS] = EXPERTS;
      for (int j = 0; j < SLOTS; j++) {
        chosen[(T - 1) * SLOTS + j] = Integer.MIN_VALUE;
      }
      float[] weights = weights();
      List<Nvfp4Matrix> gateUp = stack(random, EXPERTS, 2 * I, D, GlobalScale.GROUP);
      List<Nvfp4Matrix> down = stack(random, EXPERTS, D, I, GlobalScale.TENSOR);
      float[] shared = new Values(304).activations(DType.BF16, T, D);
      float[] out = run(x, chosen, weights, gateUp, down, shared, Weights.AT_COMBINE, DType.BF16);
      requireEqual(
          "out",
          layer(x, chosen, weights, gateUp, down, shared, Weights.AT_COMBINE, DType.BF16),
          out);
      requireEqual("a token without experts", row(shared, T - 1), row(out, T - 1));
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.op()).isEqualTo(Op.EXPERT_DISPATCH);
      assertThat(report.causes().get(Op.EXPERT_DISPATCH)).containsExactly(Cause.INDEX_OUT_OF_RANGE);
      // The rows left over are gathered from nowhere.
      assertThat(report.causes().get(Op.QUANTIZE)).contains(Cause.INDEX_OUT_OF_RANGE);
      assertThat(report.causes()).doesNotContainKey(Op.EXPERT_COMBINE);
    }
  }
}
