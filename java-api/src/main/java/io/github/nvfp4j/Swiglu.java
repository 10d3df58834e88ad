// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.SwigluOptions;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// swiglu: the clamped SwiGLU of DeepSeek-V4's experts, `y = silu(min(gate, L)) * clamp(up, -L, L)
/// [* weight]`; the same bits on every device.
///
/// In IEEE binary32, each operation rounded to nearest even, L = limit:
///
/// ```
/// g = f32(gate) ; u = f32(up)
/// if (L > 0) { if (g > L) g = L ; if (u > L) u = L ; if (u < -L) u = -L }     NaN stays NaN
/// e = exp(-g)                                      this project's exp, the same on every device
/// h = (g / (1 + e)) * u
/// if (weight) h = h * weight[t]
/// y = round to the input's type, nearest even
/// ```
///
/// The clamp acts on the values before SiLU: above on the gate, on both sides of the up projection.
/// silu(-infinity) is NaN. Source: `Expert.forward` of DeepSeek-V4's reference model.
///
/// Asynchronous on a CUDA device, done on return on the CPU. Deterministic, allocates nothing, can
/// be captured. It reports nothing: a NaN goes in and comes out.
public final class Swiglu {
  private Swiglu() {}

  /// How to apply it: immutable; keep one (making one allocates).
  public static final class Options {
    /// [SwigluColumns#HALVES], limit 10: DeepSeek-V4's.
    public static final Options DEFAULT = of(SwigluColumns.HALVES, 10f);

    private final SwigluColumns columns;
    private final float limit;

    /// `nvfp4j_swiglu_options`.
    final MemorySegment struct;

    private Options(SwigluColumns columns, float limit) {
      this.columns = columns;
      this.limit = limit;
      this.struct = SwigluOptions.allocate(Arena.ofAuto(), columns.code(), limit);
    }

    /// New options.
    ///
    /// @param columns how gate and up share a row
    /// @param limit L; 0 means no clamp. A negative or non-finite one is refused by the op
    public static Options of(SwigluColumns columns, float limit) {
      return new Options(columns, limit);
    }

    /// How gate and up share a row.
    public SwigluColumns columns() {
      return columns;
    }

    /// The clamp; 0 = none.
    public float limit() {
      return limit;
    }

    /// The two choices.
    @Override
    public String toString() {
      return columns + " limit " + limit;
    }
  }

  /// Applies it row by row.
  ///
  /// @param stream where to run
  /// @param gateUp BF16 or F32 `[T, 2I]`, any row stride of at least 2I
  /// @param weight null, or F32 `[T]` contiguous: a factor per row, such as a routing weight
  /// @param out `[T, I]` of `gateUp`'s dtype, any row stride of at least I; overlaps no input
  /// @param options how
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream, Tensor gateUp, @Nullable Tensor weight, Tensor out, Options options) {
    stream.enter("swiglu");
    try {
      stream.reads(Op.SWIGLU, "gate_up", gateUp);
      if (weight != null) {
        stream.reads(Op.SWIGLU, "weight", weight);
      }
      stream.writes(Op.SWIGLU, "output", out);
      int status =
          Nvfp4jNative.swiglu(
              stream.context(),
              gateUp.descriptor,
              weight == null ? MemorySegment.NULL : weight.descriptor,
              options.struct,
              out.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.SWIGLU, status, Shapes.of("gate_up", gateUp, "weight", weight, "output", out));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, gateUp, weight, out, options));
      }
    } finally {
      stream.exit();
    }
  }
}
