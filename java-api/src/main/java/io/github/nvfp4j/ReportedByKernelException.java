// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.EnumMap;
import java.util.EnumSet;
import java.util.Map;
import java.util.Set;

/// Kernels found faults in their data since the last report. Everything that was enqueued has
/// finished, and what a kernel wrote in the faulty places is defined (see [Cause]).
///
/// Thrown by [Stream#synchronize] and [Stream#close], and the failure of [Stream#whenDone]; a fault
/// is reported once.
public final class ReportedByKernelException extends Nvfp4Exception {
  private static final long serialVersionUID = 1L;

  private final Cause reason;
  private final long row;
  private final long column;
  private final EnumMap<Op, EnumSet<Cause>> causes;

  ReportedByKernelException(
      String message, Op op, Cause reason, long row, long column, Map<Op, EnumSet<Cause>> causes) {
    super(message, op, Status.REPORTED, 0, "", null);
    this.reason = reason;
    this.row = row;
    this.column = column;
    this.causes = new EnumMap<>(Op.class);
    causes.forEach((key, value) -> this.causes.put(key, EnumSet.copyOf(value)));
  }

  /// What the op in [#op] found: the first fault, or one of several that raced to be first.
  public Cause reason() {
    return reason;
  }

  /// The row of that fault, counted in the op's output rows; -1 when it has none.
  public long row() {
    return row;
  }

  /// The column of that fault, counted in elements of the row; -1 when it has none.
  public long column() {
    return column;
  }

  /// Every op that reported, with all its causes, the first fault's among them. A copy.
  public Map<Op, Set<Cause>> causes() {
    Map<Op, Set<Cause>> copy = new EnumMap<>(Op.class);
    causes.forEach((key, value) -> copy.put(key, EnumSet.copyOf(value)));
    return copy;
  }
}
