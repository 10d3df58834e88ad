// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.OpRequest.BF16;
import static io.github.nvfp4j.cli.OpRequest.F32;
import static io.github.nvfp4j.cli.OpRequest.I32;
import static io.github.nvfp4j.cli.OpRequest.SCALES;
import static io.github.nvfp4j.cli.OpRequest.U8;

import io.github.nvfp4j.BatchedGemm;
import io.github.nvfp4j.DType;
import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.GroupedGemm;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.PackActivations;
import io.github.nvfp4j.PrepareWeights;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.cli.OpRequest.Input;
import io.github.nvfp4j.cli.RunOps.Prepared;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// gemm, grouped_gemm and batched_gemm of `nvfp4j run`.
final class RunGemm {
  private static final long BLOCK = 16;

  private RunGemm() {}

  static Prepared gemm(OpRequest request) {
    Weights w = Weights.read(request, Weights.Stack.ONE);
    Activations a = Activations.read(request, 1, w.columns());
    Choices choices = Choices.read(request, w.rows(), a.rows());
    return (bench, outputs) -> {
      Nvfp4Tensor weights = w.tensor(bench, choices.prepared());
      Tensor d = bench.result(choices.dtype(), a.rows(), choices.columns());
      Tensor factors = choices.rowWeight(bench);
      Nvfp4Tensor quantized = a.quantized(bench, choices.packed());
      if (quantized != null) {
        Gemm.run(bench.stream(), quantized, weights, factors, d, choices.options());
      } else {
        Gemm.run(bench.stream(), a.bf16(bench), weights, factors, d, choices.options());
      }
      outputs.put("d", d);
    };
  }

  static Prepared groupedGemm(OpRequest request) {
    Weights w = Weights.read(request, Weights.Stack.EXPERTS);
    Activations a = Activations.read(request, 1, w.columns());
    String shape = "[" + (w.groups() + 1) + "]";
    Input offsets = request.required("offsets", I32, shape);
    request.require(
        offsets.entry().rank() == 1 && offsets.dim(0) == w.groups() + 1, offsets, I32, shape);
    Choices choices = Choices.read(request, w.rows(), a.rows());
    return (bench, outputs) -> {
      Nvfp4Tensor weights = w.tensor(bench, choices.prepared());
      Tensor d = bench.result(choices.dtype(), a.rows(), choices.columns());
      clearRowsOfNobody(bench, offsets.data(), d);
      Tensor groups = RunOps.upload(bench, offsets);
      Tensor factors = choices.rowWeight(bench);
      Nvfp4Tensor quantized = a.quantized(bench, choices.packed());
      Gemm.Options options = choices.options();
      if (quantized != null) {
        GroupedGemm.run(bench.stream(), quantized, weights, groups, factors, d, options);
      } else {
        GroupedGemm.run(bench.stream(), a.bf16(bench), weights, groups, factors, d, options);
      }
      outputs.put("d", d);
    };
  }

  static Prepared batchedGemm(OpRequest request) {
    Weights w = Weights.read(request, Weights.Stack.GROUPS);
    Activations a = Activations.read(request, w.groups(), w.columns());
    DType dtype = dtype(request);
    return (bench, outputs) -> {
      Nvfp4Tensor weights = w.tensor(bench, false);
      Tensor d = bench.result(dtype, a.rows(), w.groups() * w.rows());
      Nvfp4Tensor quantized = a.quantized(bench, false);
      if (quantized != null) {
        BatchedGemm.run(bench.stream(), quantized, weights, d);
      } else {
        BatchedGemm.run(bench.stream(), a.bf16(bench), weights, d);
      }
      outputs.put("d", d.reshaped(bench.arena(), a.rows(), w.groups(), w.rows()));
    };
  }

  private static DType dtype(OpRequest request) {
    return request.choice("dtype", "f32", "bf16").equals("f32") ? DType.F32 : DType.BF16;
  }

  /// Rows of no expert stay as they were: zeros, for the file's sake. Where the offsets are bad
  /// that is every row.
  private static void clearRowsOfNobody(Workbench bench, MemorySegment offsets, Tensor d) {
    int[] o = offsets.toArray(ValueLayout.JAVA_INT_UNALIGNED);
    long rows = d.shape(0);
    boolean good = o[0] >= 0 && o[o.length - 1] <= rows;
    for (int i = 1; i < o.length; i++) {
      good &= o[i - 1] <= o[i];
    }
    clear(bench, d, 0, good ? o[0] : rows);
    clear(bench, d, good ? o[o.length - 1] : rows, rows);
  }

  private static void clear(Workbench bench, Tensor d, long from, long to) {
    if (from < to) {
      Tensor rows = d.slice(bench.arena(), from, to - from);
      MemorySegment zeros = bench.arena().allocate(rows.byteSize(), Float.BYTES);
      RunOps.copyInto(bench, zeros, rows);
    }
  }

  /// `b_packed`, `b_scale` and `b_ws2`.
  private record Weights(
      Input packed, Input scale, Input globals, long groups, long rows, GlobalScale global) {
    /// How many matrices there are, and what their global scales may cover.
    enum Stack {
      ONE("[N, K/2]"),
      EXPERTS("[E, N, K/2]"),
      GROUPS("[G, N, K/2]");

      private final String shape;

      Stack(String shape) {
        this.shape = shape;
      }
    }

    static Weights read(OpRequest request, Stack stack) {
      int rank = stack == Stack.ONE ? 2 : 3;
      Input packed = request.required("b_packed", U8, stack.shape);
      request.require(packed.entry().rank() == rank, packed, U8, stack.shape);
      long groups = rank == 2 ? 1 : packed.dim(0);
      long rows = packed.dim(rank - 2);
      long bytes = packed.dim(rank - 1);
      if (groups == 0) {
        throw request.fault(
            "tensor b_packed is " + packed.describe() + ", expected one or more matrices");
      }
      if (rows == 0 || rows % 8 != 0) {
        throw request.fault(
            "tensor b_packed is " + packed.describe() + ", expected a positive multiple of 8 rows");
      }
      if (bytes == 0 || bytes % (BLOCK / 2) != 0) {
        throw request.fault(
            "tensor b_packed is "
                + packed.describe()
                + ", expected a positive multiple of 8 bytes per row");
      }
      long[] scaleShape = packed.entry().shape().clone();
      scaleShape[rank - 1] = bytes * 2 / BLOCK;
      Input scale = request.required("b_scale", SCALES, Arrays.toString(scaleShape));
      request.require(
          Arrays.equals(scale.entry().shape(), scaleShape),
          scale,
          SCALES,
          Arrays.toString(scaleShape));
      String expected =
          switch (stack) {
            case ONE -> "[1] or [2]";
            case EXPERTS -> "[" + groups + "] or [" + groups + ", 2]";
            case GROUPS -> groups == 1 ? "[1]" : "[1] or [" + groups + "]";
          };
      Input globals = request.required("b_ws2", F32, expected);
      GlobalScale global = kind(stack, groups, globals.entry().shape());
      request.require(global != null, globals, F32, expected);
      return new Weights(
          packed, scale, globals, groups, rows, global == null ? GlobalScale.TENSOR : global);
    }

    private static @Nullable GlobalScale kind(Stack stack, long groups, long[] shape) {
      long count = Arrays.stream(shape).reduce(1, (x, y) -> x * y);
      boolean one = shape.length <= 1 && count == 1;
      boolean perGroup = shape.length == 1 && count == groups;
      return switch (stack) {
        case ONE -> {
          boolean halves = shape.length == 1 && count == 2;
          yield one ? GlobalScale.TENSOR : halves ? GlobalScale.HALVES : null;
        }
        case EXPERTS -> {
          boolean halves = shape.length == 2 && shape[0] == groups && shape[1] == 2;
          boolean each = perGroup || groups == 1 && one;
          yield each ? GlobalScale.GROUP : halves ? GlobalScale.HALVES : null;
        }
        case GROUPS -> one ? GlobalScale.TENSOR : perGroup ? GlobalScale.GROUP : null;
      };
    }

    long columns() {
      return packed.dim(packed.entry().rank() - 1) * 2;
    }

    Nvfp4Tensor tensor(Workbench bench, boolean prepared) {
      Nvfp4Tensor w = bench.result(groups, rows, columns(), ScaleLayout.LINEAR, global);
      RunOps.copyInto(bench, packed.data(), w.codes());
      RunOps.copyInto(bench, scale.data(), w.scales());
      RunOps.copyInto(bench, globals.data(), w.globalScales());
      if (!prepared) {
        return w;
      }
      Nvfp4Tensor ordered = bench.result(groups, rows, columns(), ScaleLayout.PREPARED, global);
      PrepareWeights.run(bench.stream(), w, ordered);
      return ordered;
    }
  }

  /// `a`, or `a_packed`, `a_scale` and `a_gs`; in groups side by side in a row.
  private record Activations(
      @Nullable Input a,
      @Nullable Input packed,
      @Nullable Input scale,
      @Nullable Input globals,
      long rows,
      long columns) {
    static Activations read(OpRequest request, long groups, long depth) {
      String of = request.op().equals("batched_gemm") ? "[T, " + groups + ", " : "[T, ";
      Input a = request.optional("a", BF16, of + depth + "]");
      Input packed = request.optional("a_packed", U8, of + depth / 2 + "]");
      if (a != null && packed != null) {
        throw request.fault("tensors a and a_packed are both given, expected one of them");
      }
      Input scale = request.optional("a_scale", SCALES, of + depth / BLOCK + "]");
      Input globals = request.optional("a_gs", F32, "[1] or [T]");
      if (a != null) {
        shape(request, a, groups, depth, of);
        for (Input extra : Arrays.asList(scale, globals)) {
          if (extra != null) {
            throw request.fault(
                "tensors a and "
                    + extra.name()
                    + " are both given, expected a_packed in place of a");
          }
        }
        return new Activations(a, null, null, null, a.dim(0), groups * depth);
      }
      if (packed == null) {
        throw request.fault(
            "tensor a is missing, expected BF16 "
                + of
                + depth
                + "], or a_packed, a_scale and a_gs in its place");
      }
      shape(request, packed, groups, depth / 2, of);
      scale = request.required("a_scale", SCALES, of + depth / BLOCK + "]");
      shape(request, scale, groups, depth / BLOCK, of);
      long rows = packed.dim(0);
      request.require(
          scale.dim(0) == rows, scale, SCALES, of.replace("T", "" + rows) + depth / BLOCK + "]");
      globals = request.required("a_gs", F32, "[1] or [T]");
      boolean fits =
          globals.entry().rank() <= 1
              && (globals.entry().elements() == 1 || globals.entry().elements() == rows);
      request.require(fits, globals, F32, "[1] or [" + rows + "]");
      return new Activations(null, packed, scale, globals, rows, groups * depth);
    }

    /// `[T, last]`, or `[T, G, last]` for batched_gemm.
    private static void shape(OpRequest request, Input input, long groups, long last, String of) {
      int rank = request.op().equals("batched_gemm") ? 3 : 2;
      boolean fits =
          input.entry().rank() == rank
              && input.dim(rank - 1) == last
              && (rank == 2 || input.dim(1) == groups);
      request.require(
          fits,
          input,
          input.name().equals("a") ? BF16 : input.name().equals("a_packed") ? U8 : SCALES,
          of + last + "]");
    }

    Tensor bf16(Workbench bench) {
      if (a == null) {
        throw new AssertionError("activations are NVFP4");
      }
      return bench.upload(a.data(), DType.BF16, rows, columns);
    }

    /// Null when A is BF16.
    @Nullable Nvfp4Tensor quantized(Workbench bench, boolean packs) {
      if (packed == null || scale == null || globals == null) {
        return null;
      }
      GlobalScale global = globals.entry().elements() == 1 ? GlobalScale.TENSOR : GlobalScale.ROW;
      Nvfp4Tensor x = bench.result(rows, columns, ScaleLayout.LINEAR, global);
      RunOps.copyInto(bench, packed.data(), x.codes());
      RunOps.copyInto(bench, scale.data(), x.scales());
      RunOps.copyInto(bench, globals.data(), x.globalScales());
      if (!packs) {
        return x;
      }
      Nvfp4Tensor unpacked = bench.result(rows, columns, ScaleLayout.PACKED, global);
      PackActivations.run(bench.stream(), x, unpacked);
      return unpacked;
    }
  }

  /// The parameters of gemm and grouped_gemm, and `row_weight`.
  private record Choices(
      DType dtype,
      long columns,
      boolean prepared,
      boolean packed,
      @Nullable Input factors,
      Gemm.Options options) {
    static Choices read(OpRequest request, long n, long rows) {
      boolean swiglu = request.flag("swiglu");
      DType dtype = RunGemm.dtype(request);
      if (swiglu && dtype == DType.F32 && request.has("dtype")) {
        throw request.fault("parameter dtype is f32 with swiglu=true, expected bf16");
      }
      boolean prepared = request.choice("layout", "direct", "prepared").equals("prepared");
      boolean packed = request.choice("a_layout", "linear", "packed").equals("packed");
      Gemm.Options options =
          Gemm.Options.DEFAULT.withBatchInvariant(request.flag("batch_invariant"));
      float limit = request.limit("limit", 10);
      Input factors = request.optional("row_weight", F32, "[T]");
      if (factors != null) {
        boolean fits = factors.entry().rank() == 1 && factors.dim(0) == rows;
        request.require(fits, factors, F32, "[" + rows + "]");
        if (!swiglu) {
          throw request.fault("tensor row_weight is given without swiglu=true, expected both");
        }
      }
      return swiglu
          ? new Choices(DType.BF16, n / 2, prepared, packed, factors, options.withSwiglu(limit))
          : new Choices(dtype, n, prepared, packed, null, options);
    }

    @Nullable Tensor rowWeight(Workbench bench) {
      return factors == null ? null : RunOps.upload(bench, factors);
    }
  }
}
