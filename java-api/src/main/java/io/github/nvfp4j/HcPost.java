// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// hc_post: behind a module (attention or experts) of DeepSeek-V4's manifold-constrained
/// hyper-connections, its result and the mixed streams make the new residual; the same bits on
/// every device.
///
/// Per token, x `[n, D]` and sub `[D]`, in IEEE binary32, each operation rounded to nearest even:
///
/// ```
/// out[k,d] = post[k] * sub[d], then fma(comb[j,k], x[j,d], .) for j = 0 .. n-1, rounded to x's type
/// ```
///
/// comb is used transposed. A NaN result is 0x7FC0 (BF16) or 0x7FC00000 (F32).
///
/// Residuals `[T, n, D]` are BF16 or F32, n from 1 to 16, D a positive multiple of 8 up to 2^24:
/// columns are contiguous, streams at any stride of at least D, tokens at any stride that keeps
/// them apart. `[T, D]` has the type of `x` and any row stride of at least D. `post` `[T, n]` and
/// `comb` `[T, n, n]` are F32: a token's elements are contiguous, tokens at any stride that keeps
/// them apart. T may be 0.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. It reports nothing: a NaN goes in and comes out.
///
/// Source: `Block.hc_post` of DeepSeek-V4's reference model, in F32 with one rounding, as there.
public final class HcPost {
  private HcPost() {}

  /// Makes the new residual.
  ///
  /// @param stream where to run
  /// @param x BF16 or F32 `[T, n, D]`: the residual that `post` and `comb` were computed from
  /// @param sub `[T, D]`, type of `x`: the module's result
  /// @param post F32 `[T, n]`, from [HcPre]
  /// @param comb F32 `[T, n, n]`, from [HcPre]
  /// @param out written: `[T, n, D]`, type of `x`. In place is allowed: `x` itself, or the same
  ///   memory with the same strides. Else it overlaps no input
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream, Tensor x, Tensor sub, Tensor post, Tensor comb, Tensor out) {
    stream.enter("hc_post");
    try {
      stream.reads(Op.HC_POST, "x", x);
      stream.reads(Op.HC_POST, "sub", sub);
      stream.reads(Op.HC_POST, "post", post);
      stream.reads(Op.HC_POST, "comb", comb);
      stream.writes(Op.HC_POST, "out", out);
      int status =
          Nvfp4jNative.hcPost(
              stream.context(),
              x.descriptor,
              sub.descriptor,
              post.descriptor,
              comb.descriptor,
              out.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.HC_POST,
            status,
            Shapes.of("x", x, "sub", sub, "post", post, "comb", comb, "out", out));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, x, sub, post, comb, out));
      }
    } finally {
      stream.exit();
    }
  }
}
