// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.QuantizeOptions;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// quantize: a matrix, or gathered rows of it, to NVFP4; the same bits on every device.
///
/// In IEEE binary32 with round-to-nearest-even, [Recipe#EXACT] is (2688 = 6 * 448):
///
/// ```
/// A  = max over finite |x|                     of the tensor, or of each row
/// gs = A / 2688 ; if (gs == 0) gs = 1          or given
/// g6 = 6 * gs
/// per block of 16: ab = max over finite |x| ; S = e4m3_rn_satfinite(ab / g6)
///                  if (S == 0 && ab > 0) S = 0x01             ZeroScale.MIN; FLUSH leaves 0
///                  d = f32(S) * gs
/// per element:     q = d > 0 ? e2m1_rn_satfinite(x / d) : signbit(x) << 3
/// ```
///
/// Source: the two-level scaling of NVIDIA Model Optimizer, whose weights this equals code for
/// code. [Recipe#TE_EXACT] equals NVIDIA Transformer Engine's default kernels:
///
/// ```
/// E  = A == 0 ? 1 : min(2688 / A, FLT_MAX) ; if (E == 0) E = 1
/// gs = 1 / E                                   given gs: E = min(1 / gs, FLT_MAX)
/// per block:   S = e4m3_rn_satfinite(min(ab * (E * fl(1/6)), FLT_MAX))
///              c = min(1 / (f32(S) * gs), FLT_MAX)
/// per element: q = e2m1_rn_satfinite(fma(x, c, +0))
/// ```
///
/// Shapes: `x` is BF16, F16 or F32 `[T, K]` with any row stride of at least K, K a multiple of 16;
/// `out` is `[T, K]`, or `[R, K]` with `rows` I32 `[R]`. No buffer of `out` overlaps an input.
/// Swizzled scales get their padding zeroed.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. NaN and infinite elements are coded (7, or 15 for -infinity), left out
/// of every maximum, and reported ([Cause#NON_FINITE_INPUT]) at the next [Stream#synchronize].
public final class Quantize {
  private Quantize() {}

  /// Where the global scale comes from.
  public enum Source {
    /// Computed from the input and written to the output: one for the tensor or one per row, as the
    /// output's [Nvfp4Tensor#globalScale] says.
    DYNAMIC(0),
    /// Read from the output's global scales: finite and positive, else it is reported and 1 is
    /// used.
    GIVEN(1);

    private final int code;

    Source(int code) {
      this.code = code;
    }

    /// The constant `NVFP4J_GLOBAL_SCALE_DYNAMIC` or `_GIVEN` of the C ABI.
    public int code() {
      return code;
    }
  }

  /// How to quantise: immutable and shared; keep one, or ask for it in the hot path, neither
  /// allocates.
  public static final class Options {
    private static final Options[] ALL = all();

    /// [Source#DYNAMIC], [Recipe#EXACT], [ZeroScale#MIN].
    public static final Options DYNAMIC = of(Source.DYNAMIC, Recipe.EXACT, ZeroScale.MIN);

    /// [Source#GIVEN], [Recipe#EXACT], [ZeroScale#MIN].
    public static final Options GIVEN = of(Source.GIVEN, Recipe.EXACT, ZeroScale.MIN);

    private final Source source;
    private final Recipe recipe;
    private final ZeroScale zeroScale;

    /// `nvfp4j_quantize_options`.
    final MemorySegment struct;

    private Options(Source source, Recipe recipe, ZeroScale zeroScale) {
      this.source = source;
      this.recipe = recipe;
      this.zeroScale = zeroScale;
      this.struct =
          QuantizeOptions.allocate(Arena.global(), source.code(), recipe.code(), zeroScale.code());
    }

    private static Options[] all() {
      Options[] all = new Options[8];
      for (Source source : Source.values()) {
        for (Recipe recipe : Recipe.values()) {
          for (ZeroScale zeroScale : ZeroScale.values()) {
            all[index(source, recipe, zeroScale)] = new Options(source, recipe, zeroScale);
          }
        }
      }
      return all;
    }

    private static int index(Source source, Recipe recipe, ZeroScale zeroScale) {
      return source.ordinal() * 4 + recipe.ordinal() * 2 + zeroScale.ordinal();
    }

    /// The options with these choices. `zeroScale` is not read by [Recipe#TE_EXACT].
    public static Options of(Source source, Recipe recipe, ZeroScale zeroScale) {
      return ALL[index(source, recipe, zeroScale)];
    }

    /// Where the global scale comes from.
    public Source source() {
      return source;
    }

    /// The arithmetic.
    public Recipe recipe() {
      return recipe;
    }

    /// What becomes of a block scale that rounds to zero.
    public ZeroScale zeroScale() {
      return zeroScale;
    }

    /// The three choices.
    @Override
    public String toString() {
      return source + " " + recipe + " " + zeroScale;
    }
  }

  /// Quantises with a global scale computed from `x`, by [Options#DYNAMIC]: one per tensor or per
  /// row, as `out` has them.
  ///
  /// @param stream where to run
  /// @param x BF16, F16 or F32 `[T, K]`, any row stride
  /// @param out `[T, K]`: codes, scales and global scales are written
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void dynamic(Stream stream, Tensor x, Nvfp4Tensor out) {
    run(stream, x, null, out, Options.DYNAMIC);
  }

  /// Quantises with the global scales that `out` holds, by [Options#GIVEN]; codes and scales are
  /// written. Otherwise as [#dynamic].
  public static void given(Stream stream, Tensor x, Nvfp4Tensor out) {
    run(stream, x, null, out, Options.GIVEN);
  }

  /// Quantises `x`, or rows of it.
  ///
  /// @param stream where to run
  /// @param x BF16, F16 or F32 `[T, K]`, any row stride
  /// @param rows null, or I32 `[R]` contiguous: row i of `out` is the quantised row `rows[i]` of
  ///   `x`. An id outside `[0, T)` is reported ([Cause#INDEX_OUT_OF_RANGE]); its row becomes zeros
  /// @param out `[T, K]`, or `[R, K]` with `rows`
  /// @param options how
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream, Tensor x, @Nullable Tensor rows, Nvfp4Tensor out, Options options) {
    stream.enter("quantize");
    try {
      stream.reads(Op.QUANTIZE, "input", x);
      if (rows != null) {
        stream.reads(Op.QUANTIZE, "rows", rows);
      }
      stream.writes(Op.QUANTIZE, "output", out);
      int status =
          Nvfp4jNative.quantize(
              stream.context(),
              x.descriptor,
              rows == null ? MemorySegment.NULL : rows.descriptor,
              options.struct,
              out.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(Op.QUANTIZE, status, Shapes.of("input", x, "rows", rows, "output", out));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, x, rows, out, options));
      }
    } finally {
      stream.exit();
    }
  }
}
