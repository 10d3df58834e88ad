// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.math.BigInteger;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// Philox against the published known answers, and against its formula in big integers.
@Tag("cpu")
class PhiloxTest {
  private static final BigInteger WORD = BigInteger.ONE.shiftLeft(32);

  /// Random123's `kat_vectors`, philox4x32 10.
  @Test
  void knownAnswers() {
    assertThat(Philox.words(new int[] {0, 0, 0, 0}, new int[] {0, 0}))
        .containsExactly(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
    assertThat(Philox.words(new int[] {-1, -1, -1, -1}, new int[] {-1, -1}))
        .containsExactly(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd);
    assertThat(
            Philox.words(
                new int[] {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                new int[] {0xa4093822, 0x299f31d0}))
        .containsExactly(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
  }

  @Test
  void theFormula() {
    RandomGenerator random = Seeds.generator(PhiloxTest.class);
    for (int n = 0; n < 2000; n++) {
      int[] counter = {random.nextInt(), random.nextInt(), random.nextInt(), random.nextInt()};
      int[] key = {random.nextInt(), random.nextInt()};
      BigInteger[] c = new BigInteger[4];
      for (int i = 0; i < 4; i++) {
        c[i] = BigInteger.valueOf(Integer.toUnsignedLong(counter[i]));
      }
      for (int round = 0; round < 10; round++) {
        BigInteger p = BigInteger.valueOf(0xD2511F53L).multiply(c[0]);
        BigInteger q = BigInteger.valueOf(0xCD9E8D57L).multiply(c[2]);
        BigInteger k0 = key(key[0], 0x9E3779B9L, round);
        BigInteger k1 = key(key[1], 0xBB67AE85L, round);
        c =
            new BigInteger[] {
              q.shiftRight(32).xor(c[1]).xor(k0),
              q.mod(WORD),
              p.shiftRight(32).xor(c[3]).xor(k1),
              p.mod(WORD)
            };
      }
      int[] words = Philox.words(counter, key);
      for (int i = 0; i < 4; i++) {
        assertThat(words[i]).isEqualTo(c[i].intValue());
      }
    }
  }

  private static BigInteger key(int word, long weyl, int round) {
    return BigInteger.valueOf(Integer.toUnsignedLong(word) + weyl * round).mod(WORD);
  }

  @Test
  void argumentsAreLeftAsTheyAre() {
    int[] counter = {1, 2, 3, 4};
    int[] key = {5, 6};
    Philox.words(counter, key);
    assertThat(counter).containsExactly(1, 2, 3, 4);
    assertThat(key).containsExactly(5, 6);
  }

  @Test
  void wrongArguments() {
    assertThatThrownBy(() -> Philox.words(new int[3], new int[2]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("philox: counter has 3 words, expected 4");
    assertThatThrownBy(() -> Philox.words(new int[4], new int[1]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("philox: key has 1 words, expected 2");
  }
}
