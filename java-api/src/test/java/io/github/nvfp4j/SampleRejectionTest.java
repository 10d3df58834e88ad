// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of sample: each argument, each way to be wrong.
final class SampleRejectionTest {
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
    Contract(String id) {
      super(id);
    }

    /// The arguments of a good call, of which a row changes one.
    private final class Call {
      Tensor logits = upload(DType.F32, new float[60], 3, 20);
      @Nullable Tensor noise = ones();
      @Nullable Tensor offset = t(DType.I64, 1);
      Tensor tokens = t(DType.I32, 3);
      Sample.Options options = Sample.Options.of(0.5f, 1, 2);

      private Tensor ones() {
        float[] ones = new float[60];
        Arrays.fill(ones, 1);
        return upload(DType.F32, ones, 3, 20);
      }

      void run() {
        Sample.run(stream, logits, noise, offset, tokens, options);
      }
    }

    private void bad(String argument, String value, String sentence, Consumer<Call> change) {
      row(
          argument,
          value,
          "sample: " + sentence,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run();
          });
    }

    private void overlapping(String other, Consumer<Call> change) {
      overlapping(
          "sample",
          "tokens",
          other,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run();
          });
    }

    private void closed(String name, Consumer<Call> change) {
      closed(
          "sample",
          name,
          () -> {
            Call call = new Call();
            change.accept(call);
            call.run();
          });
    }

    @TestFactory
    List<DynamicTest> arguments() {
      table.add(
          DynamicTest.dynamicTest(
              "good arguments",
              () -> {
                new Call().run();
                Call greedy = new Call();
                greedy.noise = null;
                greedy.offset = null;
                greedy.options = Sample.Options.of(-0f, 0, 0);
                greedy.run();
                stream.synchronize();
              }));
      bad(
          "logits",
          "F16",
          "logits has dtype F16, expected F32 or BF16",
          c -> c.logits = t(DType.F16, 3, 20));
      bad(
          "logits",
          "rank 1",
          "logits has rank 1 (shape [20]), expected rank 2",
          c -> c.logits = t(DType.F32, 20));
      bad(
          "logits",
          "without columns",
          "logits has 0 columns, expected 1 to 2147483647",
          c -> c.logits = t(DType.F32, 3, 0));
      bad(
          "logits",
          "2^31 columns",
          "logits has 2147483648 columns, expected 1 to 2147483647",
          c -> c.logits = t(DType.F32, 0, 1L << 31));
      bad(
          "noise",
          "BF16",
          "noise has dtype BF16, expected F32",
          c -> c.noise = t(DType.BF16, 3, 20));
      bad(
          "noise",
          "a column short",
          "noise has shape [3, 19], expected [3, 20] (the shape of logits)",
          c -> c.noise = t(DType.F32, 3, 19));
      bad(
          "noise",
          "a row short",
          "noise has shape [2, 20], expected [3, 20] (the shape of logits)",
          c -> c.noise = t(DType.F32, 2, 20));
      bad("offset", "I32", "offset has dtype I32, expected I64", c -> c.offset = t(DType.I32, 1));
      bad(
          "offset",
          "2 elements",
          "offset has 2 elements, expected 1 (a scalar)",
          c -> c.offset = t(DType.I64, 2));
      bad("tokens", "I64", "tokens has dtype I64, expected I32", c -> c.tokens = t(DType.I64, 3));
      bad(
          "tokens",
          "one short",
          "tokens has 2 elements, expected 3 (one per row of logits)",
          c -> c.tokens = t(DType.I32, 2));
      for (float temperature :
          new float[] {-1, Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
        String text =
            Float.isNaN(temperature)
                ? "nan"
                : temperature == -1 ? "-1" : temperature > 0 ? "inf" : "-inf";
        bad(
            "temperature",
            text,
            "options.temperature is " + text + ", expected 0 or more, and finite",
            c -> c.options = Sample.Options.of(temperature, 0, 0));
      }
      closed("logits", c -> c.logits = closed(DType.F32, 3, 20));
      closed("noise", c -> c.noise = closed(DType.F32, 3, 20));
      closed("offset", c -> c.offset = closed(DType.I64, 1));
      closed("tokens", c -> c.tokens = closed(DType.I32, 3));
      if (!device.isCuda()) {
        overlapping("logits", c -> c.tokens = over(c, true));
        overlapping("noise", c -> c.tokens = over(c, false));
      }
      return table;
    }

    /// Three I32 in the middle of another tensor.
    private Tensor over(Call call, boolean logits) {
      Tensor memory = t(DType.F32, 3, 20);
      if (logits) {
        call.logits = memory;
      } else {
        call.noise = memory;
      }
      return Tensor.of(arena, memory.segment().asSlice(40, 12), DType.I32, 3);
    }
  }
}
