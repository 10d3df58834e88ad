// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.HcExpectation;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// hc_post_pre: its residual is hc_post's bit for bit, what it makes of that is within hc_pre's
/// bound, and its codes are quantize's of the row that it writes.
final class HcPostPreTest {
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

  abstract static class Contract extends HcOnDevice {
    private static final int[][] SHAPES = {
      {1, 1, 8},
      {4, 2, 272},
      {7, 3, 1000},
      {1, 4, 4096},
      {3, 4, 7168},
      {33, 4, 64},
      {5, 5, 48},
      {9, 8, 128},
      {2, 11, 16},
      {3, 16, 64}
    };

    private static final List<Gaps> GAPS = List.of(Gaps.NONE, new Gaps(8, 0), new Gaps(3, 1));

    Contract(String id) {
      super(id);
    }

    static List<Case> cases() {
      List<Case> cases = new ArrayList<>();
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        for (int[] shape : SHAPES) {
          cases.add(new Case(dtype, shape[0], shape[1], shape[2]));
        }
      }
      return cases;
    }

    /// Cases whose rows can be quantised.
    static List<Case> quantisable() {
      return cases().stream().filter(c -> c.columns() % 16 == 0).toList();
    }

    /// Inputs of the two steps; the last token has none but zeros.
    record Inputs(Behind before, Parameters next, float[] weight) {
      static Inputs of(long salt, Case c) {
        Values values = new Values(salt);
        float[] x = residual(values, c.dtype(), c.tokens(), c.n() * c.columns());
        float[] sub = residual(values, c.dtype(), c.tokens(), c.columns());
        float[] post = new float[c.tokens() * c.n()];
        for (int i = 0; i < post.length; i++) {
          post[i] = 2 * values.random().nextFloat();
        }
        float[] comb = new float[c.tokens() * c.n() * c.n()];
        for (int i = 0; i < comb.length; i++) {
          comb[i] = values.random().nextFloat() * 2 / c.n();
        }
        float[] weight = new float[c.columns()];
        for (int i = 0; i < weight.length; i++) {
          // A BF16 one has the same values.
          weight[i] = Bf16.round((float) (1 + values.random().nextGaussian() / 2));
        }
        Parameters next = Parameters.of(values, c.n(), c.columns(), false);
        return new Inputs(new Behind(x, sub, post, comb), next, weight);
      }

      HcExpectation expected(Case c) {
        return next.pre(before.reference(c), c.tokens(), c.n(), c.columns(), c.dtype());
      }
    }

    /// What a call wrote.
    private record Result(Strided out, Made made, @Nullable Written quantized) {}

    private @Nullable Tensor weight(Inputs in, @Nullable DType norm) {
      if (norm == null) {
        return null;
      }
      return norm == DType.F32
          ? upload(in.weight)
          : move(MemorySegment.ofArray(Bf16.encode(in.weight)), norm, in.weight.length);
    }

    private Tensor move(MemorySegment data, DType dtype, long... shape) {
      MemorySegment memory = arena.allocate(data.byteSize(), 64).copyFrom(data);
      return Tensor.of(arena, memory, dtype, shape).to(stream, arena);
    }

    /// One call without quantisation.
    private Result run(Case c, Inputs in, Gaps gaps, @Nullable DType norm) {
      return run(c, in, gaps, norm, true, null, null);
    }

    private Result run(
        Case c,
        Inputs in,
        Gaps gaps,
        @Nullable DType norm,
        boolean collapses,
        @Nullable Nvfp4Tensor quantized,
        Quantize.@Nullable Options options) {
      Strided out = strided(c.dtype(), null, gaps, c.tokens(), c.n(), c.columns());
      Made made = outputs(c, gaps);
      HcPostPre.run(
          stream,
          strided(c.dtype(), in.before.x(), gaps, c.tokens(), c.n(), c.columns()).view(),
          upload(c, gaps, in.before.sub()),
          uploadPost(c, gaps, in.before.post()),
          uploadComb(c, gaps, in.before.comb()),
          upload(in.next, gaps.columns()),
          weight(in, norm),
          out.view(),
          collapses ? made.collapsed().view() : null,
          made.post().view(),
          made.comb().view(),
          quantized,
          HcOptions.DEFAULT,
          options);
      return new Result(out, made, quantized == null ? null : read(quantized));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void isPostThenPre(Case c) {
      Inputs in = Inputs.of(90, c);
      HcExpectation expected = in.expected(c);
      for (Gaps gaps : GAPS) {
        Result result = run(c, in, gaps, null);
        requireEqual("out", in.before.reference(c), values(result.out));
        requireAllowed(expected, result.made);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void worksInPlace(Case c) {
      Inputs in = Inputs.of(91, c);
      for (Gaps gaps : GAPS) {
        Strided x = strided(c.dtype(), in.before.x(), gaps, c.tokens(), c.n(), c.columns());
        Made made = outputs(c, gaps);
        HcPostPre.run(
            stream,
            x.view(),
            upload(c, gaps, in.before.sub()),
            uploadPost(c, gaps, in.before.post()),
            uploadComb(c, gaps, in.before.comb()),
            upload(in.next, 0),
            x.view(),
            made.collapsed().view(),
            made.post().view(),
            made.comb().view(),
            HcOptions.DEFAULT);
        requireEqual("out", in.before.reference(c), values(x));
        requireAllowed(in.expected(c), made);
      }
      stream.synchronize();
    }

    /// The row that an exact one becomes, within the bound of the norm alone.
    private static GemmExpectation norm(float[] row, Inputs in, Case c) {
      double[] exact = new double[row.length];
      for (int i = 0; i < row.length; i++) {
        exact[i] = row[i];
      }
      return HcExpectation.norm(
          new GemmExpectation(row, exact, new double[row.length]),
          in.weight,
          c.tokens(),
          c.columns(),
          EPS,
          c.dtype());
    }

    @ParameterizedTest
    @MethodSource("cases")
    void normalisesTheCollapsedRow(Case c) {
      Inputs in = Inputs.of(92, c);
      HcExpectation expected = in.expected(c);
      for (Gaps gaps : GAPS) {
        float[] row = values(run(c, in, gaps, null).made.collapsed());
        byte[] former = null;
        for (DType type : List.of(DType.F32, DType.BF16)) {
          Result result = run(c, in, gaps, type);
          requireEqual("out", in.before.reference(c), values(result.out));
          requireAllowed("post", expected.post(), values(result.made.post()));
          requireAllowed("comb", expected.comb(), values(result.made.comb()));
          requireAllowed("collapsed", norm(row, in, c), values(result.made.collapsed()));
          byte[] bits = bytes(result.made.collapsed().view());
          requireEqual("the other type of weight", former == null ? bits : former, bits);
          former = bits;
        }
      }
      stream.synchronize();
    }

    private Written quantized(Case c, float[] row, ScaleLayout layout, Quantize.Options options) {
      Nvfp4Tensor out = output(c.tokens(), c.columns(), layout, GlobalScale.ROW);
      Quantize.run(stream, contiguous(c.dtype(), row, c.tokens(), c.columns()), null, out, options);
      return read(out);
    }

    @ParameterizedTest
    @MethodSource("quantisable")
    void quantisesTheRowThatItWrites(Case c) {
      Inputs in = Inputs.of(93, c);
      HcExpectation expected = in.expected(c);
      @Nullable DType[] norms = {null, DType.F32, DType.BF16};
      int variant = c.columns();
      for (DType norm : norms) {
        for (Recipe recipe : Recipe.values()) {
          ScaleLayout layout = LAYOUTS.get(++variant % 2);
          ZeroScale zeroScale = ZeroScale.values()[variant / 2 % 2];
          Gaps gaps = GAPS.get(variant % GAPS.size());
          Quantize.Options options =
              Quantize.Options.of(Quantize.Source.DYNAMIC, recipe, zeroScale);
          Nvfp4Tensor q = output(c.tokens(), c.columns(), layout, GlobalScale.ROW);
          Result both = run(c, in, gaps, norm, true, q, options);
          float[] row = values(both.made.collapsed());
          Written codes = both.quantized;
          assertThat(codes).isNotNull();
          requireEqual(quantized(c, row, layout, options), codes);
          requireEqual("out", in.before.reference(c), values(both.out));
          requireAllowed("post", expected.post(), values(both.made.post()));
          requireAllowed("comb", expected.comb(), values(both.made.comb()));

          Result plain = run(c, in, gaps, norm);
          requireEqual("collapsed", values(plain.made.collapsed()), row);

          Nvfp4Tensor alone = output(c.tokens(), c.columns(), layout, GlobalScale.ROW);
          Result codesOnly = run(c, in, gaps, norm, false, alone, options);
          assertThat(codesOnly.quantized).isNotNull();
          requireEqual(codes, codesOnly.quantized);
          requireEqual("out", values(both.out), values(codesOnly.out));
          requireEqual("post", values(both.made.post()), values(codesOnly.made.post()));
          requireEqual("comb", values(both.made.comb()), values(codesOnly.made.comb()));
          assertThat(bytes(codesOnly.made.collapsed().whole())).containsOnly(POISON);
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.NEGATIVE_INFINITY})
    void reportsATokenWithoutAResult(float bad) {
      Case c = new Case(DType.BF16, 12, 4, 64);
      Inputs good = Inputs.of(94, c);
      Behind before = good.before;
      float[] sub = with(before.sub(), 5 * 64 + 40, bad);
      Behind spoiled = new Behind(before.x(), sub, before.post(), before.comb());
      Inputs in = new Inputs(spoiled, good.next, good.weight);
      Result result = run(c, in, Gaps.NONE, null);
      requireReport(Cause.NON_FINITE_RESULT);
      requireEqual("out", spoiled.reference(c), values(result.out));
      requireOthersAllowed(good.expected(c), result.made, 5);

      Nvfp4Tensor q = output(12, 64, ScaleLayout.LINEAR, GlobalScale.ROW);
      Result both = run(c, in, Gaps.NONE, DType.F32, true, q, Quantize.Options.DYNAMIC);
      requireReport(Cause.NON_FINITE_RESULT, Cause.NON_FINITE_INPUT);
      Written expected =
          quantized(c, values(both.made.collapsed()), ScaleLayout.LINEAR, Quantize.Options.DYNAMIC);
      assertThat(catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize()))
          .hasMessageContaining("quantize: NON_FINITE_INPUT");
      assertThat(both.quantized).isNotNull();
      requireEqual(expected, both.quantized);
    }

    private void requireReport(Cause... causes) {
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.op()).isEqualTo(Op.HC_POST_PRE);
      assertThat(report.causes().get(Op.HC_POST_PRE)).containsExactlyInAnyOrder(causes);
      assertThat(report.row()).isEqualTo(5);
      stream.synchronize(); // A fault is reported once.
    }

    @Test
    void acceptsNoTokens() {
      HcModule next = upload(Parameters.of(new Values(95), 4, 64, false), 0);
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        Tensor x = device.allocate(arena, dtype, 0, 4, 64);
        Tensor rows = device.allocate(arena, dtype, 0, 64);
        Tensor post = device.allocate(arena, DType.F32, 0, 4);
        Tensor comb = device.allocate(arena, DType.F32, 0, 4, 4);
        HcPostPre.run(
            stream,
            x,
            rows,
            post,
            comb,
            next,
            null,
            x,
            rows,
            post,
            comb,
            output(0, 64, ScaleLayout.SWIZZLED_128X4, GlobalScale.ROW),
            HcOptions.DEFAULT,
            Quantize.Options.DYNAMIC);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void givesTheSameBitsEveryTime(DType dtype) {
      for (int tokens : new int[] {1, 16, 150}) {
        Case c = new Case(dtype, tokens, 4, 1024);
        Inputs in = Inputs.of(tokens, c);
        Result first = null;
        for (int i = 0; i < 4; i++) {
          Nvfp4Tensor q = output(tokens, 1024, ScaleLayout.LINEAR, GlobalScale.ROW);
          Result again = run(c, in, Gaps.NONE, DType.BF16, true, q, Quantize.Options.DYNAMIC);
          first = first == null ? again : first;
          requireEqual("out", values(first.out), values(again.out));
          requireEqual("post", values(first.made.post()), values(again.made.post()));
          requireEqual("comb", values(first.made.comb()), values(again.made.comb()));
          requireEqual("collapsed", values(first.made.collapsed()), values(again.made.collapsed()));
          requireEqual(first.quantized, again.quantized);
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(strings = {"hc_n4_d64", "hc_n4_d64_bf16", "hc_flash_d4096"})
    void isNearTheGoldens(String name) throws Exception {
      Golden golden = golden(name);
      Case c =
          new Case(golden.dtype("x"), golden.dim("x", 0), golden.dim("x", 1), golden.dim("x", 2));
      Behind before =
          new Behind(
              golden.floats("x"),
              golden.floats("sub"),
              golden.floats("post"),
              golden.floats("comb"));
      Inputs in = new Inputs(before, parameters(golden, ""), new float[0]);
      Result result = run(c, in, Gaps.NONE, null);
      if (c.dtype() == DType.BF16) {
        requireEqual("out", golden.floats("out_ds_fp32mix"), values(result.out));
      }
      requireEqual("out", before.reference(c), values(result.out));
      requireAllowed(in.expected(c), result.made);
      stream.synchronize();
    }
  }
}
