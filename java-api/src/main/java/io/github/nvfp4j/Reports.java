// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.StatusRecord;
import org.jspecify.annotations.Nullable;

/// Gathers the reports of one synchronisation: the first is thrown, the others travel with it as
/// suppressed.
final class Reports {
  private @Nullable ReportedByKernelException first;

  /// The outcome of a call that waits and reports.
  ///
  /// @throws RuntimeException if it failed in any other way than by a report
  void add(DeviceState state, int status, NativeError error, StatusRecord record) {
    if (status == Nvfp4jConstants.ERROR_REPORTED) {
      add(Failures.reported(error, record));
    } else if (status != 0) {
      throw Failures.of(state, null, status, error, "");
    }
  }

  void add(ReportedByKernelException report) {
    if (first == null) {
      first = report;
    } else {
      first.addSuppressed(report);
    }
  }

  @Nullable ReportedByKernelException first() {
    return first;
  }
}
