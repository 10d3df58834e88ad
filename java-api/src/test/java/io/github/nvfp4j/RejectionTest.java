// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of the ops that compute: each argument, each way to be wrong.
final class RejectionTest {
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

  abstract static class Contract extends RejectionTable {
    Contract(String id) {
      super(id);
    }

    @TestFactory
    List<DynamicTest> quantize() {
      Tensor x = t(DType.BF16, 128, 1024);
      Nvfp4Tensor y = q(128, 1024);
      row(
          "input",
          "I32",
          "quantize: input has dtype I32, expected F32, BF16 or F16",
          () -> Quantize.dynamic(stream, t(DType.I32, 128, 1024), y));
      row(
          "input",
          "rank 3",
          "quantize: input has rank 3 (shape [2, 64, 1024]), expected rank 2",
          () -> Quantize.dynamic(stream, t(DType.BF16, 2, 64, 1024), y));
      row(
          "input",
          "[128, 1000]",
          "quantize: input has 1000 columns (shape [128, 1000]), expected a positive multiple of"
              + " 16",
          () -> Quantize.dynamic(stream, t(DType.BF16, 128, 1000), y));
      row(
          "input",
          "[128, 0]",
          "quantize: input has 0 columns (shape [128, 0]), expected a positive multiple of 16",
          () -> Quantize.dynamic(stream, t(DType.BF16, 128, 0), y));
      row(
          "output",
          "[64, 1024]",
          "quantize: output has shape [64, 1024], expected [128, 1024] (the shape of input)",
          () -> Quantize.dynamic(stream, x, q(64, 1024)));
      row(
          "output",
          "[128, 1024] for 3 rows",
          "quantize: output has shape [128, 1024], expected [3, 1024] (one row per element of"
              + " rows)",
          () -> Quantize.run(stream, x, t(DType.I32, 3), y, Quantize.Options.DYNAMIC));
      row(
          "rows",
          "I64",
          "quantize: rows has dtype I64, expected I32",
          () -> Quantize.run(stream, x, t(DType.I64, 128), y, Quantize.Options.DYNAMIC));
      row(
          "rows",
          "[128, 1]",
          "quantize: rows has rank 2 (shape [128, 1]), expected rank 1",
          () -> Quantize.run(stream, x, t(DType.I32, 128, 1), y, Quantize.Options.DYNAMIC));
      row(
          "output.scales",
          "half as long",
          "quantize: output.scales has 4096 bytes, expected 8192"
              + " (m=128, k=1024: 64 scales per row, layout LINEAR)",
          () ->
              Quantize.dynamic(
                  stream,
                  x,
                  Nvfp4Tensor.of(
                      arena, y.codes(), t(DType.U8, 4096), y.globalScales(), ScaleLayout.LINEAR)));
      row(
          "output.scales",
          "linear, said to be swizzled",
          "quantize: output.scales has 8 bytes, expected 512"
              + " (m=2, k=64: 4 scales per row, layout SWIZZLED_128X4)",
          () ->
              Quantize.dynamic(
                  stream,
                  t(DType.BF16, 2, 64),
                  Nvfp4Tensor.of(
                      arena,
                      t(DType.U8, 2, 32),
                      t(DType.U8, 2, 4),
                      t(DType.F32, 1),
                      ScaleLayout.SWIZZLED_128X4)));
      row(
          "output.global_scales",
          "3 elements",
          "quantize: output.global_scales has 3 elements, expected 128 (one per row)",
          () ->
              Quantize.dynamic(
                  stream,
                  x,
                  Nvfp4Tensor.of(
                      arena, y.codes(), y.scales(), t(DType.F32, 3), ScaleLayout.LINEAR)));
      Tensor bytes = t(DType.U8, 128 * 512 + 16);
      Tensor odd = bytes.slice(arena, 8, 128 * 512).reshaped(arena, 128, 512);
      row(
          "output.codes",
          "8 bytes off",
          "quantize: output.codes is at address 0x"
              + Long.toHexString(odd.address())
              + ", expected a multiple of 16 bytes",
          () ->
              Quantize.dynamic(
                  stream,
                  x,
                  Nvfp4Tensor.of(arena, odd, y.scales(), y.globalScales(), ScaleLayout.LINEAR)));
      return table;
    }

    @TestFactory
    List<DynamicTest> aliasing() {
      Tensor all = t(DType.U8, 1 << 16);
      Nvfp4Tensor y =
          Nvfp4Tensor.of(
              arena,
              all.slice(arena, 0, 16 * 32).reshaped(arena, 16, 32),
              all.slice(arena, 1024, 16 * 4),
              t(DType.F32, 1),
              ScaleLayout.LINEAR);
      long a = all.address();
      Tensor x = alias(all, 256, DType.BF16, 16, 64);
      row(
          "output.codes",
          "part of input",
          String.format(
              "quantize: output.codes (512 bytes at 0x%x) overlaps input (2048 bytes at 0x%x),"
                  + " expected separate memory",
              a, a + 256),
          () -> Quantize.dynamic(stream, x, y));
      Tensor z = alias(all, 1056, DType.F32, 16, 64);
      row(
          "output",
          "over input.scales",
          String.format(
              "dequantize: output (4096 bytes at 0x%x) overlaps input.scales (64 bytes at 0x%x),"
                  + " expected separate memory",
              a + 1056, a + 1024),
          () -> Dequantize.run(stream, y, z));
      return table;
    }

    // Another type over the same bytes.
    private Tensor alias(Tensor bytes, long offset, DType dtype, long rows, long columns) {
      long size = rows * columns * dtype.bytes();
      if (device.isCuda()) {
        return Tensor.ofUnsafeDevicePointer(
            arena,
            device,
            bytes.address() + offset,
            dtype,
            new long[] {rows, columns},
            new long[] {columns, 1});
      }
      return Tensor.of(arena, bytes.segment().asSlice(offset, size), dtype, rows, columns);
    }

    @TestFactory
    List<DynamicTest> dequantize() {
      Nvfp4Tensor x = q(4, 32);
      row(
          "output",
          "U8",
          "dequantize: output has dtype U8, expected F32, BF16 or F16",
          () -> Dequantize.run(stream, x, t(DType.U8, 4, 32)));
      row(
          "output",
          "[4, 64]",
          "dequantize: output has shape [4, 64], expected [4, 32] (the shape of input)",
          () -> Dequantize.run(stream, x, t(DType.F32, 4, 64)));
      return table;
    }

    @TestFactory
    List<DynamicTest> swizzle() {
      row(
          "swizzled",
          "500 bytes",
          "swizzle: swizzled has 500 bytes, expected 512 (linear is [4, 4]: tiles of 128 x 4)",
          () -> Swizzle.run(stream, t(DType.U8, 4, 4), t(DType.U8, 500)));
      row(
          "linear",
          "F32",
          "swizzle: linear has dtype F32, expected U8",
          () -> Swizzle.run(stream, t(DType.F32, 4, 4), t(DType.U8, 512)));
      row(
          "swizzled",
          "1024 bytes",
          "unswizzle: swizzled has 1024 bytes, expected 512 (linear is [4, 4]: tiles of 128 x 4)",
          () -> Unswizzle.run(stream, t(DType.U8, 1024), t(DType.U8, 4, 4)));
      row(
          "swizzled",
          "8 bytes off",
          "unswizzle: swizzled is at address 0x%x, expected a multiple of 16 bytes",
          () -> {
            Tensor tiles = t(DType.U8, 520).slice(arena, 8, 512);
            try {
              Unswizzle.run(stream, tiles, t(DType.U8, 4, 4));
            } catch (IllegalArgumentException e) {
              String address = "0x" + Long.toHexString(tiles.address());
              throw new IllegalArgumentException(e.getMessage().replace(address, "0x%x"), e);
            }
          });
      return table;
    }

    @TestFactory
    List<DynamicTest> swiglu() {
      Tensor x = t(DType.BF16, 4, 64);
      Tensor y = t(DType.BF16, 4, 32);
      Swiglu.Options options = Swiglu.Options.DEFAULT;
      row(
          "gate_up",
          "F16",
          "swiglu: gate_up has dtype F16, expected F32 or BF16",
          () -> Swiglu.run(stream, t(DType.F16, 4, 64), null, y, options));
      row(
          "gate_up",
          "[4, 63]",
          "swiglu: gate_up has 63 columns, expected an even number (gate and up of the same width)",
          () -> Swiglu.run(stream, t(DType.BF16, 4, 63), null, y, options));
      row(
          "output",
          "F32",
          "swiglu: output has dtype F32, expected BF16",
          () -> Swiglu.run(stream, x, null, t(DType.F32, 4, 32), options));
      row(
          "output",
          "[4, 64]",
          "swiglu: output has shape [4, 64], expected [4, 32]"
              + " (the rows and half the columns of gate_up)",
          () -> Swiglu.run(stream, x, null, t(DType.BF16, 4, 64), options));
      row(
          "weight",
          "[3]",
          "swiglu: weight has 3 elements, expected 4 (one per row of gate_up)",
          () -> Swiglu.run(stream, x, t(DType.F32, 3), y, options));
      row(
          "limit",
          "-1",
          "swiglu: options.limit is -1, expected 0 (no clamp) or a finite positive number",
          () -> Swiglu.run(stream, x, null, y, Swiglu.Options.of(SwigluColumns.HALVES, -1f)));
      row(
          "limit",
          "NaN",
          "swiglu: options.limit is nan, expected 0 (no clamp) or a finite positive number",
          () -> Swiglu.run(stream, x, null, y, Swiglu.Options.of(SwigluColumns.HALVES, Float.NaN)));
      row(
          "gate_up",
          "[4, 48]",
          "swiglu_quantize: gate_up has 48 columns, expected a positive multiple of 32"
              + " (the result has half of them)",
          () ->
              SwigluQuantize.run(
                  stream, t(DType.BF16, 4, 48), null, q(4, 16), options, Quantize.Options.DYNAMIC));
      row(
          "output",
          "[4, 64]",
          "swiglu_quantize: output has shape [4, 64], expected [4, 32]"
              + " (the rows and half the columns of gate_up)",
          () -> SwigluQuantize.run(stream, x, null, q(4, 64), options, Quantize.Options.DYNAMIC));
      return table;
    }

    @TestFactory
    List<DynamicTest> strides() {
      Tensor wide = t(DType.BF16, 8, 64);
      Tensor rows = t(DType.I32, 8, 2).slice(arena, 1, 0, 1);
      row(
          "rows",
          "a column",
          "quantize: rows has rank 2 (shape [8, 1]), expected rank 1",
          () -> Quantize.run(stream, wide, rows, q(8, 64), Quantize.Options.DYNAMIC));
      row(
          "codes",
          "strided",
          "nvfp4: codes has strides [32, 1] for shape [8, 16], expected contiguous memory",
          () ->
              Nvfp4Tensor.of(
                  arena,
                  t(DType.U8, 8, 32).slice(arena, 1, 0, 16),
                  t(DType.U8, 8, 2),
                  t(DType.F32, 1),
                  ScaleLayout.LINEAR));
      row(
          "source",
          "rank 3 and strided",
          "copy: source has stride 16 along dimension 1 of 3, expected 8: only rank 2 may be"
              + " strided",
          () -> t(DType.F32, 2, 4, 16).slice(arena, 2, 0, 8).copyTo(stream, t(DType.F32, 2, 4, 8)));
      return table;
    }
  }
}
