// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

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
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Sinkhorn and the hyper-connections, with their goals: four streams in BF16 and 20 iterations, as
/// DeepSeek-V4 has them.
///
/// The parameters of a module are inputs like the others: each call reads another `fn`, as each
/// module of a model has its own, and its bytes count once.
final class HcWorkloads {
  static final int STREAMS = 4;

  private static final int MIXES = STREAMS * (STREAMS + 2);
  private static final String VARIANT = STREAMS + " streams";
  private static final String H100 = "H100";

  /// Tokens from which a bandwidth goal applies: launch and ramp-up no longer show.
  private static final long MANY = 1024;

  private HcWorkloads() {}

  /// @return all of them, or with `quick` one small shape of each op and variant
  static List<Workload> all(boolean quick) {
    List<Workload> all = new ArrayList<>();
    long columns = quick ? 512 : 7168;
    long[] small = {64};
    for (long tokens : quick ? small : new long[] {1, 8192, 65536}) {
      all.add(sinkhorn(tokens));
    }
    for (long tokens : quick ? small : new long[] {1, 16, 128, 1024, 8192}) {
      all.add(pre(tokens, columns));
    }
    for (long tokens : quick ? small : new long[] {1, 1024, 8192}) {
      all.add(post(tokens, columns));
    }
    for (long tokens : quick ? small : new long[] {1, 8192}) {
      all.add(head(tokens, columns));
    }
    for (long tokens : quick ? small : new long[] {1, 16, 128, 1024, 8192}) {
      all.add(postPre(tokens, columns));
    }
    for (long tokens : quick ? small : new long[] {1, 1024, 8192}) {
      all.add(postPreQuantized(tokens, columns));
    }
    return List.copyOf(all);
  }

  private static Workload sinkhorn(long tokens) {
    return new Workload(
        "sinkhorn",
        STREAMS + "x" + STREAMS,
        tokens,
        STREAMS * STREAMS,
        List.of(comb("logits", tokens, Buffer.Fill.LOGITS)),
        List.of(comb("comb", tokens, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> {
          Tensor logits = squares(arena, in.getFirst());
          Tensor comb = squares(arena, out.getFirst());
          return () -> Sinkhorn.run(stream, logits, comb, Sinkhorn.Options.DEFAULT);
        },
        new Goal.Micros(tokens <= 8192 ? 3 : 9, H100));
  }

  private static Workload pre(long tokens, long columns) {
    List<Buffer> inputs = new ArrayList<>();
    inputs.add(residual("x", tokens, columns, Buffer.Fill.VALUES));
    inputs.addAll(module(MIXES, columns));
    return new Workload(
        "hc_pre",
        VARIANT,
        tokens,
        columns,
        List.copyOf(inputs),
        List.of(
            rows("collapsed", tokens, columns, Buffer.Fill.POISON),
            post("post", tokens, Buffer.Fill.POISON),
            comb("comb", tokens, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> {
          Tensor x = streams(arena, in.getFirst());
          HcModule module = module(in, 1);
          Tensor collapsed = out.get(0);
          Tensor post = out.get(1);
          Tensor comb = squares(arena, out.get(2));
          return () -> HcPre.run(stream, x, module, collapsed, post, comb, HcOptions.DEFAULT);
        },
        HcBounds.PRE,
        goal(tokens, 5.5, Ceiling.READ, 0.70));
  }

  private static Workload post(long tokens, long columns) {
    return new Workload(
        "hc_post",
        VARIANT,
        tokens,
        columns,
        behind(tokens, columns),
        List.of(residual("out", tokens, columns, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> {
          Tensor x = streams(arena, in.get(0));
          Tensor comb = squares(arena, in.get(3));
          Tensor result = streams(arena, out.getFirst());
          return () -> HcPost.run(stream, x, in.get(1), in.get(2), comb, result);
        },
        goal(tokens, 2.2, Ceiling.MIX, 0.90));
  }

  private static Workload head(long tokens, long columns) {
    List<Buffer> inputs = new ArrayList<>();
    inputs.add(residual("x", tokens, columns, Buffer.Fill.VALUES));
    inputs.addAll(module(STREAMS, columns));
    return new Workload(
        "hc_head",
        VARIANT,
        tokens,
        columns,
        List.copyOf(inputs),
        List.of(rows("collapsed", tokens, columns, Buffer.Fill.POISON)),
        (stream, arena, in, out) -> {
          Tensor x = streams(arena, in.getFirst());
          HcModule head = module(in, 1);
          return () -> HcHead.run(stream, x, head, out.getFirst(), HcOptions.DEFAULT);
        },
        HcBounds.HEAD,
        null);
  }

  private static Workload postPre(long tokens, long columns) {
    List<Buffer> inputs = new ArrayList<>(behind(tokens, columns));
    inputs.addAll(module(MIXES, columns));
    return new Workload(
        "hc_post_pre",
        VARIANT,
        tokens,
        columns,
        List.copyOf(inputs),
        made(tokens, columns),
        (stream, arena, in, out) -> postPre(stream, arena, in, null, out, null),
        HcBounds.POST_PRE,
        goal(tokens, 6.5, Ceiling.MIX, 0.75));
  }

  private static Workload postPreQuantized(long tokens, long columns) {
    List<Buffer> inputs = new ArrayList<>(behind(tokens, columns));
    inputs.addAll(module(MIXES, columns));
    inputs.add(new Buffer("norm_weight", DType.BF16, columns, 0, Buffer.Fill.VALUES));
    List<Buffer> outputs = new ArrayList<>(made(tokens, columns));
    outputs.add(new Buffer("codes", DType.U8, tokens, columns / 2, Buffer.Fill.POISON));
    outputs.add(new Buffer("scales", DType.U8, tokens, columns / 16, Buffer.Fill.POISON));
    outputs.add(new Buffer("global_scales", DType.F32, tokens, 0, Buffer.Fill.POISON));
    return new Workload(
        "hc_post_pre",
        VARIANT + ", norm, NVFP4",
        tokens,
        columns,
        List.copyOf(inputs),
        List.copyOf(outputs),
        (stream, arena, in, out) -> {
          Nvfp4Tensor quantized =
              Nvfp4Tensor.of(
                  arena, out.get(4), out.get(5), out.get(6), ScaleLayout.LINEAR, GlobalScale.ROW);
          return postPre(stream, arena, in, in.getLast(), out, quantized);
        },
        HcBounds.POST_PRE_QUANTIZED,
        null);
  }

  private static Runnable postPre(
      Stream stream,
      Arena arena,
      List<Tensor> in,
      @Nullable Tensor normWeight,
      List<Tensor> out,
      @Nullable Nvfp4Tensor quantized) {
    Tensor x = streams(arena, in.get(0));
    Tensor comb = squares(arena, in.get(3));
    HcModule next = module(in, 4);
    Tensor result = streams(arena, out.get(0));
    Tensor nextComb = squares(arena, out.get(3));
    Quantize.Options quantize = quantized == null ? null : Quantize.Options.DYNAMIC;
    return () ->
        HcPostPre.run(
            stream,
            x,
            in.get(1),
            in.get(2),
            comb,
            next,
            normWeight,
            result,
            out.get(1),
            out.get(2),
            nextComb,
            quantized,
            HcOptions.DEFAULT,
            quantize);
  }

  /// What hc_post reads.
  private static List<Buffer> behind(long tokens, long columns) {
    return List.of(
        residual("x", tokens, columns, Buffer.Fill.VALUES),
        rows("sub", tokens, columns, Buffer.Fill.VALUES),
        post("post", tokens, Buffer.Fill.FRACTIONS),
        comb("comb", tokens, Buffer.Fill.FRACTIONS));
  }

  /// What hc_post_pre writes.
  private static List<Buffer> made(long tokens, long columns) {
    return List.of(
        residual("out", tokens, columns, Buffer.Fill.POISON),
        rows("collapsed", tokens, columns, Buffer.Fill.POISON),
        post("next_post", tokens, Buffer.Fill.POISON),
        comb("next_comb", tokens, Buffer.Fill.POISON));
  }

  private static List<Buffer> module(int mixes, long columns) {
    int scales = mixes == STREAMS ? 1 : 3;
    return List.of(
        new Buffer("fn", DType.F32, mixes, STREAMS * columns, Buffer.Fill.MIXING_WEIGHTS),
        new Buffer("base", DType.F32, mixes, 0, Buffer.Fill.LOGITS),
        new Buffer("scale", DType.F32, scales, 0, Buffer.Fill.LOGITS));
  }

  private static Buffer residual(String name, long tokens, long columns, Buffer.Fill fill) {
    return new Buffer(name, DType.BF16, tokens, STREAMS * columns, fill);
  }

  private static Buffer rows(String name, long tokens, long columns, Buffer.Fill fill) {
    return new Buffer(name, DType.BF16, tokens, columns, fill);
  }

  private static Buffer post(String name, long tokens, Buffer.Fill fill) {
    return new Buffer(name, DType.F32, tokens, STREAMS, fill);
  }

  private static Buffer comb(String name, long tokens, Buffer.Fill fill) {
    return new Buffer(name, DType.F32, tokens, STREAMS * STREAMS, fill);
  }

  /// `[T, n * D]` as `[T, n, D]`.
  private static Tensor streams(Arena arena, Tensor rows) {
    return rows.reshaped(arena, rows.shape(0), STREAMS, rows.shape(1) / STREAMS);
  }

  /// `[T, n * n]` as `[T, n, n]`.
  private static Tensor squares(Arena arena, Tensor rows) {
    return rows.reshaped(arena, rows.shape(0), STREAMS, STREAMS);
  }

  /// The three tensors of a module, from the given one on.
  private static HcModule module(List<Tensor> inputs, int from) {
    return new HcModule(inputs.get(from), inputs.get(from + 1), inputs.get(from + 2));
  }

  private static @Nullable Goal goal(
      long tokens, double microsOfOne, Ceiling ceiling, double fraction) {
    if (tokens == 1) {
      return new Goal.Micros(microsOfOne, H100);
    }
    return tokens >= MANY ? new Goal.FractionOf(ceiling, fraction) : null;
  }
}
