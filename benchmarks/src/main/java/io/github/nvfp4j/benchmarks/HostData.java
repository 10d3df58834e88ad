// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.EnumMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.DoubleSupplier;

/// Random bytes of each kind, made once; buffers are filled from changing places in them.
final class HostData {
  /// Bytes of a pool; prime-sized steps through it keep two buffers from being equal.
  private static final long POOL_BYTES = 32L << 20;

  private static final long STEP_BYTES = 16 * 65_537;

  private final Map<Buffer.Fill, MemorySegment> pools = new EnumMap<>(Buffer.Fill.class);
  private final Arena arena;
  private final long seed;

  HostData(Arena arena, long seed) {
    this.arena = arena;
    this.seed = seed;
  }

  /// A read-only view of `bytes` bytes of a kind.
  ///
  /// @param fill the kind
  /// @param dtype element type; each kind of numbers knows one only
  /// @param index which of many: neighbouring numbers give different contents
  /// @param bytes at most [#limit()]
  MemorySegment view(Buffer.Fill fill, DType dtype, long index, long bytes) {
    DType expected =
        switch (fill) {
          case VALUES, GATE_WEIGHTS -> DType.BF16;
          case LOGITS, MIXING_WEIGHTS, FRACTIONS, GLOBAL_SCALES -> DType.F32;
          case BLOCK_SCALES, GATE_BLOCK_SCALES, BYTES, E4M3, POISON, ZEROS -> dtype;
          case INDICES, CHOICES, POSITIONS, COUNTS ->
              throw new IllegalArgumentException("fill: " + fill + " is made by IndexData");
        };
    if (dtype != expected) {
      throw new IllegalArgumentException("fill: dtype is " + dtype + ", expected " + expected);
    }
    long slack = POOL_BYTES - bytes;
    long offset = slack == 0 ? 0 : Math.floorMod(index * STEP_BYTES, slack) & -16L;
    return pools.computeIfAbsent(fill, this::pool).asSlice(offset, bytes).asReadOnly();
  }

  /// @return random numbers of a buffer's own
  SplittableRandom random(Buffer buffer) {
    return new SplittableRandom(seed + buffer.name().hashCode());
  }

  /// @return most bytes that one view can have
  long limit() {
    return POOL_BYTES;
  }

  private MemorySegment pool(Buffer.Fill fill) {
    MemorySegment pool = arena.allocate(POOL_BYTES, 64);
    SplittableRandom random = new SplittableRandom(seed + fill.ordinal());
    switch (fill) {
      case POISON -> pool.fill(Buffer.POISON);
      case ZEROS -> {} // as allocated
      case GATE_WEIGHTS -> {
        for (long at = 0; at < POOL_BYTES; at += 2) {
          pool.set(ValueLayout.JAVA_SHORT, at, upper(bell(random.nextLong()) / 64));
        }
      }
      case GATE_BLOCK_SCALES -> {
        for (long at = 0; at < POOL_BYTES; at++) {
          pool.set(ValueLayout.JAVA_BYTE, at, (byte) random.nextInt(0x40, 0x58));
        }
      }
      case VALUES -> {
        for (long at = 0; at < POOL_BYTES; at += 2) {
          pool.set(ValueLayout.JAVA_SHORT, at, value(random.nextLong()));
        }
      }
      case LOGITS -> floats(pool, () -> bell(random.nextLong()));
      case MIXING_WEIGHTS -> floats(pool, () -> bell(random.nextLong()) / 64);
      case FRACTIONS -> floats(pool, random::nextDouble);
      case GLOBAL_SCALES -> floats(pool, () -> 5e-4f + 1e-3f * (float) random.nextDouble());
      case BLOCK_SCALES -> {
        for (long at = 0; at < POOL_BYTES; at++) {
          pool.set(ValueLayout.JAVA_BYTE, at, (byte) random.nextInt(0x01, 0x7F));
        }
      }
      case E4M3 -> {
        for (long at = 0; at < POOL_BYTES; at++) {
          int value = random.nextInt(254); // 127 magnitudes of either sign
          pool.set(ValueLayout.JAVA_BYTE, at, (byte) (value < 127 ? value : value + 1));
        }
      }
      case BYTES -> {
        for (long at = 0; at < POOL_BYTES; at += 8) {
          pool.set(ValueLayout.JAVA_LONG, at, random.nextLong());
        }
      }
      case INDICES, CHOICES, POSITIONS, COUNTS -> throw new IllegalStateException(fill.name());
    }
    return pool;
  }

  private static void floats(MemorySegment pool, DoubleSupplier next) {
    for (long at = 0; at < POOL_BYTES; at += 4) {
      pool.set(ValueLayout.JAVA_FLOAT, at, (float) next.getAsDouble());
    }
  }

  /// One value in 64 is sixteen times as large.
  private static short value(long bits) {
    float x = bell(bits);
    return upper((bits >>> 58) == 0 ? 16 * x : x);
  }

  /// The upper half of a float.
  private static short upper(float x) {
    return (short) (Float.floatToRawIntBits(x) >>> 16);
  }

  /// The sum of four 12-bit uniforms, centred, of variance one.
  private static float bell(long bits) {
    int sum = 0;
    for (int i = 0; i < 4; i++) {
      sum += (int) (bits >>> (12 * i)) & 0xFFF;
    }
    return (sum - 2 * 4095) / 2365f;
  }
}
