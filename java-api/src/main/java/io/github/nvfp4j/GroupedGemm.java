// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// grouped_gemm: the matrix products of E experts in one launch (as [Gemm] has it), whatever the
/// distribution of rows. Rows `offsets[e]` to `offsets[e + 1] - 1` of A are multiplied by `W[e]`:
/// each product is that of [Gemm], with its formula, its exactness and bounds, and its SwiGLU.
///
/// The rows of A are sorted by expert; an expert without rows costs nothing. Rows before
/// `offsets[0]` and from `offsets[E]` on belong to no expert: D keeps them. The host never reads
/// the offsets.
///
/// Source: the routed experts of DeepSeek-V4's reference model.
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured. It reports what [Gemm] does, and [Cause#BAD_OFFSETS], with which nothing is
/// written.
public final class GroupedGemm {
  private GroupedGemm() {}

  /// Multiplies BF16 activations, by [Gemm.Options#DEFAULT]. The long form says the rest.
  public static void run(Stream stream, Tensor a, Nvfp4Tensor w, Tensor offsets, Tensor d) {
    run(stream, a, null, w, offsets, null, d, Gemm.Options.DEFAULT);
  }

  /// Multiplies NVFP4 activations, by [Gemm.Options#DEFAULT]. The long form says the rest.
  public static void run(Stream stream, Nvfp4Tensor a, Nvfp4Tensor w, Tensor offsets, Tensor d) {
    run(stream, null, a, w, offsets, null, d, Gemm.Options.DEFAULT);
  }

  /// Multiplies BF16 activations.
  ///
  /// @param stream where to run
  /// @param a BF16 `[M, K]`, any row stride of at least K; M from 0 to 2^31 - 1
  /// @param w `[E, N, K]`, scale layout LINEAR or PREPARED, global scales TENSOR (one for all),
  ///   GROUP or HALVES; N a positive multiple of 8, of 16 with SwiGLU
  /// @param offsets I32 `[E + 1]`, contiguous: `0 <= offsets[0] <= ... <= offsets[E] <= M`
  /// @param rowWeight null, or F32 `[M]` contiguous: a factor per row of the SwiGLU, such as a
  ///   routing weight. Only with [Gemm.Options#swiglu]
  /// @param d F32 or BF16 `[M, N]`, or BF16 `[M, N/2]` with SwiGLU; any row stride of at least its
  ///   columns; overlaps no input
  /// @param options how
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor a,
      Nvfp4Tensor w,
      Tensor offsets,
      @Nullable Tensor rowWeight,
      Tensor d,
      Gemm.Options options) {
    run(stream, a, null, w, offsets, rowWeight, d, options);
  }

  /// Multiplies NVFP4 activations. Otherwise as for BF16.
  ///
  /// @param a `[M, K]`, scale layout LINEAR or PACKED, global scales TENSOR or ROW
  public static void run(
      Stream stream,
      Nvfp4Tensor a,
      Nvfp4Tensor w,
      Tensor offsets,
      @Nullable Tensor rowWeight,
      Tensor d,
      Gemm.Options options) {
    run(stream, null, a, w, offsets, rowWeight, d, options);
  }

  private static void run(
      Stream stream,
      @Nullable Tensor a,
      @Nullable Nvfp4Tensor quantized,
      Nvfp4Tensor w,
      Tensor offsets,
      @Nullable Tensor rowWeight,
      Tensor d,
      Gemm.Options options) {
    stream.enter("grouped_gemm");
    try {
      Gemm.readActivations(stream, Op.GROUPED_GEMM, a, quantized);
      stream.reads(Op.GROUPED_GEMM, "w", w);
      stream.reads(Op.GROUPED_GEMM, "offsets", offsets);
      if (rowWeight != null) {
        stream.reads(Op.GROUPED_GEMM, "row_weight", rowWeight);
      }
      stream.writes(Op.GROUPED_GEMM, "d", d);
      int status =
          Nvfp4jNative.groupedGemm(
              stream.context(),
              a == null ? MemorySegment.NULL : a.descriptor,
              quantized == null ? MemorySegment.NULL : quantized.descriptor,
              w.descriptor,
              offsets.descriptor,
              rowWeight == null ? MemorySegment.NULL : rowWeight.descriptor,
              options.struct,
              d.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.GROUPED_GEMM,
            status,
            Shapes.of(
                "a",
                a,
                "a",
                quantized,
                "w",
                w,
                "offsets",
                offsets,
                "row_weight",
                rowWeight,
                "d",
                d));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, a, quantized, w, offsets, rowWeight, d, options));
      }
    } finally {
      stream.exit();
    }
  }

  /// Which implementation a product gets on a device, and why; as [Gemm#path].
  ///
  /// @param experts E
  /// @param m rows of A, of all experts together
  /// @param n rows of W of one expert
  /// @param k columns of both
  public static String path(
      Device device,
      long experts,
      long m,
      long n,
      long k,
      Gemm.Activations a,
      ScaleLayout w,
      Gemm.Options options) {
    return Gemm.path(device, Op.GROUPED_GEMM, experts, m, n, k, a, w, options);
  }
}
