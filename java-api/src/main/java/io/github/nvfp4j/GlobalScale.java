// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// What one global scale of an [Nvfp4Tensor] covers. A global scale is always the multiplier (about
/// `amax / 2688`), never its reciprocal.
public enum GlobalScale {
  /// One for the whole tensor. It depends on every row: a batch's bits change with the batch.
  TENSOR(0),
  /// One per row. A row's bits depend on that row alone.
  ROW(1),
  /// Weights `[G, M, K]`: one per group, such as an expert.
  GROUP(2),
  /// Weights `[G, M, K]`, M even: two per group, of rows 0 to M/2 - 1 and of the others; gate and
  /// up of a fused `[w1|w3]`, which were quantised apart.
  HALVES(3);

  private final int code;

  GlobalScale(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_GLOBAL_SCALE_*` of the C ABI.
  public int code() {
    return code;
  }

  /// The number of global scales of a matrix with this many rows: 1, or `rows`; two for [#HALVES].
  public long count(long rows) {
    return count(1, rows);
  }

  /// The number of global scales of `groups` matrices with `rows` rows each: 1, `rows`, `groups` or
  /// `2 * groups`.
  ///
  /// @throws IllegalArgumentException if that exceeds 2^63 - 1
  public long count(long groups, long rows) {
    return switch (this) {
      case TENSOR -> 1;
      case ROW -> rows;
      case GROUP -> groups;
      case HALVES -> {
        if (groups > Long.MAX_VALUE / 2) {
          throw new IllegalArgumentException(
              "globalScale: groups is " + groups + ", expected at most 2^62 - 1");
        }
        yield 2 * groups;
      }
    };
  }
}
