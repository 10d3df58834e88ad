// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of indexer_topk: each argument, each way to be wrong.
final class IndexerTopkRejectionTest {
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
    private static final int C = 40;
    private static final int H = 4;
    private static final int D = 32;
    private static final int K = 8;

    Contract(String id) {
      super(id);
    }

    /// The arguments of a good call, of which a row changes one.
    private final class Call {
      Tensor q = zeros(DType.BF16, T, H, D);
      Tensor keys = zeros(DType.BF16, C, D);
      Tensor weights = zeros(DType.F32, T, H);
      Tensor valid = zeros(DType.I32, T);
      Tensor indices = zeros(DType.I32, T, K);
      @Nullable Tensor scores = zeros(DType.F32, T, C);

      void run() {
        IndexerTopk.run(stream, q, keys, weights, valid, indices, scores);
      }
    }

    private void bad(String argument, String value, String sentence, Consumer<Call> change) {
      row(
          argument,
          value,
          "indexer_topk: " + sentence,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run();
          });
    }

    private void overlapping(String written, String other, Consumer<Call> change) {
      overlapping(
          "indexer_topk",
          written,
          other,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run();
          });
    }

    private void closed(String argument, DType dtype, BiConsumer<Call, Tensor> change) {
      closed(
          "indexer_topk",
          argument,
          () -> {
            Call call = new Call();
            change.accept(call, closed(dtype, T, H));
            call.run();
          });
    }

    @TestFactory
    List<DynamicTest> nothing() {
      for (boolean scores : new boolean[] {true, false}) {
        table.add(
            DynamicTest.dynamicTest(
                "good arguments, scores " + scores,
                () -> {
                  Call call = new Call();
                  if (!scores) {
                    call.scores = null;
                  }
                  call.run();
                  stream.synchronize();
                }));
      }
      return table;
    }

    @TestFactory
    List<DynamicTest> inputs() {
      bad("q", "F16", "q has dtype F16, expected F32 or BF16", c -> c.q = t(DType.F16, T, H, D));
      bad(
          "q",
          "rank 2",
          "q has rank 2 (shape [3, 128]), expected rank 3",
          c -> c.q = t(DType.BF16, T, H * D));
      for (int heads : new int[] {0, 129}) {
        bad(
            "q",
            heads + " heads",
            "q has " + heads + " heads (its second dimension), expected 1 to 128",
            c -> c.q = t(DType.BF16, T, heads, D));
      }
      for (int columns : new int[] {0, 8, 24, 272}) {
        bad(
            "q",
            columns + " columns",
            "q has "
                + columns
                + " columns a head (its last dimension), expected a multiple of 16 from 16 to 256",
            c -> c.q = t(DType.BF16, T, H, columns));
      }
      bad("keys", "F32", "keys has dtype F32, expected BF16", c -> c.keys = t(DType.F32, C, D));
      bad(
          "keys",
          "rank 1",
          "keys has rank 1 (shape [1280]), expected rank 2",
          c -> c.keys = t(DType.BF16, C * D));
      bad(
          "keys",
          "narrower than q",
          "keys has shape [40, 16], expected [40, 32] (as many columns as a head of q)",
          c -> c.keys = t(DType.BF16, C, 16));
      bad(
          "keys",
          "2^20 + 1 rows",
          "keys has 1048577 rows, expected 1048576 or fewer",
          c -> c.keys = t(DType.BF16, (1 << 20) + 1, D));
      bad(
          "weights",
          "BF16",
          "weights has dtype BF16, expected F32",
          c -> c.weights = t(DType.BF16, T, H));
      bad(
          "weights",
          "one query short",
          "weights has shape [2, 4], expected [3, 4] (one weight per query and head)",
          c -> c.weights = t(DType.F32, T - 1, H));
      bad("valid", "I64", "valid has dtype I64, expected I32", c -> c.valid = t(DType.I64, T));
      bad(
          "valid",
          "one short",
          "valid has 2 elements, expected 3 (one per query)",
          c -> c.valid = t(DType.I32, T - 1));
      closed("q", DType.BF16, (c, t) -> c.q = t);
      closed("keys", DType.BF16, (c, t) -> c.keys = t);
      closed("weights", DType.F32, (c, t) -> c.weights = t);
      closed("valid", DType.I32, (c, t) -> c.valid = t);
      return table;
    }

    @TestFactory
    List<DynamicTest> outputs() {
      bad(
          "indices",
          "F32",
          "indices has dtype F32, expected I32",
          c -> c.indices = t(DType.F32, T, K));
      for (int k : new int[] {0, 2049}) {
        bad(
            "indices",
            "k = " + k,
            "indices has k = " + k + " (its columns), expected 1 to 2048",
            c -> c.indices = t(DType.I32, T, k));
      }
      bad(
          "indices",
          "one query short",
          "indices has shape [2, 8], expected [3, 8] (one row per query)",
          c -> c.indices = t(DType.I32, T - 1, K));
      bad(
          "scores",
          "BF16",
          "scores has dtype BF16, expected F32",
          c -> c.scores = t(DType.BF16, T, C));
      bad(
          "scores",
          "one row short",
          "scores has shape [3, 39], expected [3, 40] (one score per query and row of keys)",
          c -> c.scores = t(DType.F32, T, C - 1));
      closed("indices", DType.I32, (c, t) -> c.indices = t);
      closed("scores", DType.F32, (c, t) -> c.scores = t);
      overlapping(
          "scores",
          "weights",
          c -> {
            Tensor both = zeros(DType.F32, T, C + H - 1);
            c.scores = both.slice(arena, 1, 0, C);
            c.weights = both.slice(arena, 1, C - 1, H);
          });
      overlapping(
          "indices",
          "valid",
          c -> {
            Tensor both = zeros(DType.I32, T * K);
            c.valid = both.slice(arena, 0, 0, T);
            c.indices = both.reshaped(arena, T, K);
          });
      return table;
    }
  }
}
