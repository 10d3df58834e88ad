// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// hc_head: behind the last layer of DeepSeek-V4, the n streams of the residual collapsed, with
/// mixing weights of their own.
///
/// Per token, x `[n, D]`, with the head's `fn`, `base` and `scale` ([HcModule]):
///
/// ```
/// r         = 1 / sqrt(mean over all n*D values of x^2 + rms_eps)
/// m[i]      = (sum over c of fn[i,c] * x[c]) * r           c = stream * D + column; x as it is, not normalised
/// pre[i]    = sigmoid(m[i] * scale[0] + base[i]) + hc_eps
/// collapsed[d] = pre[0] * x[0,d], then fma(pre[i], x[i,d], .) for i = 1 .. n-1, rounded to x's type
/// ```
///
/// All in binary32, the sums at least as accurate: `|m - exact m| <= 5e-8 * r * sum over c of
/// |fn[i,c] * x[c]| + 2^-22 * |m|`. `sigmoid(z) = 1 / (1 + exp(-z))` with this project's exp. Two
/// runs on a device give the same bits; devices agree within that bound. A NaN result is 0x7FC0
/// (BF16) or 0x7FC00000 (F32).
///
/// x is BF16 or F32 `[T, n, D]`, n from 1 to 16, D a positive multiple of 8 up to 2^24: columns are
/// contiguous, streams at any stride of at least D, tokens at any stride that keeps them apart.
/// `collapsed` is `[T, D]` of the same type, any row stride of at least D; it overlaps no input. T
/// may be 0.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. Where the sum of x^2, or what a sigmoid or sinkhorn gets, is NaN or
/// infinite in F32 (a non-finite input, or sums beyond F32), that is reported
/// ([Cause#NON_FINITE_RESULT], row: the token). A token with a NaN in x has NaN for results; one
/// with an infinity, or with such sums, has unspecified ones.
///
/// Source: the head of DeepSeek-V4's reference model.
public final class HcHead {
  private HcHead() {}

  /// Collapses the streams.
  ///
  /// @param stream where to run
  /// @param x BF16 or F32 `[T, n, D]`: the residual
  /// @param head of n streams and D columns: n rows
  /// @param collapsed written: `[T, D]`, type of `x`
  /// @param options how; [HcOptions#iterations] has no effect
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream, Tensor x, HcModule head, Tensor collapsed, HcOptions options) {
    stream.enter("hc_head");
    try {
      stream.reads(Op.HC_HEAD, "x", x);
      head.readBy(stream, Op.HC_HEAD);
      stream.writes(Op.HC_HEAD, "collapsed", collapsed);
      int status =
          Nvfp4jNative.hcHead(
              stream.context(),
              x.descriptor,
              head.fn().descriptor,
              head.base().descriptor,
              head.scale().descriptor,
              options.headStruct,
              collapsed.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.HC_HEAD,
            status,
            Shapes.of(
                "x",
                x,
                "fn",
                head.fn(),
                "base",
                head.base(),
                "scale",
                head.scale(),
                "collapsed",
                collapsed));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, x, head, collapsed, options));
      }
    } finally {
      stream.exit();
    }
  }
}
