// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.RouterReference;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// router_dense against the reference: logits within their bound, what is behind them bit for bit;
/// and against the goldens.
final class RouterDenseTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }

    /// Rounded once, of NVFP4 twice.
    @Override
    double allowed(RouterReference.Logits logits, int i, boolean quantized) {
      return (quantized ? 2.01 : 1.01) * 0x1p-24 * Math.abs(logits.exact()[i])
          + 1e-12 * logits.magnitudes()[i];
    }
  }

  @Nested
  @Gpu
  final class Cuda extends Contract {
    Cuda() {
      super("cuda:0");
    }

    /// Of random data, where no two experts are so near that rounding decides.
    @ParameterizedTest
    @EnumSource(Gate.class)
    void choosesAsTheCpuDoes(Gate gate) {
      Problem p = Problem.of(new Values(99), DType.BF16, gate, 50, 256, 1024);
      Made there = dense(p, 6, Gaps.NONE, true);
      RouterReference.Logits logits = p.logits();
      double[] margins = RouterReference.margins(logits.exact(), p.bias(), 50, 256, 6);
      RouterReference.Choice choice =
          RouterReference.choose(logits.values(), p.bias(), 50, 256, 6, SCALE);
      int[] indices = ints(there.indices());
      int compared = 0;
      for (int t = 0; t < 50; t++) {
        double largest = 0;
        for (int e = 0; e < 256; e++) {
          largest = Math.max(largest, logits.bound(t * 256 + e));
        }
        if (margins[t] > 2 * largest) {
          compared++;
          int[] mine = Arrays.copyOfRange(indices, 6 * t, 6 * t + 6);
          int[] expected = Arrays.copyOfRange(choice.indices(), 6 * t, 6 * t + 6);
          assertThat(mine).containsExactlyInAnyOrder(expected);
        }
      }
      assertThat(compared).isGreaterThan(25);
      stream.synchronize();
    }
  }

  abstract static class Contract extends RouterOnDevice {
    Contract(String id) {
      super(id);
    }

    /// How far a logit may be from the exact one.
    double allowed(RouterReference.Logits logits, int i, boolean quantized) {
      return logits.bound(i);
    }

    Made dense(Problem p, int topk, Gaps gaps, boolean withLogits) {
      Made made = outputs(p.tokens(), topk, p.experts(), gaps);
      Tensor x = strided(p.dtype(), p.x(), gaps, p.tokens(), p.columns()).view();
      Tensor bias = upload(p.bias());
      Tensor indices = made.indices().view();
      Tensor weights = made.weights().view();
      Tensor logits = withLogits ? made.logits().view() : null;
      RouterOptions options = RouterOptions.of(SCALE);
      if (p.gate() == Gate.NVFP4) {
        Nvfp4Tensor weight = upload(p.quantized(), ScaleLayout.LINEAR);
        RouterDense.run(stream, x, weight, bias, indices, weights, logits, options);
      } else {
        RouterDense.run(stream, x, weight(p, gaps), bias, indices, weights, logits, options);
      }
      return made;
    }

    /// Logits within their bound, and the choice that those logits make. The logits.
    private float[] requireRight(Problem p, int topk, Made made) {
      RouterReference.Logits expected = p.logits();
      float[] logits = values(made.logits());
      for (int i = 0; i < logits.length; i++) {
        double exact = expected.exact()[i];
        boolean right =
            Double.isFinite(exact)
                ? Math.abs(logits[i] - exact) <= allowed(expected, i, p.gate() == Gate.NVFP4)
                : Float.floatToRawIntBits(logits[i])
                    == Float.floatToRawIntBits(expected.values()[i]);
        if (!right) {
          throw new AssertionError("logit " + i + " is " + logits[i] + ", expected about " + exact);
        }
      }
      RouterReference.Choice choice =
          RouterReference.choose(logits, p.bias(), p.tokens(), p.experts(), topk, SCALE);
      assertThat(ints(made.indices())).containsExactly(choice.indices());
      requireEqual("weights", choice.weights(), values(made.weights()));
      return logits;
    }

    @ParameterizedTest
    @MethodSource("cases")
    void isRight(Case c) {
      for (int tokens : new int[] {1, 2, 9, 33}) {
        for (Gaps gaps : List.of(Gaps.NONE, GAPPED)) {
          Values values = new Values(90 + tokens);
          Problem p = Problem.of(values, c.dtype(), c.gate(), tokens, c.experts(), c.columns());
          Made made = dense(p, c.topk(), gaps, true);
          requireRight(p, c.topk(), made);
          Made without = dense(p, c.topk(), gaps, false);
          assertThat(ints(without.indices())).containsExactly(ints(made.indices()));
          requireEqual("weights", values(made.weights()), values(without.weights()));
          assertThat(bytes(without.logits().whole())).containsOnly(POISON);
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(Gate.class)
    void biasesMayBeLargeOrInfinite(Gate gate) {
      Values values = new Values(91);
      Problem p = Problem.of(values, DType.BF16, gate, 5, 40, 64);
      float[][] biases = new float[3][40];
      for (int e = 0; e < 40; e++) {
        biases[0][e] = e % 3 == 0 ? 1e4f : -1e4f;
        biases[1][e] = e % 9 == 4 ? Float.POSITIVE_INFINITY : Float.NEGATIVE_INFINITY;
        biases[2][e] = e % 2 == 0 ? Float.NaN : -e;
      }
      for (float[] bias : biases) {
        Problem other = p.withBias(bias);
        requireRight(other, 8, dense(other, 8, Gaps.NONE, true));
      }
      stream.synchronize();
    }

    /// W is the identity, so that a logit is x.
    private Problem logits(float[] logits, int tokens, int experts, float[] bias) {
      float[] identity = new float[experts * experts];
      for (int e = 0; e < experts; e++) {
        identity[e * experts + e] = 1;
      }
      Nvfp4Matrix none =
          new Nvfp4Matrix(0, 16, new byte[0], new byte[0], GlobalScale.TENSOR, new float[1]);
      return new Problem(
          DType.F32, Gate.F32, tokens, experts, experts, logits, identity, none, bias);
    }

    @Test
    void equalScoresGoToTheLowestExpert() {
      float[] equal = new float[3 * 40];
      Arrays.fill(equal, 0, 40, 1.25f);
      Arrays.fill(equal, 40, 80, -200);
      // Of the last token some are higher, and all of those alike.
      for (int e = 0; e < 40; e++) {
        equal[80 + e] = e % 3 == 1 ? 7 : 3;
      }
      Made made = dense(logits(equal, 3, 40, new float[40]), 6, Gaps.NONE, true);
      assertThat(ints(made.indices()))
          .containsExactly(0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 1, 4, 7, 10, 13, 16);
      float[] weights = values(made.weights());
      for (int i = 0; i < 18; i++) {
        assertThat((double) weights[i]).isCloseTo(i / 6 == 1 ? 0 : SCALE / 6.0, within(1e-6));
      }
      stream.synchronize();
    }

    /// Of a model's size. A GPU has a kernel for up to 64 tokens, whose shape depends on how many
    /// there are, and another for more.
    @ParameterizedTest
    @ValueSource(ints = {1, 8, 64, 300})
    void choosesAndWeighsAsBinary64Does(int tokens) {
      // A single token may be one of the few whose margin is too small to tell.
      int calls = tokens == 1 ? 4 : 1;
      int some = 0;
      int compared = 0;
      for (int call = 0; call < calls; call++) {
        Values values = new Values(100 + tokens + call);
        Problem p = Problem.of(values, DType.BF16, Gate.BF16, tokens, 384, 7168);
        Made made = dense(p, 6, Gaps.NONE, false);
        int[] indices = ints(made.indices());
        float[] weights = values(made.weights());
        for (int t : someOf(tokens)) {
          int[] mine = Arrays.copyOfRange(indices, 6 * t, 6 * t + 6);
          RouterReference.Logits logits = p.token(t).logits();
          some++;
          if (choosesAsBinary64Does(logits, p.bias(), mine)) {
            compared++;
          }
          requireWeights(logits, mine, Arrays.copyOfRange(weights, 6 * t, 6 * t + 6));
        }
      }
      assertThat(compared).isGreaterThanOrEqualTo(some / 2);
      stream.synchronize();
    }

    /// Requires the six that binary64 chooses, in order, where margins are at least 1e-5; whether
    /// they are.
    private static boolean choosesAsBinary64Does(
        RouterReference.Logits logits, float[] bias, int[] indices) {
      double[] b = new double[384];
      Arrays.setAll(b, e -> RouterReference.score(logits.exact()[e]) + bias[e]);
      int[] order =
          IntStream.range(0, 384)
              .boxed()
              .sorted(Comparator.comparing(e -> b[e], Comparator.reverseOrder()))
              .mapToInt(e -> e)
              .toArray();
      // Not only of the sixth to the next: the six have an order too.
      double margin =
          IntStream.range(0, 6).mapToDouble(j -> b[order[j]] - b[order[j + 1]]).min().orElse(0);
      if (margin < 1e-5) {
        return false;
      }
      assertThat(indices).containsExactly(Arrays.copyOf(order, 6));
      return true;
    }

    /// The same size; that equal rows have equal logits is up to the kernel.
    @ParameterizedTest
    @ValueSource(ints = {1, 8, 64, 300})
    void equalRowsGoToTheLowestExpert(int tokens) {
      Problem one = Problem.of(new Values(500 + tokens), DType.BF16, Gate.BF16, tokens, 1, 7168);
      float[] rows = new float[384 * 7168];
      for (int e = 0; e < 384; e++) {
        System.arraycopy(one.weight(), 0, rows, e * 7168, 7168);
      }
      Tensor x = contiguous(DType.BF16, one.x(), tokens, 7168);
      Tensor weight = contiguous(DType.BF16, rows, 384, 7168);
      float[] bias = new float[384];
      requireEverywhere(x, weight, bias, 0, 1, 2, 3, 4, 5);
      // Alike and higher: three that are far apart, in different thread blocks.
      bias[99] = bias[199] = bias[299] = 1;
      requireEverywhere(x, weight, bias, 99, 199, 299, 0, 1, 2);
      stream.synchronize();
    }

    /// These experts, of equal weights, for every token.
    private void requireEverywhere(Tensor x, Tensor weight, float[] bias, int... experts) {
      int tokens = (int) x.shape(0);
      Made made = outputs(tokens, 6, 384, Gaps.NONE);
      Tensor indices = made.indices().view();
      Tensor weights = made.weights().view();
      RouterOptions options = RouterOptions.of(SCALE);
      RouterDense.run(stream, x, weight, upload(bias), indices, weights, null, options);
      int[] expected = new int[6 * tokens];
      Arrays.setAll(expected, i -> experts[i % 6]);
      assertThat(ints(made.indices())).containsExactly(expected);
      double[] equal = new double[6 * tokens];
      Arrays.fill(equal, SCALE / 6.0);
      requireClose(equal, values(made.weights()), 2e-6);
    }

    @Test
    void takesItsScale() {
      Problem p = Problem.of(new Values(92), DType.BF16, Gate.BF16, 4, 32, 64);
      Tensor x = contiguous(p.dtype(), p.x(), 4, 64);
      Tensor weight = contiguous(DType.BF16, p.weight(), 32, 64);
      float[] sums = new float[3];
      RouterOptions[] all = {RouterOptions.FLASH, RouterOptions.PRO, RouterOptions.of(1)};
      for (int i = 0; i < 3; i++) {
        Made made = outputs(4, 6, 32, Gaps.NONE);
        RouterDense.run(
            stream,
            x,
            weight,
            upload(p.bias()),
            made.indices().view(),
            made.weights().view(),
            null,
            all[i]);
        for (float w : values(made.weights())) {
          sums[i] += w / 4;
        }
        assertThat(sums[i]).isCloseTo(all[i].scale(), within(1e-5f));
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void reportsALogitThatIsNotFinite(float bad) {
      for (Gate gate : Gate.values()) {
        Problem good = Problem.of(new Values(93), DType.F32, gate, 20, 30, 64);
        Problem p = good.withX(with(good.x(), 13 * 64 + 7, bad));
        requireRight(p, 4, dense(p, 4, Gaps.NONE, true));
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.op()).isEqualTo(Op.ROUTER_DENSE);
        assertThat(report.causes().get(Op.ROUTER_DENSE)).containsExactly(Cause.NON_FINITE_RESULT);
        assertThat(report.row()).isEqualTo(13);
        assertThat(report.column()).isBetween(0L, 29L);
        stream.synchronize(); // A fault is reported once.
      }
    }

    @Test
    void reportsBadScales() {
      Problem p = Problem.of(new Values(94), DType.BF16, Gate.NVFP4, 3, 20, 64);
      for (int scale : new int[] {0x7f, 0x80, 0xff}) {
        p.quantized().scales()[7 * 4 + 2] = (byte) scale;
        requireRight(p, 4, dense(p, 4, Gaps.NONE, true));
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.causes().get(Op.ROUTER_DENSE))
            .containsExactlyInAnyOrder(Cause.BAD_BLOCK_SCALE, Cause.NON_FINITE_RESULT);
      }
      p.quantized().scales()[7 * 4 + 2] = 0x30;
      p.quantized().globalScales()[0] = -0.125f;
      requireRight(p, 4, dense(p, 4, Gaps.NONE, true));
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.causes().get(Op.ROUTER_DENSE)).containsExactly(Cause.BAD_GLOBAL_SCALE);
      assertThat(report.row()).isEqualTo(-1);
    }

    @Test
    void acceptsNoTokens() {
      for (Gate gate : Gate.values()) {
        Problem p = Problem.of(new Values(96), DType.BF16, gate, 0, 8, 64);
        dense(p, 4, Gaps.NONE, true);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(Gate.class)
    void givesTheSameBitsEveryTime(Gate gate) {
      for (int tokens : new int[] {1, 16, 150}) {
        Problem p = Problem.of(new Values(tokens), DType.BF16, gate, tokens, 256, 512);
        Made first = dense(p, 6, Gaps.NONE, true);
        for (int i = 0; i < 3; i++) {
          Made again = dense(p, 6, Gaps.NONE, true);
          requireEqual("logits", values(first.logits()), values(again.logits()));
          assertThat(ints(again.indices())).containsExactly(ints(first.indices()));
          requireEqual("weights", values(first.weights()), values(again.weights()));
        }
      }
      stream.synchronize();
    }

    @Test
    void isNearTheGoldens() throws Exception {
      Golden golden = golden("router_dense_flash");
      Problem p = problem(golden, 24, 256, 512).withBias(golden.floats("bias"));
      Made made = dense(p, 6, Gaps.NONE, true);
      requireRight(p, 6, made);
      // The smallest margin is 1e-3, which no logit is off by.
      assertThat(ints(made.indices())).containsExactly(ints(golden, "indices"));
      requireClose(golden.doubles("weights_f64"), values(made.weights()), 4e-6);
      stream.synchronize();
    }

    @ParameterizedTest
    @CsvSource({"b0", "bbig", "bneg", "brand"})
    void isNearTheGoldensOfEdges(String variant) throws Exception {
      Golden golden = golden("router_dense_edges");
      Problem p = logits(golden.floats("x"), 10, 16, golden.floats(variant + "_bias"));
      Tensor x = contiguous(DType.F32, p.x(), 10, 16);
      Tensor weight = contiguous(DType.F32, p.weight(), 16, 16);
      Made made = outputs(10, 4, 16, Gaps.NONE);
      RouterDense.run(
          stream,
          x,
          weight,
          upload(p.bias()),
          made.indices().view(),
          made.weights().view(),
          made.logits().view(),
          RouterOptions.PRO);
      requireEqual("logits", p.logits().values(), values(made.logits()));
      assertThat(ints(made.indices())).containsExactly(ints(golden, variant + "_indices_stable"));
      requireClose(golden.doubles(variant + "_weights_f64"), values(made.weights()), 2e-6);
      stream.synchronize();
    }
  }
}
