// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/// grouped_gemm and batched_gemm against the reference and against gemm.
@Timeout(300)
final class GroupedGemmTest {
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
    private static final int M = 75;
    private static final int N = 32;
    private static final int K = 336;

    private final Values values = new Values(202);
    private final Random random = values.random();

    Contract(String id) {
      super(id);
    }

    /// Even, skewed, empty ones at both ends and in the middle, rows before and behind, none at
    /// all.
    static List<int[]> offsets() {
      return List.of(
          new int[] {0, 25, 50, 75},
          new int[] {0, 1, 74, 75},
          new int[] {0, 0, 75, 75},
          new int[] {3, 40, 40, 70},
          new int[] {75, 75, 75, 75},
          new int[] {0, 0, 0, 0},
          new int[] {0, 75},
          new int[] {1, 2, 4, 8, 16, 32, 64, 75, 75});
    }

    @ParameterizedTest
    @MethodSource("offsets")
    void eachRowGetsItsExpert(int[] offsets) {
      int experts = offsets.length - 1;
      for (GlobalScale kind : List.of(GlobalScale.TENSOR, GlobalScale.GROUP, GlobalScale.HALVES)) {
        List<Nvfp4Matrix> w = stack(random, experts, N, K, kind);
        Nvfp4Matrix a = certain(random, M, K, GlobalScale.ROW);
        float[] x = values.activations(DType.BF16, M, K);
        GemmProduct exact = GemmReference.grouped(a, w, offsets);
        GemmProduct approximate = GemmReference.grouped(x, M, K, w, offsets);
        Tensor o = upload(offsets);
        Nvfp4Tensor linear = upload(w);
        assertThat(linear.groups()).isEqualTo(experts);
        Nvfp4Tensor prepared = prepare(linear);
        for (Nvfp4Tensor weights : List.of(linear, prepared)) {
          Tensor d = output(DType.F32, M, N, N + 4);
          GroupedGemm.run(stream, upload(a), weights, o, d);
          requireRows(expect(exact, DType.F32), d, offsets);
          d = output(DType.BF16, M, N, N);
          GroupedGemm.run(stream, pack(upload(a)), weights, o, d);
          requireRows(expect(exact, DType.BF16), d, offsets);
          d = output(DType.F32, M, N, N);
          GroupedGemm.run(stream, upload(DType.BF16, x, M, K, K + 8), weights, o, d);
          requireRows(expect(approximate, DType.F32), d, offsets);
        }
      }
      stream.synchronize();
    }

    /// The rows of experts are what they may be; those of nobody are poison still.
    private void requireRows(GemmExpectation expected, Tensor d, int[] offsets) {
      float[] actual = floats(d);
      byte[] bytes = bytes(d);
      int columns = (int) d.shape(1);
      for (int i = 0; i < actual.length; i++) {
        int row = i / columns;
        boolean nobody = row < offsets[0] || row >= offsets[offsets.length - 1];
        int size = d.dtype().bytes();
        if (nobody) {
          assertThat(Arrays.copyOfRange(bytes, i * size, (i + 1) * size)).containsOnly(POISON);
        } else if (!expected.allows(i, actual[i])) {
          throw new AssertionError(
              "row "
                  + row
                  + ", column "
                  + i % columns
                  + ": "
                  + actual[i]
                  + ", expected "
                  + expected.values()[i]
                  + " within "
                  + expected.tolerances()[i]);
        }
      }
    }

    @Test
    void swigluOfExpertsWithRoutingWeights() {
      int[] offsets = {0, 13, 13, 60, 75};
      List<Nvfp4Matrix> w = stack(random, 4, 2 * N, K, GlobalScale.HALVES);
      Nvfp4Matrix a = certain(random, M, K, GlobalScale.ROW);
      float[] weight = new float[M];
      for (int i = 0; i < M; i++) {
        weight[i] = random.nextFloat() * 2;
      }
      GemmProduct product = GemmReference.grouped(a, w, offsets);
      for (float limit : new float[] {0, 0.5f}) {
        GemmExpectation expected = product.expectSwiglu(weight, limit, gamma(K));
        for (Nvfp4Tensor weights : List.of(upload(w), prepare(upload(w)))) {
          Tensor d = output(DType.BF16, M, N, N + 8);
          Gemm.Options options = Gemm.Options.DEFAULT.withSwiglu(limit);
          GroupedGemm.run(stream, upload(a), weights, upload(offsets), upload(weight), d, options);
          requireRows(expected, d, offsets);
        }
      }
      stream.synchronize();
    }

    static List<int[]> badOffsets() {
      return List.of(
          new int[] {0, 30, 20, 75},
          new int[] {-1, 20, 30, 75},
          new int[] {0, 20, 30, 76},
          new int[] {0, 20, Integer.MAX_VALUE, 75},
          new int[] {Integer.MIN_VALUE, 0, 0, 0});
    }

    @ParameterizedTest
    @MethodSource("badOffsets")
    void badOffsetsAreReportedAndNothingIsWritten(int[] offsets) {
      Nvfp4Tensor w = upload(stack(random, 3, N, K, GlobalScale.GROUP));
      Nvfp4Matrix a = certain(random, M, K, GlobalScale.TENSOR);
      for (Nvfp4Tensor weights : List.of(w, prepare(w))) {
        Tensor d = output(DType.F32, M, N, N);
        GroupedGemm.run(stream, upload(a), weights, upload(offsets), d);
        ReportedByKernelException report =
            catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
        assertThat(report.op()).isEqualTo(Op.GROUPED_GEMM);
        assertThat(report.reason()).isEqualTo(Cause.BAD_OFFSETS);
        assertThat(report.causes().get(Op.GROUPED_GEMM)).containsExactly(Cause.BAD_OFFSETS);
        assertThat(bytes(d)).containsOnly(POISON);
      }
    }

    @Test
    void aRowDoesNotDependOnTheOthersWhenBatchInvariant() {
      Nvfp4Matrix a = any(random, M, 2048, 1, 0x7e, GlobalScale.ROW);
      List<Nvfp4Matrix> w =
          List.of(
              any(random, N, 2048, 1, 0x7e, GlobalScale.GROUP),
              any(random, N, 2048, 1, 0x7e, GlobalScale.GROUP));
      Gemm.Options options = Gemm.Options.DEFAULT.withBatchInvariant(true);
      Nvfp4Tensor weights = upload(w);
      Tensor together = output(DType.F32, M, N, N);
      GroupedGemm.run(
          stream, upload(a), weights, upload(new int[] {0, 40, 75}), null, together, options);
      byte[] expected = bytes(together);
      for (int row : new int[] {0, 39, 40, 74}) {
        int[] one = row < 40 ? new int[] {row, row + 1, row + 1} : new int[] {row, row, row + 1};
        Tensor d = output(DType.F32, M, N, N);
        GroupedGemm.run(stream, upload(a), weights, upload(one), null, d, options);
        requireEqual(
            "row " + row,
            Arrays.copyOfRange(expected, row * N * 4, (row + 1) * N * 4),
            Arrays.copyOfRange(bytes(d), row * N * 4, (row + 1) * N * 4));
      }
      stream.synchronize();
    }

    @ParameterizedTest
    @EnumSource(names = {"TENSOR", "GROUP"})
    void batchedProductsAreOfTheirSlices(GlobalScale kind) {
      for (int groups : new int[] {1, 2, 5}) {
        for (int rows : new int[] {0, 1, 17}) {
          List<Nvfp4Matrix> w = stack(random, groups, 24, 80, kind);
          Nvfp4Matrix a = certain(random, rows, groups * 80, GlobalScale.ROW);
          float[] x = values.activations(DType.BF16, rows, groups * 80);
          GemmProduct exact = GemmReference.batched(a, w);
          assertThat(exact.allCertain()).isTrue();
          GemmProduct approximate = GemmReference.batched(x, rows, groups * 80, w);
          Nvfp4Tensor linear = upload(w);
          for (Nvfp4Tensor weights : List.of(linear, prepare(linear))) {
            int width = groups * 24;
            Tensor d = output(DType.F32, rows, width, width + 4);
            BatchedGemm.run(stream, upload(a), weights, d);
            requireAllowed("nvfp4", expect(exact, DType.F32), d);
            d = output(DType.BF16, rows, width, width);
            BatchedGemm.run(stream, pack(upload(a)), weights, d);
            requireAllowed("packed", expect(exact, DType.BF16), d);
            d = output(DType.F32, rows, width, width);
            Tensor bf16 = upload(DType.BF16, x, rows, groups * 80L, groups * 80L + 16);
            BatchedGemm.run(stream, bf16, weights, d);
            requireAllowed("bf16", expect(approximate, DType.F32), d);
          }
        }
      }
      stream.synchronize();
    }

    /// One group, or the whole of the rows for one expert, is gemm.
    @Test
    void oneGroupIsGemm() {
      Nvfp4Matrix a = certain(random, 20, 512, GlobalScale.ROW);
      Nvfp4Matrix w = certain(random, 40, 512, GlobalScale.TENSOR);
      Tensor d = output(DType.F32, 20, 40, 40);
      Gemm.run(stream, upload(a), upload(w), d);
      byte[] expected = bytes(d);
      poison(d);
      GroupedGemm.run(stream, upload(a), upload(List.of(w)), upload(new int[] {0, 20}), d);
      requireEqual("grouped", expected, bytes(d));
      poison(d);
      BatchedGemm.run(stream, upload(a), upload(List.of(w)), d);
      requireEqual("batched", expected, bytes(d));
      stream.synchronize();
    }
  }
}
