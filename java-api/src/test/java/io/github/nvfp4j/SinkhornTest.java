// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.HcExpectation;
import io.github.nvfp4j.reference.SinkhornReference;
import java.util.Arrays;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// sinkhorn against the reference, bit for bit, and against the goldens.
final class SinkhornTest {
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

    @Test
    void equalsTheCpu() {
      float[] logits = logits(new Values(70), 5000, 4);
      Strided out = strided(DType.F32, null, Gaps.NONE, 5000, 4, 4);
      Tensor there = contiguous(DType.F32, logits, 5000, 4, 4);
      Sinkhorn.run(stream, there, out.view(), Sinkhorn.Options.DEFAULT);
      try (Device cpu = Device.of("cpu");
          Stream cpuStream = cpu.openStream()) {
        Tensor here = there.toHost(stream, arena);
        Tensor comb = there.toHost(stream, arena);
        Sinkhorn.run(cpuStream, here, comb, Sinkhorn.Options.DEFAULT);
        requireEqual("comb", bytes(comb), bytes(out.whole()));
      }
      stream.synchronize();
    }
  }

  abstract static class Contract extends HcOnDevice {
    private static final int[] TOKENS = {1, 2, 7, 33, 130};

    Contract(String id) {
      super(id);
    }

    /// Tokens of many sizes, among them equal logits, one-hot rows, and a hot column.
    static float[] logits(Values values, int tokens, int n) {
      float[] logits = new float[tokens * n * n];
      for (int t = 0; t < tokens; t++) {
        double size = Math.exp(values.random().nextGaussian() * 2);
        for (int i = 0; i < n * n; i++) {
          logits[t * n * n + i] =
              switch (t % 8) {
                case 3 -> 1.5f;
                case 4 -> i / n == i % n ? 80 : -80;
                case 5 -> i % n == 0 ? 80 : -80;
                case 6 -> (float) (values.random().nextGaussian() * 1e36);
                default -> (float) (values.random().nextGaussian() * size);
              };
        }
      }
      return logits;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
    void equalsTheReference(int n) {
      for (int tokens : TOKENS) {
        for (int iterations : new int[] {1, 2, 20}) {
          for (float eps : new float[] {1e-6f, 0x1p-100f, 1}) {
            Values values = new Values(tokens + iterations);
            Gaps gaps = new Gaps(0, values.random().nextInt(2));
            float[] logits = logits(values, tokens, n);
            Strided in = strided(DType.F32, logits, gaps, tokens, n, n);
            Strided out = strided(DType.F32, null, Gaps.NONE, tokens, n, n);
            Sinkhorn.Options options = Sinkhorn.Options.of(iterations, eps);
            Sinkhorn.run(stream, in.view(), out.view(), options);
            float[] expected = SinkhornReference.sinkhorn(logits, tokens, n, iterations, eps);
            requireEqual("comb", expected, values(out));
            Sinkhorn.run(stream, in.view(), in.view(), options);
            requireEqual("comb in place", expected, values(in));
          }
        }
      }
      stream.synchronize();
    }

    @Test
    void keepsTokensApart() {
      float[] logits = logits(new Values(71), 40, 4);
      float[] expected = SinkhornReference.sinkhorn(logits, 40, 4, 20, 1e-6f);
      for (int gap : new int[] {0, 1, 3}) {
        Strided in = strided(DType.F32, logits, new Gaps(0, 3 - gap), 40, 4, 4);
        Strided out = strided(DType.F32, null, new Gaps(0, gap), 40, 4, 4);
        Sinkhorn.run(stream, in.view(), out.view(), Sinkhorn.Options.DEFAULT);
        requireEqual("comb", expected, values(out));
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
    void reportsALogitThatIsNotFinite(float bad) {
      for (int n : new int[] {1, 4, 16}) {
        for (int at : new int[] {0, n * n - 1}) {
          float[] logits = with(logits(new Values(72), 21, n), 18 * n * n + at, bad);
          Strided out = strided(DType.F32, null, Gaps.NONE, 21, n, n);
          Tensor in = contiguous(DType.F32, logits, 21, n, n);
          Sinkhorn.run(stream, in, out.view(), Sinkhorn.Options.DEFAULT);
          float[] expected = SinkhornReference.sinkhorn(logits, 21, n, 20, 1e-6f);
          assertThat(expected[18 * n * n + n / 2]).isNaN();
          requireEqual("comb", expected, values(out));
          ReportedByKernelException report =
              catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
          assertThat(report.op()).isEqualTo(Op.SINKHORN);
          assertThat(report.causes().get(Op.SINKHORN)).containsExactly(Cause.NON_FINITE_INPUT);
          assertThat(report.row()).isEqualTo(18);
          assertThat(report.column()).isEqualTo(at);
          stream.synchronize(); // A fault is reported once.
        }
      }
    }

    @Test
    void acceptsNoTokens() {
      Tensor none = device.allocate(arena, DType.F32, 0, 4, 4);
      Sinkhorn.run(stream, none, none, Sinkhorn.Options.DEFAULT);
      stream.synchronize();
    }

    @Test
    void givesTheSameBitsEveryTime() {
      Tensor in = contiguous(DType.F32, logits(new Values(73), 300, 4), 300, 4, 4);
      byte[] first = null;
      for (int i = 0; i < 5; i++) {
        Strided out = strided(DType.F32, null, Gaps.NONE, 300, 4, 4);
        Sinkhorn.run(stream, in, out.view(), Sinkhorn.Options.DEFAULT);
        byte[] again = bytes(out.whole());
        if (first == null) {
          first = again;
        }
        requireEqual("comb", first, again);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 4, 8})
    void isNearTheGoldens(int n) throws Exception {
      Golden golden = golden("sinkhorn_hc" + n);
      int tokens = golden.dim("logits", 0);
      float[] logits = golden.floats("logits");
      double[] exact = new double[logits.length];
      Arrays.setAll(exact, i -> logits[i]);
      for (int iterations : new int[] {1, 2, 5, 20}) {
        Strided out = strided(DType.F32, null, Gaps.NONE, tokens, n, n);
        Tensor in = contiguous(DType.F32, logits, tokens, n, n);
        Sinkhorn.run(stream, in, out.view(), Sinkhorn.Options.of(iterations, 1e-6f));
        requireNear(
            "comb",
            golden.doubles("comb_it" + iterations + "_f64"),
            HcExpectation.sinkhorn(exact, new double[logits.length], tokens, n, iterations, 1e-6f),
            values(out));
      }
      stream.synchronize();
    }
  }
}
