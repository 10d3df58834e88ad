// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// The parameters of a module of DeepSeek-V4's hyper-connections, as a checkpoint has them: what
/// makes mixing weights of n streams of D columns. Immutable; keep one (it allocates nothing else,
/// and opens or closes nothing).
///
/// Of a module (attention or experts; [HcPre], [HcPostPre]): the n(n+2) rows of `fn` and `base` are
/// n of pre, n of post and n * n of comb (j * n + k), and `scale` is pre, post, comb. Of the head
/// ([HcHead]): n rows of pre, and one scale.
///
/// @param fn F32 `[n(n+2), n*D]`, of the head `[n, n*D]`; any row stride of at least n*D
/// @param base F32 `[n(n+2)]`, of the head `[n]`; contiguous
/// @param scale F32 `[3]`, of the head `[1]`; contiguous
public record HcModule(Tensor fn, Tensor base, Tensor scale) {
  /// Checks them for an op that reads them.
  void readBy(Stream stream, Op op) {
    stream.reads(op, "fn", fn);
    stream.reads(op, "base", base);
    stream.reads(op, "scale", scale);
  }
}
