// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.checkpoint.SafetensorsFile;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.E4m3;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// gemm against the goldens and the reference: bit for bit where every order of summation is exact,
/// else within the bound.
@Timeout(300)
final class GemmTest {
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

  abstract static class Contract extends GemmOnDevice {
    /// M, N, K: one row, one block, odd M, N = 8, more than a tile of anything.
    private static final int[][] SHAPES = {
      {1, 8, 16},
      {1, 256, 512},
      {3, 8, 48},
      {5, 24, 272},
      {16, 40, 512},
      {17, 136, 80},
      {33, 8, 512},
      {65, 72, 240},
      {129, 264, 64},
      {200, 16, 336}
    };

    private final Values values = new Values(101);
    private final Random random = values.random();

    Contract(String id) {
      super(id);
    }

    private static final List<DType> OUTPUTS = List.of(DType.F32, DType.BF16);

    @ParameterizedTest
    @EnumSource(names = {"TENSOR", "ROW"})
    void isExactWhereItMustBe(GlobalScale kind) {
      for (int[] shape : SHAPES) {
        GlobalScale weights = random.nextBoolean() ? GlobalScale.TENSOR : GlobalScale.HALVES;
        Nvfp4Matrix a = certain(random, shape[0], shape[2], kind);
        Nvfp4Matrix w = certain(random, shape[1], shape[2], weights);
        GemmProduct product = GemmReference.gemm(a, w);
        assertThat(product.allCertain()).as("one binade, K <= 512").isTrue();
        Nvfp4Tensor x = upload(a);
        Nvfp4Tensor y = upload(w);
        for (DType dtype : OUTPUTS) {
          for (int gap : new int[] {0, 8, 3}) {
            Tensor d = output(dtype, shape[0], shape[1], shape[1] + gap);
            Gemm.run(stream, x, y, d);
            requireAllowed(Arrays.toString(shape), expect(product, dtype), d);
          }
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(ints = {64, 1024, 7168, 18432})
    void isWithinTheBoundElsewhere(int depth) {
      int certain = 0;
      int uncertain = 0;
      for (int round = 0; round < 4; round++) {
        boolean wide = round % 2 == 0;
        int rows = 1 + random.nextInt(20);
        Nvfp4Matrix a =
            wide
                ? any(random, rows, depth, 1, 0x7e, GlobalScale.ROW)
                : gaussian(random, rows, depth, GlobalScale.TENSOR);
        Nvfp4Matrix w =
            wide
                ? any(random, 24, depth, 1, 0x7e, GlobalScale.HALVES)
                : gaussian(random, 24, depth, GlobalScale.TENSOR);
        GemmProduct product = GemmReference.gemm(a, w);
        for (boolean one : product.certain()) {
          certain += one ? 1 : 0;
          uncertain += one ? 0 : 1;
        }
        Tensor d = output(DType.F32, rows, 24, 24);
        Gemm.run(stream, upload(a), upload(w), d);
        requireAllowed("round " + round, expect(product, DType.F32), d);
      }
      assertThat(depth < 100 ? certain : uncertain).isPositive();
      stream.synchronize();
    }

    @Test
    void bf16ActivationsAreWithinTheBound() {
      for (int[] shape : SHAPES) {
        int m = shape[0];
        int k = shape[2];
        float[] a = values.activations(DType.BF16, m, k);
        Nvfp4Matrix w = gaussian(random, shape[1], k, GlobalScale.TENSOR);
        GemmProduct product = GemmReference.gemm(a, m, k, w);
        Nvfp4Tensor y = upload(w);
        for (DType dtype : OUTPUTS) {
          for (int gap : new int[] {0, 8, 5}) {
            Tensor d = output(dtype, m, shape[1], shape[1] + gap);
            Gemm.run(stream, upload(DType.BF16, a, m, k, k + gap), y, d);
            requireAllowed(Arrays.toString(shape), expect(product, dtype), d);
          }
        }
      }
      stream.synchronize();
    }

    /// Small integers in BF16 are exact in every order too.
    @Test
    void bf16ActivationsOfSmallIntegersAreExact() {
      float[] a = new float[7 * 320];
      for (int i = 0; i < a.length; i++) {
        a[i] = random.nextInt(-8, 9);
      }
      Nvfp4Matrix w = certain(random, 48, 320, GlobalScale.HALVES);
      GemmProduct product = GemmReference.gemm(a, 7, 320, w);
      Tensor d = output(DType.F32, 7, 48, 48);
      Gemm.run(stream, upload(DType.BF16, a, 7, 320), upload(w), d);
      requireEqual("d", product.values(), floats(d));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void everyBlockScaleIsDecoded(boolean ofWeights) {
      // Row n of the one operand has block scale n, of the other 1: 0x00 to 0x7e.
      Nvfp4Matrix many = certain(random, 128, 16, GlobalScale.TENSOR);
      for (int i = 0; i < 0x7f; i++) {
        many.scales()[i] = (byte) i;
      }
      Nvfp4Matrix one = any(random, 8, 16, E4m3.encode(1), E4m3.encode(1), GlobalScale.TENSOR);
      GemmProduct product =
          ofWeights ? GemmReference.gemm(one, many) : GemmReference.gemm(many, one);
      assertThat(product.allCertain()).isTrue();
      Tensor d = output(DType.F32, product.rows(), product.columns(), product.columns());
      Nvfp4Tensor a = upload(ofWeights ? one : many);
      Nvfp4Tensor w = upload(ofWeights ? many : one);
      Gemm.run(stream, a, w, d);
      requireAllowed("linear", expect(product, DType.F32), d);
      poison(d);
      Gemm.run(stream, pack(a), prepare(w), d);
      requireAllowed("packed, prepared", expect(product, DType.F32), d);
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(ints = {0x7f, 0x80, 0xb8, 0xff})
    void aBadBlockScaleIsNaNAndReported(int bad) {
      Nvfp4Matrix a = certain(random, 5, 64, GlobalScale.TENSOR);
      Nvfp4Matrix w = certain(random, 16, 64, GlobalScale.TENSOR);
      w.scales()[11 * 4 + 2] = (byte) bad;
      Tensor d = output(DType.BF16, 5, 16, 16);
      Gemm.run(stream, upload(a), upload(w), d);
      requireAllowed("w", expect(GemmReference.gemm(a, w), DType.BF16), d);
      ReportedByKernelException report = reported();
      assertThat(report.op()).isEqualTo(Op.GEMM);
      assertThat(report.causes().get(Op.GEMM)).contains(Cause.BAD_BLOCK_SCALE);
      if (report.reason() == Cause.BAD_BLOCK_SCALE) {
        assertThat(report.row()).isEqualTo(-1);
        assertThat(report.column()).isEqualTo(11);
      }
      w.scales()[11 * 4 + 2] = LOW;
      a.scales()[3 * 4] = (byte) bad;
      Gemm.run(stream, upload(a), upload(w), d);
      requireAllowed("a", expect(GemmReference.gemm(a, w), DType.BF16), d);
      report = reported();
      assertThat(report.causes().get(Op.GEMM)).contains(Cause.BAD_BLOCK_SCALE);
      if (report.reason() == Cause.BAD_BLOCK_SCALE) {
        assertThat(report.row()).isEqualTo(3);
        assertThat(report.column()).isEqualTo(-1);
      }
      stream.synchronize(); // A fault is reported once.
    }

    private ReportedByKernelException reported() {
      return catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
    }

    @Test
    void aResultThatIsNotFiniteIsWrittenAndReported() {
      float[] a = new float[3 * 32];
      Arrays.fill(a, 1f);
      a[32 + 5] = Float.NaN;
      a[64 + 7] = Float.POSITIVE_INFINITY;
      Nvfp4Matrix w = certain(random, 8, 32, GlobalScale.TENSOR);
      GemmProduct product = GemmReference.gemm(a, 3, 32, w);
      Tensor d = output(DType.F32, 3, 8, 8);
      Gemm.run(stream, upload(DType.BF16, a, 3, 32), upload(w), d);
      requireAllowed("d", expect(product, DType.F32), d);
      ReportedByKernelException report = reported();
      assertThat(report.causes().get(Op.GEMM)).containsExactly(Cause.NON_FINITE_RESULT);
      assertThat(report.row()).isIn(1L, 2L);
      w.globalScales()[0] = Float.POSITIVE_INFINITY;
      Arrays.fill(a, 1f);
      Gemm.run(stream, upload(DType.BF16, a, 3, 32), upload(w), d);
      assertThat(reported().reason()).isEqualTo(Cause.NON_FINITE_RESULT);
    }

    @Test
    void noRowsAreNoWork() {
      Nvfp4Tensor w = upload(certain(random, 8, 32, GlobalScale.TENSOR));
      Tensor d = output(DType.F32, 0, 8, 8);
      Gemm.run(stream, upload(DType.BF16, new float[0], 0, 32), w, d);
      Gemm.run(stream, output(0, 32, ScaleLayout.LINEAR, GlobalScale.ROW), prepare(w), d);
      Gemm.run(stream, output(0, 32, ScaleLayout.PACKED, GlobalScale.TENSOR), w, d);
      stream.synchronize();
    }

    @Test
    void twoRunsGiveTheSameBits() {
      Nvfp4Tensor a = upload(any(random, 70, 4096, 1, 0x7e, GlobalScale.ROW));
      Nvfp4Tensor w = upload(any(random, 136, 4096, 1, 0x7e, GlobalScale.TENSOR));
      byte[] first = null;
      for (int i = 0; i < 4; i++) {
        Tensor d = output(DType.F32, 70, 136, 136);
        Gemm.run(stream, a, w, d);
        byte[] again = bytes(d);
        requireEqual("run " + i, first == null ? again : first, again);
        first = again;
      }
      stream.synchronize();
    }

    // 80 rows of W have a tiled prepared order, and so the kernels for it; 72 have not.
    @ParameterizedTest
    @ValueSource(ints = {72, 80})
    void aRowDoesNotDependOnTheOthersWhenBatchInvariant(int n) {
      Nvfp4Matrix all = any(random, 130, 2048, 1, 0x7e, GlobalScale.ROW);
      Nvfp4Tensor w = upload(any(random, n, 2048, 1, 0x7e, GlobalScale.TENSOR));
      Nvfp4Tensor prepared = prepare(w);
      Gemm.Options options = Gemm.Options.DEFAULT.withBatchInvariant(true);
      for (Nvfp4Tensor weights : List.of(w, prepared)) {
        byte[] whole = null;
        for (int rows : new int[] {130, 1, 7, 16, 17, 64, 129}) {
          Nvfp4Matrix some =
              new Nvfp4Matrix(
                  rows,
                  2048,
                  Arrays.copyOf(all.codes(), rows * 1024),
                  Arrays.copyOf(all.scales(), rows * 128),
                  GlobalScale.ROW,
                  Arrays.copyOf(all.globalScales(), rows));
          Tensor d = output(DType.F32, rows, n, n);
          Gemm.run(stream, upload(some), weights, null, d, options);
          byte[] bits = bytes(d);
          whole = whole == null ? bits : whole;
          requireEqual(rows + " rows", Arrays.copyOf(whole, rows * n * 4), bits);
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(strings = {"5x8x64", "16x32x256"})
    void equalsTheGoldens(String shape) throws IOException {
      SafetensorsFile golden = SafetensorsFile.open(Goldens.file("nvfp4/gemm.safetensors"), arena);
      Nvfp4Matrix a = golden(golden, shape + ".a", "a_gs", shape);
      Nvfp4Matrix w = golden(golden, shape + ".b", "b_ws2", shape);
      GemmProduct product = GemmReference.gemm(a, w);
      double[] exact = golden.data(shape + ".d_f64").toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
      for (DType dtype : OUTPUTS) {
        Tensor d = output(dtype, a.rows(), w.rows(), w.rows());
        Gemm.run(stream, upload(a), upload(w), d);
        requireAllowed("d", expect(product, dtype), d);
        float[] actual = floats(d);
        for (int i = 0; i < actual.length; i++) {
          double tolerance = (dtype == DType.F32 ? 0x1p-21 : 0x1p-8 + 0x1p-21) * Math.abs(exact[i]);
          assertThat(Math.abs(actual[i] - exact[i])).isLessThanOrEqualTo(tolerance);
        }
      }
      MemorySegment bits = golden.data(shape + ".a_bf16_bits");
      float[] x = Bf16.decode(bits.toArray(ValueLayout.JAVA_SHORT_UNALIGNED));
      double[] w4a16 = golden.data(shape + ".w4a16_f64").toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
      GemmProduct wide = GemmReference.gemm(x, a.rows(), a.columns(), w);
      Tensor d = output(DType.F32, a.rows(), w.rows(), w.rows());
      Gemm.run(stream, upload(DType.BF16, x, a.rows(), a.columns()), upload(w), d);
      float[] actual = floats(d);
      for (int i = 0; i < actual.length; i++) {
        double tolerance = gamma(a.columns()) * wide.magnitudes()[i] + 0x1p-22 * Math.abs(w4a16[i]);
        assertThat(Math.abs(actual[i] - w4a16[i])).isLessThanOrEqualTo(tolerance);
      }
      stream.synchronize();
    }

    @Test
    void theAdversarialGoldenIsWithinTheBound() throws IOException {
      SafetensorsFile golden = SafetensorsFile.open(Goldens.file("nvfp4/gemm.safetensors"), arena);
      Nvfp4Matrix a = golden(golden, "adversarial.a", null, "");
      Nvfp4Matrix one = golden(golden, "adversarial.b", null, "");
      Nvfp4Matrix w = // its one row, and seven of zeros
          new Nvfp4Matrix(
              8,
              one.columns(),
              Arrays.copyOf(one.codes(), 8 * one.codes().length),
              Arrays.copyOf(one.scales(), 8 * one.scales().length),
              GlobalScale.TENSOR,
              one.globalScales());
      Tensor d = output(DType.F32, 1, 8, 8);
      Gemm.run(stream, upload(a), upload(w), d);
      requireAllowed("d", expect(GemmReference.gemm(a, w), DType.F32), d);
      assertThat(Arrays.copyOfRange(floats(d), 1, 8)).containsOnly(0f);
      stream.synchronize();
    }

    private static Nvfp4Matrix golden(
        SafetensorsFile file, String prefix, @Nullable String gs, String of) throws IOException {
      long[] shape = file.entry(prefix + "_packed").shape();
      float[] scales =
          gs == null
              ? new float[] {1}
              : file.data(of + "." + gs).toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
      return new Nvfp4Matrix(
          (int) shape[0],
          2 * (int) shape[1],
          file.data(prefix + "_packed").toArray(ValueLayout.JAVA_BYTE),
          file.data(prefix + "_scale").toArray(ValueLayout.JAVA_BYTE),
          GlobalScale.TENSOR,
          scales);
    }
  }
}
