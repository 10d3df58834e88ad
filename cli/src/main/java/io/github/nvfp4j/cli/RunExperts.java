// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.OpRequest.BF16_F32;
import static io.github.nvfp4j.cli.OpRequest.F32;
import static io.github.nvfp4j.cli.OpRequest.I32;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.ExpertCombine;
import io.github.nvfp4j.ExpertDispatch;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.cli.OpRequest.Input;
import io.github.nvfp4j.cli.RunOps.Prepared;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// expert_dispatch and expert_combine of `nvfp4j run`.
final class RunExperts {
  private static final int MAX_SLOTS = 16;
  private static final int MAX_EXPERTS = 1024;

  private RunExperts() {}

  static Prepared dispatch(OpRequest request) {
    Input indices = slots(request, "indices");
    long choices = indices.entry().elements();
    if (choices > Integer.MAX_VALUE) {
      throw request.fault(
          "tensor indices is " + indices.describe() + ", expected at most 2^31 - 1 elements");
    }
    Input weights = weights(request, indices);
    long experts = experts(request);
    return (bench, outputs) -> {
      Tensor offsets = bench.result(DType.I32, experts + 1);
      Tensor rows = bench.result(DType.I32, choices);
      Tensor positions = bench.result(DType.I32, indices.entry().shape());
      Tensor rowWeights = weights == null ? null : bench.result(DType.F32, choices);
      ExpertDispatch.run(
          bench.stream(),
          RunOps.upload(bench, indices),
          weights == null ? null : RunOps.upload(bench, weights),
          offsets,
          rows,
          positions,
          rowWeights);
      outputs.put("offsets", offsets);
      outputs.put("rows", rows);
      outputs.put("positions", positions);
      if (rowWeights != null) {
        outputs.put("row_weights", rowWeights);
      }
    };
  }

  static Prepared combine(OpRequest request) {
    Input y = request.matrix("y", BF16_F32, "[R, D]");
    if (y.dim(1) > Integer.MAX_VALUE) {
      throw request.fault("tensor y is " + y.describe() + ", expected D up to 2^31 - 1");
    }
    Input positions = slots(request, "positions");
    Input weights = weights(request, positions);
    long tokens = positions.dim(0);
    List<SafetensorsDType> type = List.of(y.entry().dtype());
    String shape = "[" + tokens + ", " + y.dim(1) + "]";
    Input shared = request.optional("shared", type, shape);
    if (shared != null) {
      boolean fits =
          shared.entry().rank() == 2 && shared.dim(0) == tokens && shared.dim(1) == y.dim(1);
      request.require(fits, shared, type, shape);
    }
    boolean f32 = request.choice("dtype", "f32", "bf16").equals("f32");
    DType dtype =
        !request.has("dtype") ? RunOps.dtype(y.entry().dtype()) : f32 ? DType.F32 : DType.BF16;
    return (bench, outputs) -> {
      Tensor out = bench.result(dtype, tokens, y.dim(1));
      ExpertCombine.run(
          bench.stream(),
          RunOps.upload(bench, y),
          RunOps.upload(bench, positions),
          weights == null ? null : RunOps.upload(bench, weights),
          shared == null ? null : RunOps.upload(bench, shared),
          out);
      outputs.put("out", out);
    };
  }

  /// What a token has k of.
  private static Input slots(OpRequest request, String name) {
    Input input = request.matrix(name, I32, "[T, k]");
    if (input.dim(1) < 1 || input.dim(1) > MAX_SLOTS) {
      throw request.fault(
          "tensor " + name + " is " + input.describe() + ", expected k from 1 to " + MAX_SLOTS);
    }
    return input;
  }

  /// One for each of the slots, or none.
  private static @Nullable Input weights(OpRequest request, Input slots) {
    String shape = "[" + slots.dim(0) + ", " + slots.dim(1) + "]";
    Input weights = request.optional("weights", F32, shape);
    if (weights != null) {
      boolean fits =
          weights.entry().rank() == 2
              && weights.dim(0) == slots.dim(0)
              && weights.dim(1) == slots.dim(1);
      request.require(fits, weights, F32, shape);
    }
    return weights;
  }

  private static long experts(OpRequest request) {
    Long experts = request.count("experts");
    if (experts == null || experts < 1 || experts > MAX_EXPERTS) {
      throw request.fault(
          "parameter experts is "
              + (experts == null ? "missing" : experts)
              + ", expected 1 to "
              + MAX_EXPERTS);
    }
    return experts;
  }
}
