// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.E2m1;
import io.github.nvfp4j.reference.E4m3;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.stream.LongStream;

/// Signal and noise of quantised weights: the sums of x² and of (x - x')².
///
/// Both are sums in binary64 of sums over strips of 64 rows, always in the same order: the result
/// does not depend on the number of threads, nor on the device.
///
/// @param signal the sum of x²
/// @param noise the sum of (x - x')²
record Snr(double signal, double noise) {
  static final Snr NONE = new Snr(0, 0);

  private static final int BLOCK = 16;
  private static final long STRIP_ROWS = 64;
  private static final float[] ELEMENTS = new float[16];
  private static final float[] SCALES = new float[256];

  static {
    for (int code = 0; code < ELEMENTS.length; code++) {
      ELEMENTS[code] = E2m1.decode(code);
    }
    for (int code = 0; code < SCALES.length; code++) {
      SCALES[code] = E4m3.decode(code);
    }
  }

  Snr plus(Snr other) {
    return new Snr(signal + other.signal, noise + other.noise);
  }

  /// Ten times the decimal logarithm of signal over noise: infinite where there is no noise, NaN
  /// where there is no signal either.
  double decibels() {
    return 10 * Math.log10(signal / noise);
  }

  /// Compares weights with what their codes stand for.
  ///
  /// @param x `[rows, columns]` of BF16, F16 or F32, readable by any thread, as are the others
  /// @param codes `[rows, columns / 2]`
  /// @param scales `[rows, columns / 16]`
  /// @param globalScale the multiplier
  static Snr of(
      SafetensorsDType dtype,
      MemorySegment x,
      MemorySegment codes,
      MemorySegment scales,
      float globalScale,
      long rows,
      long columns) {
    long strips = Math.ceilDiv(rows, STRIP_ROWS);
    double[][] sums = new double[Math.toIntExact(strips)][];
    LongStream.range(0, strips)
        .parallel()
        .forEach(strip -> {
          long first = strip * STRIP_ROWS * columns / BLOCK;
          long last = Math.min(rows, (strip + 1) * STRIP_ROWS) * columns / BLOCK;
          sums[(int) strip] = strip(dtype, x, codes, scales, globalScale, first, last);
        });
    Snr total = NONE;
    for (double[] sum : sums) {
      total = total.plus(new Snr(sum[0], sum[1]));
    }
    return total;
  }

  private static double[] strip(
      SafetensorsDType dtype,
      MemorySegment x,
      MemorySegment codes,
      MemorySegment scales,
      float globalScale,
      long first,
      long last) {
    double signal = 0;
    double noise = 0;
    float[] block = new float[BLOCK];
    for (long b = first; b < last; b++) {
      read(dtype, x, b * BLOCK, block);
      float d = SCALES[scales.get(ValueLayout.JAVA_BYTE, b) & 0xff] * globalScale;
      for (int i = 0; i < BLOCK; i += 2) {
        int pair = codes.get(ValueLayout.JAVA_BYTE, b * (BLOCK / 2) + i / 2);
        double even = block[i];
        double odd = block[i + 1];
        double evenError = even - ELEMENTS[pair & 15] * d;
        double oddError = odd - ELEMENTS[pair >>> 4 & 15] * d;
        signal += even * even + odd * odd;
        noise += evenError * evenError + oddError * oddError;
      }
    }
    return new double[] {signal, noise};
  }

  /// Reads a block of weights, whatever their alignment.
  private static void read(SafetensorsDType dtype, MemorySegment x, long at, float[] block) {
    for (int i = 0; i < BLOCK; i++) {
      block[i] =
          switch (dtype) {
            case BF16 ->
                Float.intBitsToFloat(x.get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * (at + i)) << 16);
            case F16 -> Float.float16ToFloat(x.get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * (at + i)));
            case F32 -> x.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * (at + i));
            default -> throw new IllegalArgumentException("dtype " + dtype);
          };
    }
  }
}
