// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// What a kernel can find wrong with its data. It finishes safely, writes what the cause says, and
/// the fault is thrown at the next [Stream#synchronize] as a [ReportedByKernelException].
public enum Cause {
  /// An input element is NaN or infinite: [Quantize] and its relatives coded it 7 (NaN, +infinity)
  /// or 15 (-infinity) and left it out of every maximum, [Sinkhorn] made all results of the token
  /// NaN. Of [Sample] a logit is NaN; the row's token is -1.
  NON_FINITE_INPUT(0),
  /// A supplied global scale is not finite or not positive: 1 was used in its place, by a router
  /// the scale itself.
  BAD_GLOBAL_SCALE(1),
  /// An index is out of range: what it stands for was left out. [Quantize] wrote its row as zeros;
  /// the other ops say what they do.
  INDEX_OUT_OF_RANGE(2),
  /// A block scale byte is NaN (0x7F) or has its sign bit set: [Dequantize] decoded it as E4M3
  /// says, a matrix product and a router took it for NaN.
  BAD_BLOCK_SCALE(3),
  /// A result of a matrix product is NaN or infinite in F32, before it was rounded to the output's
  /// type: an operand that is, a global scale that is, or an overflow. It was written as it is. Of
  /// hyper-connections ([HcPre], [HcHead], [HcPostPre]): a mixing weight's, from a residual or
  /// parameter that is, or an overflow; the token's results were written as they are. Of a router
  /// ([RouterDense], [RouterHash]) a logit, of [IndexerTopk] a score. Of [Sample] it means that all
  /// logits of a row are -infinity; the row's token is -1.
  NON_FINITE_RESULT(4),
  /// Offsets of groups do not ascend from at least 0 to at most the number of rows: nothing was
  /// written.
  BAD_OFFSETS(5),
  /// A cache has no room for the rows: nothing was written ([CacheAppend]).
  CACHE_OVERFLOW(6),
  /// A value of the noise of a draw is not positive and finite: the row's token is -1 ([Sample]).
  BAD_NOISE(7);

  private final int code;

  Cause(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_CAUSE_*` of the C ABI: a bit number.
  public int code() {
    return code;
  }

  static Cause ofCode(int code) {
    for (Cause cause : values()) {
      if (cause.code == code) {
        return cause;
      }
    }
    throw new AssertionError(
        "the library reported cause " + code + ", which this version does not know");
  }
}
