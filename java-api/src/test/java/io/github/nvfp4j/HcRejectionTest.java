// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of sinkhorn and the hyper-connections: each argument, each way to be wrong.
final class HcRejectionTest {
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
    private static final int T = 3;
    private static final int N = 4;
    private static final int D = 32;
    private static final int MIXES = N * (N + 2);
    private static final String EPS_RANGE = ", expected 2^-100 (7.9e-31) to 1";

    Contract(String id) {
      super(id);
    }

    /// The arguments of a good call, of which a row changes one.
    private final class Call {
      Tensor x = zeros(DType.BF16, T, N, D);
      Tensor sub = zeros(DType.BF16, T, D);
      Tensor post = zeros(DType.F32, T, N);
      Tensor comb = zeros(DType.F32, T, N, N);
      Tensor fn = zeros(DType.F32, MIXES, N * D);
      Tensor base = zeros(DType.F32, MIXES);
      Tensor scale = zeros(DType.F32, 3);
      Tensor headFn = zeros(DType.F32, N, N * D);
      Tensor headBase = zeros(DType.F32, N);
      Tensor headScale = zeros(DType.F32, 1);
      @Nullable Tensor normWeight = zeros(DType.BF16, D);
      Tensor out = zeros(DType.BF16, T, N, D);
      @Nullable Tensor collapsed = zeros(DType.BF16, T, D);
      Tensor nextPost = zeros(DType.F32, T, N);
      Tensor nextComb = zeros(DType.F32, T, N, N);
      @Nullable Nvfp4Tensor quantized =
          device.allocateNvfp4(arena, T, D, ScaleLayout.LINEAR, GlobalScale.ROW);
      HcOptions options = HcOptions.DEFAULT;
      Quantize.@Nullable Options quantizeOptions = Quantize.Options.DYNAMIC;
      Sinkhorn.Options sinkhornOptions = Sinkhorn.Options.DEFAULT;

      void run(String op) {
        HcModule module = new HcModule(fn, base, scale);
        switch (op) {
          case "sinkhorn" -> Sinkhorn.run(stream, comb, nextComb, sinkhornOptions);
          case "hc_pre" -> HcPre.run(stream, x, module, given(), nextPost, nextComb, options);
          case "hc_post" -> HcPost.run(stream, x, sub, post, comb, out);
          case "hc_head" ->
              HcHead.run(stream, x, new HcModule(headFn, headBase, headScale), given(), options);
          default ->
              HcPostPre.run(
                  stream,
                  x,
                  sub,
                  post,
                  comb,
                  module,
                  normWeight,
                  out,
                  collapsed,
                  nextPost,
                  nextComb,
                  quantized,
                  options,
                  quantizeOptions);
        }
      }

      private Tensor given() {
        if (collapsed == null) {
          throw new AssertionError("collapsed is null");
        }
        return collapsed;
      }
    }

    private void bad(
        String op, String argument, String value, String sentence, Consumer<Call> change) {
      row(
          argument,
          value,
          op + ": " + sentence,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run(op);
          });
    }

    private void overlapping(String op, String written, String other, Consumer<Call> change) {
      overlapping(
          op,
          written,
          other,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run(op);
          });
    }

    /// Every op's good call is good: what a row refuses is what it changed.
    @TestFactory
    List<DynamicTest> nothing() {
      for (String op : List.of("sinkhorn", "hc_pre", "hc_post", "hc_head", "hc_post_pre")) {
        table.add(
            DynamicTest.dynamicTest(
                op + " with good arguments",
                () -> {
                  new Call().run(op);
                  stream.synchronize();
                }));
      }
      return table;
    }

    private void residual(String op) {
      bad(
          op,
          "x",
          "F16",
          "x has dtype F16, expected F32 or BF16",
          c -> c.x = t(DType.F16, T, N, D));
      bad(
          op,
          "x",
          "rank 2",
          "x has rank 2 (shape [3, 128]), expected rank 3",
          c -> c.x = t(DType.BF16, T, N * D));
      for (int n : new int[] {0, 17}) {
        bad(
            op,
            "x",
            n + " streams",
            "x has n = " + n + " (its second dimension), expected 1 to 16",
            c -> c.x = t(DType.BF16, T, n, D));
      }
      for (int columns : new int[] {0, 4, 36}) {
        bad(
            op,
            "x",
            columns + " columns",
            "x has D = " + columns + " columns, expected a multiple of 8 from 8 to 2^24",
            c -> c.x = t(DType.BF16, T, N, columns));
      }
      bad(
          op,
          "x",
          "2^24 + 8 columns",
          "x has D = 16777224 columns, expected a multiple of 8 from 8 to 2^24",
          c -> c.x = t(DType.BF16, 0, N, (1 << 24) + 8));
      if (!device.isCuda()) {
        bad(
            op,
            "x",
            "with overlapping streams",
            "x has stream stride 16 (shape [3, 4, 32]), expected 32 or more",
            c -> c.x = view(new long[] {T, N, D}, new long[] {N * D, 16, 1}));
        bad(
            op,
            "x",
            "with overlapping tokens",
            "x has token stride 127 (shape [3, 4, 32]), expected 128 or more",
            c -> c.x = view(new long[] {T, N, D}, new long[] {N * D - 1, D, 1}));
      }
      row(
          "x",
          "closed",
          IllegalStateException.class,
          op + ": x is closed, expected a tensor of an open arena",
          () -> {
            Call call = new Call();
            call.x = closed(DType.BF16, T, N, D);
            call.run(op);
          });
    }

    private Tensor view(long[] shape, long[] stride) {
      return Tensor.ofStrided(arena, arena.allocate(T * N * D * 2, 64), DType.BF16, shape, stride);
    }

    private void module(String op) {
      boolean head = op.equals("hc_head");
      long rows = head ? N : MIXES;
      String why = head ? "n and n*D of x" : "n*(n+2) and n*D of x";
      bad(op, "fn", "BF16", "fn has dtype BF16, expected F32", c -> fn(c, DType.BF16, rows, N * D));
      bad(
          op,
          "fn",
          "rank 1",
          "fn has rank 1 (shape [" + rows * N * D + "]), expected rank 2",
          c -> fn(c, DType.F32, rows * N * D));
      bad(
          op,
          "fn",
          "one row short",
          "fn has shape [" + (rows - 1) + ", 128], expected [" + rows + ", 128] (" + why + ")",
          c -> fn(c, DType.F32, rows - 1, N * D));
      bad(
          op,
          "fn",
          "of one stream",
          "fn has shape [" + rows + ", 32], expected [" + rows + ", 128] (" + why + ")",
          c -> fn(c, DType.F32, rows, D));
      bad(op, "base", "BF16", "base has dtype BF16, expected F32", c -> base(c, DType.BF16, rows));
      bad(
          op,
          "base",
          "one short",
          "base has " + (rows - 1) + " elements, expected " + rows + " (one per row of fn)",
          c -> base(c, DType.F32, rows - 1));
      bad(
          op,
          "base",
          "rank 2",
          "base has rank 2 (shape [" + rows + ", 1]), expected rank 1",
          c -> base(c, DType.F32, rows, 1));
      bad(
          op,
          "scale",
          "2 elements",
          "scale has 2 elements, expected " + (head ? "1 (of pre)" : "3 (pre, post, comb)"),
          c -> scale(c, DType.F32, 2));
      bad(
          op,
          "scale",
          "F16",
          "scale has dtype F16, expected F32",
          c -> scale(c, DType.F16, head ? 1 : 3));
      for (String name : List.of("fn", "base", "scale")) {
        row(
            name,
            "closed",
            IllegalStateException.class,
            op + ": " + name + " is closed, expected a tensor of an open arena",
            () -> {
              Call call = new Call();
              Tensor closed = closed(DType.F32, rows, N * D);
              switch (name) {
                case "fn" -> call.fn = call.headFn = closed;
                case "base" -> call.base = call.headBase = closed;
                default -> call.scale = call.headScale = closed;
              }
              call.run(op);
            });
      }
      for (float eps : new float[] {0, 2, Float.NaN, -1e-6f}) {
        String text = Float.isNaN(eps) ? "nan" : eps == 0 ? "0" : eps == 2 ? "2" : "-1e-06";
        bad(
            op,
            "hc_eps",
            text,
            "options.hc_eps is " + text + EPS_RANGE,
            c -> c.options = HcOptions.of(20, eps, 1e-6f));
        bad(
            op,
            "rms_eps",
            text,
            "options.rms_eps is " + text + EPS_RANGE,
            c -> c.options = HcOptions.of(20, 1e-6f, eps));
      }
      for (int iterations : new int[] {0, -1}) {
        if (!head) {
          bad(
              op,
              "iterations",
              "" + iterations,
              "options.iterations is " + iterations + ", expected 1 or more",
              c -> c.options = HcOptions.of(iterations, 1e-6f, 1e-6f));
        }
      }
    }

    private void fn(Call c, DType dtype, long... shape) {
      c.fn = c.headFn = t(dtype, shape);
    }

    private void base(Call c, DType dtype, long... shape) {
      c.base = c.headBase = t(dtype, shape);
    }

    private void scale(Call c, DType dtype, long... shape) {
      c.scale = c.headScale = t(dtype, shape);
    }

    private void collapsed(String op) {
      bad(
          op,
          "collapsed",
          "F32",
          "collapsed has dtype F32, expected BF16",
          c -> c.collapsed = t(DType.F32, T, D));
      bad(
          op,
          "collapsed",
          "[3, 16]",
          "collapsed has shape [3, 16], expected [3, 32] (T and D of x)",
          c -> c.collapsed = t(DType.BF16, T, 16));
      overlapping(
          op,
          "collapsed",
          "x",
          c -> c.collapsed = c.x.reshaped(arena, T, N * D).slice(arena, 1, 0, D));
    }

    private void made(String op, String post, String comb) {
      bad(
          op,
          post,
          "BF16",
          post + " has dtype BF16, expected F32",
          c -> c.nextPost = t(DType.BF16, T, N));
      bad(
          op,
          post,
          "[3, 3]",
          post + " has shape [3, 3], expected [3, 4] (T and n of x)",
          c -> c.nextPost = t(DType.F32, T, 3));
      bad(
          op,
          comb,
          "BF16",
          comb + " has dtype BF16, expected F32",
          c -> c.nextComb = t(DType.BF16, T, N, N));
      bad(
          op,
          comb,
          "[2, 4, 4]",
          comb + " has shape [2, 4, 4], expected [3, 4, 4] (T, n and n of x)",
          c -> c.nextComb = t(DType.F32, 2, N, N));
      bad(
          op,
          comb,
          "with rows apart",
          comb + " has row stride 5, expected 4: the elements of a token are contiguous",
          c -> c.nextComb = t(DType.F32, T, N, 5).slice(arena, 2, 0, N));
      overlapping(
          op,
          post,
          comb,
          c -> c.nextPost = c.nextComb.reshaped(arena, T, N * N).slice(arena, 1, 4, N));
      overlapping(op, comb, "fn", c -> c.nextComb = part(c.fn, T * N * N).reshaped(arena, T, N, N));
    }

    /// The first elements of a contiguous tensor.
    private Tensor part(Tensor tensor, long elements) {
      return tensor.reshaped(arena, tensor.elements()).slice(arena, 0, elements);
    }

    @TestFactory
    List<DynamicTest> sinkhorn() {
      String op = "sinkhorn";
      bad(
          op,
          "logits",
          "BF16",
          "logits has dtype BF16, expected F32",
          c -> c.comb = t(DType.BF16, T, N, N));
      bad(
          op,
          "logits",
          "rank 2",
          "logits has rank 2 (shape [3, 16]), expected rank 3",
          c -> c.comb = t(DType.F32, T, N * N));
      bad(
          op,
          "logits",
          "[3, 17, 17]",
          "logits has n = 17 (its second dimension), expected 1 to 16",
          c -> c.comb = t(DType.F32, T, 17, 17));
      bad(
          op,
          "logits",
          "[3, 4, 2]",
          "logits has shape [3, 4, 2], expected [3, 4, 4] (one square matrix per token)",
          c -> c.comb = t(DType.F32, T, N, 2));
      bad(
          op,
          "logits",
          "with rows apart",
          "logits has row stride 6, expected 4: the elements of a token are contiguous",
          c -> c.comb = t(DType.F32, T, N, 6).slice(arena, 2, 0, N));
      bad(
          op,
          "comb",
          "BF16",
          "comb has dtype BF16, expected F32",
          c -> c.nextComb = t(DType.BF16, T, N, N));
      bad(
          op,
          "comb",
          "[2, 4, 4]",
          "comb has shape [2, 4, 4], expected [3, 4, 4] (the shape of logits)",
          c -> c.nextComb = t(DType.F32, 2, N, N));
      overlapping(
          op,
          "comb",
          "logits",
          c -> {
            Tensor all = t(DType.F32, T + 1, N, N);
            c.comb = all.slice(arena, 0, T);
            c.nextComb = all.slice(arena, 1, T);
          });
      overlapping(
          op,
          "comb",
          "logits",
          c -> {
            // The same begin, other strides.
            Tensor all = t(DType.F32, T, N + 1, N);
            c.comb = all.slice(arena, 1, 0, N);
            c.nextComb = part(all, T * N * N).reshaped(arena, T, N, N);
          });
      for (int iterations : new int[] {0, -7}) {
        bad(
            op,
            "iterations",
            "" + iterations,
            "options.iterations is " + iterations + ", expected 1 or more",
            c -> c.sinkhornOptions = Sinkhorn.Options.of(iterations, 1e-6f));
      }
      for (float eps : new float[] {0, 2, Float.NaN}) {
        String text = Float.isNaN(eps) ? "nan" : eps == 0 ? "0" : "2";
        bad(
            op,
            "eps",
            text,
            "options.eps is " + text + EPS_RANGE,
            c -> c.sinkhornOptions = Sinkhorn.Options.of(20, eps));
      }
      bad(
          op,
          "comb",
          "read-only",
          "comb is read-only, expected memory that can be written",
          c -> c.nextComb = readOnly(DType.F32, T, N, N));
      return table;
    }

    @TestFactory
    List<DynamicTest> hcPre() {
      residual("hc_pre");
      module("hc_pre");
      collapsed("hc_pre");
      made("hc_pre", "post", "comb");
      readOnly("hc_pre", "collapsed", c -> c.collapsed = readOnly(DType.BF16, T, D));
      readOnly("hc_pre", "post", c -> c.nextPost = readOnly(DType.F32, T, N));
      readOnly("hc_pre", "comb", c -> c.nextComb = readOnly(DType.F32, T, N, N));
      return table;
    }

    private void readOnly(String op, String argument, Consumer<Call> change) {
      bad(
          op,
          argument,
          "read-only",
          argument + " is read-only, expected memory that can be written",
          change);
    }

    @TestFactory
    List<DynamicTest> hcHead() {
      residual("hc_head");
      module("hc_head");
      collapsed("hc_head");
      readOnly("hc_head", "collapsed", c -> c.collapsed = readOnly(DType.BF16, T, D));
      return table;
    }

    private void behind(String op) {
      bad(op, "sub", "F32", "sub has dtype F32, expected BF16", c -> c.sub = t(DType.F32, T, D));
      bad(
          op,
          "sub",
          "[2, 32]",
          "sub has shape [2, 32], expected [3, 32] (T and D of x)",
          c -> c.sub = t(DType.BF16, 2, D));
      bad(
          op,
          "post",
          "BF16",
          "post has dtype BF16, expected F32",
          c -> c.post = t(DType.BF16, T, N));
      bad(
          op,
          "post",
          "[3, 5]",
          "post has shape [3, 5], expected [3, 4] (T and n of x)",
          c -> c.post = t(DType.F32, T, 5));
      bad(
          op,
          "comb",
          "rank 2",
          "comb has rank 2 (shape [3, 16]), expected rank 3",
          c -> c.comb = t(DType.F32, T, N * N));
      bad(
          op,
          "comb",
          "[3, 4, 3]",
          "comb has shape [3, 4, 3], expected [3, 4, 4] (T, n and n of x)",
          c -> c.comb = t(DType.F32, T, N, 3));
      bad(
          op,
          "comb",
          "with rows apart",
          "comb has row stride 8, expected 4: the elements of a token are contiguous",
          c -> c.comb = t(DType.F32, T, N, 8).slice(arena, 2, 0, N));
      bad(op, "out", "F32", "out has dtype F32, expected BF16", c -> c.out = t(DType.F32, T, N, D));
      bad(
          op,
          "out",
          "[3, 4, 16]",
          "out has shape [3, 4, 16], expected [3, 4, 32] (the shape of x)",
          c -> c.out = t(DType.BF16, T, N, 16));
      overlapping(
          op,
          "out",
          "x",
          c -> {
            Tensor all = t(DType.BF16, T + 1, N, D);
            c.x = all.slice(arena, 0, T);
            c.out = all.slice(arena, 1, T);
          });
      overlapping(
          op,
          "out",
          "x",
          c -> {
            // The same begin, other strides.
            Tensor all = t(DType.BF16, T, N + 1, D);
            c.x = all.slice(arena, 1, 0, N);
            c.out = part(all, T * N * D).reshaped(arena, T, N, D);
          });
      overlapping(op, "out", "sub", c -> c.sub = part(c.out, T * D).reshaped(arena, T, D));
      readOnly(op, "out", c -> c.out = readOnly(DType.BF16, T, N, D));
    }

    @TestFactory
    List<DynamicTest> hcPost() {
      residual("hc_post");
      behind("hc_post");
      return table;
    }

    @TestFactory
    List<DynamicTest> hcPostPre() {
      String op = "hc_post_pre";
      residual(op);
      behind(op);
      module(op);
      collapsed(op);
      made(op, "next_post", "next_comb");
      bad(
          op,
          "norm_weight",
          "F16",
          "norm_weight has dtype F16, expected F32 or BF16",
          c -> c.normWeight = t(DType.F16, D));
      bad(
          op,
          "norm_weight",
          "[16]",
          "norm_weight has 16 elements, expected 32 (one per column of x)",
          c -> c.normWeight = t(DType.BF16, 16));
      bad(
          op,
          "norm_weight",
          "[1, 32]",
          "norm_weight has rank 2 (shape [1, 32]), expected rank 1",
          c -> c.normWeight = t(DType.BF16, 1, D));
      String both = ", expected quantized and quantize_options both or neither";
      bad(op, "quantized", "null", "quantized is NULL" + both, c -> c.quantized = null);
      bad(
          op,
          "quantize_options",
          "null",
          "quantize_options is NULL" + both,
          c -> c.quantizeOptions = null);
      bad(
          op,
          "collapsed",
          "null without quantized",
          "collapsed is NULL, expected a tensor where quantized is NULL too",
          c -> {
            c.collapsed = null;
            c.quantized = null;
            c.quantizeOptions = null;
          });
      bad(
          op,
          "quantize_options",
          "GIVEN",
          "quantize_options.global_scale is 1, expected 0 (DYNAMIC)",
          c -> c.quantizeOptions = Quantize.Options.GIVEN);
      bad(
          op,
          "quantized",
          "with one global scale",
          "quantized.global_scale_kind is 0 (TENSOR), expected ROW",
          c -> c.quantized = q(T, D));
      bad(
          op,
          "quantized",
          "PACKED",
          "quantized.scale_layout is 3 (PACKED), expected LINEAR or SWIZZLED_128X4",
          c ->
              c.quantized = device.allocateNvfp4(arena, T, D, ScaleLayout.PACKED, GlobalScale.ROW));
      bad(
          op,
          "quantized",
          "[2, 32]",
          "quantized has shape [2, 32], expected [3, 32] (T and D of x)",
          c ->
              c.quantized = device.allocateNvfp4(arena, 2, D, ScaleLayout.LINEAR, GlobalScale.ROW));
      bad(
          op,
          "x",
          "24 columns to quantise",
          "x has D = 24 columns, expected a multiple of 16 to quantise",
          c -> {
            c.x = t(DType.BF16, T, N, 24);
            c.out = t(DType.BF16, T, N, 24);
            c.sub = t(DType.BF16, T, 24);
            c.collapsed = t(DType.BF16, T, 24);
            c.fn = t(DType.F32, MIXES, N * 24);
            c.normWeight = t(DType.BF16, 24);
          });
      overlapping(
          op, "out", "collapsed", c -> c.collapsed = part(c.out, T * D).reshaped(arena, T, D));
      overlapping(op, "next_post", "post", c -> c.nextPost = c.post);
      overlapping(op, "next_comb", "comb", c -> c.nextComb = c.comb);
      readOnly(op, "collapsed", c -> c.collapsed = readOnly(DType.BF16, T, D));
      readOnly(op, "next_post", c -> c.nextPost = readOnly(DType.F32, T, N));
      readOnly(op, "next_comb", c -> c.nextComb = readOnly(DType.F32, T, N, N));
      return table;
    }
  }
}
