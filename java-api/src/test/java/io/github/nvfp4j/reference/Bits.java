// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;

/// Comparison of floats by their bits.
final class Bits {
  private Bits() {}

  static void assertEqual(float[] actual, float[] expected) {
    assertThat(of(actual)).isEqualTo(of(expected));
  }

  static int[] of(float[] x) {
    int[] bits = new int[x.length];
    for (int i = 0; i < x.length; i++) {
      bits[i] = Float.floatToRawIntBits(x[i]);
    }
    return bits;
  }
}
