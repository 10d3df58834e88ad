// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.ExpertCombine;
import io.github.nvfp4j.ExpertDispatch;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.RouterDense;
import io.github.nvfp4j.RouterHash;
import io.github.nvfp4j.RouterOptions;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Tensor;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// A token's way to its experts and back, with goals: 6 of 384 experts, as DeepSeek-V4 Pro has
/// them.
///
/// The gate's weight is an input like the others: each call reads another one, as each layer of a
/// model has its own, and its bytes count once.
final class RoutingWorkloads {
  static final int EXPERTS = 384;
  static final int TOPK = 6;

  /// What a peers' script calls the product of x and the gate in BF16, without the choice.
  static final String GATE_GEMM = "torch_gate_gemm";

  /// Weights and tables are loaded and waited for before the first call.
  private static final RouterOptions OPTIONS = RouterOptions.PRO.withWeightsSettled(true);

  private static final long VOCABULARY = 129_280;
  private static final String CHOICE = TOPK + " of " + EXPERTS;
  private static final String H100 = "H100";

  private RoutingWorkloads() {}

  /// @return all of them, or with `quick` one small shape of each op and variant
  static List<Workload> all(boolean quick) {
    List<Workload> all = new ArrayList<>();
    long columns = quick ? 512 : 7168;
    long[] small = {64};
    for (long tokens : quick ? small : new long[] {1, 8, 64, 1024, 8192}) {
      all.add(dense(tokens, columns));
    }
    for (long tokens : quick ? small : new long[] {1, 8192}) {
      all.add(denseNvfp4(tokens, columns));
    }
    for (long tokens : quick ? small : new long[] {1, 64, 8192}) {
      all.add(hash(tokens, columns, quick ? 1000 : VOCABULARY));
    }
    for (long tokens : quick ? small : new long[] {1, 128, 1024, 8192}) {
      all.add(dispatch(tokens));
    }
    for (long tokens : quick ? small : new long[] {1, 1024, 8192}) {
      all.add(combine(tokens, columns));
    }
    return List.copyOf(all);
  }

  private static Workload dense(long tokens, long columns) {
    return new Workload(
        "router_dense",
        "bf16, " + CHOICE,
        tokens,
        columns,
        List.of(
            x(tokens, columns),
            bias(),
            new Buffer("weight", DType.BF16, EXPERTS, columns, Buffer.Fill.GATE_WEIGHTS)),
        chosen(tokens),
        (stream, arena, in, out) -> {
          Tensor weight = in.get(2);
          return () ->
              RouterDense.run(
                  stream, in.get(0), weight, in.get(1), out.get(0), out.get(1), null, OPTIONS);
        },
        RouterBounds.DENSE,
        denseGoal(tokens));
  }

  private static @Nullable Goal denseGoal(long tokens) {
    if (tokens <= 8) {
      return new Goal.Micros(5, H100);
    }
    // Between few and very many tokens no goal was set.
    return tokens >= 8192 ? new Goal.TimeOfPeer(1.3, GATE_GEMM) : null;
  }

  private static Workload denseNvfp4(long tokens, long columns) {
    return new Workload(
        "router_dense",
        "NVFP4, " + CHOICE,
        tokens,
        columns,
        List.of(
            x(tokens, columns),
            bias(),
            new Buffer("codes", DType.U8, EXPERTS, columns / 2, Buffer.Fill.BYTES),
            new Buffer("scales", DType.U8, EXPERTS, columns / 16, Buffer.Fill.GATE_BLOCK_SCALES),
            new Buffer("global_scales", DType.F32, 1, 0, Buffer.Fill.GLOBAL_SCALES)),
        chosen(tokens),
        (stream, arena, in, out) -> {
          Nvfp4Tensor weight =
              Nvfp4Tensor.of(
                  arena, in.get(2), in.get(3), in.get(4), ScaleLayout.LINEAR, GlobalScale.TENSOR);
          return () ->
              RouterDense.run(
                  stream, in.get(0), weight, in.get(1), out.get(0), out.get(1), null, OPTIONS);
        },
        RouterBounds.DENSE_NVFP4,
        null);
  }

  /// Of the gate's rows those count that are chosen, of the table's those of the tokens.
  private static Workload hash(long tokens, long columns, long vocabulary) {
    Buffer weight = new Buffer("weight", DType.BF16, EXPERTS, columns, Buffer.Fill.GATE_WEIGHTS);
    Buffer table = new Buffer("table", DType.I32, vocabulary, TOPK, Buffer.Fill.CHOICES, EXPERTS);
    return new Workload(
        "router_hash",
        "bf16, " + CHOICE,
        tokens,
        columns,
        List.of(
            x(tokens, columns),
            weight.needing(chosenExperts(tokens) * weight.rowBytes()),
            table.needing(Math.min(tokens, vocabulary) * table.rowBytes()),
            new Buffer("ids", DType.I32, tokens, 0, Buffer.Fill.INDICES, vocabulary)),
        chosen(tokens),
        (stream, arena, in, out) -> {
          Tensor gate = in.get(1);
          return () ->
              RouterHash.run(
                  stream, in.get(0), gate, in.get(2), in.get(3), out.get(0), out.get(1), OPTIONS);
        },
        RouterBounds.HASH,
        hashGoal(tokens));
  }

  private static @Nullable Goal hashGoal(long tokens) {
    if (tokens == 1) {
      return new Goal.Micros(3, H100);
    }
    if (tokens == 64) {
      return new Goal.Micros(5, H100);
    }
    return tokens >= 8192 ? new Goal.FractionOf(Ceiling.READ, 0.70) : null;
  }

  /// How many different experts so many tokens need on average, each of [#TOPK] different ones.
  static long chosenExperts(long tokens) {
    return Math.round(EXPERTS * (1 - Math.pow(1 - (double) TOPK / EXPERTS, tokens)));
  }

  private static Workload dispatch(long tokens) {
    return new Workload(
        "expert_dispatch",
        CHOICE,
        tokens,
        TOPK,
        List.of(
            new Buffer("indices", DType.I32, tokens, TOPK, Buffer.Fill.CHOICES, EXPERTS),
            new Buffer("weights", DType.F32, tokens, TOPK, Buffer.Fill.FRACTIONS)),
        List.of(
            new Buffer("offsets", DType.I32, EXPERTS + 1, 0, Buffer.Fill.POISON),
            new Buffer("rows", DType.I32, tokens * TOPK, 0, Buffer.Fill.POISON),
            new Buffer("positions", DType.I32, tokens, TOPK, Buffer.Fill.POISON),
            new Buffer("row_weights", DType.F32, tokens * TOPK, 0, Buffer.Fill.POISON)),
        (stream, arena, in, out) ->
            () ->
                ExpertDispatch.run(
                    stream, in.get(0), in.get(1), out.get(0), out.get(1), out.get(2), out.get(3)),
        tokens == 1 ? new Goal.Micros(2, H100) : null);
  }

  private static Workload combine(long tokens, long columns) {
    return new Workload(
        "expert_combine",
        TOPK + " rows",
        tokens,
        columns,
        List.of(
            new Buffer("y", DType.BF16, tokens * TOPK, columns, Buffer.Fill.VALUES),
            new Buffer("positions", DType.I32, tokens, TOPK, Buffer.Fill.POSITIONS, EXPERTS),
            new Buffer("weights", DType.F32, tokens, TOPK, Buffer.Fill.FRACTIONS)),
        List.of(new Buffer("out", DType.BF16, tokens, columns, Buffer.Fill.POISON)),
        (stream, arena, in, out) ->
            () -> ExpertCombine.run(stream, in.get(0), in.get(1), in.get(2), null, out.getFirst()),
        combineGoal(tokens));
  }

  private static @Nullable Goal combineGoal(long tokens) {
    if (tokens == 1) {
      return new Goal.Micros(2.3, H100);
    }
    return tokens >= 8192 ? new Goal.FractionOf(Ceiling.COPY, 0.75) : null;
  }

  private static Buffer x(long tokens, long columns) {
    return new Buffer("x", DType.BF16, tokens, columns, Buffer.Fill.VALUES);
  }

  private static Buffer bias() {
    return new Buffer("bias", DType.F32, EXPERTS, 0, Buffer.Fill.FRACTIONS);
  }

  private static List<Buffer> chosen(long tokens) {
    return List.of(
        new Buffer("indices", DType.I32, tokens, TOPK, Buffer.Fill.POISON),
        new Buffer("weights", DType.F32, tokens, TOPK, Buffer.Fill.POISON));
  }
}
