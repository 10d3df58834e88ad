// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.OpRequest.BF16_F32;
import static io.github.nvfp4j.cli.OpRequest.F32;
import static io.github.nvfp4j.cli.OpRequest.FLOATS;
import static io.github.nvfp4j.cli.OpRequest.I32;
import static io.github.nvfp4j.cli.OpRequest.SCALES;
import static io.github.nvfp4j.cli.OpRequest.U8;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Dequantize;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Op;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Swiglu;
import io.github.nvfp4j.SwigluColumns;
import io.github.nvfp4j.SwigluQuantize;
import io.github.nvfp4j.Swizzle;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.Unswizzle;
import io.github.nvfp4j.ZeroScale;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.cli.OpRequest.Input;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/// The ops of `nvfp4j run`: which tensors and parameters each takes, and what it writes.
final class RunOps {
  /// An op whose request was found good; runs as often as asked, on fresh copies of its inputs.
  interface Prepared {
    void run(Workbench bench, Outputs outputs);
  }

  /// Receives the tensors that an op wrote, by the names that the file gets.
  interface Outputs {
    void put(String name, Tensor tensor);
  }

  private static final long BLOCK = 16;

  /// By name, in the order in which a user reads of them.
  static final Map<String, Function<OpRequest, Prepared>> ALL = new LinkedHashMap<>();

  static {
    ALL.put(Op.QUANTIZE.opName(), RunOps::quantize);
    ALL.put(Op.DEQUANTIZE.opName(), RunOps::dequantize);
    ALL.put(Op.SWIZZLE.opName(), RunOps::swizzle);
    ALL.put(Op.UNSWIZZLE.opName(), RunOps::unswizzle);
    ALL.put(Op.SWIGLU.opName(), RunOps::swiglu);
    ALL.put(Op.SWIGLU_QUANTIZE.opName(), RunOps::swigluQuantize);
    ALL.put(Op.GEMM.opName(), RunGemm::gemm);
    ALL.put(Op.GROUPED_GEMM.opName(), RunGemm::groupedGemm);
    ALL.put(Op.BATCHED_GEMM.opName(), RunGemm::batchedGemm);
    ALL.put(Op.SINKHORN.opName(), RunHyperConnections::sinkhorn);
    ALL.put(Op.HC_PRE.opName(), RunHyperConnections::hcPre);
    ALL.put(Op.HC_POST.opName(), RunHyperConnections::hcPost);
    ALL.put(Op.HC_HEAD.opName(), RunHyperConnections::hcHead);
    ALL.put(Op.HC_POST_PRE.opName(), RunHyperConnections::hcPostPre);
    ALL.put(Op.ROUTER_DENSE.opName(), RunRouters::dense);
    ALL.put(Op.ROUTER_HASH.opName(), RunRouters::hash);
    ALL.put(Op.EXPERT_DISPATCH.opName(), RunExperts::dispatch);
    ALL.put(Op.EXPERT_COMBINE.opName(), RunExperts::combine);
    ALL.put(Op.INDEXER_TOPK.opName(), RunIndexer::indexerTopk);
    ALL.put(Op.CACHE_APPEND_WINDOW.opName(), RunCaches::appendWindow);
    ALL.put(Op.CACHE_APPEND.opName(), RunCaches::append);
    ALL.put(Op.SAMPLE.opName(), RunSample::sample);
  }

  private RunOps() {}

  /// The element type of an op's tensor that a file's tensor becomes; block scales are bytes.
  static DType dtype(SafetensorsDType dtype) {
    return switch (dtype) {
      case F32 -> DType.F32;
      case BF16 -> DType.BF16;
      case F16 -> DType.F16;
      case U8, F8_E4M3 -> DType.U8;
      case I32 -> DType.I32;
      case I64 -> DType.I64;
      default -> throw new IllegalArgumentException("dtype " + dtype + " is of no op");
    };
  }

  static Tensor upload(Workbench bench, Input input) {
    return bench.upload(input.data(), dtype(input.entry().dtype()), input.entry().shape());
  }

  private static Prepared quantize(OpRequest request) {
    Input input = request.matrix("input", FLOATS, "[T, K]");
    long columns = columns(request, input, BLOCK);
    Input rows = request.optional("rows", I32, "[R]");
    if (rows != null) {
      request.require(rows.entry().rank() == 1, rows, I32, "[R]");
    }
    QuantizeRequest quantize = QuantizeRequest.read(request, input.dim(0));
    long outputRows = rows == null ? input.dim(0) : rows.dim(0);
    return (bench, outputs) -> {
      Tensor x = bench.leftColumns(upload(bench, input), columns);
      Nvfp4Tensor out =
          bench.result(outputRows, columns, quantize.scaleLayout(), quantize.global());
      quantize.giveGlobalScales(bench, rows, out);
      Tensor gather = rows == null ? null : upload(bench, rows);
      Quantize.run(bench.stream(), x, gather, out, quantize.options());
      quantize.put(bench, out, outputs);
    };
  }

  private static Prepared dequantize(OpRequest request) {
    Input packed = request.matrix("packed", U8, "[T, K/2]");
    long rows = packed.dim(0);
    if (packed.dim(1) == 0 || packed.dim(1) % (BLOCK / 2) != 0) {
      throw request.fault(
          "tensor packed is "
              + packed.describe()
              + ", expected a positive multiple of 8 bytes per row");
    }
    long columns = packed.dim(1) * 2;
    ScaleLayout layout = scaleLayout(request);
    Input scale = scale(request, rows, columns, layout);
    Input gs = request.required("gs", F32, "[1] or [T]");
    request.require(
        gs.entry().elements() == 1 && gs.entry().rank() <= 1
            || gs.entry().rank() == 1 && gs.dim(0) == rows,
        gs,
        F32,
        "[1] or [" + rows + "]");
    GlobalScale global = gs.entry().elements() == 1 ? GlobalScale.TENSOR : GlobalScale.ROW;
    DType dtype =
        DType.valueOf(request.choice("dtype", "f32", "bf16", "f16").toUpperCase(Locale.ROOT));
    return (bench, outputs) -> {
      Nvfp4Tensor x = bench.result(rows, columns, layout, global);
      copyInto(bench, packed.data(), x.codes());
      copyInto(bench, scale.data(), x.scales());
      copyInto(bench, gs.data(), x.globalScales());
      Tensor output = bench.result(dtype, rows, columns);
      Dequantize.run(bench.stream(), x, output);
      outputs.put("output", output);
    };
  }

  private static Prepared swizzle(OpRequest request) {
    Input scale = request.matrix("scale", SCALES, "[T, K/16]");
    long bytes = ScaleLayout.SWIZZLED_128X4.bytes(scale.dim(0), scale.dim(1) * BLOCK);
    return (bench, outputs) -> {
      Tensor swizzled = bench.result(DType.U8, bytes);
      Swizzle.run(bench.stream(), upload(bench, scale), swizzled);
      outputs.put("scale", swizzled);
    };
  }

  private static Prepared unswizzle(OpRequest request) {
    long rows = requiredCount(request, "rows");
    long blocks = requiredCount(request, "cols");
    long columns;
    try {
      columns = Math.multiplyExact(blocks, BLOCK);
    } catch (ArithmeticException e) {
      throw request.fault("parameter cols is " + blocks + ", expected K/16");
    }
    Input scale = scale(request, rows, columns, ScaleLayout.SWIZZLED_128X4);
    return (bench, outputs) -> {
      Tensor linear = bench.result(DType.U8, rows, blocks);
      Tensor swizzled = bench.upload(scale.data(), DType.U8, scale.entry().elements());
      Unswizzle.run(bench.stream(), swizzled, linear);
      outputs.put("scale", linear);
    };
  }

  private static Prepared swiglu(OpRequest request) {
    SwigluRequest swiglu = SwigluRequest.read(request, false);
    return (bench, outputs) -> {
      Tensor gateUp = swiglu.gateUp(bench);
      Tensor output = bench.result(gateUp.dtype(), gateUp.shape(0), swiglu.columns() / 2);
      Swiglu.run(bench.stream(), gateUp, swiglu.weight(bench), output, swiglu.options());
      outputs.put("output", output);
    };
  }

  private static Prepared swigluQuantize(OpRequest request) {
    SwigluRequest swiglu = SwigluRequest.read(request, true);
    long rows = swiglu.input().dim(0);
    QuantizeRequest quantize = QuantizeRequest.read(request, rows);
    return (bench, outputs) -> {
      Tensor gateUp = swiglu.gateUp(bench);
      Nvfp4Tensor out =
          bench.result(rows, swiglu.columns() / 2, quantize.scaleLayout(), quantize.global());
      quantize.giveGlobalScales(bench, null, out);
      SwigluQuantize.run(
          bench.stream(), gateUp, swiglu.weight(bench), out, swiglu.options(), quantize.options());
      quantize.put(bench, out, outputs);
    };
  }

  /// How many columns of a matrix count. With `row_stride` the matrix is the whole rows, padding
  /// included, and `cols` says how many of their elements the op sees; without `cols` it sees the
  /// whole multiples of `unit`.
  private static long columns(OpRequest request, Input matrix, long unit) {
    Long stride = request.count("row_stride");
    Long cols = request.count("cols");
    if (stride != null && stride != matrix.dim(1)) {
      throw request.fault(
          "tensor "
              + matrix.name()
              + " is "
              + matrix.describe()
              + ", expected [T, "
              + stride
              + "] (row_stride="
              + stride
              + ")");
    }
    if (cols != null && stride == null) {
      throw request.fault("parameter cols is given without row_stride, expected both");
    }
    if (cols != null && cols > matrix.dim(1)) {
      throw request.fault(
          "parameter cols is " + cols + ", expected at most row_stride=" + matrix.dim(1));
    }
    long columns = matrix.dim(1);
    if (cols != null) {
      columns = cols;
    } else if (stride != null) {
      columns -= columns % unit;
    }
    if (columns == 0 || columns % unit != 0) {
      throw request.fault(
          "tensor "
              + matrix.name()
              + " is "
              + matrix.describe()
              + ", expected a positive multiple of "
              + unit
              + " columns, has "
              + columns);
    }
    return columns;
  }

  private static ScaleLayout scaleLayout(OpRequest request) {
    return request.choice("scale_layout", "linear", "swizzled").equals("linear")
        ? ScaleLayout.LINEAR
        : ScaleLayout.SWIZZLED_128X4;
  }

  /// Block scales: the matrix `[T, K/16]`, or the bytes of the tiled layout in any shape.
  private static Input scale(OpRequest request, long rows, long columns, ScaleLayout layout) {
    long bytes;
    try {
      bytes = layout.bytes(rows, columns);
    } catch (IllegalArgumentException e) {
      throw request.fault(
          "[" + rows + ", " + columns + "] is too large, expected below 2^63 bytes");
    }
    boolean linear = layout == ScaleLayout.LINEAR;
    String shape =
        linear
            ? "[" + rows + ", " + columns / BLOCK + "]"
            : "[" + bytes + "] (swizzled, " + rows + " rows of " + columns / BLOCK + " scales)";
    Input scale = request.required("scale", SCALES, shape);
    boolean fits =
        linear
            ? scale.entry().rank() == 2 && scale.dim(0) == rows && scale.dim(1) == columns / BLOCK
            : scale.entry().elements() == bytes;
    request.require(fits, scale, SCALES, shape);
    return scale;
  }

  private static long requiredCount(OpRequest request, String name) {
    Long count = request.count(name);
    if (count == null) {
      throw request.fault("parameter " + name + " is missing, expected an integer >= 0");
    }
    return count;
  }

  /// Copies a file's bytes into a tensor of the same size, whatever shape each has.
  static void copyInto(Workbench bench, MemorySegment bytes, Tensor destination) {
    destination.copyFrom(
        bench.stream(), bench.upload(bytes, destination.dtype(), destination.shape()));
  }

  /// What `swiglu` and `swiglu_quantize` read.
  private record SwigluRequest(
      Input input, long columns, @Nullable Input factors, Swiglu.Options options) {
    static SwigluRequest read(OpRequest request, boolean quantizes) {
      Input input = request.matrix("gate_up", BF16_F32, "[T, 2I]");
      long columns = input.dim(1);
      if (quantizes) {
        columns = RunOps.columns(request, input, 2 * BLOCK);
      } else if (columns % 2 != 0) {
        throw request.fault(
            "tensor gate_up is " + input.describe() + ", expected an even number of columns");
      }
      Input weight = request.optional("weight", F32, "[T]");
      if (weight != null) {
        boolean fits = weight.entry().rank() == 1 && weight.dim(0) == input.dim(0);
        request.require(fits, weight, F32, "[" + input.dim(0) + "]");
      }
      float limit = request.limit("limit", 10);
      SwigluColumns layout =
          request.flag("interleaved") ? SwigluColumns.INTERLEAVED : SwigluColumns.HALVES;
      return new SwigluRequest(input, columns, weight, Swiglu.Options.of(layout, limit));
    }

    Tensor gateUp(Workbench bench) {
      return bench.leftColumns(upload(bench, input), columns);
    }

    @Nullable Tensor weight(Workbench bench) {
      return factors == null ? null : upload(bench, factors);
    }
  }

  /// What `quantize` and `swiglu_quantize` read beside the matrix.
  private record QuantizeRequest(
      GlobalScale global,
      ScaleLayout scaleLayout,
      boolean dequantize,
      @Nullable Input gs,
      Quantize.Options options) {
    static QuantizeRequest read(OpRequest request, long rows) {
      boolean perRow = request.choice("global", "tensor", "row").equals("row");
      Input gs = request.optional("gs", F32, perRow ? "[T]" : "[1]");
      if (gs != null) {
        long count = perRow ? rows : 1;
        boolean fits =
            gs.entry().elements() == count
                && gs.entry().rank() <= 1
                && (gs.entry().rank() == 1 || count == 1);
        request.require(
            fits, gs, F32, "[" + count + "] (global=" + (perRow ? "row" : "tensor") + ")");
      }
      Recipe recipe =
          request.choice("recipe", "exact", "te_exact").equals("exact")
              ? Recipe.EXACT
              : Recipe.TE_EXACT;
      ZeroScale zeroScale =
          request.choice("zero_scale", "min", "flush").equals("min")
              ? ZeroScale.MIN
              : ZeroScale.FLUSH;
      ScaleLayout layout = RunOps.scaleLayout(request);
      Quantize.Source source = gs == null ? Quantize.Source.DYNAMIC : Quantize.Source.GIVEN;
      return new QuantizeRequest(
          perRow ? GlobalScale.ROW : GlobalScale.TENSOR,
          layout,
          request.flag("dequantize"),
          gs,
          Quantize.Options.of(source, recipe, zeroScale));
    }

    /// Puts given global scales into the result. They are those of the input's rows: gathered rows
    /// take theirs along.
    void giveGlobalScales(Workbench bench, @Nullable Input rows, Nvfp4Tensor out) {
      if (gs == null) {
        if (out.rows() == 0 && global == GlobalScale.TENSOR) {
          // An op of no rows touches nothing; 1 is the global scale of a tensor without a maximum.
          copyInto(bench, MemorySegment.ofArray(new float[] {1}), out.globalScales());
        }
        return;
      }
      MemorySegment scales = gs.data();
      if (rows != null && global == GlobalScale.ROW) {
        scales = gather(bench.arena(), scales, rows.data());
      }
      copyInto(bench, scales, out.globalScales());
    }

    private static MemorySegment gather(Arena arena, MemorySegment scales, MemorySegment rows) {
      long count = rows.byteSize() / Integer.BYTES;
      long inputRows = scales.byteSize() / Float.BYTES;
      MemorySegment gathered = arena.allocate(count * Float.BYTES, Float.BYTES);
      for (long i = 0; i < count; i++) {
        int row = rows.get(ValueLayout.JAVA_INT_UNALIGNED, i * Integer.BYTES);
        // A bad id is the kernel's to report; 1 is the global scale of the zeros it writes.
        float scale =
            row >= 0 && row < inputRows
                ? scales.get(ValueLayout.JAVA_FLOAT_UNALIGNED, (long) row * Float.BYTES)
                : 1f;
        gathered.setAtIndex(ValueLayout.JAVA_FLOAT, i, scale);
      }
      return gathered;
    }

    void put(Workbench bench, Nvfp4Tensor out, Outputs outputs) {
      outputs.put("packed", out.codes());
      outputs.put("scale", out.scales());
      outputs.put("gs", out.globalScales());
      if (dequantize) {
        Tensor dq = bench.result(DType.F32, out.rows(), out.columns());
        Dequantize.run(bench.stream(), out, dq);
        outputs.put("dq", dq);
      }
    }
  }
}
