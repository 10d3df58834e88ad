// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.SwigluQuantizeReference;
import io.github.nvfp4j.reference.SwigluReference;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// swiglu and swiglu_quantize against the reference, and the second against the first and quantize.
final class SwigluTest {
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

  abstract static class Contract extends OnDevice {
    private static final int[][] SHAPES = {{1, 16}, {3, 48}, {17, 272}, {129, 64}, {40, 2048}};

    Contract(String id) {
      super(id);
    }

    record Case(DType dtype, SwigluColumns columns, float limit, boolean weighted) {}

    static List<Case> cases() {
      List<Case> cases = new ArrayList<>();
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        for (SwigluColumns columns : SwigluColumns.values()) {
          for (float limit : new float[] {10f, 0f, 1.5f}) {
            cases.add(new Case(dtype, columns, limit, false));
            cases.add(new Case(dtype, columns, limit, true));
          }
        }
      }
      return cases;
    }

    private static float @Nullable [] weight(Case c, Values values, int rows) {
      if (!c.weighted) {
        return null;
      }
      float[] weight = new float[rows];
      for (int i = 0; i < rows; i++) {
        weight[i] = values.random().nextFloat() * 2.5f;
      }
      return weight;
    }

    @ParameterizedTest
    @MethodSource("cases")
    void equalsTheReference(Case c) {
      Swiglu.Options options = Swiglu.Options.of(c.columns, c.limit);
      for (int[] shape : SHAPES) {
        int rows = shape[0];
        int columns = shape[1];
        for (int gap : new int[] {0, 6}) {
          Values values = new Values(rows + gap);
          float[] x = values.activations(c.dtype, rows, 2 * columns);
          float[] weight = weight(c, values, rows);
          Tensor out = output(c.dtype, rows, columns, columns + gap);
          Swiglu.run(
              stream,
              upload(c.dtype, x, rows, 2L * columns, 2L * columns + gap),
              weight == null ? null : upload(weight),
              out,
              options);
          requireEqual(
              "output",
              SwigluReference.swiglu(x, rows, columns, weight, c.columns, c.limit, c.dtype),
              floats(out));
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void quantisesWhatItComputes(Case c) {
      Swiglu.Options options = Swiglu.Options.of(c.columns, c.limit);
      int salt = 0;
      for (int[] shape : SHAPES) {
        int rows = shape[0];
        int columns = shape[1];
        for (GlobalScale globalScale : GLOBAL_SCALES) {
          for (Recipe recipe : Recipe.values()) {
            Values values = new Values(++salt);
            float[] x = values.activations(c.dtype, rows, 2 * columns);
            float[] weight = weight(c, values, rows);
            ScaleLayout layout = LAYOUTS.get(salt % 2);
            Nvfp4Tensor out = output(rows, columns, layout, globalScale);
            SwigluQuantize.run(
                stream,
                upload(c.dtype, x, rows, 2L * columns, 2L * columns + 8),
                weight == null ? null : upload(weight),
                out,
                options,
                Quantize.Options.of(Quantize.Source.DYNAMIC, recipe, ZeroScale.MIN));
            Nvfp4Matrix expected =
                SwigluQuantizeReference.dynamic(
                    x,
                    rows,
                    columns,
                    weight,
                    c.columns,
                    c.limit,
                    c.dtype,
                    globalScale,
                    recipe,
                    ZeroScale.MIN);
            requireEqual(expected, out);
          }
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void quantisesByAGivenScale(Case c) {
      float[] x = new Values(31).activations(c.dtype, 21, 160);
      float[] gs = new float[21];
      for (int i = 0; i < gs.length; i++) {
        gs[i] = 0.01f + i * 0.003f;
      }
      float[] weight = weight(c, new Values(32), 21);
      Nvfp4Tensor out = output(21, 80, ScaleLayout.SWIZZLED_128X4, GlobalScale.ROW);
      upload(gs).copyTo(stream, out.globalScales());
      SwigluQuantize.run(
          stream,
          upload(c.dtype, x, 21, 160),
          weight == null ? null : upload(weight),
          out,
          Swiglu.Options.of(c.columns, c.limit),
          Quantize.Options.of(Quantize.Source.GIVEN, Recipe.EXACT, ZeroScale.FLUSH));
      requireEqual(
          SwigluQuantizeReference.given(
              x,
              21,
              80,
              weight,
              c.columns,
              c.limit,
              c.dtype,
              GlobalScale.ROW,
              gs,
              Recipe.EXACT,
              ZeroScale.FLUSH),
          out);
      stream.synchronize();
    }

    @Test
    void equalsSwigluThenQuantize() {
      float[] x = new Values(33).activations(DType.BF16, 70, 1024);
      Tensor gateUp = upload(DType.BF16, x, 70, 1024);
      Tensor y = output(DType.BF16, 70, 512, 512);
      Nvfp4Tensor two = output(70, 512, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      Nvfp4Tensor one = output(70, 512, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      Swiglu.run(stream, gateUp, null, y, Swiglu.Options.DEFAULT);
      Quantize.dynamic(stream, y, two);
      SwigluQuantize.run(
          stream, gateUp, null, one, Swiglu.Options.DEFAULT, Quantize.Options.DYNAMIC);
      stream.synchronize();
      requireEqual("codes", bytes(two.codes()), bytes(one.codes()));
      requireEqual("scales", bytes(two.scales()), bytes(one.scales()));
      requireEqual("global scale", bytes(two.globalScales()), bytes(one.globalScales()));
    }

    @Test
    void keepsNaNAndReportsItWhenQuantised() {
      float[] x = new Values(34).activations(DType.F32, 5, 64);
      x[2 * 64 + 3] = Float.NaN;
      Tensor gateUp = upload(DType.F32, x, 5, 64);
      Tensor y = output(DType.F32, 5, 32, 32);
      Swiglu.run(stream, gateUp, null, y, Swiglu.Options.DEFAULT);
      stream.synchronize();
      assertThat(floats(y)[2 * 32 + 3]).isNaN();
      SwigluQuantize.run(
          stream,
          gateUp,
          null,
          output(5, 32, ScaleLayout.LINEAR, GlobalScale.TENSOR),
          Swiglu.Options.DEFAULT,
          Quantize.Options.DYNAMIC);
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.op()).isEqualTo(Op.SWIGLU_QUANTIZE);
      assertThat(report.reason()).isEqualTo(Cause.NON_FINITE_INPUT);
      assertThat(report.row()).isEqualTo(2);
      assertThat(report.column()).isEqualTo(3);
    }
  }
}
