// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of expert_dispatch and expert_combine: each argument, each way to be wrong.
final class ExpertsRejectionTest {
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
    private static final String DISPATCH = "expert_dispatch";
    private static final String COMBINE = "expert_combine";
    private static final int T = 5;
    private static final int K = 3;
    private static final int E = 8;
    private static final int D = 32;
    private static final String OF_TOKENS = " (the rows of positions and the columns of y)";

    Contract(String id) {
      super(id);
    }

    /// The arguments of a good call, of which a row changes one.
    private final class Call {
      Tensor indices = zeros(DType.I32, T, K);
      @Nullable Tensor weights = zeros(DType.F32, T, K);
      Tensor offsets = zeros(DType.I32, E + 1);
      Tensor rows = zeros(DType.I32, T * K);
      Tensor positions = zeros(DType.I32, T, K);
      @Nullable Tensor rowWeights = zeros(DType.F32, T * K);
      Tensor y = zeros(DType.BF16, T * K, D);
      @Nullable Tensor shared = zeros(DType.BF16, T, D);
      Tensor out = zeros(DType.BF16, T, D);

      void run(String op) {
        if (op.equals(DISPATCH)) {
          ExpertDispatch.run(stream, indices, weights, offsets, rows, positions, rowWeights);
        } else {
          ExpertCombine.run(stream, y, positions, weights, shared, out);
        }
      }
    }

    private void bad(
        String op, String argument, String value, String sentence, Consumer<Call> change) {
      row(argument, value, op + ": " + argument + " " + sentence, () -> run(op, change));
    }

    private void run(String op, Consumer<Call> change) {
      Call call = new Call();
      change.accept(call);
      call.run(op);
    }

    private void closed(String op, String argument, Consumer<Call> change) {
      closed(op, argument, () -> run(op, change));
    }

    private void overlapping(String op, String written, String other, Consumer<Call> change) {
      overlapping(op, written, other, () -> run(op, change));
    }

    /// What a row refuses is what it changed.
    @TestFactory
    List<DynamicTest> nothing() {
      for (String op : List.of(DISPATCH, COMBINE)) {
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

    @TestFactory
    List<DynamicTest> dispatch() {
      String op = DISPATCH;
      bad(op, "indices", "I64", "has dtype I64, expected I32", c -> c.indices = t(DType.I64, T, K));
      bad(
          op,
          "indices",
          "rank 1",
          "has rank 1 (shape [15]), expected rank 2",
          c -> c.indices = t(DType.I32, T * K));
      for (int k : new int[] {0, 17}) {
        bad(
            op,
            "indices",
            k + " columns",
            "has k = " + k + " (its second dimension), expected 1 to 16",
            c -> c.indices = t(DType.I32, T, k));
      }
      closed(op, "indices", c -> c.indices = closed(DType.I32, T, K));
      bad(
          op,
          "weights",
          "BF16",
          "has dtype BF16, expected F32",
          c -> c.weights = t(DType.BF16, T, K));
      bad(
          op,
          "weights",
          "[5, 4]",
          "has shape [5, 4], expected [5, 3] (the shape of indices)",
          c -> c.weights = t(DType.F32, T, 4));
      bad(
          op,
          "weights",
          "null",
          "is NULL, expected weights and row_weights both or neither",
          c -> c.weights = null);
      for (int count : new int[] {0, 1, 1026}) {
        bad(
            op,
            "offsets",
            count + " elements",
            "has " + count + " elements, expected 2 to 1025 (one more than there are experts)",
            c -> c.offsets = t(DType.I32, count));
      }
      bad(op, "offsets", "F32", "has dtype F32, expected I32", c -> c.offsets = t(DType.F32, 9));
      closed(op, "offsets", c -> c.offsets = closed(DType.I32, 9));
      bad(
          op,
          "rows",
          "14 elements",
          "has 14 elements, expected 15 (one per element of indices)",
          c -> c.rows = t(DType.I32, 14));
      bad(
          op,
          "positions",
          "[4, 3]",
          "has shape [4, 3], expected [5, 3] (the shape of indices)",
          c -> c.positions = t(DType.I32, 4, K));
      bad(
          op,
          "positions",
          "read-only",
          "is read-only, expected memory that can be written",
          c -> c.positions = readOnly(DType.I32, T, K));
      bad(
          op,
          "row_weights",
          "16 elements",
          "has 16 elements, expected 15 (one per element of indices)",
          c -> c.rowWeights = t(DType.F32, 16));
      bad(
          op,
          "row_weights",
          "null",
          "is NULL, expected weights and row_weights both or neither",
          c -> c.rowWeights = null);
      overlapping(op, "rows", "indices", c -> c.rows = c.indices.reshaped(arena, T * K));
      overlapping(op, "positions", "indices", c -> c.positions = c.indices);
      overlapping(op, "rows", "positions", c -> c.positions = c.rows.reshaped(arena, T, K));
      overlapping(
          op,
          "row_weights",
          "weights",
          c -> c.rowWeights = c.weights == null ? null : c.weights.reshaped(arena, T * K));
      return table;
    }

    @TestFactory
    List<DynamicTest> combine() {
      String op = COMBINE;
      bad(op, "y", "F16", "has dtype F16, expected F32 or BF16", c -> c.y = t(DType.F16, T * K, D));
      bad(
          op,
          "y",
          "rank 3",
          "has rank 3 (shape [5, 3, 32]), expected rank 2",
          c -> c.y = t(DType.BF16, T, K, D));
      closed(op, "y", c -> c.y = closed(DType.BF16, T * K, D));
      bad(
          op,
          "positions",
          "I64",
          "has dtype I64, expected I32",
          c -> c.positions = t(DType.I64, T, K));
      for (int k : new int[] {0, 17}) {
        bad(
            op,
            "positions",
            k + " columns",
            "has k = " + k + " (its second dimension), expected 1 to 16",
            c -> c.positions = t(DType.I32, T, k));
      }
      bad(
          op,
          "weights",
          "[4, 3]",
          "has shape [4, 3], expected [5, 3] (the shape of positions)",
          c -> c.weights = t(DType.F32, 4, K));
      closed(op, "weights", c -> c.weights = closed(DType.F32, T, K));
      bad(op, "shared", "F32", "has dtype F32, expected BF16", c -> c.shared = t(DType.F32, T, D));
      bad(
          op,
          "shared",
          "[5, 16]",
          "has shape [5, 16], expected [5, 32]" + OF_TOKENS,
          c -> c.shared = t(DType.BF16, T, 16));
      closed(op, "shared", c -> c.shared = closed(DType.BF16, T, D));
      bad(op, "out", "F16", "has dtype F16, expected F32 or BF16", c -> c.out = t(DType.F16, T, D));
      bad(
          op,
          "out",
          "[15, 32]",
          "has shape [15, 32], expected [5, 32]" + OF_TOKENS,
          c -> c.out = t(DType.BF16, T * K, D));
      bad(
          op,
          "out",
          "read-only",
          "is read-only, expected memory that can be written",
          c -> c.out = readOnly(DType.BF16, T, D));
      overlapping(op, "out", "y", c -> c.out = c.y.slice(arena, 3, T));
      overlapping(
          op,
          "out",
          "shared",
          c -> {
            Tensor all = t(DType.BF16, T + 1, D);
            c.shared = all.slice(arena, 0, T);
            c.out = all.slice(arena, 1, T);
          });
      overlapping(
          op,
          "out",
          "shared",
          c -> {
            // The same begin, another type.
            Tensor all = zeros(DType.BF16, T, 2 * D);
            c.shared = all.slice(arena, 1, 0, D);
            c.out = wider(all);
          });
      return table;
    }

    /// The same memory as half as many F32.
    private Tensor wider(Tensor bf16) {
      long[] shape = {T, D};
      return device.isCuda()
          ? Tensor.ofUnsafeDevicePointer(
              arena, device, bf16.address(), DType.F32, shape, new long[] {D, 1})
          : Tensor.of(arena, bf16.segment(), DType.F32, shape);
    }
  }
}
