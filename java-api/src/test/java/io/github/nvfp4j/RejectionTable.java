// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

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

  final Tensor t(DType dtype, long... shape) {
    return device.allocate(arena, dtype, shape);
  }

  final Nvfp4Tensor q(long rows, long columns) {
    return device.allocateNvfp4(arena, rows, columns);
  }
}
