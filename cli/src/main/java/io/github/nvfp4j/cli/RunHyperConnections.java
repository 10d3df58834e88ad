// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.OpRequest.BF16_F32;
import static io.github.nvfp4j.cli.OpRequest.F32;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.HcHead;
import io.github.nvfp4j.HcModule;
import io.github.nvfp4j.HcOptions;
import io.github.nvfp4j.HcPost;
import io.github.nvfp4j.HcPostPre;
import io.github.nvfp4j.HcPre;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Sinkhorn;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.cli.OpRequest.Input;
import io.github.nvfp4j.cli.RunOps.Outputs;
import io.github.nvfp4j.cli.RunOps.Prepared;
import io.github.nvfp4j.reference.Bf16;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;

/// sinkhorn and the hyper-connections of `nvfp4j run`.
final class RunHyperConnections {
  private static final int MAX_STREAMS = 16;
  private static final int MAX_COLUMNS = 1 << 24;
  private static final float SMALLEST_EPS = 0x1p-100f;

  private RunHyperConnections() {}

  static Prepared sinkhorn(OpRequest request) {
    Input logits = request.required("logits", F32, "[T, n, n]");
    boolean square = logits.entry().rank() == 3 && logits.dim(1) == logits.dim(2);
    request.require(square, logits, F32, "[T, n, n]");
    requireStreams(request, logits);
    Sinkhorn.Options options = Sinkhorn.Options.of(iterations(request), eps(request, "eps"));
    return (bench, outputs) -> {
      Tensor comb = bench.result(DType.F32, logits.entry().shape());
      Sinkhorn.run(bench.stream(), RunOps.upload(bench, logits), comb, options);
      outputs.put("comb", comb);
    };
  }

  static Prepared hcPre(OpRequest request) {
    Residual x = Residual.read(request);
    Parameters parameters = Parameters.read(request, x);
    HcOptions options = options(request);
    return (bench, outputs) -> {
      Results results = Results.of(bench, x);
      HcPre.run(
          bench.stream(),
          x.tensor(bench),
          parameters.module(bench),
          results.collapsed(),
          results.post(),
          results.comb(),
          options);
      results.put(outputs);
    };
  }

  static Prepared hcPost(OpRequest request) {
    Residual x = Residual.read(request);
    Before before = Before.read(request, x);
    boolean inPlace = request.flag("in_place");
    return (bench, outputs) -> {
      Tensor residual = x.tensor(bench);
      Tensor out = inPlace ? residual : bench.result(x.dtype(), residual.shape());
      HcPost.run(
          bench.stream(),
          residual,
          RunOps.upload(bench, before.sub()),
          RunOps.upload(bench, before.post()),
          RunOps.upload(bench, before.comb()),
          out);
      outputs.put("out", out);
    };
  }

  static Prepared hcPostPre(OpRequest request) {
    Residual x = Residual.read(request);
    Before before = Before.read(request, x);
    Parameters parameters = Parameters.read(request, x);
    String columns = "[" + x.columns() + "]";
    Input norm = request.optional("norm_weight", BF16_F32, columns);
    if (norm != null) {
      boolean fits = norm.entry().rank() == 1 && norm.dim(0) == x.columns();
      request.require(fits, norm, BF16_F32, columns);
    }
    HcOptions options = options(request);
    boolean quantize = request.flag("quantize");
    if (quantize && x.columns() % 16 != 0) {
      throw request.fault(
          "tensor x is "
              + x.input().describe()
              + ", expected a multiple of 16 columns (quantize=true)");
    }
    return (bench, outputs) -> {
      Results results = Results.of(bench, x);
      Tensor residual = x.tensor(bench);
      Tensor out = bench.result(x.dtype(), residual.shape());
      Nvfp4Tensor quantized =
          quantize
              ? bench.result(x.tokens(), x.columns(), ScaleLayout.LINEAR, GlobalScale.ROW)
              : null;
      HcPostPre.run(
          bench.stream(),
          residual,
          RunOps.upload(bench, before.sub()),
          RunOps.upload(bench, before.post()),
          RunOps.upload(bench, before.comb()),
          parameters.module(bench),
          norm == null ? null : RunOps.upload(bench, norm),
          out,
          results.collapsed(),
          results.post(),
          results.comb(),
          quantized,
          options,
          quantize ? Quantize.Options.DYNAMIC : null);
      outputs.put("out", out);
      results.put(outputs);
      if (quantized != null) {
        outputs.put("packed", quantized.codes());
        outputs.put("scale", quantized.scales());
        outputs.put("gs", quantized.globalScales());
      }
    };
  }

  static Prepared hcHead(OpRequest request) {
    Residual x = Residual.read(request);
    Parameters parameters = Parameters.readHead(request, x);
    HcOptions options = HcOptions.of(1, eps(request, "hc_eps"), eps(request, "rms_eps"));
    return (bench, outputs) -> {
      Tensor y = bench.result(x.dtype(), x.tokens(), x.columns());
      HcHead.run(bench.stream(), x.tensor(bench), parameters.module(bench), y, options);
      outputs.put("y", y);
    };
  }

  private static HcOptions options(OpRequest request) {
    return HcOptions.of(iterations(request), eps(request, "hc_eps"), eps(request, "rms_eps"));
  }

  private static int iterations(OpRequest request) {
    Long iterations = request.count("iters");
    if (iterations == null) {
      return HcOptions.DEFAULT.iterations();
    }
    if (iterations < 1 || iterations > Integer.MAX_VALUE) {
      throw request.fault(
          "parameter iters is " + iterations + ", expected 1 to " + Integer.MAX_VALUE);
    }
    return iterations.intValue();
  }

  private static float eps(OpRequest request, String name) {
    float eps = request.limit(name, HcOptions.DEFAULT.hcEps());
    if (!(eps >= SMALLEST_EPS && eps <= 1)) {
      throw request.fault("parameter " + name + " is " + eps + ", expected 2^-100 to 1");
    }
    return eps;
  }

  private static void requireStreams(OpRequest request, Input input) {
    if (input.dim(1) < 1 || input.dim(1) > MAX_STREAMS) {
      throw request.fault(
          "tensor "
              + input.name()
              + " is "
              + input.describe()
              + ", expected n from 1 to "
              + MAX_STREAMS);
    }
  }

  /// A tensor of exactly this shape.
  private static Input shaped(
      OpRequest request, String name, List<SafetensorsDType> dtypes, long... shape) {
    String text = Arrays.toString(shape);
    Input input = request.required(name, dtypes, text);
    request.require(Arrays.equals(input.entry().shape(), shape), input, dtypes, text);
    return input;
  }

  /// `x`, which gives every other tensor its shape.
  private record Residual(Input input) {
    static Residual read(OpRequest request) {
      Input x = request.required("x", BF16_F32, "[T, n, D]");
      request.require(x.entry().rank() == 3, x, BF16_F32, "[T, n, D]");
      requireStreams(request, x);
      if (x.dim(2) < 8 || x.dim(2) % 8 != 0 || x.dim(2) > MAX_COLUMNS) {
        throw request.fault(
            "tensor x is " + x.describe() + ", expected D a multiple of 8 from 8 to 2^24");
      }
      return new Residual(x);
    }

    long tokens() {
      return input.dim(0);
    }

    long streams() {
      return input.dim(1);
    }

    long columns() {
      return input.dim(2);
    }

    DType dtype() {
      return RunOps.dtype(input.entry().dtype());
    }

    Tensor tensor(Workbench bench) {
      return RunOps.upload(bench, input);
    }
  }

  /// What a module left: `sub`, `post` and `comb`.
  private record Before(Input sub, Input post, Input comb) {
    static Before read(OpRequest request, Residual x) {
      List<SafetensorsDType> dtype = List.of(x.input().entry().dtype());
      return new Before(
          shaped(request, "sub", dtype, x.tokens(), x.columns()),
          shaped(request, "post", F32, x.tokens(), x.streams()),
          shaped(request, "comb", F32, x.tokens(), x.streams(), x.streams()));
    }
  }

  /// `fn`, `base` and `scale` of a module, or those of the head.
  private record Parameters(Input fn, Input base, Input scale) {
    static Parameters read(OpRequest request, Residual x) {
      long rows = x.streams() * (x.streams() + 2);
      return new Parameters(
          shaped(request, "fn", BF16_F32, rows, x.streams() * x.columns()),
          shaped(request, "base", F32, rows),
          shaped(request, "scale", F32, 3));
    }

    static Parameters readHead(OpRequest request, Residual x) {
      Input fn = shaped(request, "hc_fn", BF16_F32, x.streams(), x.streams() * x.columns());
      Input base = shaped(request, "hc_base", F32, x.streams());
      Input scale = request.required("hc_scale", F32, "[1]");
      boolean scalar = scale.entry().rank() <= 1 && scale.entry().elements() == 1;
      request.require(scalar, scale, F32, "[1]");
      return new Parameters(fn, base, scale);
    }

    HcModule module(Workbench bench) {
      MemorySegment rows = fn.data();
      if (fn.entry().dtype() == SafetensorsDType.BF16) {
        // The op's are F32, to which BF16 widens exactly.
        short[] bits = rows.toArray(ValueLayout.JAVA_SHORT_UNALIGNED);
        rows = MemorySegment.ofArray(Bf16.decode(bits));
      }
      return new HcModule(
          bench.upload(rows, DType.F32, fn.entry().shape()),
          RunOps.upload(bench, base),
          bench.upload(scale.data(), DType.F32, scale.entry().elements()));
    }
  }

  /// What hc_pre makes.
  private record Results(Tensor collapsed, Tensor post, Tensor comb) {
    static Results of(Workbench bench, Residual x) {
      return new Results(
          bench.result(x.dtype(), x.tokens(), x.columns()),
          bench.result(DType.F32, x.tokens(), x.streams()),
          bench.result(DType.F32, x.tokens(), x.streams(), x.streams()));
    }

    void put(Outputs outputs) {
      outputs.put("collapsed", collapsed);
      outputs.put("post", post);
      outputs.put("comb", comb);
    }
  }
}
