// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Dequantize;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
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
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The measured ops and shapes, with their goals.
///
/// 7168 and 3072 are the hidden and expert sizes of DeepSeek-V4 Pro: activations of a decode step
/// have few rows, those of a prefill thousands.
final class Workloads {
  private static final String H100 = "H100";
  private static final String TRITON = "triton";

  /// Elements from which a bandwidth goal applies: launch and ramp-up no longer show.
  private static final long LARGE = 16L << 20;

  private static final Quantize.Options DYNAMIC =
      Quantize.Options.of(Quantize.Source.DYNAMIC, Recipe.EXACT, ZeroScale.MIN);
  private static final Quantize.Options GIVEN =
      Quantize.Options.of(Quantize.Source.GIVEN, Recipe.EXACT, ZeroScale.MIN);

  private Workloads() {}

  /// How a quantising op gets its global scale.
  private enum Scale {
    GIVEN("given", GlobalScale.TENSOR),
    ROW("dynamic, row", GlobalScale.ROW),
    TENSOR("dynamic, tensor", GlobalScale.TENSOR);

    final String variant;
    final GlobalScale covers;

    Scale(String variant, GlobalScale covers) {
      this.variant = variant;
      this.covers = covers;
    }

    long count(long rows) {
      return covers == GlobalScale.ROW ? rows : 1;
    }

    Quantize.Options options() {
      return this == GIVEN ? Workloads.GIVEN : DYNAMIC;
    }
  }

  /// @return all of them, or with `quick` one small shape of each op and variant
  static List<Workload> all(boolean quick) {
    List<Workload> all = new ArrayList<>();
    long[] quantizeRows = quick ? new long[] {64} : new long[] {1, 4, 16, 64, 1024, 8192, 16384};
    long[] largeRows = quick ? new long[] {64} : new long[] {1, 64, 1024, 8192, 16384};
    long hidden = quick ? 512 : 7168;
    long expert = quick ? 256 : 3072;
    for (Scale scale : Scale.values()) {
      for (long rows : quantizeRows) {
        all.add(quantize(scale, rows, hidden));
      }
    }
    for (Scale scale : Scale.values()) {
      for (long rows : largeRows) {
        all.add(swigluQuantize(scale, rows, expert));
      }
    }
    for (long rows : largeRows) {
      all.add(dequantize(rows, hidden));
    }
    for (long rows : largeRows) {
      all.add(swiglu(rows, expert));
    }
    for (long rows : quick ? new long[] {130} : new long[] {64, 8192}) {
      all.add(swizzle(rows, hidden));
      all.add(unswizzle(rows, hidden));
    }
    all.addAll(HcWorkloads.all(quick));
    all.addAll(RoutingWorkloads.all(quick));
    all.addAll(DecodeWorkloads.all(quick));
    return List.copyOf(all);
  }

  private static Workload quantize(Scale scale, long rows, long columns) {
    Buffer input = new Buffer("input", DType.BF16, rows, columns, Buffer.Fill.VALUES);
    List<Buffer> outputs = nvfp4(rows, columns, Buffer.Fill.POISON, Buffer.Fill.POISON);
    return new Workload(
        "quantize",
        scale.variant,
        rows,
        columns,
        inputs(scale, rows, input),
        outputs(scale, rows, outputs),
        (stream, arena, in, out) -> {
          Nvfp4Tensor output = assemble(arena, scale, in, out);
          return () -> Quantize.run(stream, in.getFirst(), null, output, scale.options());
        },
        quantizeGoal(scale, rows, columns));
  }

  private static Workload swigluQuantize(Scale scale, long rows, long columns) {
    Buffer input = new Buffer("gate_up", DType.BF16, rows, 2 * columns, Buffer.Fill.VALUES);
    List<Buffer> outputs = nvfp4(rows, columns, Buffer.Fill.POISON, Buffer.Fill.POISON);
    Swiglu.Options swiglu = Swiglu.Options.of(SwigluColumns.HALVES, 10f);
    boolean bandwidth = scale != Scale.TENSOR && rows * columns >= LARGE;
    return new Workload(
        "swiglu_quantize",
        scale.variant,
        rows,
        columns,
        inputs(scale, rows, input),
        outputs(scale, rows, outputs),
        (stream, arena, in, out) -> {
          Nvfp4Tensor output = assemble(arena, scale, in, out);
          Quantize.Options options = scale.options();
          return () -> SwigluQuantize.run(stream, in.getFirst(), null, output, swiglu, options);
        },
        bandwidth ? new Goal.FractionOf(Ceiling.COPY, 0.85) : null);
  }

  private static Workload dequantize(long rows, long columns) {
    List<Buffer> inputs =
        new ArrayList<>(nvfp4(rows, columns, Buffer.Fill.BYTES, Buffer.Fill.BLOCK_SCALES));
    inputs.add(new Buffer("global_scales", DType.F32, 1, 0, Buffer.Fill.GLOBAL_SCALES));
    return new Workload(
        "dequantize",
        "to bf16",
        rows,
        columns,
        List.copyOf(inputs),
        List.of(new Buffer("output", DType.BF16, rows, columns, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> {
          Nvfp4Tensor input =
              Nvfp4Tensor.of(
                  arena, in.get(0), in.get(1), in.get(2), ScaleLayout.LINEAR, GlobalScale.TENSOR);
          Tensor output = out.getFirst();
          return () -> Dequantize.run(stream, input, output);
        },
        rows * columns >= LARGE ? new Goal.FractionOf(Ceiling.MIX, 0.88) : null);
  }

  private static Workload swiglu(long rows, long columns) {
    Swiglu.Options options = Swiglu.Options.of(SwigluColumns.HALVES, 10f);
    return new Workload(
        "swiglu",
        "",
        rows,
        columns,
        List.of(new Buffer("gate_up", DType.BF16, rows, 2 * columns, Buffer.Fill.VALUES)),
        List.of(new Buffer("output", DType.BF16, rows, columns, Buffer.Fill.POISON)),
        (stream, arena, in, out) ->
            () -> Swiglu.run(stream, in.getFirst(), null, out.getFirst(), options),
        null);
  }

  private static Workload swizzle(long rows, long columns) {
    return new Workload(
        "swizzle",
        "",
        rows,
        columns / 16,
        List.of(linearScales(rows, columns, Buffer.Fill.BLOCK_SCALES)),
        List.of(swizzledScales(rows, columns, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> () -> Swizzle.run(stream, in.getFirst(), out.getFirst()),
        null);
  }

  private static Workload unswizzle(long rows, long columns) {
    return new Workload(
        "unswizzle",
        "",
        rows,
        columns / 16,
        List.of(swizzledScales(rows, columns, Buffer.Fill.BLOCK_SCALES)),
        List.of(linearScales(rows, columns, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> () -> Unswizzle.run(stream, in.getFirst(), out.getFirst()),
        null);
  }

  private static Buffer linearScales(long rows, long columns, Buffer.Fill fill) {
    return new Buffer("scales", DType.U8, rows, columns / 16, fill);
  }

  private static Buffer swizzledScales(long rows, long columns, Buffer.Fill fill) {
    long bytes = ScaleLayout.SWIZZLED_128X4.bytes(rows, columns);
    return new Buffer("swizzled", DType.U8, bytes, 0, fill);
  }

  private static List<Buffer> nvfp4(
      long rows, long columns, Buffer.Fill codes, Buffer.Fill scales) {
    return List.of(
        new Buffer("codes", DType.U8, rows, columns / 2, codes),
        new Buffer("scales", DType.U8, rows, columns / 16, scales));
  }

  private static List<Buffer> inputs(Scale scale, long rows, Buffer input) {
    return scale == Scale.GIVEN
        ? List.of(input, globalScales(scale, rows, Buffer.Fill.GLOBAL_SCALES))
        : List.of(input);
  }

  private static List<Buffer> outputs(Scale scale, long rows, List<Buffer> outputs) {
    return scale == Scale.GIVEN
        ? outputs
        : List.of(outputs.get(0), outputs.get(1), globalScales(scale, rows, Buffer.Fill.POISON));
  }

  private static Buffer globalScales(Scale scale, long rows, Buffer.Fill fill) {
    return new Buffer("global_scales", DType.F32, scale.count(rows), 0, fill);
  }

  private static Nvfp4Tensor assemble(
      Arena arena, Scale scale, List<Tensor> inputs, List<Tensor> outputs) {
    Tensor globalScales = scale == Scale.GIVEN ? inputs.get(1) : outputs.get(2);
    return Nvfp4Tensor.of(
        arena, outputs.get(0), outputs.get(1), globalScales, ScaleLayout.LINEAR, scale.covers);
  }

  private static @Nullable Goal quantizeGoal(Scale scale, long rows, long columns) {
    if (scale == Scale.TENSOR) {
      if (rows == 8192) {
        return new Goal.TimesPeer(1.9, TRITON);
      }
      if (rows <= 4) {
        return new Goal.Micros(2.2, H100);
      }
      return rows == 64 && columns == 7168 ? new Goal.Micros(3.5, H100) : null;
    }
    if (rows * columns >= LARGE) {
      return new Goal.FractionOf(Ceiling.COPY, 0.85);
    }
    return rows <= 64 && columns == 7168 ? new Goal.Micros(2.2, H100) : null;
  }
}
