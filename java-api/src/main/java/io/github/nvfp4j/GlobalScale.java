// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// What one global scale of an [Nvfp4Tensor] covers. A global scale is always the multiplier (about
/// `amax / 2688`), never its reciprocal.
public enum GlobalScale {
  /// One for the whole tensor. It depends on every row: a batch's bits change with the batch.
  TENSOR(0),
  /// One per row. A row's bits depend on that row alone.
  ROW(1);

  private final int code;

  GlobalScale(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_GLOBAL_SCALE_TENSOR` or `_ROW` of the C ABI.
  public int code() {
    return code;
  }

  /// The number of global scales of a tensor with this many rows: 1, or `rows`.
  public long count(long rows) {
    return this == TENSOR ? 1 : rows;
  }
}
