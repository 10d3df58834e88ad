// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// router_hash: the experts that a table has for each token's id, and their weights by gate logits,
/// as DeepSeek-V4's first layers choose them. Only the k rows of W that were chosen are read.
///
/// Per token, with x `[D]` and the gate's weight W `[E, D]`:
///
/// ```
/// i[j] = table[id, j]
/// z[e] = sum over d of x[d] * W[e,d]                  of the chosen ones; F32 or better
/// s[e] = sqrt(z[e] > 20 ? z[e] : log1p(exp(z[e])))    this project's exp and log1p, the same on every device
/// sum  = s[i[0]], then + s[i[1]], ..., + s[i[k-1]]
/// w[j] = s[i[j]] / (sum + 1e-20) * scale              scale once
/// ```
///
/// Roundings and the bound of z are those of [RouterDense].
///
/// For a token id outside `[0, V)` all k indices are -1 and all weights 0
/// ([Cause#INDEX_OUT_OF_RANGE], row: the token, column -1). For an entry of the table outside `[0,
/// E)` index j is -1 and weight j 0 (column: j), and the others are weighed without it. No id or
/// entry, whatever it is, makes the op touch memory beside its tensors. What else is reported is
/// what [RouterDense] reports; an NVFP4 gate's block scales are looked at in the rows that are read
/// only.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. By [RouterOptions#withWeightsSettled], a promise, of few tokens W and
/// the table may be read while the kernel before still runs.
///
/// Source: `Gate.forward` of DeepSeek-V4's reference model (`tid2eid`).
public final class RouterHash {
  private RouterHash() {}

  /// Looks up, and weighs by a BF16 or F32 gate.
  ///
  /// @param stream where to run
  /// @param x BF16 or F32 `[T, D]`, any row stride of at least D; D from 1 to 2^24. T may be 0
  /// @param weight W, BF16 or F32 `[E, D]`, any row stride of at least D; E from 1 to 1024
  /// @param table I32 or I64 `[V, k]` contiguous, k from 1 to 16, V from 1 to 2^31 - 1: the experts
  ///   of each token id
  /// @param ids I32 or I64 `[T]` contiguous: the token ids
  /// @param indices written: I32 `[T, k]`, any row stride of at least k
  /// @param weights written: F32 `[T, k]`, any row stride of at least k. Outputs overlap neither
  ///   inputs nor each other
  /// @param options how to weigh
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor x,
      Tensor weight,
      Tensor table,
      Tensor ids,
      Tensor indices,
      Tensor weights,
      RouterOptions options) {
    run(stream, x, weight, null, table, ids, indices, weights, options);
  }

  /// Looks up, and weighs by an NVFP4 gate: z is the sum of x times code times block scale, exact
  /// products, and then times the global scale. Otherwise as for BF16.
  ///
  /// @param weight W `[E, D]`, D a multiple of 16; scale layout LINEAR, global scale TENSOR
  public static void run(
      Stream stream,
      Tensor x,
      Nvfp4Tensor weight,
      Tensor table,
      Tensor ids,
      Tensor indices,
      Tensor weights,
      RouterOptions options) {
    run(stream, x, null, weight, table, ids, indices, weights, options);
  }

  private static void run(
      Stream stream,
      Tensor x,
      @Nullable Tensor weight,
      @Nullable Nvfp4Tensor quantized,
      Tensor table,
      Tensor ids,
      Tensor indices,
      Tensor weights,
      RouterOptions options) {
    stream.enter("router_hash");
    try {
      stream.reads(Op.ROUTER_HASH, "x", x);
      RouterDense.readGate(stream, Op.ROUTER_HASH, weight, quantized);
      stream.reads(Op.ROUTER_HASH, "table", table);
      stream.reads(Op.ROUTER_HASH, "ids", ids);
      stream.writes(Op.ROUTER_HASH, "indices", indices);
      stream.writes(Op.ROUTER_HASH, "weights", weights);
      int status =
          Nvfp4jNative.routerHash(
              stream.context(),
              x.descriptor,
              weight == null ? MemorySegment.NULL : weight.descriptor,
              quantized == null ? MemorySegment.NULL : quantized.descriptor,
              table.descriptor,
              ids.descriptor,
              options.struct,
              indices.descriptor,
              weights.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.ROUTER_HASH,
            status,
            Shapes.of(
                "x", x, "weight", weight, "weight", quantized, "table", table, "ids", ids,
                "indices", indices, "weights", weights));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, x, weight, quantized, table, ids, indices, weights, options));
      }
    } finally {
      stream.exit();
    }
  }
}
