// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ZeroScale;

/// Quantisation to NVFP4, the definition that [io.github.nvfp4j.Quantize] equals bit for bit.
///
/// [Recipe#EXACT] (2688 = 6 * 448, the largest element times the largest block scale):
///
/// ```
/// A   = max over finite |x|                    // of the tensor, or of each row
/// gs  = A / 2688 ; if (gs == 0) gs = 1         // or given
/// g6  = 6 * gs
/// per block of 16: ab = max over finite |x| ; S = e4m3(ab / g6)
///                  if (S == 0 && ab > 0) S = 0x01          // ZeroScale.MIN; FLUSH leaves 0
///                  d = e4m3(S) * gs
/// per element:     q = d > 0 ? e2m1(x / d) : signbit(x) << 3
/// ```
///
/// Source: the two-level scaling of NVIDIA Model Optimizer's NVFP4 weights. Its codes and scales
/// are these, except that it gives NaN for an all-zero tensor, the scale `0x38` to an all-zero
/// block and code 0 to -0.
///
/// [Recipe#TE_EXACT]:
///
/// ```
/// E = A == 0 ? 1 : min(2688 / A, FLT_MAX) ; if (E == 0) E = 1 ; gs = 1 / E
///                                                           // given gs: E = min(1 / gs, FLT_MAX)
/// per block:   S = e4m3(min(ab * (E * fl(1/6)), FLT_MAX))
///              c = min(1 / (e4m3(S) * gs), FLT_MAX)
/// per element: q = e2m1(fma(x, c, +0))
/// ```
///
/// Source: the NVFP4 quantisation of NVIDIA Transformer Engine without fast math, which FlashInfer
/// with fast math disabled equals.
///
/// In both, an infinite or NaN element counts in no maximum and is coded `e2m1(x)` whatever its
/// block's scale is: ±6, and +6 for NaN. A given global scale that is not finite or not positive is
/// replaced by 1 for its rows. (A device reports both.)
public final class QuantizeReference {
  /// The largest element times the largest block scale.
  public static final float RANGE = 2688f;

  /// binary32 nearest to 1/6, `0x3e2aaaab`.
  private static final float SIXTH = 1f / 6f;

  private QuantizeReference() {}

  /// Quantises with global scales computed from the matrix.
  ///
  /// @param x `[rows, columns]`
  /// @param rows M
  /// @param columns K, a multiple of 16
  /// @param globalScale one global scale for the matrix, or one per row
  /// @param recipe the arithmetic
  /// @param zeroScale read by [Recipe#EXACT] only
  /// @throws IllegalArgumentException if the shape and the array disagree, or K is no multiple of
  ///   16
  public static Nvfp4Matrix dynamic(
      float[] x,
      int rows,
      int columns,
      GlobalScale globalScale,
      Recipe recipe,
      ZeroScale zeroScale) {
    check(x, rows, columns);
    check(globalScale);
    float[] amax = new float[(int) globalScale.count(rows)];
    for (int m = 0; m < rows; m++) {
      int g = globalScale == GlobalScale.ROW ? m : 0;
      amax[g] = Math.max(amax[g], finiteAmax(x, m * columns, columns));
    }
    Scale[] scales = new Scale[amax.length];
    for (int g = 0; g < amax.length; g++) {
      scales[g] = recipe == Recipe.EXACT ? exactScale(amax[g]) : transformerEngineScale(amax[g]);
    }
    return quantize(x, rows, columns, globalScale, scales, recipe, zeroScale);
  }

  /// Quantises with global scales that are given; the result holds them as they are.
  ///
  /// @param x `[rows, columns]`
  /// @param rows M
  /// @param columns K, a multiple of 16
  /// @param globalScale one global scale for the matrix, or one per row
  /// @param globalScales the multipliers: 1, or M of them
  /// @param recipe the arithmetic
  /// @param zeroScale read by [Recipe#EXACT] only
  /// @throws IllegalArgumentException if shapes and arrays disagree, or K is no multiple of 16
  public static Nvfp4Matrix given(
      float[] x,
      int rows,
      int columns,
      GlobalScale globalScale,
      float[] globalScales,
      Recipe recipe,
      ZeroScale zeroScale) {
    check(x, rows, columns);
    check(globalScale);
    if (globalScales.length != globalScale.count(rows)) {
      throw new IllegalArgumentException(
          "quantize: globalScales has "
              + globalScales.length
              + " elements, expected "
              + globalScale.count(rows));
    }
    Scale[] scales = new Scale[globalScales.length];
    for (int g = 0; g < scales.length; g++) {
      float gs = globalScales[g];
      float used = gs > 0 && Float.isFinite(gs) ? gs : 1f;
      scales[g] = new Scale(used, Math.min(1f / used, Float.MAX_VALUE));
    }
    Nvfp4Matrix q = quantize(x, rows, columns, globalScale, scales, recipe, zeroScale);
    return new Nvfp4Matrix(rows, columns, q.codes(), q.scales(), globalScale, globalScales.clone());
  }

  /// The matrix made of rows of another: output row `i` is row `rows[i]` of `x`, or zeros where
  /// `rows[i]` is outside `[0, inputRows)` (a device reports that). Quantising gathered rows is
  /// quantising this matrix: the maximum of a dynamic global scale is over the gathered rows.
  ///
  /// @param x `[inputRows, columns]`
  /// @param inputRows rows of `x`
  /// @param columns columns of both
  /// @param rows row numbers
  /// @return `[rows.length, columns]`
  /// @throws IllegalArgumentException if the shape and the array disagree
  public static float[] gather(float[] x, int inputRows, int columns, int[] rows) {
    check(x, inputRows, columns);
    float[] y = new float[Math.multiplyExact(rows.length, columns)];
    for (int i = 0; i < rows.length; i++) {
      if (rows[i] >= 0 && rows[i] < inputRows) {
        System.arraycopy(x, rows[i] * columns, y, i * columns, columns);
      }
    }
    return y;
  }

  /// A global scale as the two recipes use it: the multiplier, and TE_EXACT's E.
  private record Scale(float gs, float encode) {}

  private static Scale exactScale(float amax) {
    float gs = amax / RANGE;
    return new Scale(gs == 0 ? 1f : gs, Float.NaN); // E is not read by EXACT
  }

  private static Scale transformerEngineScale(float amax) {
    float encode = amax == 0 ? 1f : Math.min(RANGE / amax, Float.MAX_VALUE);
    if (encode == 0) {
      encode = 1f;
    }
    return new Scale(1f / encode, encode);
  }

  private static Nvfp4Matrix quantize(
      float[] x,
      int rows,
      int columns,
      GlobalScale globalScale,
      Scale[] globalScales,
      Recipe recipe,
      ZeroScale zeroScale) {
    byte[] codes = new byte[x.length];
    byte[] scales = new byte[x.length / Nvfp4Matrix.BLOCK];
    for (int block = 0; block < scales.length; block++) {
      int start = block * Nvfp4Matrix.BLOCK;
      Scale scale = globalScales[globalScale == GlobalScale.ROW ? start / columns : 0];
      int s =
          recipe == Recipe.EXACT
              ? exactBlock(x, start, scale.gs(), zeroScale, codes)
              : transformerEngineBlock(x, start, scale, codes);
      scales[block] = (byte) s;
    }
    float[] gs = new float[globalScales.length];
    for (int g = 0; g < gs.length; g++) {
      gs[g] = globalScales[g].gs();
    }
    return new Nvfp4Matrix(rows, columns, PackedCodes.pack(codes), scales, globalScale, gs);
  }

  /// Writes a block's codes and returns the code of its scale.
  private static int exactBlock(float[] x, int start, float gs, ZeroScale zeroScale, byte[] codes) {
    float amax = finiteAmax(x, start, Nvfp4Matrix.BLOCK);
    int s = E4m3.encode(amax / (6f * gs));
    if (s == 0 && amax > 0 && zeroScale == ZeroScale.MIN) {
      s = 0x01;
    }
    float d = E4m3.decode(s) * gs;
    for (int i = start; i < start + Nvfp4Matrix.BLOCK; i++) {
      int code;
      if (!Float.isFinite(x[i])) {
        code = E2m1.encode(x[i]);
      } else if (d > 0) {
        code = E2m1.encode(x[i] / d);
      } else {
        code = E2m1.sign(x[i]) << 3;
      }
      codes[i] = (byte) code;
    }
    return s;
  }

  /// Writes a block's codes and returns the code of its scale.
  private static int transformerEngineBlock(float[] x, int start, Scale scale, byte[] codes) {
    float amax = finiteAmax(x, start, Nvfp4Matrix.BLOCK);
    int s = E4m3.encode(Math.min(amax * (scale.encode() * SIXTH), Float.MAX_VALUE));
    float c = Math.min(1f / (E4m3.decode(s) * scale.gs()), Float.MAX_VALUE);
    for (int i = start; i < start + Nvfp4Matrix.BLOCK; i++) {
      float scaled = Float.isFinite(x[i]) ? Math.fma(x[i], c, 0f) : x[i];
      codes[i] = (byte) E2m1.encode(scaled);
    }
    return s;
  }

  private static float finiteAmax(float[] x, int start, int count) {
    float amax = 0f;
    for (int i = start; i < start + count; i++) {
      if (Float.isFinite(x[i])) {
        amax = Math.max(amax, Math.abs(x[i]));
      }
    }
    return amax;
  }

  private static void check(GlobalScale globalScale) {
    if (globalScale != GlobalScale.TENSOR && globalScale != GlobalScale.ROW) {
      throw new IllegalArgumentException(
          "quantize: globalScale is " + globalScale + ", expected TENSOR or ROW");
    }
  }

  private static void check(float[] x, int rows, int columns) {
    Nvfp4Matrix.checkShape("quantize", rows, columns);
    if (x.length != (long) rows * columns) {
      throw new IllegalArgumentException(
          "quantize: x has " + x.length + " elements, expected " + (long) rows * columns);
    }
  }
}
