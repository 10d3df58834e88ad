// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// hc_pre: before a module (attention or experts) of DeepSeek-V4's manifold-constrained
/// hyper-connections: mixing weights from the n streams of the residual, and the streams collapsed
/// to the module's input.
///
/// Per token, x `[n, D]`, with the module's `fn`, `base` and `scale` ([HcModule]):
///
/// ```
/// r         = 1 / sqrt(mean over all n*D values of x^2 + rms_eps)
/// m[i]      = (sum over c of fn[i,c] * x[c]) * r           c = stream * D + column; x as it is, not normalised
/// pre[i]    = sigmoid(m[i] * scale[0] + base[i]) + hc_eps
/// post[i]   = 2 * sigmoid(m[n+i] * scale[1] + base[n+i])   no eps
/// L[j,k]    = m[2n+j*n+k] * scale[2] + base[2n+j*n+k]
/// comb      = sinkhorn(L, iterations, hc_eps)              Sinkhorn
/// collapsed[d] = pre[0] * x[0,d], then fma(pre[i], x[i,d], .) for i = 1 .. n-1, rounded to x's type
/// ```
///
/// All in binary32, the sums at least as accurate: `|m - exact m| <= 5e-8 * r * sum over c of
/// |fn[i,c] * x[c]| + 2^-22 * |m|`. `sigmoid(z) = 1 / (1 + exp(-z))` with this project's exp. Two
/// runs on a device give the same bits; devices agree within that bound. A NaN result is 0x7FC0
/// (BF16) or 0x7FC00000 (F32).
///
/// Residuals `[T, n, D]` are BF16 or F32, n from 1 to 16, D a positive multiple of 8 up to 2^24:
/// columns are contiguous, streams at any stride of at least D, tokens at any stride that keeps
/// them apart. `[T, D]` has the type of `x` and any row stride of at least D. `post` `[T, n]` and
/// `comb` `[T, n, n]` are F32: a token's elements are contiguous, tokens at any stride that keeps
/// them apart. T may be 0. Outputs overlap neither inputs nor each other.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. Where the sum of x^2, or what a sigmoid or sinkhorn gets, is NaN or
/// infinite in F32 (a non-finite input, or sums beyond F32), that is reported
/// ([Cause#NON_FINITE_RESULT], row: the token). A token with a NaN in x has NaN for results; one
/// with an infinity, or with such sums, has unspecified ones.
///
/// Source: `Block.hc_pre` of DeepSeek-V4's reference model.
public final class HcPre {
  private HcPre() {}

  /// Makes the weights, and collapses.
  ///
  /// @param stream where to run
  /// @param x BF16 or F32 `[T, n, D]`: the residual
  /// @param module of n streams and D columns
  /// @param collapsed written: `[T, D]`, type of `x`
  /// @param post written: F32 `[T, n]`
  /// @param comb written: F32 `[T, n, n]`
  /// @param options how
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor x,
      HcModule module,
      Tensor collapsed,
      Tensor post,
      Tensor comb,
      HcOptions options) {
    stream.enter("hc_pre");
    try {
      stream.reads(Op.HC_PRE, "x", x);
      module.readBy(stream, Op.HC_PRE);
      stream.writes(Op.HC_PRE, "collapsed", collapsed);
      stream.writes(Op.HC_PRE, "post", post);
      stream.writes(Op.HC_PRE, "comb", comb);
      int status =
          Nvfp4jNative.hcPre(
              stream.context(),
              x.descriptor,
              module.fn().descriptor,
              module.base().descriptor,
              module.scale().descriptor,
              options.struct,
              collapsed.descriptor,
              post.descriptor,
              comb.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.HC_PRE,
            status,
            Shapes.of(
                "x",
                x,
                "fn",
                module.fn(),
                "base",
                module.base(),
                "scale",
                module.scale(),
                "collapsed",
                collapsed,
                "post",
                post,
                "comb",
                comb));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, x, module, collapsed, post, comb, options));
      }
    } finally {
      stream.exit();
    }
  }
}
