// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.RouterReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// router_hash against the reference: the table's experts, and weights near those of exact logits;
/// and against the goldens.
final class RouterHashTest {
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

  abstract static class Contract extends RouterOnDevice {
    Contract(String id) {
      super(id);
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

    @ParameterizedTest
    @MethodSource("cases")
    void isRight(Case c) {
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

    /// Of a model's size. A GPU gives each of up to three tokens a multiprocessor a thread block of
    /// its own, and shares out the columns of more.
    @ParameterizedTest
    @ValueSource(ints = {1, 64, 500})
    void weighsAsBinary64Does(int tokens) {
      Values values = new Values(200 + tokens);
      Problem p = Problem.of(values, DType.BF16, Gate.BF16, tokens, 384, 7168);
      long[] table = new long[6 * 100];
      Arrays.setAll(table, i -> values.random().nextInt(384));
      long[] ids = new long[tokens];
      Arrays.setAll(ids, i -> values.random().nextInt(100));
      Made made = hash(p, 6, Gaps.NONE, true, table, ids);
      int[] indices = ints(made.indices());
      assertThat(indices).containsExactly(RouterReference.lookUp(table, ids, 384, 6));
      float[] weights = values(made.weights());
      for (int t : someOf(tokens)) {
        requireWeights(
            p.token(t).logits(),
            Arrays.copyOfRange(indices, 6 * t, 6 * t + 6),
            Arrays.copyOfRange(weights, 6 * t, 6 * t + 6));
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void reportsALogitThatIsNotFinite(float bad) {
      for (Gate gate : Gate.values()) {
        Problem good = Problem.of(new Values(93), DType.F32, gate, 20, 30, 64);
        Problem p = good.withX(with(good.x(), 13 * 64 + 7, bad));
        hash(p, 4, Gaps.NONE, true, new long[] {3, 1, 4, 1}, new long[20]);
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.op()).isEqualTo(Op.ROUTER_HASH);
        assertThat(report.causes().get(Op.ROUTER_HASH)).containsExactly(Cause.NON_FINITE_RESULT);
        assertThat(report.row()).isEqualTo(13);
        assertThat(report.column()).isIn(1L, 3L, 4L);
        stream.synchronize(); // A fault is reported once.
      }
    }

    @Test
    void reportsBadScalesOfRowsThatAreRead() {
      Problem p = Problem.of(new Values(94), DType.BF16, Gate.NVFP4, 3, 20, 64);
      for (int scale : new int[] {0x7f, 0x80, 0xff}) {
        p.quantized().scales()[7 * 4 + 2] = (byte) scale;
        hash(p, 2, Gaps.NONE, false, new long[] {6, 8}, new long[3]);
        stream.synchronize();
        hash(p, 2, Gaps.NONE, false, new long[] {6, 7}, new long[3]);
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.causes().get(Op.ROUTER_HASH))
            .containsExactlyInAnyOrder(Cause.BAD_BLOCK_SCALE, Cause.NON_FINITE_RESULT);
      }
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
        hash(p, 4, Gaps.NONE, false, new long[8], new long[0]);
      }
      stream.synchronize();
    }

    @Test
    void isNearTheGoldens() throws Exception {
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
