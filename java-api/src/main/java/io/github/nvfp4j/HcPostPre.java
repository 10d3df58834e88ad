// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// hc_post_pre: between two modules of DeepSeek-V4's manifold-constrained hyper-connections:
/// [HcPost] of one and [HcPre] of the next, and on request the RMSNorm and the NVFP4 quantisation
/// that follow, in one launch; the streams are read once and written once.
///
/// `out` has the bits of [HcPost]; the rest is what [HcPre] makes of it, with its formulas and its
/// bound. With a norm weight g, for the collapsed row c, already rounded to x's type:
///
/// ```
/// s = 1 / sqrt(mean over d of c[d]^2 + rms_eps) ; y[d] = (g[d] * c[d]) * s, rounded to x's type
/// ```
///
/// What is quantised is the row that `collapsed` gets, normalised or not: [Quantize] with a dynamic
/// global scale for each row, bit for bit.
///
/// Residuals `[T, n, D]` are BF16 or F32, n from 1 to 16, D a positive multiple of 8 up to 2^24:
/// columns are contiguous, streams at any stride of at least D, tokens at any stride that keeps
/// them apart. `[T, D]` has the type of `x` and any row stride of at least D. `post` `[T, n]` and
/// `comb` `[T, n, n]` are F32: a token's elements are contiguous, tokens at any stride that keeps
/// them apart. T may be 0. Outputs overlap neither inputs nor each other, but for `out` in place of
/// `x`.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. Where the sum of x^2, or what a sigmoid or sinkhorn gets, is NaN or
/// infinite in F32 (a non-finite input, or sums beyond F32), that is reported
/// ([Cause#NON_FINITE_RESULT], row: the token); with quantisation also an element of the row that
/// is quantised ([Cause#NON_FINITE_INPUT]). Where the norm takes a finite product g[d] * c[d]
/// beyond the type's range, the row's codes, scales and global scale are unspecified. A token with
/// a NaN in `out` has NaN for all else; one with an infinity there, or with such sums, has
/// unspecified results.
///
/// Source: `Block` of DeepSeek-V4's reference model.
public final class HcPostPre {
  private HcPostPre() {}

  /// Mixes and collapses, without norm and quantisation. The long form says the rest.
  public static void run(
      Stream stream,
      Tensor x,
      Tensor sub,
      Tensor post,
      Tensor comb,
      HcModule next,
      Tensor out,
      Tensor collapsed,
      Tensor nextPost,
      Tensor nextComb,
      HcOptions options) {
    run(
        stream, x, sub, post, comb, next, null, out, collapsed, nextPost, nextComb, null, options,
        null);
  }

  /// Mixes and collapses, and normalises and quantises where that is asked for.
  ///
  /// @param stream where to run
  /// @param x BF16 or F32 `[T, n, D]`: the residual that `post` and `comb` were computed from
  /// @param sub `[T, D]`, type of `x`: the result of the module before
  /// @param post F32 `[T, n]`: of the module before
  /// @param comb F32 `[T, n, n]`: of the module before
  /// @param next the module behind, of n streams and D columns
  /// @param normWeight null, or F32 or BF16 `[D]` contiguous: of the RMSNorm behind
  /// @param out written: `[T, n, D]`, type of `x`: the new residual. In place is allowed: `x`
  ///   itself, or the same memory with the same strides
  /// @param collapsed written: `[T, D]`, type of `x`, normalised where there is a norm weight. Null
  ///   only where there is `quantized`
  /// @param nextPost written: F32 `[T, n]`: of the next module
  /// @param nextComb written: F32 `[T, n, n]`: of the next module
  /// @param quantized null, or written: `[T, D]` with [GlobalScale#ROW], D a multiple of 16
  /// @param options how to mix for the next module
  /// @param quantizeOptions null exactly where `quantized` is; with [Quantize.Source#DYNAMIC]
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor x,
      Tensor sub,
      Tensor post,
      Tensor comb,
      HcModule next,
      @Nullable Tensor normWeight,
      Tensor out,
      @Nullable Tensor collapsed,
      Tensor nextPost,
      Tensor nextComb,
      @Nullable Nvfp4Tensor quantized,
      HcOptions options,
      Quantize.@Nullable Options quantizeOptions) {
    stream.enter("hc_post_pre");
    try {
      stream.reads(Op.HC_POST_PRE, "x", x);
      stream.reads(Op.HC_POST_PRE, "sub", sub);
      stream.reads(Op.HC_POST_PRE, "post", post);
      stream.reads(Op.HC_POST_PRE, "comb", comb);
      next.readBy(stream, Op.HC_POST_PRE);
      if (normWeight != null) {
        stream.reads(Op.HC_POST_PRE, "norm_weight", normWeight);
      }
      stream.writes(Op.HC_POST_PRE, "out", out);
      if (collapsed != null) {
        stream.writes(Op.HC_POST_PRE, "collapsed", collapsed);
      }
      stream.writes(Op.HC_POST_PRE, "next_post", nextPost);
      stream.writes(Op.HC_POST_PRE, "next_comb", nextComb);
      if (quantized != null) {
        stream.writes(Op.HC_POST_PRE, "quantized", quantized);
      }
      int status =
          Nvfp4jNative.hcPostPre(
              stream.context(),
              x.descriptor,
              sub.descriptor,
              post.descriptor,
              comb.descriptor,
              next.fn().descriptor,
              next.base().descriptor,
              next.scale().descriptor,
              normWeight == null ? MemorySegment.NULL : normWeight.descriptor,
              options.struct,
              quantizeOptions == null ? MemorySegment.NULL : quantizeOptions.struct,
              out.descriptor,
              collapsed == null ? MemorySegment.NULL : collapsed.descriptor,
              nextPost.descriptor,
              nextComb.descriptor,
              quantized == null ? MemorySegment.NULL : quantized.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.HC_POST_PRE,
            status,
            Shapes.of(
                "x",
                x,
                "sub",
                sub,
                "post",
                post,
                "comb",
                comb,
                "fn",
                next.fn(),
                "base",
                next.base(),
                "scale",
                next.scale(),
                "norm_weight",
                normWeight,
                "out",
                out,
                "collapsed",
                collapsed,
                "next_post",
                nextPost,
                "next_comb",
                nextComb,
                "quantized",
                quantized));
      }
      if (stream.records()) {
        stream.recordStep(s ->
            run(
                s,
                x,
                sub,
                post,
                comb,
                next,
                normWeight,
                out,
                collapsed,
                nextPost,
                nextComb,
                quantized,
                options,
                quantizeOptions));
      }
    } finally {
      stream.exit();
    }
  }
}
