// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.checkpoint.SafetensorsFile;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/// quantize against the reference and the goldens, bit for bit.
final class QuantizeTest {
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
    private static final int[][] SHAPES = {
      {1, 16}, {1, 4096}, {3, 48}, {5, 272}, {17, 32}, {127, 64}, {128, 1024}, {130, 80}, {257, 176}
    };

    Contract(String id) {
      super(id);
    }

    record Case(
        DType dtype,
        GlobalScale globalScale,
        Recipe recipe,
        ZeroScale zeroScale,
        ScaleLayout layout) {
      Quantize.Options options(Quantize.Source source) {
        return Quantize.Options.of(source, recipe, zeroScale);
      }
    }

    static List<Case> cases() {
      List<Case> cases = new ArrayList<>();
      for (DType dtype : List.of(DType.F32, DType.BF16, DType.F16)) {
        for (GlobalScale globalScale : GLOBAL_SCALES) {
          for (Recipe recipe : Recipe.values()) {
            for (ZeroScale zeroScale : ZeroScale.values()) {
              for (ScaleLayout layout : LAYOUTS) {
                cases.add(new Case(dtype, globalScale, recipe, zeroScale, layout));
              }
            }
          }
        }
      }
      return cases;
    }

    @ParameterizedTest
    @MethodSource("cases")
    void computesTheGlobalScale(Case c) {
      for (int[] shape : SHAPES) {
        int rows = shape[0];
        int columns = shape[1];
        float[] x = new Values(rows).finite(c.dtype, rows, columns);
        Nvfp4Matrix expected =
            QuantizeReference.dynamic(x, rows, columns, c.globalScale, c.recipe, c.zeroScale);
        Nvfp4Tensor out = output(rows, columns, c.layout, c.globalScale);
        Tensor input = upload(c.dtype, x, rows, columns);
        Quantize.run(stream, input, null, out, c.options(Quantize.Source.DYNAMIC));
        requireEqual(expected, out);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void takesAGivenGlobalScale(Case c) {
      for (int[] shape : SHAPES) {
        int rows = shape[0];
        int columns = shape[1];
        Values values = new Values(rows + 1);
        float[] x = values.finite(c.dtype, rows, columns);
        float[] gs = new float[(int) c.globalScale.count(rows)];
        for (int i = 0; i < gs.length; i++) {
          gs[i] = (float) Math.exp(values.random().nextGaussian() * 4 - 4);
        }
        Nvfp4Matrix expected =
            QuantizeReference.given(x, rows, columns, c.globalScale, gs, c.recipe, c.zeroScale);
        Nvfp4Tensor out = output(rows, columns, c.layout, c.globalScale);
        upload(gs).copyTo(stream, out.globalScales());
        Tensor input = upload(c.dtype, x, rows, columns);
        Quantize.run(stream, input, null, out, c.options(Quantize.Source.GIVEN));
        requireEqual(expected, out);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(names = {"F32", "BF16", "F16"})
    void readsRowsByTheirStride(DType dtype) {
      for (int extra : new int[] {1, 3, 8, 64}) {
        float[] x = new Values(extra).finite(dtype, 19, 96);
        Nvfp4Tensor out = output(19, 96, ScaleLayout.LINEAR, GlobalScale.TENSOR);
        // The gaps hold poison, of which some is greater than every element.
        Quantize.dynamic(stream, upload(dtype, x, 19, 96, 96 + extra), out);
        requireEqual(
            QuantizeReference.dynamic(x, 19, 96, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN),
            out);
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void gathersRows(Case c) {
      Values values = new Values(7);
      float[] x = values.finite(c.dtype, 23, 112);
      int[] rows = values.random().ints(131, 0, 23).toArray();
      float[] gathered = QuantizeReference.gather(x, 23, 112, rows);
      Nvfp4Tensor out = output(131, 112, c.layout, c.globalScale);
      Quantize.run(
          stream,
          upload(c.dtype, x, 23, 112, 120),
          upload(rows),
          out,
          c.options(Quantize.Source.DYNAMIC));
      requireEqual(
          QuantizeReference.dynamic(gathered, 131, 112, c.globalScale, c.recipe, c.zeroScale), out);
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(names = {"TENSOR", "ROW"})
    void writesZerosForARowThatDoesNotExist(GlobalScale globalScale) {
      float[] x = new Values(8).finite(DType.BF16, 9, 64);
      int[] rows = {3, -1, 8, 9, Integer.MIN_VALUE, Integer.MAX_VALUE, 0};
      Nvfp4Tensor out = output(rows.length, 64, ScaleLayout.SWIZZLED_128X4, globalScale);
      Quantize.run(
          stream, upload(DType.BF16, x, 9, 64), upload(rows), out, Quantize.Options.DYNAMIC);
      float[] gathered = QuantizeReference.gather(x, 9, 64, rows);
      requireEqual(
          QuantizeReference.dynamic(
              gathered, rows.length, 64, globalScale, Recipe.EXACT, ZeroScale.MIN),
          out);
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report)
          .hasMessageContaining("quantize")
          .hasMessageContaining("INDEX_OUT_OF_RANGE");
      assertThat(report.op()).isEqualTo(Op.QUANTIZE);
      assertThat(report.status()).isEqualTo(Status.REPORTED);
      assertThat(report.reason()).isEqualTo(Cause.INDEX_OUT_OF_RANGE);
      assertThat(report.row()).isIn(1L, 3L, 4L, 5L);
      stream.synchronize(); // A fault is reported once.
    }

    @ParameterizedTest
    @MethodSource("cases")
    void codesAndReportsNonFiniteElements(Case c) {
      float[] x = new Values(9).withNonFinite(c.dtype, 33, 80);
      Nvfp4Tensor out = output(33, 80, c.layout, c.globalScale);
      Quantize.run(
          stream, upload(c.dtype, x, 33, 80), null, out, c.options(Quantize.Source.DYNAMIC));
      requireEqual(QuantizeReference.dynamic(x, 33, 80, c.globalScale, c.recipe, c.zeroScale), out);
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.reason()).isEqualTo(Cause.NON_FINITE_INPUT);
      assertThat(report.causes().get(Op.QUANTIZE)).containsExactly(Cause.NON_FINITE_INPUT);
      assertThat(x[(int) (report.row() * 80 + report.column())])
          .is(new org.assertj.core.api.Condition<>(v -> !Float.isFinite(v), "not finite"));
    }

    @ParameterizedTest
    @ValueSource(floats = {0f, -1f, Float.NaN, Float.POSITIVE_INFINITY, -0f})
    void usesOneForABadGlobalScale(float bad) {
      float[] x = new Values(10).finite(DType.F32, 4, 32);
      float[] gs = {0.5f, bad, 0.25f, 1f};
      Nvfp4Tensor out = output(4, 32, ScaleLayout.LINEAR, GlobalScale.ROW);
      upload(gs).copyTo(stream, out.globalScales());
      Quantize.given(stream, upload(DType.F32, x, 4, 32), out);
      Nvfp4Matrix expected =
          QuantizeReference.given(x, 4, 32, GlobalScale.ROW, gs, Recipe.EXACT, ZeroScale.MIN);
      requireEqual("scales", expected.scales(), bytes(out.scales()));
      requireEqual("codes", expected.codes(), bytes(out.codes()));
      assertThatThrownBy(() -> stream.synchronize())
          .isInstanceOf(ReportedByKernelException.class)
          .hasMessageContaining("BAD_GLOBAL_SCALE")
          .extracting(e -> ((ReportedByKernelException) e).row())
          .isEqualTo(1L);
    }

    @ParameterizedTest
    @EnumSource(names = {"TENSOR", "ROW"})
    void acceptsNoRows(GlobalScale globalScale) {
      for (ScaleLayout layout : LAYOUTS) {
        Nvfp4Tensor out = output(0, 64, layout, globalScale);
        Quantize.dynamic(stream, upload(DType.BF16, new float[0], 0, 64), out);
      }
      stream.synchronize();
    }

    @Test
    void givesTheSameBitsEveryTime() {
      float[] x = new Values(11).finite(DType.BF16, 300, 512);
      Tensor input = upload(DType.BF16, x, 300, 512);
      Nvfp4Tensor first = output(300, 512, ScaleLayout.SWIZZLED_128X4, GlobalScale.TENSOR);
      Quantize.dynamic(stream, input, first);
      for (int i = 0; i < 5; i++) {
        Nvfp4Tensor again = output(300, 512, ScaleLayout.SWIZZLED_128X4, GlobalScale.TENSOR);
        Quantize.dynamic(stream, input, again);
        requireEqual("codes", bytes(first.codes()), bytes(again.codes()));
        requireEqual("scales", bytes(first.scales()), bytes(again.scales()));
        requireEqual("gs", bytes(first.globalScales()), bytes(again.globalScales()));
      }
    }

    @ParameterizedTest
    @ValueSource(
        strings = {
          "bf16_subnormal",
          "const_bf16",
          "gauss_bf16",
          "gauss_f32",
          "gauss_small_bf16",
          "huge_f32",
          "max6_f32",
          "negzero_all_f32",
          "odd_rows_130x272_bf16",
          "one_block_bf16",
          "outlier_underflow_bf16",
          "scale_boundaries_f32",
          "subnormal_f32",
          "ties_f32",
          "tiny_normal_f32",
          "zeros_f32",
          "zeros_negzero_mixed_f32"
        })
    void equalsTheGoldens(String name) throws Exception {
      Path file = Goldens.file("nvfp4/quantize_" + name + ".safetensors");
      SafetensorsFile golden = SafetensorsFile.open(file, arena);
      DType dtype = DType.valueOf(golden.entry("input").dtype().name());
      long[] shape = golden.entry("input").shape();
      Tensor input = move(golden, "input", dtype, shape);
      Nvfp4Tensor out = output(shape[0], shape[1], ScaleLayout.LINEAR, GlobalScale.TENSOR);
      Tensor back = output(DType.F32, shape[0], shape[1], shape[1]);
      Quantize.dynamic(stream, input, out);
      Dequantize.run(stream, out, back);
      stream.synchronize();
      requireEqual("gs", golden(golden, "spec_exact.gs"), bytes(out.globalScales()));
      requireEqual("scale", golden(golden, "spec_exact.scale"), bytes(out.scales()));
      requireEqual("packed", golden(golden, "spec_exact.packed"), bytes(out.codes()));
      requireEqual("dq", golden(golden, "spec_exact.dq"), bytes(back));
    }

    private Tensor move(SafetensorsFile file, String name, DType dtype, long[] shape)
        throws IOException {
      MemorySegment data = file.data(name);
      MemorySegment aligned = arena.allocate(data.byteSize(), 64).copyFrom(data);
      return Tensor.of(arena, aligned, dtype, shape).to(stream, arena);
    }

    private static byte[] golden(SafetensorsFile file, String name) {
      return file.data(name).toArray(ValueLayout.JAVA_BYTE);
    }
  }
}
