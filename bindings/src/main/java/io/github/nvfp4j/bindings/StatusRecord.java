// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_status_record;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// An `nvfp4j_status_record`: what kernels reported, filled by `context_synchronize` and
/// `context_report`. It may be used again for the next call.
public final class StatusRecord {
  private final MemorySegment segment;

  /// Allocates one; it lives as long as the allocator's memory.
  public StatusRecord(SegmentAllocator allocator) {
    segment = nvfp4j_status_record.allocate(allocator);
    segment.fill((byte) 0);
    nvfp4j_status_record.struct_size(segment, (int) nvfp4j_status_record.sizeof());
    nvfp4j_status_record.first_op(segment, -1);
    nvfp4j_status_record.first_row(segment, -1);
    nvfp4j_status_record.first_column(segment, -1);
  }

  /// The struct, to be passed to a call.
  public MemorySegment segment() {
    return segment;
  }

  /// The op that reported first, one of `Nvfp4jConstants.OP_*`, or -1 when none did.
  public int firstOp() {
    return nvfp4j_status_record.first_op(segment);
  }

  /// What it reported first, one of `Nvfp4jConstants.CAUSE_*`; meaningless when no op reported.
  public int firstCause() {
    return nvfp4j_status_record.first_cause(segment);
  }

  /// Row of the first fault, or -1.
  public long firstRow() {
    return nvfp4j_status_record.first_row(segment);
  }

  /// Column of the first fault, or -1.
  public long firstColumn() {
    return nvfp4j_status_record.first_column(segment);
  }

  /// A bit for each cause that the op reported: bit `c` for `Nvfp4jConstants.CAUSE_*` of value `c`.
  ///
  /// @param op from 0 to `Nvfp4jConstants.STATUS_WORDS - 1`
  /// @throws IndexOutOfBoundsException when it is outside
  public long causes(int op) {
    return nvfp4j_status_record.causes(segment, op);
  }
}
