// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.foreign.Arena;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of the routers: each argument, each way to be wrong.
final class RouterRejectionTest {
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
    private static final int E = 8;
    private static final int D = 32;
    private static final int K = 2;
    private static final int V = 5;
    private static final String DENSE = "router_dense";
    private static final String HASH = "router_hash";

    Contract(String id) {
      super(id);
    }

    /// The arguments of a good call, of which a row changes one.
    private final class Call {
      Tensor x = zeros(DType.BF16, T, D);
      Tensor weight = zeros(DType.BF16, E, D);
      @Nullable Nvfp4Tensor quantized = null;
      Tensor bias = zeros(DType.F32, E);
      Tensor table = zeros(DType.I64, V, K);
      Tensor ids = zeros(DType.I32, T);
      Tensor indices = zeros(DType.I32, T, K);
      Tensor weights = zeros(DType.F32, T, K);
      @Nullable Tensor logits = zeros(DType.F32, T, E);
      RouterOptions options = RouterOptions.FLASH;

      void run(String op) {
        if (op.equals(DENSE)) {
          if (quantized == null) {
            RouterDense.run(stream, x, weight, bias, indices, weights, logits, options);
          } else {
            RouterDense.run(stream, x, quantized, bias, indices, weights, logits, options);
          }
        } else {
          if (quantized == null) {
            RouterHash.run(stream, x, weight, table, ids, indices, weights, options);
          } else {
            RouterHash.run(stream, x, quantized, table, ids, indices, weights, options);
          }
        }
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

    private void closed(String op, String argument, DType dtype, Setter set, long... shape) {
      closed(
          op,
          argument,
          () -> {
            Call call = new Call();
            set.to(call, closed(dtype, shape));
            call.run(op);
          });
    }

    private interface Setter {
      void to(Call call, Tensor tensor);
    }

    private void readOnly(String op, String argument, DType dtype, Setter set, long... shape) {
      if (device.isCuda()) {
        return; // Only memory segments can be read-only.
      }
      bad(
          op,
          argument,
          "read-only",
          argument + " is read-only, expected memory that can be written",
          c -> set.to(c, readOnly(dtype, shape)));
    }

    /// The good calls are good: what a row refuses is what it changed.
    @TestFactory
    List<DynamicTest> nothing() {
      for (String op : List.of(DENSE, HASH)) {
        for (boolean quantized : new boolean[] {false, true}) {
          table.add(
              DynamicTest.dynamicTest(
                  op + " with good arguments, NVFP4 " + quantized,
                  () -> {
                    Call call = new Call();
                    call.quantized = quantized ? usable() : null;
                    call.run(op);
                    stream.synchronize();
                  }));
        }
      }
      return table;
    }

    /// In which no kernel finds a fault.
    private Nvfp4Tensor usable() {
      return Nvfp4Tensor.of(
          arena,
          zeros(DType.U8, E, D / 2),
          zeros(DType.U8, E, D / 16),
          upload(new float[] {1}),
          ScaleLayout.LINEAR,
          GlobalScale.TENSOR);
    }

    private void common(String op) {
      bad(op, "x", "F16", "x has dtype F16, expected F32 or BF16", c -> c.x = t(DType.F16, T, D));
      bad(
          op,
          "x",
          "rank 1",
          "x has rank 1 (shape [96]), expected rank 2",
          c -> c.x = t(DType.BF16, T * D));
      bad(
          op,
          "x",
          "0 columns",
          "x has D = 0 columns, expected 1 to 2^24",
          c -> c.x = t(DType.BF16, T, 0));
      bad(
          op,
          "x",
          "2^24 + 1 columns",
          "x has D = 16777217 columns, expected 1 to 2^24",
          c -> c.x = t(DType.BF16, 0, (1 << 24) + 1));
      closed(op, "x", DType.BF16, (c, t) -> c.x = t, T, D);
      bad(
          op,
          "weight",
          "F16",
          "weight has dtype F16, expected F32 or BF16",
          c -> c.weight = t(DType.F16, E, D));
      bad(
          op,
          "weight",
          "rank 3",
          "weight has rank 3 (shape [1, 8, 32]), expected rank 2",
          c -> c.weight = t(DType.BF16, 1, E, D));
      for (int experts : new int[] {0, 1025}) {
        bad(
            op,
            "weight",
            experts + " rows",
            "weight has E = " + experts + " rows, expected 1 to 1024",
            c -> c.weight = t(DType.BF16, experts, D));
        bad(
            op,
            "weight",
            experts + " rows of NVFP4",
            "weight has E = " + experts + " rows, expected 1 to 1024",
            c -> c.quantized = q(experts, D));
      }
      bad(
          op,
          "weight",
          "[8, 31]",
          "weight has 31 columns, expected 32 (D of x)",
          c -> c.weight = t(DType.BF16, E, 31));
      bad(
          op,
          "weight",
          "[8, 16] of NVFP4",
          "weight has 16 columns, expected 32 (D of x)",
          c -> c.quantized = q(E, 16));
      bad(
          op,
          "weight",
          "SWIZZLED_128X4",
          "weight.scale_layout is 1 (SWIZZLED_128X4), expected LINEAR",
          c ->
              c.quantized =
                  device.allocateNvfp4(
                      arena, E, D, ScaleLayout.SWIZZLED_128X4, GlobalScale.TENSOR));
      bad(
          op,
          "weight",
          "PREPARED",
          "weight.scale_layout is 2 (PREPARED), expected LINEAR",
          c ->
              c.quantized =
                  device.allocateNvfp4(arena, E, D, ScaleLayout.PREPARED, GlobalScale.TENSOR));
      bad(
          op,
          "weight",
          "with a global scale per row",
          "weight.global_scale_kind is 1 (ROW), expected TENSOR",
          c ->
              c.quantized = device.allocateNvfp4(arena, E, D, ScaleLayout.LINEAR, GlobalScale.ROW));
      closed(op, "weight", DType.BF16, (c, t) -> c.weight = t, E, D);
      row(
          "weight",
          "closed, of NVFP4",
          IllegalStateException.class,
          op + ": weight is closed, expected a tensor of an open arena",
          () -> {
            Call call = new Call();
            try (Arena own = Arena.ofShared()) {
              call.quantized = device.allocateNvfp4(own, E, D);
            }
            call.run(op);
          });
      bad(
          op,
          "indices",
          "I64",
          "indices has dtype I64, expected I32",
          c -> c.indices = t(DType.I64, T, K));
      bad(
          op,
          "weights",
          "BF16",
          "weights has dtype BF16, expected F32",
          c -> c.weights = t(DType.BF16, T, K));
      bad(
          op,
          "weights",
          "[3, 3]",
          "weights has shape [3, 3], expected [3, 2] (the shape of indices)",
          c -> c.weights = t(DType.F32, T, 3));
      bad(
          op,
          "weights",
          "[6]",
          "weights has rank 1 (shape [6]), expected rank 2",
          c -> c.weights = t(DType.F32, T * K));
      closed(op, "indices", DType.I32, (c, t) -> c.indices = t, T, K);
      closed(op, "weights", DType.F32, (c, t) -> c.weights = t, T, K);
      readOnly(op, "indices", DType.I32, (c, t) -> c.indices = t, T, K);
      readOnly(op, "weights", DType.F32, (c, t) -> c.weights = t, T, K);
      overlapping(
          op,
          "weights",
          "x",
          c -> {
            Tensor all = t(DType.F32, T, D + K);
            c.x = all.slice(arena, 1, 0, D);
            c.weights = all.slice(arena, 1, D - 1, K);
          });
      overlapping(
          op,
          "weights",
          "weight",
          c -> {
            c.weight = t(DType.F32, E, D);
            c.weights = c.weight.slice(arena, 0, 2, T).slice(arena, 1, 0, K);
          });
      for (float scale : new float[] {0, -1.5f, Float.POSITIVE_INFINITY, Float.NaN}) {
        String text = scale == 0 ? "0" : scale < 0 ? "-1.5" : Float.isNaN(scale) ? "nan" : "inf";
        bad(
            op,
            "scale",
            text,
            "options.scale is " + text + ", expected a finite number > 0",
            c -> c.options = RouterOptions.of(scale));
      }
    }

    @TestFactory
    List<DynamicTest> routerDense() {
      String op = DENSE;
      common(op);
      bad(op, "bias", "BF16", "bias has dtype BF16, expected F32", c -> c.bias = t(DType.BF16, E));
      bad(
          op,
          "bias",
          "[7]",
          "bias has 7 elements, expected 8 (one per expert)",
          c -> c.bias = t(DType.F32, 7));
      bad(
          op,
          "bias",
          "[8, 1]",
          "bias has rank 2 (shape [8, 1]), expected rank 1",
          c -> c.bias = t(DType.F32, E, 1));
      closed(op, "bias", DType.F32, (c, t) -> c.bias = t, E);
      for (int k : new int[] {0, 9}) {
        bad(
            op,
            "indices",
            k + " columns",
            "indices has k = " + k + " columns, expected 1 to 8 (the lesser of 16 and E)",
            c -> {
              c.indices = t(DType.I32, T, k);
              c.weights = t(DType.F32, T, k);
            });
      }
      bad(
          op,
          "indices",
          "17 columns",
          "indices has k = 17 columns, expected 1 to 16 (the lesser of 16 and E)",
          c -> {
            c.weight = t(DType.BF16, 20, D);
            c.bias = t(DType.F32, 20);
            c.indices = t(DType.I32, T, 17);
          });
      bad(
          op,
          "indices",
          "[2, 2]",
          "indices has shape [2, 2], expected [3, 2] (T of x, and k)",
          c -> c.indices = t(DType.I32, 2, K));
      bad(
          op,
          "logits",
          "BF16",
          "logits has dtype BF16, expected F32",
          c -> c.logits = t(DType.BF16, T, E));
      bad(
          op,
          "logits",
          "[3, 9]",
          "logits has shape [3, 9], expected [3, 8] (T of x and E of the weight)",
          c -> c.logits = t(DType.F32, T, 9));
      closed(op, "logits", DType.F32, (c, t) -> c.logits = t, T, E);
      readOnly(op, "logits", DType.F32, (c, t) -> c.logits = t, T, E);
      overlapping(
          op,
          "weights",
          "logits",
          c -> {
            Tensor all = t(DType.F32, T, E);
            c.logits = all;
            c.weights = all.slice(arena, 1, 3, K);
          });
      overlapping(
          op,
          "logits",
          "bias",
          c -> {
            Tensor all = t(DType.F32, T, E);
            c.logits = all;
            c.bias = all.slice(arena, 0, 1, 1).reshaped(arena, E);
          });
      return table;
    }

    @TestFactory
    List<DynamicTest> routerHash() {
      String op = HASH;
      common(op);
      bad(
          op,
          "table",
          "F32",
          "table has dtype F32, expected I32 or I64",
          c -> c.table = t(DType.F32, V, K));
      bad(
          op,
          "table",
          "[10]",
          "table has rank 1 (shape [10]), expected rank 2",
          c -> c.table = t(DType.I32, V * K));
      bad(
          op,
          "table",
          "[0, 2]",
          "table has V = 0 rows, expected 1 to 2^31 - 1",
          c -> c.table = t(DType.I32, 0, K));
      for (int k : new int[] {0, 17}) {
        bad(
            op,
            "table",
            k + " columns",
            "table has k = " + k + " columns, expected 1 to 16",
            c -> c.table = t(DType.I32, V, k));
      }
      bad(
          op,
          "table",
          "with rows apart",
          "table has row stride 3, expected 2: it must be contiguous",
          c -> c.table = t(DType.I32, V, K + 1).slice(arena, 1, 0, K));
      closed(op, "table", DType.I64, (c, t) -> c.table = t, V, K);
      bad(op, "ids", "F32", "ids has dtype F32, expected I32 or I64", c -> c.ids = t(DType.F32, T));
      bad(
          op,
          "ids",
          "[4]",
          "ids has 4 elements, expected 3 (one per row of x)",
          c -> c.ids = t(DType.I32, 4));
      closed(op, "ids", DType.I32, (c, t) -> c.ids = t, T);
      bad(
          op,
          "indices",
          "[3, 1]",
          "indices has shape [3, 1], expected [3, 2] (T of x and k of table)",
          c -> c.indices = t(DType.I32, T, 1));
      overlapping(
          op,
          "indices",
          "table",
          c -> {
            c.table = t(DType.I32, V, K);
            c.indices = c.table.slice(arena, 0, 1, T);
          });
      overlapping(
          op,
          "indices",
          "ids",
          c -> {
            Tensor all = t(DType.I32, T, K);
            c.indices = all;
            c.ids = all.reshaped(arena, T * K).slice(arena, 0, 2, T);
          });
      return table;
    }
  }
}
