// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.DynamicTest;

/// Wrong arguments as a table: the argument, the bad value, the sentence.
abstract class RejectionTable extends OnDevice {
  final List<DynamicTest> table = new ArrayList<>();

  RejectionTable(String id) {
    super(id);
  }

  // The whole sentence.
  final void row(String argument, String badValue, String sentence, ThrowingCallable call) {
    row(argument, badValue, IllegalArgumentException.class, sentence, call);
  }

  final void row(
      String argument,
      String badValue,
      Class<? extends Exception> type,
      String sentence,
      ThrowingCallable call) {
    table.add(
        DynamicTest.dynamicTest(
            argument + " is " + badValue,
            () -> assertThatThrownBy(call).isExactlyInstanceOf(type).hasMessage(sentence)));
  }

  /// A call whose tensors share memory; of the message, which has addresses, the rest.
  final void overlapping(String op, String written, String other, ThrowingCallable call) {
    row(
        op + " " + written,
        "over " + other,
        op + ": " + written + " overlaps " + other,
        () -> {
          try {
            call.call();
          } catch (IllegalArgumentException e) {
            String message = e.getMessage().replaceAll(" \\([^)]*\\)", "");
            throw new IllegalArgumentException(
                message.replace(", expected separate memory", ""), e);
          }
        });
  }

  /// A call one tensor of which is [#closed(DType, long...)].
  final void closed(String op, String argument, ThrowingCallable call) {
    row(
        op + " " + argument,
        "closed",
        IllegalStateException.class,
        op + ": " + argument + " is closed, expected a tensor of an open arena",
        call);
  }

  final Tensor closed(DType dtype, long... shape) {
    try (Arena own = Arena.ofShared()) {
      return device.allocate(own, dtype, shape);
    }
  }

  /// In which no kernel finds a fault.
  final Tensor zeros(DType dtype, long... shape) {
    Tensor host = Tensor.of(arena, arena.allocate(bytes(dtype, shape), 64), dtype, shape);
    return device.isCuda() ? host.to(stream, arena) : host;
  }

  /// Host memory: only memory segments can be read-only.
  final Tensor readOnly(DType dtype, long... shape) {
    return Tensor.of(arena, arena.allocate(bytes(dtype, shape), 64).asReadOnly(), dtype, shape);
  }

  private static long bytes(DType dtype, long... shape) {
    long bytes = dtype.bytes();
    for (long each : shape) {
      bytes *= each;
    }
    return bytes;
  }

  final Tensor t(DType dtype, long... shape) {
    return device.allocate(arena, dtype, shape);
  }

  final Nvfp4Tensor q(long rows, long columns) {
    return device.allocateNvfp4(arena, rows, columns);
  }
}
