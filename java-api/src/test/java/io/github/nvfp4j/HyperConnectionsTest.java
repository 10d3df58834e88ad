// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.HcExpectation;
import io.github.nvfp4j.reference.HyperConnectionsReference;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// hc_post against the reference bit for bit, hc_pre and hc_head against it within their bound, and
/// all against the goldens.
final class HyperConnectionsTest {
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

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void postEqualsTheCpu(DType dtype) {
      Behind in = Behind.of(new Values(80), new Case(dtype, 40, 4, 4096));
      Strided out = strided(dtype, null, Gaps.NONE, 40, 4, 4096);
      Tensor x = contiguous(dtype, in.x(), 40, 4, 4096);
      Tensor sub = contiguous(dtype, in.sub(), 40, 4096);
      Tensor post = contiguous(DType.F32, in.post(), 40, 4);
      Tensor comb = contiguous(DType.F32, in.comb(), 40, 4, 4);
      HcPost.run(stream, x, sub, post, comb, out.view());
      try (Device cpu = Device.of("cpu");
          Stream cpuStream = cpu.openStream()) {
        Tensor here = x.toHost(stream, arena);
        HcPost.run(
            cpuStream,
            x.toHost(stream, arena),
            sub.toHost(stream, arena),
            post.toHost(stream, arena),
            comb.toHost(stream, arena),
            here);
        requireEqual("out", bytes(here), bytes(out.whole()));
      }
      stream.synchronize();
    }
  }

  abstract static class Contract extends HcOnDevice {
    /// Tokens, streams, columns: every n; one token and many; columns of one vector, of an odd
    /// number of them, of DeepSeek-V4.
    private static final int[][] SHAPES = {
      {1, 1, 8}, {5, 1, 264}, {3, 2, 40}, {19, 2, 512}, {2, 3, 8}, {7, 3, 1000}, {1, 4, 4096},
      {3, 4, 7168}, {33, 4, 64}, {9, 5, 72}, {4, 6, 24}, {3, 7, 136}, {8, 8, 256}, {2, 9, 16},
      {3, 10, 32}, {2, 11, 8}, {5, 12, 48}, {2, 13, 56}, {2, 14, 24}, {2, 15, 40}, {17, 16, 64}
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

    private void post(Case c, Behind in, Gaps gaps, Tensor x, Tensor out) {
      HcPost.run(
          stream,
          x,
          upload(c, gaps, in.sub()),
          uploadPost(c, gaps, in.post()),
          uploadComb(c, gaps, in.comb()),
          out);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void postEqualsTheReference(Case c) {
      for (Gaps gaps : GAPS) {
        Behind in = Behind.of(new Values(c.columns()), c);
        Strided x = strided(c.dtype(), in.x(), gaps, c.tokens(), c.n(), c.columns());
        Gaps others = GAPS.get((GAPS.indexOf(gaps) + 1) % GAPS.size());
        Strided out = strided(c.dtype(), null, others, c.tokens(), c.n(), c.columns());
        post(c, in, gaps, x.view(), out.view());
        requireEqual("out", in.reference(c), values(out));
        post(c, in, gaps, x.view(), x.view());
        requireEqual("out in place", in.reference(c), values(x));
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void postKeepsNaNsAndReportsNothing(DType dtype) {
      Case c = new Case(dtype, 11, 4, 64);
      Behind good = Behind.of(new Values(81), c);
      Behind in =
          new Behind(
              with(good.x(), 3 * 4 * 64 + 5, Float.POSITIVE_INFINITY),
              with(good.sub(), 5 * 64 + 9, Float.NaN),
              with(good.post(), 7 * 4, Float.NEGATIVE_INFINITY),
              with(good.comb(), 9 * 16 + 2, Float.NaN));
      Strided out = strided(dtype, null, Gaps.NONE, 11, 4, 64);
      Tensor x = contiguous(dtype, in.x(), 11, 4, 64);
      post(c, in, Gaps.NONE, x, out.view());
      float[] expected = in.reference(c);
      assertThat(expected[5 * 4 * 64 + 9]).isNaN();
      assertThat(expected[9 * 4 * 64 + 2 * 64]).isNaN();
      requireEqual("out", expected, values(out));
      stream.synchronize();
    }

    private Made pre(Case c, float[] x, Parameters p, Gaps gaps) {
      Made made = outputs(c, gaps);
      HcPre.run(
          stream,
          strided(c.dtype(), x, gaps, c.tokens(), c.n(), c.columns()).view(),
          upload(p, gaps.columns()),
          made.collapsed().view(),
          made.post().view(),
          made.comb().view(),
          HcOptions.DEFAULT);
      return made;
    }

    private Strided head(Case c, float[] x, Parameters p, Gaps gaps) {
      Strided collapsed = strided(c.dtype(), null, gaps, c.tokens(), c.columns());
      HcHead.run(
          stream,
          strided(c.dtype(), x, gaps, c.tokens(), c.n(), c.columns()).view(),
          upload(p, gaps.columns()),
          collapsed.view(),
          HcOptions.DEFAULT);
      return collapsed;
    }

    @ParameterizedTest
    @MethodSource("cases")
    void preIsWithinItsBound(Case c) {
      Values values = new Values(82);
      float[] x = residual(values, c.dtype(), c.tokens(), c.n() * c.columns());
      Parameters p = Parameters.of(values, c.n(), c.columns(), false);
      HcExpectation expected = p.pre(x, c.tokens(), c.n(), c.columns(), c.dtype());
      for (Gaps gaps : GAPS) {
        requireAllowed(expected, pre(c, x, p, gaps));
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void headIsWithinItsBound(Case c) {
      Values values = new Values(83);
      float[] x = residual(values, c.dtype(), c.tokens(), c.n() * c.columns());
      Parameters p = Parameters.of(values, c.n(), c.columns(), true);
      GemmExpectation expected = p.head(x, c.tokens(), c.n(), c.columns(), c.dtype());
      for (Gaps gaps : GAPS) {
        requireAllowed("collapsed", expected, values(head(c, x, p, gaps)));
      }
      stream.synchronize();
    }

    /// Values far from 1, where r is not about 1 and what cancels counts.
    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void preTakesWideValues(DType dtype) {
      Case c = new Case(dtype, 40, 4, 264);
      Values values = new Values(84);
      float[] x = values.finite(dtype, 40 * 4, 264);
      Parameters p = Parameters.of(values, 4, 264, false);
      requireAllowed(p.pre(x, 40, 4, 264, dtype), pre(c, x, p, Gaps.NONE));
      stream.synchronize();
    }

    /// Where m is 0 nothing depends on the order of a sum: all that follows has its bits.
    @ParameterizedTest
    @MethodSource("cases")
    void withoutSumsItHasTheReferencesBits(Case c) {
      Values values = new Values(85);
      float[] x = residual(values, c.dtype(), c.tokens(), c.n() * c.columns());
      Parameters p = Parameters.of(values, c.n(), c.columns(), false);
      Parameters zeros = new Parameters(new float[p.fn().length], p.base(), p.scale());
      HyperConnectionsReference.Pre expected =
          zeros.reference(x, c.tokens(), c.n(), c.columns(), c.dtype());
      Made made = pre(c, x, zeros, Gaps.NONE);
      requireEqual("post", expected.post(), values(made.post()));
      requireEqual("comb", expected.comb(), values(made.comb()));
      requireEqual("collapsed", expected.collapsed(), values(made.collapsed()));
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void takesItsOptions(int iterations) {
      Values values = new Values(86);
      float[] x = residual(values, DType.F32, 6, 4 * 64);
      Parameters p = Parameters.of(values, 4, 64, false);
      HcOptions options = HcOptions.of(iterations, 0.125f, 0.5f);
      Made made = outputs(new Case(DType.F32, 6, 4, 64), Gaps.NONE);
      Tensor on = contiguous(DType.F32, x, 6, 4, 64);
      HcPre.run(
          stream,
          on,
          upload(p, 0),
          made.collapsed().view(),
          made.post().view(),
          made.comb().view(),
          options);
      requireAllowed(
          HcExpectation.pre(
              x, p.fn(), p.base(), p.scale(), 6, 4, 64, iterations, 0.125f, 0.5f, DType.F32),
          made);
      Parameters head = Parameters.of(values, 4, 64, true);
      Strided collapsed = strided(DType.F32, null, Gaps.NONE, 6, 64);
      HcHead.run(stream, on, upload(head, 0), collapsed.view(), options);
      requireAllowed(
          "collapsed",
          HcExpectation.head(
              x, head.fn(), head.base(), head.scale(), 6, 4, 64, 0.125f, 0.5f, DType.F32),
          values(collapsed));
      stream.synchronize();
    }

    private void requireReport(Op op, int token) {
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.op()).isEqualTo(op);
      assertThat(report.causes().get(op)).containsExactly(Cause.NON_FINITE_RESULT);
      assertThat(report.row()).isEqualTo(token);
      stream.synchronize(); // A fault is reported once.
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, -3e38f})
    void reportsATokenWithoutAResult(float bad) {
      // The square of the last one exceeds F32.
      Case c = new Case(DType.BF16, 20, 4, 64);
      Values values = new Values(87);
      float[] good = residual(values, DType.BF16, 20, 256);
      float[] x = with(good, 13 * 256 + 77, Values.round(DType.BF16, bad));
      Parameters p = Parameters.of(values, 4, 64, false);
      Parameters head = Parameters.of(values, 4, 64, true);
      HcExpectation expected = p.pre(good, 20, 4, 64, DType.BF16);
      GemmExpectation expectedHead = head.head(good, 20, 4, 64, DType.BF16);
      Made made = pre(c, x, p, Gaps.NONE);
      requireReport(Op.HC_PRE, 13);
      requireOthersAllowed(expected, made, 13);
      Strided collapsed = head(c, x, head, Gaps.NONE);
      requireReport(Op.HC_HEAD, 13);
      requireOthersAllowed("collapsed", expectedHead, collapsed, 13);
    }

    @Test
    void reportsParametersThatAreNotFinite() {
      Case c = new Case(DType.F32, 3, 4, 64);
      Values values = new Values(88);
      float[] x = residual(values, DType.F32, 3, 256);
      Parameters p = Parameters.of(values, 4, 64, false);
      for (Parameters bad :
          List.of(
              new Parameters(with(p.fn(), 300, Float.NaN), p.base(), p.scale()),
              new Parameters(p.fn(), with(p.base(), 20, Float.POSITIVE_INFINITY), p.scale()),
              new Parameters(p.fn(), p.base(), with(p.scale(), 1, Float.NaN)))) {
        pre(c, x, bad, Gaps.NONE);
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.causes().get(Op.HC_PRE)).containsExactly(Cause.NON_FINITE_RESULT);
        assertThat(report.row()).isBetween(0L, 2L);
      }
    }

    @Test
    void acceptsNoTokens() {
      Parameters p = Parameters.of(new Values(89), 4, 64, false);
      Parameters h = Parameters.of(new Values(89), 4, 64, true);
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        Tensor x = device.allocate(arena, dtype, 0, 4, 64);
        Tensor rows = device.allocate(arena, dtype, 0, 64);
        Tensor post = device.allocate(arena, DType.F32, 0, 4);
        Tensor comb = device.allocate(arena, DType.F32, 0, 4, 4);
        HcPre.run(stream, x, upload(p, 0), rows, post, comb, HcOptions.DEFAULT);
        HcHead.run(stream, x, upload(h, 0), rows, HcOptions.DEFAULT);
        HcPost.run(stream, x, rows, post, comb, x);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16"})
    void givesTheSameBitsEveryTime(DType dtype) {
      for (int tokens : new int[] {1, 16, 150}) {
        Case c = new Case(dtype, tokens, 4, 1024);
        Values values = new Values(tokens);
        float[] x = residual(values, dtype, tokens, 4 * 1024);
        Parameters p = Parameters.of(values, 4, 1024, false);
        Parameters h = Parameters.of(values, 4, 1024, true);
        Made first = pre(c, x, p, Gaps.NONE);
        Strided firstHead = head(c, x, h, Gaps.NONE);
        for (int i = 0; i < 3; i++) {
          Made again = pre(c, x, p, Gaps.NONE);
          requireEqual("post", bytes(first.post().view()), bytes(again.post().view()));
          requireEqual("comb", bytes(first.comb().view()), bytes(again.comb().view()));
          requireEqual(
              "collapsed", bytes(first.collapsed().view()), bytes(again.collapsed().view()));
          Strided againHead = head(c, x, h, Gaps.NONE);
          requireEqual("head", bytes(firstHead.view()), bytes(againHead.view()));
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(
        strings = {
          "hc_n4_d64",
          "hc_n4_d64_sharp",
          "hc_n4_d64_bf16",
          "hc_n2_d32_it3",
          "hc_flash_d4096"
        })
    void isNearTheGoldens(String name) throws Exception {
      Golden golden = golden(name);
      int tokens = golden.dim("x", 0);
      int n = golden.dim("x", 1);
      int columns = golden.dim("x", 2);
      DType dtype = golden.dtype("x");
      Case c = new Case(dtype, tokens, n, columns);
      float[] x = golden.floats("x");
      Parameters p = parameters(golden, "");
      int iterations = name.endsWith("it3") ? 3 : ITERATIONS;
      HcExpectation expected =
          HcExpectation.pre(
              x, p.fn(), p.base(), p.scale(), tokens, n, columns, iterations, EPS, EPS, dtype);
      Made made = outputs(c, Gaps.NONE);
      Tensor on = contiguous(dtype, x, tokens, n, columns);
      HcPre.run(
          stream,
          on,
          upload(p, 0),
          made.collapsed().view(),
          made.post().view(),
          made.comb().view(),
          HcOptions.of(iterations, EPS, EPS));
      requireAllowed(expected, made);
      requireNear("post", golden.doubles("post_f64"), expected.post(), values(made.post()));
      requireNear("comb", golden.doubles("comb_f64"), expected.comb(), values(made.comb()));
      if (golden.has("collapsed_f64")) {
        double[] exact = golden.doubles("collapsed_f64");
        requireNear("collapsed", exact, expected.collapsed(), values(made.collapsed()));
      }

      Behind in = new Behind(x, golden.floats("sub"), golden.floats("post"), golden.floats("comb"));
      Strided out = strided(dtype, null, Gaps.NONE, tokens, n, columns);
      post(c, in, Gaps.NONE, on, out.view());
      requireEqual("out", in.reference(c), values(out));
      if (dtype == DType.BF16) {
        requireEqual("out", golden.floats("out_ds_fp32mix"), values(out));
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(strings = {"hc_head_d64", "hc_head_flash_d4096"})
    void headIsNearTheGoldens(String name) throws Exception {
      Golden golden = golden(name);
      int tokens = golden.dim("x", 0);
      int n = golden.dim("x", 1);
      int columns = golden.dim("x", 2);
      DType dtype = golden.dtype("x");
      float[] x = golden.floats("x");
      Parameters p = parameters(golden, "hc_");
      GemmExpectation expected = p.head(x, tokens, n, columns, dtype);
      Strided y = head(new Case(dtype, tokens, n, columns), x, p, Gaps.NONE);
      requireAllowed("y", expected, values(y));
      requireAllowed("the golden", expected, golden.floats("y"));
      if (golden.has("y_f64")) {
        requireNear("y", golden.doubles("y_f64"), expected, values(y));
      }
      stream.synchronize();
    }
  }
}
