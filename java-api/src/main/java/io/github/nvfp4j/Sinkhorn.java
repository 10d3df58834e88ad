// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.SinkhornOptions;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// sinkhorn: logits to nearly doubly stochastic matrices, as DeepSeek-V4's hyper-connections use
/// them; the same bits on every device.
///
/// Per token, for the n x n matrix L, in IEEE binary32, each operation rounded to nearest even:
///
/// ```
/// sum(v) = v padded with +0 to the next power of two P >= n ;
///          for h = P/2, P/4, ..., 1: v[i] = v[i] + v[i+h] for i < h ; v[0]
/// a[j,k] = exp(L[j,k] - max over k of L[j,k])            this project's exp, the same on every device
/// C[j,k] = fma(a[j,k], 1 / sum over k of a[j,k], eps)    softmax over the last axis, + eps
/// C[j,k] = C[j,k] * (1 / (sum over j of C[j,k] + eps))   columns
/// iterations - 1 times:
///   C[j,k] = C[j,k] * (1 / (sum over k of C[j,k] + eps)) rows
///   C[j,k] = C[j,k] * (1 / (sum over j of C[j,k] + eps)) columns
/// ```
///
/// 1 / s is the correctly rounded reciprocal. It ends on columns, which then sum to 1 - O(eps);
/// rows do so only approximately where logits are peaked. Source: `hc_split_sinkhorn` of
/// DeepSeek-V4's reference model (softmax start, eps in each step).
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. Where a token has a logit that is NaN or infinite, that is reported
/// ([Cause#NON_FINITE_INPUT], row: the token, column: j * n + k) and all its results are NaN
/// (0x7FC00000).
public final class Sinkhorn {
  private Sinkhorn() {}

  /// How to iterate: immutable; keep one (making one allocates).
  public static final class Options {
    /// 20 iterations, eps 1e-6: DeepSeek-V4's.
    public static final Options DEFAULT = of(20, 1e-6f);

    private final int iterations;
    private final float eps;

    /// `nvfp4j_sinkhorn_options`.
    final MemorySegment struct;

    private Options(int iterations, float eps) {
      this.iterations = iterations;
      this.eps = eps;
      this.struct = SinkhornOptions.allocate(Arena.ofAuto(), iterations, eps);
    }

    /// New options. What is out of range is refused by the op.
    ///
    /// @param iterations column normalisations, 1 or more
    /// @param eps added to the softmax and to every sum: from 2^-100 to 1
    public static Options of(int iterations, float eps) {
      return new Options(iterations, eps);
    }

    /// Column normalisations.
    public int iterations() {
      return iterations;
    }

    /// What is added to the softmax and to every sum.
    public float eps() {
      return eps;
    }

    /// The two choices.
    @Override
    public String toString() {
      return iterations + " iterations eps " + eps;
    }
  }

  /// Normalises one n x n matrix a token.
  ///
  /// @param stream where to run
  /// @param logits F32 `[T, n, n]`, n from 1 to 16; a token's elements are contiguous, tokens have
  ///   any stride of at least n * n. T may be 0
  /// @param comb written: F32 `[T, n, n]`, strided as `logits` may be. In place is allowed:
  ///   `logits` itself, or the same memory with the same strides. Else it overlaps `logits` nowhere
  /// @param options how
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Tensor logits, Tensor comb, Options options) {
    stream.enter("sinkhorn");
    try {
      stream.reads(Op.SINKHORN, "logits", logits);
      stream.writes(Op.SINKHORN, "comb", comb);
      int status =
          Nvfp4jNative.sinkhorn(
              stream.context(), logits.descriptor, options.struct, comb.descriptor, stream.error());
      if (status != 0) {
        throw stream.raise(Op.SINKHORN, status, Shapes.of("logits", logits, "comb", comb));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, logits, comb, options));
      }
    } finally {
      stream.exit();
    }
  }
}
