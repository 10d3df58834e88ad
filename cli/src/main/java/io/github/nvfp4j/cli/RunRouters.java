// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.OpRequest.BF16_F32;
import static io.github.nvfp4j.cli.OpRequest.F32;
import static io.github.nvfp4j.cli.OpRequest.SCALES;
import static io.github.nvfp4j.cli.OpRequest.U8;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.RouterDense;
import io.github.nvfp4j.RouterHash;
import io.github.nvfp4j.RouterOptions;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.cli.OpRequest.Input;
import io.github.nvfp4j.cli.RunOps.Prepared;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// The routers of `nvfp4j run`.
final class RunRouters {
  private static final int MAX_EXPERTS = 1024;
  private static final int MAX_TOPK = 16;
  private static final int MAX_COLUMNS = 1 << 24;
  private static final int BLOCK = 16;
  private static final List<SafetensorsDType> INTEGERS =
      List.of(SafetensorsDType.I32, SafetensorsDType.I64);

  private RunRouters() {}

  static Prepared dense(OpRequest request) {
    Input x = activations(request);
    Gate gate = Gate.read(request, x);
    String experts = "[" + gate.experts() + "]";
    Input bias = request.required("bias", F32, experts);
    request.require(bias.entry().rank() == 1 && bias.dim(0) == gate.experts(), bias, F32, experts);
    int topk = topk(request, gate.experts());
    RouterOptions options = options(request);
    boolean withLogits = request.flag("logits");
    return (bench, outputs) -> {
      Tensor indices = bench.result(DType.I32, x.dim(0), topk);
      Tensor weights = bench.result(DType.F32, x.dim(0), topk);
      Tensor logits = withLogits ? bench.result(DType.F32, x.dim(0), gate.experts()) : null;
      Tensor in = RunOps.upload(bench, x);
      Tensor biases = RunOps.upload(bench, bias);
      if (gate.weight() != null) {
        Tensor w = RunOps.upload(bench, gate.weight());
        RouterDense.run(bench.stream(), in, w, biases, indices, weights, logits, options);
      } else {
        Nvfp4Tensor w = gate.quantized(bench);
        RouterDense.run(bench.stream(), in, w, biases, indices, weights, logits, options);
      }
      outputs.put("indices", indices);
      outputs.put("weights", weights);
      if (logits != null) {
        outputs.put("logits", logits);
      }
    };
  }

  static Prepared hash(OpRequest request) {
    Input x = activations(request);
    Gate gate = Gate.read(request, x);
    Input table = request.matrix("tid2eid", INTEGERS, "[V, k]");
    if (table.dim(0) < 1
        || table.dim(0) > Integer.MAX_VALUE
        || table.dim(1) < 1
        || table.dim(1) > MAX_TOPK) {
      throw request.fault(
          "tensor tid2eid is "
              + table.describe()
              + ", expected V from 1 to 2^31 - 1 and k from 1 to "
              + MAX_TOPK);
    }
    String tokens = "[" + x.dim(0) + "]";
    Input ids = request.required("input_ids", INTEGERS, tokens);
    request.require(ids.entry().rank() == 1 && ids.dim(0) == x.dim(0), ids, INTEGERS, tokens);
    RouterOptions options = options(request);
    return (bench, outputs) -> {
      Tensor indices = bench.result(DType.I32, x.dim(0), table.dim(1));
      Tensor weights = bench.result(DType.F32, x.dim(0), table.dim(1));
      Tensor in = RunOps.upload(bench, x);
      Tensor t = RunOps.upload(bench, table);
      Tensor d = RunOps.upload(bench, ids);
      if (gate.weight() != null) {
        Tensor w = RunOps.upload(bench, gate.weight());
        RouterHash.run(bench.stream(), in, w, t, d, indices, weights, options);
      } else {
        Nvfp4Tensor w = gate.quantized(bench);
        RouterHash.run(bench.stream(), in, w, t, d, indices, weights, options);
      }
      outputs.put("indices", indices);
      outputs.put("weights", weights);
    };
  }

  private static Input activations(OpRequest request) {
    Input x = request.matrix("x", BF16_F32, "[T, D]");
    if (x.dim(1) < 1 || x.dim(1) > MAX_COLUMNS) {
      throw request.fault("tensor x is " + x.describe() + ", expected D from 1 to 2^24");
    }
    return x;
  }

  private static int topk(OpRequest request, long experts) {
    Long given = request.count("topk");
    long topk = given == null ? 6 : given;
    long most = Math.min(experts, MAX_TOPK);
    if (topk < 1 || topk > most) {
      throw request.fault("parameter topk is " + topk + ", expected 1 to " + most);
    }
    return (int) topk;
  }

  private static RouterOptions options(OpRequest request) {
    float scale = request.limit("scale", RouterOptions.PRO.scale());
    if (scale == 0) {
      throw request.fault("parameter scale is " + scale + ", expected a finite number > 0");
    }
    return RouterOptions.of(scale);
  }

  /// `weight`, or `weight_packed`, `weight_scale` and `weight_ws2`.
  private record Gate(
      @Nullable Input weight,
      @Nullable Input packed,
      @Nullable Input scale,
      @Nullable Input global,
      long experts,
      long columns) {
    static Gate read(OpRequest request, Input x) {
      long columns = x.dim(1);
      Input weight = request.optional("weight", BF16_F32, "[E, " + columns + "]");
      Input packed = request.optional("weight_packed", U8, "[E, D/2]");
      Input scale = request.optional("weight_scale", SCALES, "[E, D/16]");
      Input global = request.optional("weight_ws2", F32, "[1]");
      if (weight != null) {
        for (Input extra : Arrays.asList(packed, scale, global)) {
          if (extra != null) {
            throw request.fault(
                "tensors weight and " + extra.name() + " are both given, expected one gate");
          }
        }
        boolean fits = weight.entry().rank() == 2 && weight.dim(1) == columns;
        request.require(fits, weight, BF16_F32, "[E, " + columns + "]");
        requireExperts(request, weight);
        return new Gate(weight, null, null, null, weight.dim(0), columns);
      }
      if (packed == null) {
        throw request.fault(
            "tensor weight is missing, expected BF16 or F32 [E, "
                + columns
                + "], or weight_packed, weight_scale and weight_ws2 in its place");
      }
      if (columns % BLOCK != 0) {
        throw request.fault(
            "tensor x is "
                + x.describe()
                + ", expected D a multiple of 16 where weight_packed is given");
      }
      String shape = "[E, " + columns / 2 + "]";
      boolean fits = packed.entry().rank() == 2 && packed.dim(1) == columns / 2;
      request.require(fits, packed, U8, shape);
      requireExperts(request, packed);
      long[] scales = {packed.dim(0), columns / BLOCK};
      scale = request.required("weight_scale", SCALES, Arrays.toString(scales));
      request.require(
          Arrays.equals(scale.entry().shape(), scales), scale, SCALES, Arrays.toString(scales));
      global = request.required("weight_ws2", F32, "[1]");
      boolean one = global.entry().rank() <= 1 && global.entry().elements() == 1;
      request.require(one, global, F32, "[1]");
      return new Gate(null, packed, scale, global, packed.dim(0), columns);
    }

    private static void requireExperts(OpRequest request, Input weight) {
      if (weight.dim(0) < 1 || weight.dim(0) > MAX_EXPERTS) {
        throw request.fault(
            "tensor "
                + weight.name()
                + " is "
                + weight.describe()
                + ", expected E from 1 to "
                + MAX_EXPERTS);
      }
    }

    Nvfp4Tensor quantized(Workbench bench) {
      if (packed == null || scale == null || global == null) {
        throw new AssertionError("the gate is not NVFP4");
      }
      Nvfp4Tensor w = bench.result(experts, columns, ScaleLayout.LINEAR, GlobalScale.TENSOR);
      RunOps.copyInto(bench, packed.data(), w.codes());
      RunOps.copyInto(bench, scale.data(), w.scales());
      RunOps.copyInto(bench, global.data(), w.globalScales());
      return w;
    }
  }
}
