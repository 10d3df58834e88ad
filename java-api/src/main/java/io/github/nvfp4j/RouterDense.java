// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// router_dense: which k of E experts a token goes to, and with what weights, as DeepSeek-V4
/// chooses them by gate logits.
///
/// Per token, with x `[D]` and the gate's weight W `[E, D]`, for each expert e:
///
/// ```
/// z[e] = sum over d of x[d] * W[e,d]                  F32 or better, in an order that depends on the implementation and the shape
/// s[e] = sqrt(z[e] > 20 ? z[e] : log1p(exp(z[e])))    this project's exp and log1p, the same on every device
/// b[e] = s[e] + bias[e]                               for the selection only
/// i[0..k-1] = the k experts with the highest b, descending; of equal ones the lowest e first
/// sum  = s[i[0]], then + s[i[1]], ..., + s[i[k-1]]    the unbiased scores, in this order
/// w[j] = s[i[j]] / (sum + 1e-20) * scale              scale once
/// ```
///
/// Each operation behind z is IEEE binary32 rounded to nearest even, the same on every device.
/// Products of BF16, and of BF16 and NVFP4 codes, are exact, and
///
/// ```
/// |z - exact z| <= (D/64 + 32) * 2^-24 * sum over d of |x[d] * W[e,d]|
/// ```
///
/// Two runs on one device give the same bits; two devices choose the same experts where the margin
/// exceeds what their logits may differ by. b that is NaN comes behind every other one. A NaN
/// result is 0x7FC00000.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. (Of more than 64 tokens,
/// where compute capability 9.0 has no kernel for the types, E or alignment, and on other cards,
/// one for each 16 MiB of logits, which lie in the stream's workspace meanwhile, unless they are
/// asked for.) Deterministic, allocates nothing, can be captured. A logit that is NaN or infinite
/// is reported ([Cause#NON_FINITE_RESULT], row: the token, column: the expert), and weights are
/// what the formulas give. Of an NVFP4 gate, a block scale that is NaN or has its sign bit set
/// counts as NaN ([Cause#BAD_BLOCK_SCALE], row: the expert, column: of W); a global scale that is
/// not finite or not positive is used as it is ([Cause#BAD_GLOBAL_SCALE]).
///
/// By [RouterOptions#withWeightsSettled], a promise, W may be read while the kernel before still
/// runs; today no kernel of this op does.
///
/// Source: `Gate.forward` of DeepSeek-V4's reference model (F32 logits), with 1e-20 in the division
/// as transformers has it, and the tie rule of DeepSeek's TileKernels.
public final class RouterDense {
  private RouterDense() {}

  /// Chooses by a BF16 or F32 gate.
  ///
  /// @param stream where to run
  /// @param x BF16 or F32 `[T, D]`, any row stride of at least D; D from 1 to 2^24. T may be 0
  /// @param weight W, BF16 or F32 `[E, D]`, any row stride of at least D; E from 1 to 1024
  /// @param bias F32 `[E]` contiguous; may be infinite (an expert that is never or always chosen)
  /// @param indices written: I32 `[T, k]`, k from 1 to the lesser of 16 and E; any row stride of at
  ///   least k
  /// @param weights written: F32 `[T, k]`, any row stride of at least k
  /// @param logits null, or written: z, F32 `[T, E]`, any row stride of at least E. Outputs overlap
  ///   neither inputs nor each other
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
      Tensor bias,
      Tensor indices,
      Tensor weights,
      @Nullable Tensor logits,
      RouterOptions options) {
    run(stream, x, weight, null, bias, indices, weights, logits, options);
  }

  /// Chooses by an NVFP4 gate: z is the sum of x times code times block scale, exact products, and
  /// then times the global scale. Otherwise as for BF16.
  ///
  /// @param weight W `[E, D]`, D a multiple of 16; scale layout LINEAR, global scale TENSOR
  public static void run(
      Stream stream,
      Tensor x,
      Nvfp4Tensor weight,
      Tensor bias,
      Tensor indices,
      Tensor weights,
      @Nullable Tensor logits,
      RouterOptions options) {
    run(stream, x, null, weight, bias, indices, weights, logits, options);
  }

  private static void run(
      Stream stream,
      Tensor x,
      @Nullable Tensor weight,
      @Nullable Nvfp4Tensor quantized,
      Tensor bias,
      Tensor indices,
      Tensor weights,
      @Nullable Tensor logits,
      RouterOptions options) {
    stream.enter("router_dense");
    try {
      stream.reads(Op.ROUTER_DENSE, "x", x);
      readGate(stream, Op.ROUTER_DENSE, weight, quantized);
      stream.reads(Op.ROUTER_DENSE, "bias", bias);
      stream.writes(Op.ROUTER_DENSE, "indices", indices);
      stream.writes(Op.ROUTER_DENSE, "weights", weights);
      if (logits != null) {
        stream.writes(Op.ROUTER_DENSE, "logits", logits);
      }
      int status =
          Nvfp4jNative.routerDense(
              stream.context(),
              x.descriptor,
              weight == null ? MemorySegment.NULL : weight.descriptor,
              quantized == null ? MemorySegment.NULL : quantized.descriptor,
              bias.descriptor,
              options.struct,
              indices.descriptor,
              weights.descriptor,
              logits == null ? MemorySegment.NULL : logits.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.ROUTER_DENSE,
            status,
            Shapes.of(
                "x", x, "weight", weight, "weight", quantized, "bias", bias, "indices", indices,
                "weights", weights, "logits", logits));
      }
      if (stream.records()) {
        stream.recordStep(
            s -> run(s, x, weight, quantized, bias, indices, weights, logits, options));
      }
    } finally {
      stream.exit();
    }
  }

  /// One of the two is given.
  static void readGate(
      Stream stream, Op op, @Nullable Tensor weight, @Nullable Nvfp4Tensor quantized) {
    if (weight != null) {
      stream.reads(op, "weight", weight);
    }
    if (quantized != null) {
      stream.reads(op, "weight", quantized);
    }
  }
}
