// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.F16;
import java.util.Random;

/// Random inputs that meet the corners: zeros of both signs, subnormals, ties, and rows far apart
/// in magnitude. The seed is printed; `-Dnvfp4j.test.seed=N` repeats a run.
final class Values {
  private static final long SEED = Long.getLong("nvfp4j.test.seed", System.nanoTime());

  static {
    System.out.println("nvfp4j.test.seed=" + SEED);
  }

  private final Random random;

  Values(long salt) {
    random = new Random(SEED * 31 + salt);
  }

  Random random() {
    return random;
  }

  /// Finite values of a type.
  float[] finite(DType dtype, int rows, int columns) {
    float[] values = new float[rows * columns];
    for (int m = 0; m < rows; m++) {
      float scale = (float) Math.exp(random.nextGaussian() * 3);
      int kind = random.nextInt(8);
      for (int k = 0; k < columns; k++) {
        values[m * columns + k] = round(dtype, value(kind, scale));
      }
    }
    return values;
  }

  private float value(int kind, float scale) {
    return switch (kind) {
      case 0 -> random.nextBoolean() ? 0f : -0f;
      // Exact ties of e2m1 under many block scales.
      case 1 -> (random.nextInt(49) - 24) * 0.25f;
      case 2 -> random.nextInt(10) == 0 ? scale * 1000 : scale * 1e-6f;
      case 3 -> (float) (random.nextGaussian() * 1e-39);
      default -> random.nextInt(40) == 0 ? -0f : (float) random.nextGaussian() * scale;
    };
  }

  /// As [#finite], with some NaN and infinite elements, at least one.
  float[] withNonFinite(DType dtype, int rows, int columns) {
    float[] values = finite(dtype, rows, columns);
    float[] bad = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY};
    for (int i = 0; i < 1 + values.length / 50; i++) {
      values[random.nextInt(values.length)] = bad[random.nextInt(3)];
    }
    return values;
  }

  /// Gate and up of moderate size, beyond the clamp now and then.
  float[] activations(DType dtype, int rows, int columns) {
    float[] values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) {
      double x = random.nextGaussian() * 4;
      values[i] = round(dtype, random.nextInt(30) == 0 ? (float) (x * 20) : (float) x);
    }
    return values;
  }

  byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    random.nextBytes(bytes);
    return bytes;
  }

  /// The nearest value of a type that is finite.
  static float round(DType dtype, float x) {
    return switch (dtype) {
      case F32 -> x;
      case BF16 -> Bf16.round(x);
      case F16 -> F16.round(Math.clamp(x, -65504f, 65504f));
      default -> throw new IllegalArgumentException(dtype.toString());
    };
  }
}
