// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/// Random numbers of a test, reproducible: the seed is printed, and `-Dnvfp4j.seed=` sets it.
final class Seeds {
  private Seeds() {}

  static RandomGenerator generator(Class<?> test) {
    Long given = Long.getLong("nvfp4j.seed");
    long seed = given != null ? given : System.nanoTime();
    System.out.println(test.getSimpleName() + ": -Dnvfp4j.seed=" + seed);
    return RandomGeneratorFactory.of("L64X128MixRandom").create(seed);
  }

  /// Any bit pattern, each exponent equally likely.
  static float anyFloat(RandomGenerator random) {
    return Float.intBitsToFloat(random.nextInt());
  }

  static float anyFinite(RandomGenerator random) {
    while (true) {
      float x = anyFloat(random);
      if (Float.isFinite(x)) {
        return x;
      }
    }
  }

  static float[] gaussian(RandomGenerator random, int count) {
    float[] x = new float[count];
    for (int i = 0; i < count; i++) {
      x[i] = (float) random.nextGaussian();
    }
    return x;
  }
}
