// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// batched_gemm: G products in one launch (as [Gemm] has it), each of its own slice of A's rows,
///
/// ```
/// D[m, g*N + n] = alpha * sum over k of A[m, g*K + k] * W[g, n, k]
/// ```
///
/// each with the exactness and bounds of [Gemm]. (A tensor `[M, G, K]` is `[M, G * K]` after
/// [Tensor#reshaped].)
///
/// Source: `o_a` of DeepSeek-V4's attention, 8 or 16 groups of 4096 -> 1024.
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured. It reports what [Gemm] does.
public final class BatchedGemm {
  private BatchedGemm() {}

  /// Multiplies BF16 activations, by [Gemm.Options#DEFAULT]. The long form says the rest.
  public static void run(Stream stream, Tensor a, Nvfp4Tensor w, Tensor d) {
    run(stream, a, null, w, d, Gemm.Options.DEFAULT);
  }

  /// Multiplies NVFP4 activations, by [Gemm.Options#DEFAULT]. The long form says the rest.
  public static void run(Stream stream, Nvfp4Tensor a, Nvfp4Tensor w, Tensor d) {
    run(stream, null, a, w, d, Gemm.Options.DEFAULT);
  }

  /// Multiplies BF16 activations.
  ///
  /// @param stream where to run
  /// @param a BF16 `[M, G * K]`, any row stride of at least that; M from 0 to 2^31 - 1
  /// @param w `[G, N, K]`, scale layout LINEAR or PREPARED, global scales TENSOR (one for all) or
  ///   GROUP; N a positive multiple of 8
  /// @param d F32 or BF16 `[M, G * N]`, any row stride of at least that; overlaps no input
  /// @param options how; without SwiGLU
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Tensor a, Nvfp4Tensor w, Tensor d, Gemm.Options options) {
    run(stream, a, null, w, d, options);
  }

  /// Multiplies NVFP4 activations. Otherwise as for BF16.
  ///
  /// @param a `[M, G * K]`, scale layout LINEAR or PACKED, global scales TENSOR or ROW
  public static void run(
      Stream stream, Nvfp4Tensor a, Nvfp4Tensor w, Tensor d, Gemm.Options options) {
    run(stream, null, a, w, d, options);
  }

  private static void run(
      Stream stream,
      @Nullable Tensor a,
      @Nullable Nvfp4Tensor quantized,
      Nvfp4Tensor w,
      Tensor d,
      Gemm.Options options) {
    stream.enter("batched_gemm");
    try {
      Gemm.readActivations(stream, Op.BATCHED_GEMM, a, quantized);
      stream.reads(Op.BATCHED_GEMM, "w", w);
      stream.writes(Op.BATCHED_GEMM, "d", d);
      int status =
          Nvfp4jNative.batchedGemm(
              stream.context(),
              a == null ? MemorySegment.NULL : a.descriptor,
              quantized == null ? MemorySegment.NULL : quantized.descriptor,
              w.descriptor,
              options.struct,
              d.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.BATCHED_GEMM, status, Shapes.of("a", a, "a", quantized, "w", w, "d", d));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, a, quantized, w, d, options));
      }
    } finally {
      stream.exit();
    }
  }

  /// Which implementation a product gets on a device, and why; as [Gemm#path].
  ///
  /// @param groups G
  /// @param m rows of A
  /// @param n rows of W of one group
  /// @param k columns of W
  public static String path(
      Device device,
      long groups,
      long m,
      long n,
      long k,
      Gemm.Activations a,
      ScaleLayout w,
      Gemm.Options options) {
    return Gemm.path(device, Op.BATCHED_GEMM, groups, m, n, k, a, w, options);
  }
}
