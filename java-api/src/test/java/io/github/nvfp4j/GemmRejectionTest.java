// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of the matrix products and of what puts their operands in order.
final class GemmRejectionTest {
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
    private static final Gemm.Options DEFAULT = Gemm.Options.DEFAULT;
    private static final Gemm.Options SWIGLU = DEFAULT.withSwiglu(10);

    Contract(String id) {
      super(id);
    }

    private Nvfp4Tensor q(long groups, long rows, long columns, GlobalScale kind) {
      return device.allocateNvfp4(arena, groups, rows, columns, ScaleLayout.LINEAR, kind);
    }

    private Nvfp4Tensor q(long rows, long columns, ScaleLayout layout) {
      return device.allocateNvfp4(arena, rows, columns, layout, GlobalScale.TENSOR);
    }

    private void gemm(
        String argument, String value, String sentence, Tensor a, Nvfp4Tensor w, Tensor d) {
      row(argument, value, "gemm: " + sentence, () -> Gemm.run(stream, a, w, d));
    }

    private void gemm(
        String argument, String value, String sentence, Nvfp4Tensor a, Nvfp4Tensor w, Tensor d) {
      row(argument, value, "gemm: " + sentence, () -> Gemm.run(stream, a, w, d));
    }

    @TestFactory
    List<DynamicTest> gemm() {
      Tensor a = t(DType.BF16, 4, 64);
      Nvfp4Tensor w = q(16, 64);
      Tensor d = t(DType.F32, 4, 16);
      gemm("a", "F32", "a has dtype F32, expected BF16", t(DType.F32, 4, 64), w, d);
      gemm("a", "rank 1", "a has rank 1 (shape [64]), expected rank 2", t(DType.BF16, 64), w, d);
      gemm(
          "a",
          "[4, 48]",
          "a has 48 columns, expected 64 (the columns of w)",
          t(DType.BF16, 4, 48),
          w,
          d);
      gemm(
          "a", "NVFP4 [4, 48]", "a has 48 columns, expected 64 (the columns of w)", q(4, 48), w, d);
      gemm(
          "a.scale_layout",
          "SWIZZLED_128X4",
          "a.scale_layout is 1 (SWIZZLED_128X4), expected LINEAR or PACKED",
          q(4, 64, ScaleLayout.SWIZZLED_128X4),
          w,
          d);
      gemm(
          "a.scale_layout",
          "PREPARED",
          "a.scale_layout is 2 (PREPARED), expected LINEAR or PACKED",
          q(8, 64, ScaleLayout.PREPARED),
          w,
          d);
      gemm(
          "a.global_scale_kind",
          "HALVES",
          "a.global_scale_kind is 3 (HALVES), expected TENSOR or ROW",
          q(1, 4, 64, GlobalScale.HALVES),
          w,
          d);
      gemm("a.groups", "2", "a.groups is 2, expected 1", q(2, 4, 64, GlobalScale.TENSOR), w, d);
      gemm(
          "w.scale_layout",
          "PACKED",
          "w.scale_layout is 3 (PACKED), expected LINEAR or PREPARED",
          a,
          q(16, 64, ScaleLayout.PACKED),
          d);
      gemm(
          "w.global_scale_kind",
          "ROW",
          "w.global_scale_kind is 1 (ROW), expected TENSOR or HALVES",
          a,
          q(1, 16, 64, GlobalScale.ROW),
          d);
      gemm("w.groups", "2", "w.groups is 2, expected 1", a, q(2, 16, 64, GlobalScale.TENSOR), d);
      gemm(
          "w.rows",
          "12",
          "w.rows is 12, expected a positive multiple of 8",
          a,
          q(12, 64),
          t(DType.F32, 4, 12));
      gemm(
          "w.rows",
          "0",
          "w.rows is 0, expected a positive multiple of 8",
          a,
          q(0, 64),
          t(DType.F32, 4, 0));
      gemm(
          "w.scales",
          "half as long",
          "w.scales has 32 bytes, expected 64 (m=16, k=64: 4 scales per row, layout LINEAR)",
          a,
          Nvfp4Tensor.of(arena, w.codes(), t(DType.U8, 32), w.globalScales(), ScaleLayout.LINEAR),
          d);
      gemm("d", "F16", "d has dtype F16, expected F32 or BF16", a, w, t(DType.F16, 4, 16));
      gemm(
          "d",
          "[4, 8]",
          "d has shape [4, 8], expected [4, 16] (the rows of a and of w)",
          a,
          w,
          t(DType.F32, 4, 8));
      gemm(
          "d",
          "[16, 4]",
          "d has shape [16, 4], expected [4, 16] (the rows of a and of w)",
          a,
          w,
          t(DType.F32, 16, 4));
      return table;
    }

    @TestFactory
    List<DynamicTest> options() {
      Tensor a = t(DType.BF16, 4, 64);
      Nvfp4Tensor w = q(16, 64);
      Tensor d = t(DType.BF16, 4, 8);
      row(
          "d",
          "F32 with swiglu",
          "gemm: d has dtype F32, expected BF16",
          () -> Gemm.run(stream, a, w, null, t(DType.F32, 4, 8), SWIGLU));
      row(
          "d",
          "[4, 16] with swiglu",
          "gemm: d has shape [4, 16], expected [4, 8] (the rows of a, and half of those of w)",
          () -> Gemm.run(stream, a, w, null, t(DType.BF16, 4, 16), SWIGLU));
      row(
          "w.rows",
          "8 with swiglu",
          "gemm: w.rows is 8, expected a positive multiple of 16 (gate and up: options.swiglu is"
              + " 1)",
          () -> Gemm.run(stream, a, q(8, 64), null, t(DType.BF16, 4, 4), SWIGLU));
      row(
          "row_weight",
          "[3]",
          "gemm: row_weight has 3 elements, expected 4 (one per row of a)",
          () -> Gemm.run(stream, a, w, t(DType.F32, 3), d, SWIGLU));
      row(
          "row_weight",
          "BF16",
          "gemm: row_weight has dtype BF16, expected F32",
          () -> Gemm.run(stream, a, w, t(DType.BF16, 4), d, SWIGLU));
      row(
          "row_weight",
          "given without swiglu",
          "gemm: row_weight is given, expected NULL (options.swiglu is 0)",
          () -> Gemm.run(stream, a, w, t(DType.F32, 4), t(DType.BF16, 4, 16), DEFAULT));
      for (float limit : new float[] {-1, Float.NaN, Float.POSITIVE_INFINITY}) {
        String text = Float.isNaN(limit) ? "nan" : limit == -1 ? "-1" : "inf";
        row(
            "limit",
            text,
            "gemm: options.limit is "
                + text
                + ", expected 0 (no clamp) or a finite positive number",
            () -> Gemm.run(stream, a, w, null, d, DEFAULT.withSwiglu(limit)));
      }
      if (!device.isCuda()) {
        row(
            "path",
            "WGMMA",
            "gemm: options.path is 3 (WGMMA), expected AUTO (the CPU has one implementation)",
            () -> Gemm.run(stream, a, w, null, d, SWIGLU.withPath(Gemm.Path.WGMMA)));
      }
      row(
          "d",
          "read-only",
          "gemm: d is read-only, expected memory that can be written",
          () ->
              Gemm.run(
                  stream,
                  a,
                  w,
                  Tensor.of(arena, arena.allocate(256, 64).asReadOnly(), DType.F32, 4, 16)));
      row(
          "d",
          "row_weight's memory",
          "gemm: d overlaps row_weight",
          () -> {
            Tensor weight = t(DType.F32, 4);
            Tensor over = alias(weight, DType.BF16, 1, 8);
            Nvfp4Tensor eight = q(16, 64);
            Tensor one = t(DType.BF16, 1, 64);
            Tensor first = weight.slice(arena, 0, 1);
            try {
              Gemm.run(stream, one, eight, first, over, SWIGLU);
            } catch (IllegalArgumentException e) {
              String message = e.getMessage().replaceAll(" \\([^)]*\\)", "");
              throw new IllegalArgumentException(
                  message.replace(", expected separate memory", ""), e);
            }
          });
      return table;
    }

    // Another type over the same bytes.
    private Tensor alias(Tensor tensor, DType dtype, long rows, long columns) {
      return device.isCuda()
          ? Tensor.ofUnsafeDevicePointer(
              arena,
              device,
              tensor.address(),
              dtype,
              new long[] {rows, columns},
              new long[] {columns, 1})
          : Tensor.of(arena, tensor.segment(), dtype, rows, columns);
    }

    @TestFactory
    List<DynamicTest> groupedGemm() {
      Tensor a = t(DType.BF16, 4, 64);
      Nvfp4Tensor w = q(3, 16, 64, GlobalScale.GROUP);
      Tensor offsets = t(DType.I32, 4);
      Tensor d = t(DType.F32, 4, 16);
      row(
          "offsets",
          "[3]",
          "grouped_gemm: offsets has 3 elements, expected 4 (one more than w has groups)",
          () -> GroupedGemm.run(stream, a, w, t(DType.I32, 3), d));
      row(
          "offsets",
          "I64",
          "grouped_gemm: offsets has dtype I64, expected I32",
          () -> GroupedGemm.run(stream, a, w, t(DType.I64, 4), d));
      row(
          "offsets",
          "[4, 1]",
          "grouped_gemm: offsets has rank 2 (shape [4, 1]), expected rank 1",
          () -> GroupedGemm.run(stream, a, w, t(DType.I32, 4, 1), d));
      row(
          "w.global_scale_kind",
          "ROW",
          "grouped_gemm: w.global_scale_kind is 1 (ROW), expected TENSOR, GROUP or HALVES",
          () -> GroupedGemm.run(stream, a, q(3, 16, 64, GlobalScale.ROW), offsets, d));
      row(
          "w.global_scales",
          "4 for 3 experts",
          "grouped_gemm: w.global_scales has 4 elements, expected 3 (one per group)",
          () ->
              GroupedGemm.run(
                  stream,
                  a,
                  Nvfp4Tensor.of(arena, w.codes(), w.scales(), t(DType.F32, 4), ScaleLayout.LINEAR),
                  offsets,
                  d));
      row(
          "a",
          "NVFP4 [4, 48]",
          "grouped_gemm: a has 48 columns, expected 64 (the columns of w)",
          () -> GroupedGemm.run(stream, q(4, 48), w, offsets, d));
      return table;
    }

    @TestFactory
    List<DynamicTest> batchedGemm() {
      Tensor a = t(DType.BF16, 4, 192);
      Nvfp4Tensor w = q(3, 16, 64, GlobalScale.GROUP);
      Tensor d = t(DType.F32, 4, 48);
      row(
          "a",
          "[4, 64]",
          "batched_gemm: a has 64 columns, expected 192 (w has 3 groups of 64 columns)",
          () -> BatchedGemm.run(stream, t(DType.BF16, 4, 64), w, d));
      row(
          "d",
          "[4, 16]",
          "batched_gemm: d has shape [4, 16], expected [4, 48]"
              + " (the rows of a, and those of all of w)",
          () -> BatchedGemm.run(stream, a, w, t(DType.F32, 4, 16)));
      row(
          "w.global_scale_kind",
          "HALVES",
          "batched_gemm: w.global_scale_kind is 3 (HALVES), expected TENSOR or GROUP",
          () -> BatchedGemm.run(stream, a, q(3, 16, 64, GlobalScale.HALVES), d));
      row(
          "options",
          "with swiglu",
          "batched_gemm: options.swiglu is 1, expected 0: batched_gemm has no SwiGLU",
          () -> BatchedGemm.run(stream, a, w, t(DType.BF16, 4, 48), SWIGLU));
      return table;
    }

    @TestFactory
    List<DynamicTest> operands() {
      Nvfp4Tensor w = q(2, 16, 64, GlobalScale.HALVES);
      row(
          "w.scale_layout",
          "SWIZZLED_128X4",
          "prepare_weights: w.scale_layout is 1 (SWIZZLED_128X4), expected LINEAR",
          () ->
              PrepareWeights.run(
                  stream, q(16, 64, ScaleLayout.SWIZZLED_128X4), q(16, 64, ScaleLayout.PREPARED)));
      row(
          "prepared.scale_layout",
          "LINEAR",
          "prepare_weights: prepared.scale_layout is 0 (LINEAR), expected PREPARED",
          () -> PrepareWeights.run(stream, w, q(2, 16, 64, GlobalScale.HALVES)));
      row(
          "packed.scale_layout",
          "LINEAR",
          "pack_activations: packed.scale_layout is 0 (LINEAR), expected PACKED",
          () -> PackActivations.run(stream, q(4, 64), q(4, 64)));
      row(
          "a.groups",
          "2",
          "pack_activations: a.groups is 2, expected 1",
          () ->
              PackActivations.run(
                  stream, q(2, 4, 64, GlobalScale.TENSOR), q(4, 64, ScaleLayout.PACKED)));
      row(
          "output.scale_layout",
          "PACKED",
          "quantize: output.scale_layout is 3 (PACKED), expected LINEAR or SWIZZLED_128X4",
          () -> Quantize.dynamic(stream, t(DType.F32, 4, 64), q(4, 64, ScaleLayout.PACKED)));
      row(
          "output.groups",
          "2",
          "quantize: output.groups is 2, expected 1",
          () -> Quantize.dynamic(stream, t(DType.F32, 4, 64), q(2, 4, 64, GlobalScale.TENSOR)));
      row(
          "input.global_scale_kind",
          "HALVES",
          "dequantize: input.global_scale_kind is 3 (HALVES), expected TENSOR or ROW",
          () -> Dequantize.run(stream, q(1, 4, 64, GlobalScale.HALVES), t(DType.F32, 4, 64)));
      row(
          "destination",
          "of another kind of global scales",
          "copy: destination is "
              + q(2, 16, 64, GlobalScale.GROUP)
              + ", expected the like of the source, "
              + w,
          () -> w.copyTo(stream, q(2, 16, 64, GlobalScale.GROUP)));
      row(
          "destination",
          "of other groups",
          "copy: destination is "
              + q(1, 16, 64, GlobalScale.HALVES)
              + ", expected the like of the source, "
              + w,
          () -> w.copyTo(stream, q(1, 16, 64, GlobalScale.HALVES)));
      return table;
    }

    @TestFactory
    List<DynamicTest> paths() {
      row(
          "n",
          "12",
          "gemm_path: n is 12, expected a positive multiple of 8",
          () -> Gemm.path(device, 1, 12, 64, Gemm.Activations.BF16, ScaleLayout.LINEAR, DEFAULT));
      row(
          "k",
          "20",
          "gemm_path: k is 20, expected a positive multiple of 16",
          () -> Gemm.path(device, 1, 8, 20, Gemm.Activations.BF16, ScaleLayout.LINEAR, DEFAULT));
      row(
          "w",
          "PACKED",
          "gemm_path: w_layout is 3 (PACKED), expected LINEAR or PREPARED",
          () ->
              GroupedGemm.path(
                  device, 2, 1, 8, 64, Gemm.Activations.BF16, ScaleLayout.PACKED, DEFAULT));
      return table;
    }
  }
}
