// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// Philox4x32-10, a counter-based random number generator: four words of 32 bits for each counter
/// of 128 bits, under a key of 64 bits. Nothing is kept from one number to the next, so that every
/// device makes any of them at any time.
///
/// ```
/// ten times:
///   p = 0xD2511F53 * c0 ; q = 0xCD9E8D57 * c2                  64-bit products, unsigned
///   c = (high(q) ^ c1 ^ k0, low(q), high(p) ^ c3 ^ k1, low(p))
///   k = (k0 + 0x9E3779B9, k1 + 0xBB67AE85)                     modulo 2^32
/// ```
///
/// Source: Salmon, Moraes, Dror, Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011); the
/// published known answers of Random123 hold.
public final class Philox {
  private static final int ROUNDS = 10;

  private Philox() {}

  /// The four words of a counter.
  ///
  /// @param counter 4 words, least significant first
  /// @param key 2 words
  /// @return 4 words
  /// @throws IllegalArgumentException if an array has another length
  public static int[] words(int[] counter, int[] key) {
    if (counter.length != 4) {
      throw new IllegalArgumentException(
          "philox: counter has " + counter.length + " words, expected 4");
    }
    if (key.length != 2) {
      throw new IllegalArgumentException("philox: key has " + key.length + " words, expected 2");
    }
    int[] c = counter.clone();
    int k0 = key[0];
    int k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
      long p = 0xD2511F53L * Integer.toUnsignedLong(c[0]);
      long q = 0xCD9E8D57L * Integer.toUnsignedLong(c[2]);
      c = new int[] {high(q) ^ c[1] ^ k0, (int) q, high(p) ^ c[3] ^ k1, (int) p};
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    return c;
  }

  private static int high(long product) {
    return (int) (product >>> 32);
  }
}
