// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.assertj.core.api.Assertions.within;

import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.RouterReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// router_dense and router_hash against the reference: logits within their bound, what is behind
/// them bit for bit; and against the goldens.
final class RouterTest {
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

  /// What the gate's weight is.
  enum Gate {
    BF16,
    F32,
    NVFP4
  }

  /// x and the gate, as the reference takes them.
  record Problem(
      DType dtype,
      Gate gate,
      int tokens,
      int experts,
      int columns,
      float[] x,
      float[] weight,
      Nvfp4Matrix quantized,
      float[] bias) {
    static Problem of(Values values, DType dtype, Gate gate, int tokens, int experts, int columns) {
      float[] x = new float[tokens * columns];
      for (int i = 0; i < x.length; i++) {
        x[i] = Values.round(dtype, (float) values.random().nextGaussian());
      }
      DType of = gate == Gate.BF16 ? DType.BF16 : DType.F32;
      float[] weight = new float[gate == Gate.NVFP4 ? 0 : experts * columns];
      for (int i = 0; i < weight.length; i++) {
        double w = values.random().nextGaussian() * 2 / Math.sqrt(columns);
        weight[i] = Values.round(of, (float) w);
      }
      int blocks = gate == Gate.NVFP4 ? experts * columns / 16 : 0;
      byte[] scales = new byte[blocks];
      for (int i = 0; i < scales.length; i++) {
        scales[i] = (byte) (0x30 + values.random().nextInt(16));
      }
      Nvfp4Matrix quantized =
          new Nvfp4Matrix(
              gate == Gate.NVFP4 ? experts : 0,
              gate == Gate.NVFP4 ? columns : 16,
              values.bytes(8 * blocks),
              scales,
              GlobalScale.TENSOR,
              new float[] {0.7f / (float) Math.sqrt(columns)});
      float[] bias = new float[experts];
      for (int e = 0; e < experts; e++) {
        bias[e] = (float) values.random().nextGaussian();
      }
      return new Problem(dtype, gate, tokens, experts, columns, x, weight, quantized, bias);
    }

    Problem withX(float[] other) {
      return new Problem(dtype, gate, tokens, experts, columns, other, weight, quantized, bias);
    }

    Problem withBias(float[] other) {
      return new Problem(dtype, gate, tokens, experts, columns, x, weight, quantized, other);
    }

    RouterReference.Logits logits() {
      return gate == Gate.NVFP4
          ? RouterReference.logits(x, quantized, tokens)
          : RouterReference.logits(x, weight, tokens, experts, columns);
    }
  }

  abstract static class Contract extends HcOnDevice {
    static final float SCALE = 1.5f;
    private static final Gaps GAPPED = new Gaps(3, 0);

    Contract(String id) {
      super(id);
    }

    /// How far a logit may be from the exact one.
    double allowed(RouterReference.Logits logits, int i, boolean quantized) {
      return logits.bound(i);
    }

    record Made(Strided indices, Strided weights, Strided logits) {}

    private Made outputs(int tokens, int topk, int experts, Gaps gaps) {
      return new Made(
          integers(tokens, topk, gaps),
          strided(DType.F32, null, gaps, tokens, topk),
          strided(DType.F32, null, gaps, tokens, experts));
    }

    private Strided integers(int rows, int columns, Gaps gaps) {
      Tensor whole = device.allocate(arena, DType.I32, rows, columns + gaps.columns());
      poison(whole);
      return new Strided(whole, whole.slice(arena, 1, 0, columns));
    }

    /// The integers of a result; nothing between them may have been written.
    int[] ints(Strided result) {
      int columns = (int) result.view().shape(1);
      int width = (int) result.whole().shape(1);
      int[] whole = result.whole().toHost(stream, arena).segment().toArray(ValueLayout.JAVA_INT);
      int[] ints = new int[(int) result.view().elements()];
      int count = 0;
      for (int i = 0; i < whole.length; i++) {
        if (i % width < columns) {
          ints[count++] = whole[i];
        } else {
          assertThat(whole[i]).as("between rows").isEqualTo(0xA5A5A5A5);
        }
      }
      return ints;
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

    private Tensor weight(Problem p, Gaps gaps) {
      DType dtype = p.gate() == Gate.F32 ? DType.F32 : DType.BF16;
      return strided(dtype, p.weight(), gaps, p.experts(), p.columns()).view();
    }

    private Tensor longs(boolean wide, long[] values, long... shape) {
      MemorySegment memory = arena.allocate(Math.max(1, values.length) * 8L, 64);
      for (int i = 0; i < values.length; i++) {
        if (wide) {
          memory.setAtIndex(ValueLayout.JAVA_LONG, i, values[i]);
        } else {
          memory.setAtIndex(ValueLayout.JAVA_INT, i, (int) values[i]);
        }
      }
      DType dtype = wide ? DType.I64 : DType.I32;
      Tensor host =
          Tensor.of(arena, memory.asSlice(0, values.length * dtype.bytes()), dtype, shape);
      return device.isCuda() ? host.to(stream, arena) : host;
    }

    private Made hash(Problem p, int topk, Gaps gaps, boolean wide, long[] table, long[] ids) {
      Made made = outputs(p.tokens(), topk, p.experts(), gaps);
      Tensor x = strided(p.dtype(), p.x(), gaps, p.tokens(), p.columns()).view();
      Tensor t = longs(wide, table, table.length / topk, topk);
      Tensor d = longs(wide, ids, ids.length);
      Tensor indices = made.indices().view();
      Tensor weights = made.weights().view();
      RouterOptions options = RouterOptions.of(SCALE);
      if (p.gate() == Gate.NVFP4) {
        Nvfp4Tensor weight = upload(p.quantized(), ScaleLayout.LINEAR);
        RouterHash.run(stream, x, weight, t, d, indices, weights, options);
      } else {
        RouterHash.run(stream, x, weight(p, gaps), t, d, indices, weights, options);
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

    /// Experts, columns, k: each number of columns on its own, as many experts as there may be.
    private static final int[][] SHAPES = {
      {1, 1, 1},
      {2, 3, 2},
      {7, 17, 6},
      {16, 16, 16},
      {64, 100, 6},
      {100, 512, 1},
      {256, 1040, 6},
      {384, 64, 6},
      {385, 32, 16},
      {1024, 48, 8}
    };

    record Case(DType dtype, Gate gate, int experts, int columns, int topk) {}

    static List<Case> cases() {
      List<Case> cases = new ArrayList<>();
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        for (Gate gate : Gate.values()) {
          for (int[] shape : SHAPES) {
            if (gate != Gate.NVFP4 || shape[1] % 16 == 0) {
              cases.add(new Case(dtype, gate, shape[0], shape[1], shape[2]));
            }
          }
        }
      }
      return cases;
    }

    @ParameterizedTest
    @MethodSource("cases")
    void denseIsRight(Case c) {
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
    @MethodSource("cases")
    void hashIsRight(Case c) {
      for (int tokens : new int[] {1, 9, 33}) {
        for (boolean wide : new boolean[] {false, true}) {
          Values values = new Values(190 + tokens);
          Gaps gaps = wide ? GAPPED : Gaps.NONE;
          Problem p = Problem.of(values, c.dtype(), c.gate(), tokens, c.experts(), c.columns());
          long[] table = new long[20 * c.topk()];
          Arrays.setAll(table, i -> values.random().nextInt(c.experts()));
          long[] ids = new long[tokens];
          Arrays.setAll(ids, i -> values.random().nextInt(20));
          Made made = hash(p, c.topk(), gaps, wide, table, ids);
          requireNearly(p, c.topk(), table, ids, made);
        }
      }
      stream.synchronize();
    }

    /// The table's experts, and weights that are near those of exact logits.
    private void requireNearly(Problem p, int topk, long[] table, long[] ids, Made made) {
      int[] indices = RouterReference.lookUp(table, ids, p.experts(), topk);
      assertThat(ints(made.indices())).containsExactly(indices);
      RouterReference.Logits logits = p.logits();
      double[] exact =
          RouterReference.weightsExact(
              logits.exact(), indices, p.tokens(), p.experts(), topk, SCALE);
      float[] weights = values(made.weights());
      for (int i = 0; i < weights.length; i++) {
        // Each logit moves a weight by less than half of itself, and by that again in the sum.
        double off = 2e-6;
        for (int j = i / topk * topk; j < (i / topk + 1) * topk; j++) {
          if (indices[j] >= 0) {
            off = Math.max(off, 2e-6 + logits.bound(i / topk * p.experts() + indices[j]));
          }
        }
        if (!(Math.abs(weights[i] - exact[i]) <= off * exact[i])) {
          throw new AssertionError("weight " + i + " is " + weights[i] + ", expected " + exact[i]);
        }
        if (indices[i] < 0) {
          assertThat(Float.floatToRawIntBits(weights[i])).isZero();
        }
      }
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
        long[] table = {3, 1, 4, 1};
        hash(p, 4, Gaps.NONE, true, table, new long[20]);
        report = catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.causes().get(Op.ROUTER_HASH)).containsExactly(Cause.NON_FINITE_RESULT);
        assertThat(report.row()).isEqualTo(13);
        assertThat(report.column()).isIn(1L, 3L, 4L);
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
        // Only of rows that are read.
        hash(p, 2, Gaps.NONE, false, new long[] {6, 8}, new long[3]);
        stream.synchronize();
        hash(p, 2, Gaps.NONE, false, new long[] {6, 7}, new long[3]);
        report = catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.causes().get(Op.ROUTER_HASH))
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

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void reportsIdsOutOfRange(boolean wide) {
      long[] table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1, 3};
      long[] ids = {0, -1, 3, 4, 1, Integer.MIN_VALUE, Integer.MAX_VALUE, 2};
      if (wide) {
        table[5] = Long.MIN_VALUE;
        table[6] = 1L << 32;
        table[7] = Long.MAX_VALUE;
        ids[1] = Long.MIN_VALUE;
        ids[3] = 1L << 32;
        ids[6] = Long.MAX_VALUE;
      }
      for (Gate gate : Gate.values()) {
        Problem p = Problem.of(new Values(95), DType.BF16, gate, 8, 8, 64);
        Made made = hash(p, 3, GAPPED, wide, table, ids);
        requireNearly(p, 3, table, ids, made);
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.op()).isEqualTo(Op.ROUTER_HASH);
        assertThat(report.causes().get(Op.ROUTER_HASH)).containsExactly(Cause.INDEX_OUT_OF_RANGE);
        assertThat(report.row()).isIn(1L, 2L, 3L, 4L, 5L, 6L, 7L);
      }
    }

    @Test
    void acceptsNoTokens() {
      for (Gate gate : Gate.values()) {
        Problem p = Problem.of(new Values(96), DType.BF16, gate, 0, 8, 64);
        dense(p, 4, Gaps.NONE, true);
        hash(p, 4, Gaps.NONE, false, new long[8], new long[0]);
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

    private static int[] ints(Golden golden, String name) {
      return golden.file().data(name).toArray(ValueLayout.JAVA_INT_UNALIGNED);
    }

    private static Problem problem(Golden golden, int tokens, int experts, int columns) {
      Nvfp4Matrix none =
          new Nvfp4Matrix(0, 16, new byte[0], new byte[0], GlobalScale.TENSOR, new float[1]);
      return new Problem(
          DType.F32,
          Gate.BF16,
          tokens,
          experts,
          columns,
          golden.floats("x"),
          golden.floats("weight"),
          none,
          new float[experts]);
    }

    private static void requireClose(double[] exact, float[] weights, double relative) {
      assertThat(weights).hasSameSizeAs(exact);
      for (int i = 0; i < exact.length; i++) {
        // Scores of logits below -104 are 0 in F32.
        if (!(Math.abs(weights[i] - exact[i]) <= 1e-18 + relative * exact[i])) {
          throw new AssertionError("weight " + i + " is " + weights[i] + ", expected " + exact[i]);
        }
      }
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

    @Test
    void isNearTheGoldensOfTheHashRouter() throws Exception {
      Golden golden = golden("router_hash_flash");
      Problem p = problem(golden, 16, 256, 256);
      long[] table = Arrays.stream(ints(golden, "tid2eid")).asLongStream().toArray();
      long[] ids = Arrays.stream(ints(golden, "input_ids")).asLongStream().toArray();
      for (boolean wide : new boolean[] {false, true}) {
        Made made = hash(p, 6, Gaps.NONE, wide, table, ids);
        assertThat(ints(made.indices())).containsExactly(ints(golden, "indices"));
        requireClose(golden.doubles("weights_f64"), values(made.weights()), 4e-6);
      }
      stream.synchronize();
    }
  }
}
