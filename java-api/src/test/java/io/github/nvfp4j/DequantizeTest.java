// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.DequantizeReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// dequantize against the reference, bit for bit.
final class DequantizeTest {
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
      {1, 16}, {3, 48}, {5, 272}, {127, 64}, {130, 80}, {129, 1040}
    };

    Contract(String id) {
      super(id);
    }

    private static Nvfp4Matrix random(long salt, int rows, int columns, GlobalScale globalScale) {
      Values values = new Values(salt);
      byte[] scales = values.bytes(rows * columns / 16);
      for (int i = 0; i < scales.length; i++) {
        scales[i] &= 0x7f;
        if (scales[i] == 0x7f) {
          scales[i] = 0x7e;
        }
      }
      float[] gs = new float[(int) globalScale.count(rows)];
      for (int i = 0; i < gs.length; i++) {
        gs[i] = (float) Math.exp(values.random().nextGaussian() * 8);
      }
      return new Nvfp4Matrix(
          rows, columns, values.bytes(rows * columns / 2), scales, globalScale, gs);
    }

    @ParameterizedTest
    @CsvSource({
      "F32,LINEAR,TENSOR", "F32,SWIZZLED_128X4,ROW", "BF16,LINEAR,ROW",
      "BF16,SWIZZLED_128X4,TENSOR", "F16,LINEAR,TENSOR", "F16,SWIZZLED_128X4,ROW"
    })
    void equalsTheReference(DType dtype, ScaleLayout layout, GlobalScale globalScale) {
      for (int[] shape : SHAPES) {
        Nvfp4Matrix q = random(shape[0], shape[0], shape[1], globalScale);
        Tensor out = output(dtype, shape[0], shape[1], shape[1]);
        Dequantize.run(stream, upload(q, layout), out);
        requireEqual("output", DequantizeReference.dequantize(q, dtype), floats(out));
      }
      stream.synchronize();
    }

    @Test
    void leavesTheGapsBetweenRowsAlone() {
      Nvfp4Matrix q = random(3, 7, 64, GlobalScale.TENSOR);
      Tensor all = device.allocate(arena, DType.F32, 7, 80);
      poison(all);
      Tensor out = all.slice(arena, 1, 8, 64);
      Dequantize.run(stream, upload(q, ScaleLayout.LINEAR), out);
      requireEqual("output", DequantizeReference.dequantize(q, DType.F32), floats(out));
      byte[] bytes = bytes(all);
      for (int row = 0; row < 7; row++) {
        for (int i = 0; i < 80 * 4; i++) {
          if (i < 8 * 4 || i >= 72 * 4) {
            assertThat(bytes[row * 320 + i]).as("row %d byte %d", row, i).isEqualTo(POISON);
          }
        }
      }
    }

    @Test
    void reportsABadBlockScale() {
      Nvfp4Matrix q = random(4, 5, 64, GlobalScale.TENSOR);
      byte[] scales = q.scales();
      scales[2 * 4 + 1] = 0x7f;
      Nvfp4Matrix bad =
          new Nvfp4Matrix(5, 64, q.codes(), scales, GlobalScale.TENSOR, q.globalScales());
      Tensor out = output(DType.F32, 5, 64, 64);
      Dequantize.run(stream, upload(bad, ScaleLayout.LINEAR), out);
      requireEqual("output", DequantizeReference.dequantize(bad, DType.F32), floats(out));
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report.op()).isEqualTo(Op.DEQUANTIZE);
      assertThat(report.reason()).isEqualTo(Cause.BAD_BLOCK_SCALE);
      assertThat(report.row()).isEqualTo(2);
    }

    @Test
    void roundTripsCodes() {
      // Quantising what was dequantised, by the same global scale, is the identity of codes where
      // blocks reach 6 or -6.
      Nvfp4Matrix q = random(5, 33, 96, GlobalScale.TENSOR);
      byte[] codes = q.codes();
      for (int block = 0; block < codes.length / 8; block++) {
        codes[block * 8] |= 0x07;
        q.scales()[block] = (byte) Math.max(q.scales()[block], 0x08);
      }
      float[] one = {1f};
      Nvfp4Matrix full = new Nvfp4Matrix(33, 96, codes, q.scales(), GlobalScale.TENSOR, one);
      Tensor y = output(DType.F32, 33, 96, 96);
      Dequantize.run(stream, upload(full, ScaleLayout.SWIZZLED_128X4), y);
      Nvfp4Tensor again = output(33, 96, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      upload(one).copyTo(stream, again.globalScales());
      Quantize.given(stream, y, again);
      stream.synchronize();
      requireEqual(full, again);
      assertThat(
              again.globalScales().toHost(stream, arena).segment().get(ValueLayout.JAVA_FLOAT, 0))
          .isEqualTo(1f);
    }
  }
}
