// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.GemmOptions;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// gemm: `D = alpha * (A * transpose(W))`, A `[M, K]` of activations in BF16 or NVFP4, W `[N, K]`
/// of NVFP4 weights as a checkpoint has them.
///
/// ```
/// acc(m, n) = sum over k of a(m, k) * w(n, k)     w = e2m1(code) * e4m3(block scale); a likewise, or BF16
/// alpha     = a_gs * w_gs                         F32, rounded once; a_gs of the tensor or of row m, 1 for BF16;
///                                                 w_gs of the tensor, or of the half of N that n is in
/// d(m, n)   = alpha * acc in F32                  BF16: rounded once more
/// ```
///
/// Products are exact, and global scales never enter the sum. The sum is F32, in an order that
/// depends on the implementation and the shape; two runs give the same bits. With `absmax = sum
/// over k of |a * w|`:
/// - NVFP4 A: where `absmax < 2^24 * Q`, Q = 2^-2 * ulp(smallest block scale of a, not 0) * ulp(the
///   same of w), every order gives the exact sum: **the same bits on every device**. (The ulp of an
///   E4M3 number is 2^(e-10) for its exponent field e, at least 2^-9.) It is always so up to K =
///   512 when the scales lie in one binade.
/// - Otherwise `|d - exact| <= gamma * |alpha| * absmax` and the rounding of d; gamma is `(K/16) *
///   10.5 * 2^-24` on tensor cores, `K * 2^-24` on the CPU.
///
/// With [Options#withSwiglu] W is `[w1|w3]`, gate and up, its N rows are the two halves, and D is
/// the clamped SwiGLU of the F32 products, `[M, N/2]` BF16, in the operations of [Swiglu].
///
/// Source: the NVFP4 linear layer of NVIDIA Model Optimizer's checkpoints; `Expert.forward` of
/// DeepSeek-V4's reference model.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. (Two, on compute
/// capability 9.0 with NVFP4 activations of [ScaleLayout#LINEAR] where [#path] says so, mostly with
/// more than 16 rows: the first decodes them into the stream's workspace. For several products with
/// the same A do that once, with [PackActivations].) Deterministic, allocates nothing, can be
/// captured. A block scale that is NaN or has its sign bit set counts as NaN
/// ([Cause#BAD_BLOCK_SCALE], with the column of D or its row); a result that is NaN or infinite in
/// F32 is written and reported ([Cause#NON_FINITE_RESULT]).
public final class Gemm {
  private Gemm() {}

  /// An implementation of a matrix product.
  public enum Path {
    /// The library chooses, by shapes, kinds and alignment, never by values.
    AUTO(0),
    /// Any shape, any card from compute capability 8.0 on.
    GENERIC(1),
    /// Hopper, few rows of A: weights are streamed once.
    DECODE(2),
    /// Hopper: weights are decoded for the warpgroup tensor cores.
    WGMMA(3);

    private final int code;

    Path(int code) {
      this.code = code;
    }

    /// The constant `NVFP4J_GEMM_PATH_*` of the C ABI.
    public int code() {
      return code;
    }
  }

  /// What A is, for [#path].
  public enum Activations {
    /// A BF16 [Tensor].
    BF16(0),
    /// An [Nvfp4Tensor] with [ScaleLayout#LINEAR] scales.
    NVFP4(1),
    /// An [Nvfp4Tensor] of [ScaleLayout#PACKED].
    PACKED(2);

    private final int code;

    Activations(int code) {
      this.code = code;
    }

    /// The constant `NVFP4J_GEMM_A_*` of the C ABI.
    public int code() {
      return code;
    }
  }

  /// How to multiply: immutable; keep one (making one allocates).
  public static final class Options {
    /// A plain product, in the implementation that the library chooses.
    public static final Options DEFAULT = new Options(false, false, 0f, Path.AUTO, false);

    private final boolean batchInvariant;
    private final boolean swiglu;
    private final float limit;
    private final Path path;
    private final boolean weightsSettled;

    /// `nvfp4j_gemm_options`.
    final MemorySegment struct;

    private Options(
        boolean batchInvariant, boolean swiglu, float limit, Path path, boolean weightsSettled) {
      this.batchInvariant = batchInvariant;
      this.swiglu = swiglu;
      this.limit = limit;
      this.path = path;
      this.weightsSettled = weightsSettled;
      this.struct =
          GemmOptions.allocate(
              Arena.ofAuto(), batchInvariant, swiglu, limit, path.code(), weightsSettled);
    }

    /// These options, but for this. With `true` the bits of a row of D depend on that row of A, on
    /// W and on N and K, not on M or the other rows. (A global scale of the tensor A that was
    /// computed from the batch depends on the batch by itself: [GlobalScale#ROW] does not.)
    ///
    /// On a device of compute capability 9.0, with N a multiple of 16 (of 32 with SwiGLU) and K of
    /// 256, a call is refused ([DeviceNotSupportedException]) whose rows of a BF16 or packed A do
    /// not start at multiples of 16 bytes, or whose groups and tiles of 256 rows of A are more than
    /// 1024 together, or tiles of 256 rows times N / 16 (of all groups of a batch) 2^31: what takes
    /// those adds up in another order. So is [Path#DECODE].
    public Options withBatchInvariant(boolean value) {
      return new Options(value, swiglu, limit, path, weightsSettled);
    }

    /// These options, with W taken for `[w1|w3]` and D for the SwiGLU of the product. Not for
    /// [BatchedGemm].
    ///
    /// @param clamp the limit of [Swiglu]; 0 means no clamp. A negative or non-finite one is
    ///   refused by the op
    public Options withSwiglu(float clamp) {
      return new Options(batchInvariant, true, clamp, path, weightsSettled);
    }

    /// These options, but for the implementation: for benchmarks and tests. A call is refused where
    /// it cannot take the shape; the CPU knows [Path#AUTO] only.
    public Options withPath(Path value) {
      return new Options(batchInvariant, swiglu, limit, value, weightsSettled);
    }

    /// These options, but for this promise: no work that is enqueued before the call, or comes
    /// before it in the same graph, and has not ended when the call is made (for a captured one:
    /// when the graph is launched) writes the codes or block scales of W. With `true` a kernel may
    /// read them while the one before it in the stream still runs. Today those for at most 16 rows
    /// of A do, of [Gemm] and [BatchedGemm] on a device of compute capability 9.0 and a stream of
    /// the library; a chain of such products is faster by about the time in which a kernel starts.
    ///
    /// Weights that were loaded and waited for once are such. Those that a call just before
    /// prepares, copies or quantises are not: their old bytes may be read. W's global scales are
    /// always waited for.
    public Options withWeightsSettled(boolean value) {
      return new Options(batchInvariant, swiglu, limit, path, value);
    }

    /// Whether a row of D does not depend on the other rows of A.
    public boolean batchInvariant() {
      return batchInvariant;
    }

    /// Whether D is the SwiGLU of the product.
    public boolean swiglu() {
      return swiglu;
    }

    /// The clamp of SwiGLU; 0 = none.
    public float limit() {
      return limit;
    }

    /// The implementation.
    public Path path() {
      return path;
    }

    /// Whether the caller promises that nothing under way writes W.
    public boolean weightsSettled() {
      return weightsSettled;
    }

    /// What was chosen, for example `AUTO swiglu limit 10.0`.
    @Override
    public String toString() {
      return path
          + (batchInvariant ? " batch invariant" : "")
          + (swiglu ? " swiglu limit " + limit : "")
          + (weightsSettled ? " weights settled" : "");
    }
  }

  /// `d = alpha * (a * transpose(w))` of BF16 activations, by [Options#DEFAULT]. The long form says
  /// the rest.
  public static void run(Stream stream, Tensor a, Nvfp4Tensor w, Tensor d) {
    run(stream, a, null, w, null, d, Options.DEFAULT);
  }

  /// `d = alpha * (a * transpose(w))` of NVFP4 activations, by [Options#DEFAULT]. The long form
  /// says the rest.
  public static void run(Stream stream, Nvfp4Tensor a, Nvfp4Tensor w, Tensor d) {
    run(stream, null, a, w, null, d, Options.DEFAULT);
  }

  /// Multiplies BF16 activations.
  ///
  /// @param stream where to run
  /// @param a BF16 `[M, K]`, any row stride of at least K; M from 0 to 2^31 - 1
  /// @param w `[N, K]`, scale layout LINEAR or PREPARED, global scales TENSOR or HALVES; N a
  ///   positive multiple of 8, of 16 with SwiGLU
  /// @param rowWeight null, or F32 `[M]` contiguous: a factor per row of the SwiGLU, such as a
  ///   routing weight. Only with [Options#swiglu]
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
      @Nullable Tensor rowWeight,
      Tensor d,
      Options options) {
    run(stream, a, null, w, rowWeight, d, options);
  }

  /// Multiplies NVFP4 activations. Otherwise as for BF16.
  ///
  /// @param a `[M, K]`, scale layout LINEAR or PACKED, global scales TENSOR or ROW
  public static void run(
      Stream stream,
      Nvfp4Tensor a,
      Nvfp4Tensor w,
      @Nullable Tensor rowWeight,
      Tensor d,
      Options options) {
    run(stream, null, a, w, rowWeight, d, options);
  }

  private static void run(
      Stream stream,
      @Nullable Tensor a,
      @Nullable Nvfp4Tensor quantized,
      Nvfp4Tensor w,
      @Nullable Tensor rowWeight,
      Tensor d,
      Options options) {
    stream.enter("gemm");
    try {
      readActivations(stream, Op.GEMM, a, quantized);
      stream.reads(Op.GEMM, "w", w);
      if (rowWeight != null) {
        stream.reads(Op.GEMM, "row_weight", rowWeight);
      }
      stream.writes(Op.GEMM, "d", d);
      int status =
          Nvfp4jNative.gemm(
              stream.context(),
              a == null ? MemorySegment.NULL : a.descriptor,
              quantized == null ? MemorySegment.NULL : quantized.descriptor,
              w.descriptor,
              rowWeight == null ? MemorySegment.NULL : rowWeight.descriptor,
              options.struct,
              d.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.GEMM,
            status,
            Shapes.of("a", a, "a", quantized, "w", w, "row_weight", rowWeight, "d", d));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, a, quantized, w, rowWeight, d, options));
      }
    } finally {
      stream.exit();
    }
  }

  /// One of the two is given.
  static void readActivations(
      Stream stream, Op op, @Nullable Tensor a, @Nullable Nvfp4Tensor quantized) {
    if (a != null) {
      stream.reads(op, "a", a);
    }
    if (quantized != null) {
      stream.reads(op, "a", quantized);
    }
  }

  /// Which implementation a product gets on a device, and why, for example `decode:
  /// gemm_decode_sm90, m <= 16`. It depends on nothing else (A and D are assumed to be 16-byte
  /// aligned in every row).
  ///
  /// @param m rows of A
  /// @param n rows of W
  /// @param k columns of both
  /// @param a what A is
  /// @param w the scale layout of W, LINEAR or PREPARED
  /// @throws IllegalArgumentException if an argument is wrong
  /// @throws DeviceNotSupportedException if the device has none, or the one that `options` ask for
  ///   cannot take the shape; the message is the reason
  public static String path(
      Device device, long m, long n, long k, Activations a, ScaleLayout w, Options options) {
    return path(device, Op.GEMM, 1, m, n, k, a, w, options);
  }

  /// The same, of each of the three products.
  static String path(
      Device device,
      Op op,
      long groups,
      long m,
      long n,
      long k,
      Activations a,
      ScaleLayout w,
      Options options) {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment text = arena.allocate(512);
      int status =
          Nvfp4jNative.gemmPath(
              op.code(),
              device.ordinal(),
              groups,
              m,
              n,
              k,
              a.code(),
              w.code(),
              options.struct,
              text,
              error.segment());
      if (status != 0) {
        throw Failures.of(device.state(), op, status, error, "");
      }
      return text.getString(0);
    }
  }
}
