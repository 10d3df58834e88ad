// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.Locale;

/// The operations of this library; one name each, the same in every layer ([#opName]).
public enum Op {
  /// [Quantize].
  QUANTIZE(0),
  /// [Dequantize].
  DEQUANTIZE(1),
  /// [Swizzle].
  SWIZZLE(2),
  /// [Unswizzle].
  UNSWIZZLE(3),
  /// [Swiglu].
  SWIGLU(4),
  /// [SwigluQuantize].
  SWIGLU_QUANTIZE(5),
  /// [Tensor#copyTo] and its relatives.
  COPY(6),
  /// [Gemm].
  GEMM(7),
  /// [GroupedGemm].
  GROUPED_GEMM(8),
  /// [BatchedGemm].
  BATCHED_GEMM(9),
  /// [PrepareWeights].
  PREPARE_WEIGHTS(10),
  /// [PackActivations].
  PACK_ACTIVATIONS(11),
  /// [Sinkhorn].
  SINKHORN(12),
  /// [HcPre].
  HC_PRE(13),
  /// [HcPost].
  HC_POST(14),
  /// [HcHead].
  HC_HEAD(15),
  /// [HcPostPre].
  HC_POST_PRE(16),
  /// [RouterDense].
  ROUTER_DENSE(17),
  /// [RouterHash].
  ROUTER_HASH(18),
  /// [ExpertDispatch].
  EXPERT_DISPATCH(19),
  /// [ExpertCombine].
  EXPERT_COMBINE(20),
  /// [IndexerTopk].
  INDEXER_TOPK(21),
  /// [CacheAppendWindow].
  CACHE_APPEND_WINDOW(22),
  /// [CacheAppend].
  CACHE_APPEND(23),
  /// [Sample].
  SAMPLE(24);

  private final int code;
  private final String opName = name().toLowerCase(Locale.ROOT);

  Op(int code) {
    this.code = code;
  }

  /// The op's name in the C ABI, in messages and on the command line, for example
  /// `swiglu_quantize`.
  public String opName() {
    return opName;
  }

  /// The constant `NVFP4J_OP_*` of the C ABI.
  public int code() {
    return code;
  }

  static Op ofCode(int code) {
    for (Op op : values()) {
      if (op.code == code) {
        return op;
      }
    }
    throw new AssertionError(
        "the library reported op " + code + ", which this version does not know");
  }
}
