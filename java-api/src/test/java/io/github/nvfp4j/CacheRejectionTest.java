// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of the caches' ops: each argument, each way to be wrong.
final class CacheRejectionTest {
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
    private static final List<String> OPS = List.of("cache_append_window", "cache_append");

    Contract(String id) {
      super(id);
    }

    /// The arguments of a good call, of which a row changes one.
    private final class Call {
      Tensor cache = t(DType.BF16, 8, 24);
      Tensor rows = t(DType.BF16, 3, 24);
      Tensor counter = upload(new int[] {2});

      void run(String op) {
        if (op.equals("cache_append")) {
          CacheAppend.run(stream, cache, rows, counter);
        } else {
          CacheAppendWindow.run(stream, cache, rows, counter);
        }
      }
    }

    private void bad(
        String op, String argument, String value, String sentence, Consumer<Call> change) {
      row(
          op + " " + argument,
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

    private void closed(String op, String name, Consumer<Call> change) {
      closed(
          op,
          name,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run(op);
          });
    }

    @TestFactory
    List<DynamicTest> arguments() {
      for (String op : OPS) {
        String counter = op.equals("cache_append") ? "length" : "position";
        table.add(
            DynamicTest.dynamicTest(
                op + " with good arguments",
                () -> {
                  new Call().run(op);
                  stream.synchronize();
                }));
        String types = "expected F32, BF16, F16 or U8";
        bad(
            op,
            "cache",
            "I32",
            "cache has dtype I32, " + types,
            c -> c.cache = t(DType.I32, 8, 24));
        bad(op, "rows", "I64", "rows has dtype I64, " + types, c -> c.rows = t(DType.I64, 3, 24));
        bad(
            op,
            "rows",
            "F16",
            "rows has dtype F16, expected BF16 (the dtype of cache)",
            c -> c.rows = t(DType.F16, 3, 24));
        bad(
            op,
            "cache",
            "rank 1",
            "cache has rank 1 (shape [24]), expected rank 2",
            c -> c.cache = t(DType.BF16, 24));
        bad(
            op,
            "rows",
            "rank 3",
            "rows has rank 3 (shape [1, 3, 24]), expected rank 2",
            c -> c.rows = t(DType.BF16, 1, 3, 24));
        bad(
            op,
            "rows",
            "a column short",
            "rows has shape [3, 23], expected [3, 24] (the columns of cache)",
            c -> c.rows = t(DType.BF16, 3, 23));
        bad(
            op,
            "cache",
            "without columns",
            "cache has 0 columns, expected 1 or more",
            c -> {
              c.cache = t(DType.BF16, 8, 0);
              c.rows = t(DType.BF16, 3, 0);
            });
        bad(
            op,
            counter,
            "F32",
            counter + " has dtype F32, expected I32 or I64",
            c -> c.counter = t(DType.F32, 1));
        bad(
            op,
            counter,
            "of 2 elements",
            counter + " has 2 elements, expected 1 (a scalar)",
            c -> c.counter = t(DType.I32, 2));
        bad(
            op,
            counter,
            "rank 2",
            counter + " has rank 2 (shape [1, 1]), expected rank 1",
            c -> c.counter = t(DType.I32, 1, 1));
        closed(op, "cache", c -> c.cache = closed(DType.BF16, 8, 24));
        closed(op, "rows", c -> c.rows = closed(DType.BF16, 3, 24));
        closed(op, counter, c -> c.counter = closed(DType.I32, 1));
        overlapping(op, "cache", "rows", c -> c.rows = c.cache.slice(arena, 5, 3));
      }
      bad(
          "cache_append_window",
          "cache",
          "without rows",
          "cache has 0 rows, expected 1 to 2147483647",
          c -> c.cache = t(DType.BF16, 0, 24));
      return table;
    }
  }
}
