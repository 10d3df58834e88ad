// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.DequantizeReference;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// prepare_weights, pack_activations and SwiGLU of gemm; products replayed in graphs.
@Timeout(300)
final class GemmOperandsTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }

    /// On the CPU prepared weights give the same bits, whatever the sum.
    @Test
    void preparedWeightsChangeNoBit() {
      Nvfp4Tensor a = upload(any(new Values(311).random(), 21, 4096, 1, 0x7e, GlobalScale.ROW));
      Nvfp4Tensor w = upload(any(new Values(312).random(), 48, 4096, 1, 0x7e, GlobalScale.TENSOR));
      Tensor linear = output(DType.F32, 21, 48, 48);
      Tensor prepared = output(DType.F32, 21, 48, 48);
      Gemm.run(stream, a, w, linear);
      Gemm.run(stream, a, prepare(w), prepared);
      requireEqual("d", bytes(linear), bytes(prepared));
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
    private final Values values = new Values(303);
    private final Random random = values.random();

    Contract(String id) {
      super(id);
    }

    @ParameterizedTest
    @EnumSource(names = {"TENSOR", "ROW"})
    void packedActivationsAreTheirExactProducts(GlobalScale kind) {
      for (int[] shape : new int[][] {{1, 16}, {3, 48}, {33, 272}, {5, 8192}, {0, 64}}) {
        Nvfp4Matrix a = any(random, shape[0], shape[1], 0, 0x7e, kind);
        Nvfp4Tensor packed = pack(upload(a));
        assertThat(packed.codes().dtype()).isEqualTo(DType.BF16);
        assertThat(packed.codes().shape()).containsExactly(shape[0], shape[1]);
        assertThat(packed.scales().shape()).containsExactly(0);
        Nvfp4Matrix plain =
            new Nvfp4Matrix(
                shape[0], shape[1], a.codes(), a.scales(), GlobalScale.TENSOR, new float[] {1});
        float[] expected = DequantizeReference.dequantize(plain, DType.F32);
        requireEqual("values", expected, floats(packed.codes()));
        if (shape[0] > 0) {
          requireEqual("global scales", a.globalScales(), floats(packed.globalScales()));
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(ints = {0x7f, 0x80, 0xff})
    void badBlockScalesAreReportedWhereTheyAre(int bad) {
      Nvfp4Matrix a = certain(random, 6, 64, GlobalScale.ROW);
      a.scales()[4 * 4 + 3] = (byte) bad;
      Nvfp4Tensor packed = pack(upload(a));
      ReportedByKernelException report = reported();
      assertThat(report.op()).isEqualTo(Op.PACK_ACTIVATIONS);
      assertThat(report.reason()).isEqualTo(Cause.BAD_BLOCK_SCALE);
      assertThat(report.row()).isEqualTo(4);
      assertThat(report.column()).isEqualTo(48);
      float[] unpacked = floats(packed.codes());
      for (int i = 0; i < unpacked.length; i++) {
        assertThat(Float.isNaN(unpacked[i])).isEqualTo(i >= 4 * 64 + 48 && i < 5 * 64);
      }
      List<Nvfp4Matrix> w = stack(random, 3, 8, 64, GlobalScale.GROUP);
      w.get(2).scales()[5 * 4 + 1] = (byte) bad;
      Nvfp4Tensor prepared = prepare(upload(w));
      report = reported();
      assertThat(report.op()).isEqualTo(Op.PREPARE_WEIGHTS);
      assertThat(report.reason()).isEqualTo(Cause.BAD_BLOCK_SCALE);
      assertThat(report.row()).isEqualTo(2 * 8 + 5);
      assertThat(report.column()).isEqualTo(16);
      // It stays bad.
      Nvfp4Matrix x = certain(random, 3, 3 * 64, GlobalScale.TENSOR);
      Tensor d = output(DType.F32, 3, 24, 24);
      BatchedGemm.run(stream, upload(x), prepared, d);
      requireAllowed("d", expect(GemmReference.batched(x, w), DType.F32), d);
      assertThat(reported().causes().get(Op.BATCHED_GEMM)).contains(Cause.BAD_BLOCK_SCALE);
    }

    private ReportedByKernelException reported() {
      return catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
    }

    @Test
    void everyFormOfTheOperandsGivesTheSameBitsWhereTheSumIsExact() {
      for (int[] shape : new int[][] {{1, 8, 16}, {7, 24, 512}, {64, 128, 256}, {130, 72, 336}}) {
        for (GlobalScale kind : List.of(GlobalScale.TENSOR, GlobalScale.HALVES)) {
          Nvfp4Matrix a = certain(random, shape[0], shape[2], GlobalScale.ROW);
          Nvfp4Matrix w = certain(random, shape[1], shape[2], kind);
          GemmProduct product = GemmReference.gemm(a, w);
          for (Nvfp4Tensor x : List.of(upload(a), pack(upload(a)))) {
            for (Nvfp4Tensor y : List.of(upload(w), prepare(upload(w)))) {
              Tensor d = output(DType.F32, shape[0], shape[1], shape[1]);
              Gemm.run(stream, x, y, d);
              requireAllowed(x + " by " + y, expect(product, DType.F32), d);
            }
          }
        }
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @ValueSource(floats = {0f, 0.25f, 10f})
    void swigluOfTheProduct(float limit) {
      Gemm.Options options = Gemm.Options.DEFAULT.withSwiglu(limit);
      for (int[] shape : new int[][] {{1, 16, 512}, {3, 32, 48}, {33, 272, 336}, {70, 48, 4096}}) {
        int m = shape[0];
        int n = shape[1];
        Nvfp4Matrix a =
            shape[2] > 512
                ? any(random, m, shape[2], 1, 0x7e, GlobalScale.ROW)
                : certain(random, m, shape[2], GlobalScale.ROW);
        Nvfp4Matrix w = certain(random, n, shape[2], GlobalScale.HALVES);
        // Real values of about one, so that the clamp and SiLU matter.
        float[] one = {w.globalScales()[0] * 64, w.globalScales()[1] * 64};
        w = new Nvfp4Matrix(n, shape[2], w.codes(), w.scales(), GlobalScale.HALVES, one);
        float[] x = values.activations(DType.BF16, m, shape[2]);
        float[] weight = new float[m];
        for (int i = 0; i < m; i++) {
          weight[i] = random.nextFloat() * 3 - 1;
        }
        GemmProduct product = GemmReference.gemm(a, w);
        GemmProduct wide = GemmReference.gemm(x, m, shape[2], w);
        for (Nvfp4Tensor y : List.of(upload(w), prepare(upload(w)))) {
          for (boolean weighted : new boolean[] {false, true}) {
            Tensor factors = weighted ? upload(weight) : null;
            double gamma = gamma(shape[2]);
            GemmExpectation expected = product.expectSwiglu(weighted ? weight : null, limit, gamma);
            Tensor d = output(DType.BF16, m, n / 2, n / 2 + 8);
            Gemm.run(stream, upload(a), y, factors, d, options);
            requireAllowed(Arrays.toString(shape), expected, d);
            d = output(DType.BF16, m, n / 2, n / 2);
            Gemm.run(stream, pack(upload(a)), y, factors, d, options);
            requireAllowed(Arrays.toString(shape) + " packed", expected, d);
            expected = wide.expectSwiglu(weighted ? weight : null, limit, gamma);
            Gemm.run(stream, upload(DType.BF16, x, m, shape[2]), y, factors, d, options);
            requireAllowed(Arrays.toString(shape) + " bf16", expected, d);
          }
        }
      }
      stream.synchronize();
    }

    @Test
    void tensorsOfEveryLayoutAreCopiedWhole() {
      List<Nvfp4Matrix> w = stack(random, 3, 16, 64, GlobalScale.HALVES);
      Nvfp4Tensor linear = upload(w);
      assertThat(linear)
          .hasToString("NVFP4[3, 16, 64] (scales LINEAR, global scale HALVES) " + place());
      assertThat(linear.codes().shape()).containsExactly(3, 16, 32);
      assertThat(linear.scales().shape()).containsExactly(3, 16, 4);
      assertThat(linear.globalScales().shape()).containsExactly(3, 2);
      Nvfp4Tensor prepared = prepare(linear);
      assertThat(prepared.codes().shape()).containsExactly(3 * 16 * 36);
      assertThat(prepared.scales().elements()).isZero();
      Nvfp4Tensor packed = pack(upload(certain(random, 5, 64, GlobalScale.ROW)));
      for (Nvfp4Tensor source : List.of(linear, prepared, packed)) {
        Nvfp4Tensor back = source.toHost(stream, arena).to(stream, arena);
        assertThat(back).hasToString(source.toString());
        requireEqual("codes", bytes(source.codes()), bytes(back.codes()));
        requireEqual("scales", bytes(source.scales()), bytes(back.scales()));
        requireEqual("global scales", bytes(source.globalScales()), bytes(back.globalScales()));
      }
      Nvfp4Matrix a = certain(random, 4, 64, GlobalScale.TENSOR);
      int[] offsets = {0, 1, 3, 4};
      Tensor d = output(DType.F32, 4, 16, 16);
      GroupedGemm.run(
          stream, upload(a), prepared.toHost(stream, arena).to(stream, arena), upload(offsets), d);
      requireAllowed("d", expect(GemmReference.grouped(a, w, offsets), DType.F32), d);
      stream.synchronize();
    }

    private String place() {
      return device.isCuda() ? "on cuda:0" : "on the host";
    }

    /// A decode step, replayed with other contents.
    @Test
    void graphsReplayProducts() {
      float[] x = values.activations(DType.BF16, 3, 128);
      Tensor in = device.allocate(arena, DType.BF16, 3, 128);
      upload(DType.BF16, x, 3, 128).copyTo(stream, in);
      List<Nvfp4Matrix> w = stack(random, 2, 32, 128, GlobalScale.HALVES);
      Nvfp4Tensor weights = upload(w);
      Nvfp4Tensor q = output(3, 128, ScaleLayout.LINEAR, GlobalScale.ROW);
      Nvfp4Tensor packed = output(3, 128, ScaleLayout.PACKED, GlobalScale.ROW);
      Nvfp4Tensor prepared =
          device.allocateNvfp4(arena, 2, 32, 128, ScaleLayout.PREPARED, GlobalScale.HALVES);
      Nvfp4Matrix square = certain(random, 24, 64, GlobalScale.TENSOR);
      Nvfp4Tensor batched = upload(List.of(square, square));
      Nvfp4Tensor single = upload(w.get(0));
      int[] offsets = {0, 2, 3};
      Tensor o = upload(offsets);
      Tensor d = output(DType.F32, 3, 32, 32);
      Tensor grouped = output(DType.BF16, 3, 16, 16);
      Tensor slices = output(DType.F32, 3, 48, 48);
      Gemm.Options swiglu = Gemm.Options.DEFAULT.withSwiglu(10);
      stream.synchronize();
      try (Graph graph =
          stream.capture(() -> {
            Quantize.dynamic(stream, in, q);
            PackActivations.run(stream, q, packed);
            PrepareWeights.run(stream, weights, prepared);
            Gemm.run(stream, q, single, d);
            GroupedGemm.run(stream, packed, prepared, o, null, grouped, swiglu);
            BatchedGemm.run(stream, in, batched, slices);
          })) {
        assertThat(bytes(d)).as("recorded, not run").containsOnly(POISON);
        for (int round = 0; round < 3; round++) {
          graph.launch(stream);
          stream.synchronize();
          Nvfp4Matrix a =
              QuantizeReference.dynamic(x, 3, 128, GlobalScale.ROW, Recipe.EXACT, ZeroScale.MIN);
          requireEqual(a, q);
          requireAllowed("gemm", expect(GemmReference.gemm(a, w.get(0)), DType.F32), d);
          requireAllowed(
              "grouped_gemm",
              GemmReference.grouped(a, w, offsets).expectSwiglu(null, 10, gamma(128)),
              grouped);
          requireAllowed(
              "batched_gemm",
              expect(GemmReference.batched(x, 3, 128, List.of(square, square)), DType.F32),
              slices);
          x = values.activations(DType.BF16, 3, 128);
          upload(DType.BF16, x, 3, 128).copyTo(stream, in);
          poison(d);
        }
      }
    }

    @Test
    void thePathOfAProductIsNamed() {
      for (Gemm.Activations a : Gemm.Activations.values()) {
        for (ScaleLayout w : List.of(ScaleLayout.LINEAR, ScaleLayout.PREPARED)) {
          String path = Gemm.path(device, 16, 256, 512, a, w, Gemm.Options.DEFAULT);
          assertThat(path).contains(": ");
          assertThat(GroupedGemm.path(device, 8, 64, 256, 512, a, w, Gemm.Options.DEFAULT))
              .contains(": ");
          assertThat(BatchedGemm.path(device, 8, 64, 256, 512, a, w, Gemm.Options.DEFAULT))
              .contains(": ");
        }
      }
      for (Op op : Op.values()) {
        assertThat(device.pathFor(op)).isNotEmpty();
      }
    }
  }
}
