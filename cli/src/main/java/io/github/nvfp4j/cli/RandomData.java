// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.F16;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import java.lang.foreign.MemorySegment;
import java.util.random.RandomGenerator;

/// Random inputs that visit the edges: ties, zeros of both signs, subnormals, wide exponents.
///
/// @param random the source of it all
record RandomData(RandomGenerator random) {
  private static final int BLOCK = 16;
  private static final int SCALE_CODES = 0x7f; // 0x00 to 0x7e: all that are not NaN

  float uniform() {
    return random.nextFloat();
  }

  /// Finite values that `dtype` holds exactly. Each block is of one kind.
  float[] matrix(int rows, int columns, DType dtype) {
    float[] x = new float[rows * columns];
    for (int block = 0; block < x.length; block += BLOCK) {
      int kind = random.nextInt(8);
      float scale = Math.scalb(1f, random.nextInt(12) - 6);
      for (int i = block; i < block + BLOCK; i++) {
        x[i] = round(element(kind, scale), dtype);
      }
    }
    return x;
  }

  private float element(int kind, float scale) {
    return switch (kind) {
      case 0 -> random.nextBoolean() ? 0f : -0f;
      case 1 -> (random.nextInt(57) - 28) * 0.25f * scale; // ties of e2m1
      case 2 -> (float) (random.nextGaussian() * Math.exp(8 * random.nextGaussian()));
      case 3 -> Math.scalb((float) random.nextGaussian(), -130); // subnormal or nearly
      default -> (float) random.nextGaussian() * scale;
    };
  }

  /// Pre-activations of SwiGLU: some beyond the limit, some where exp ends.
  float[] preActivations(int rows, int columns, DType dtype) {
    float[] x = new float[rows * columns];
    for (int i = 0; i < x.length; i++) {
      float wide = random.nextInt(64) == 0 ? 40f : 4f;
      x[i] = round((float) random.nextGaussian() * wide, dtype);
    }
    return x;
  }

  float[] weights(int count) {
    float[] weights = new float[count];
    for (int i = 0; i < count; i++) {
      weights[i] = random.nextFloat();
    }
    return weights;
  }

  int[] ids(int count, int bound) {
    return random.ints(count, 0, Math.max(1, bound)).toArray();
  }

  byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    random.nextBytes(bytes);
    return bytes;
  }

  /// Any codes, any block scales but NaN.
  Nvfp4Matrix quantized(int rows, int columns, GlobalScale global) {
    byte[] scales = new byte[rows * columns / BLOCK];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = (byte) random.nextInt(SCALE_CODES);
    }
    float[] gs = new float[global == GlobalScale.ROW ? rows : 1];
    for (int i = 0; i < gs.length; i++) {
      gs[i] = Math.scalb(1f + random.nextFloat(), random.nextInt(40) - 30);
    }
    return new Nvfp4Matrix(rows, columns, bytes(rows * columns / 2), scales, global, gs);
  }

  /// Any codes, block scales from `low` to `high`, global scales about 2^-8.
  Nvfp4Matrix operand(int rows, int columns, int low, int high, GlobalScale global) {
    byte[] scales = new byte[rows * columns / BLOCK];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = (byte) (low + random.nextInt(high - low + 1));
    }
    float[] gs = new float[(int) global.count(rows)];
    for (int i = 0; i < gs.length; i++) {
      gs[i] = Math.scalb(1f + random.nextFloat(), -8);
    }
    return new Nvfp4Matrix(rows, columns, bytes(rows * columns / 2), scales, global, gs);
  }

  /// The bits of values in a type.
  static MemorySegment encode(float[] x, DType dtype) {
    return switch (dtype) {
      case F32 -> MemorySegment.ofArray(x.clone());
      case BF16 -> MemorySegment.ofArray(Bf16.encode(x));
      case F16 -> MemorySegment.ofArray(F16.encode(x));
      default -> throw new IllegalArgumentException("dtype is " + dtype + ", expected a float");
    };
  }

  private static float round(float x, DType dtype) {
    float rounded =
        switch (dtype) {
          case F32 -> x;
          case BF16 -> Bf16.round(x);
          case F16 -> F16.round(x);
          default -> throw new IllegalArgumentException("dtype is " + dtype + ", expected a float");
        };
    return Float.isFinite(rounded) ? rounded : Math.copySign(1f, x);
  }
}
