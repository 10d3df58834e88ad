// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.math.BigInteger;
import java.util.Arrays;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The caches' references against what a slot must hold.
@Tag("cpu")
class CacheTest {
  private final RandomGenerator random = Seeds.generator(CacheTest.class);

  /// Slot s holds the row of the last position that is s modulo W, or what it held.
  @Test
  void aSlotHoldsTheLastOfItsPositions() {
    long[] positions = {0, 1, 127, 128, 1L << 32, Long.MAX_VALUE - 3, Long.MAX_VALUE};
    for (int slots : new int[] {1, 2, 5, 128}) {
      for (int tokens : new int[] {0, 1, slots - 1, slots, slots + 1, 3 * slots + 2}) {
        for (long position : positions) {
          int rowBytes = 1 + random.nextInt(5);
          byte[] cache = bytes(slots * rowBytes);
          byte[] rows = bytes(tokens * rowBytes);
          byte[] before = cache.clone();
          byte[] after = CacheReference.appendWindow(cache, rows, rowBytes, position);
          assertThat(cache).isEqualTo(before);
          for (int s = 0; s < slots; s++) {
            byte[] expected = row(before, s, rowBytes);
            for (int i = tokens - 1; i >= 0; i--) {
              BigInteger at = BigInteger.valueOf(position).add(BigInteger.valueOf(i));
              if (at.mod(BigInteger.valueOf(slots)).intValue() == s) {
                expected = row(rows, i, rowBytes);
                break;
              }
            }
            assertThat(row(after, s, rowBytes)).isEqualTo(expected);
          }
        }
      }
    }
  }

  @Test
  void appendedRowsAreBehindTheOthers() {
    byte[] cache = bytes(7 * 3);
    byte[] rows = bytes(2 * 3);
    for (int length = 0; length <= 5; length++) {
      byte[] after = CacheReference.append(cache, rows, 3, length);
      byte[] expected = cache.clone();
      System.arraycopy(rows, 0, expected, length * 3, 6);
      assertThat(after).isEqualTo(expected);
    }
    assertThat(CacheReference.append(cache, new byte[0], 3, 7)).isEqualTo(cache);
  }

  private byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    random.nextBytes(bytes);
    return bytes;
  }

  private static byte[] row(byte[] rows, int i, int rowBytes) {
    return Arrays.copyOfRange(rows, i * rowBytes, (i + 1) * rowBytes);
  }

  @Test
  void wrongArguments() {
    byte[] cache = new byte[12];
    assertThatThrownBy(() -> CacheReference.appendWindow(cache, new byte[3], 3, -1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("cache_append_window: position is -1, expected 0 or more");
    assertThatThrownBy(() -> CacheReference.appendWindow(new byte[0], new byte[3], 3, 0))
        .hasMessage("cache_append_window: cache has 0 rows, expected 1 or more");
    assertThatThrownBy(() -> CacheReference.appendWindow(cache, new byte[4], 3, 0))
        .hasMessage("cache_append_window: rows has 4 bytes, expected a multiple of 3");
    assertThatThrownBy(() -> CacheReference.append(cache, new byte[3], 0, 0))
        .hasMessage("cache_append: rowBytes is 0, expected 1 or more");
    for (long length : new long[] {-1, 4, 5, Long.MIN_VALUE, Long.MAX_VALUE}) {
      assertThatThrownBy(() -> CacheReference.append(cache, new byte[3], 3, length))
          .hasMessage(
              "cache_append: length is "
                  + length
                  + ", expected 0 to 3 (a cache of 4 rows, and 1 more)");
    }
  }
}
