// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// exp, log and log1p of all 2^32 inputs, Java against C++, by the digests that
/// `native/test/math_hash.cpp` defines and the native build writes: FNV-1a over 32-bit words, one
/// digest per chunk of 2^20 inputs. A GPU test compares the same digests.
@Tag("cpu")
class MathHashTest {
  private static final String PROPERTY = "nvfp4j.math.hash";
  private static final long OFFSET = 0xcbf29ce484222325L;
  private static final long PRIME = 0x00000100000001b3L;
  private static final int CHUNK = 1 << 20;
  private static final int CHUNKS = 1 << 12;
  private static final Map<String, Long> NATIVE = new HashMap<>();

  @BeforeAll
  static void readDigests() throws IOException {
    String file = System.getProperty(PROPERTY);
    assertThat(file).as("-D%s=, the digests that the native build wrote", PROPERTY).isNotNull();
    for (String line : Files.readAllLines(Path.of(file))) {
      String[] words = line.split(" "); // exp 0xfff 0x0123456789abcdef, or exp total 0x...
      NATIVE.put(words[0] + " " + words[1], Long.parseUnsignedLong(words[2].substring(2), 16));
    }
    assertThat(NATIVE).hasSize(3 * (CHUNKS + 1));
  }

  private interface Digest {
    long of(int chunk);
  }

  // The totals are written down so that the definition cannot change unnoticed.

  @Test
  void exp() {
    compare("exp", MathHashTest::expDigest, 0x1e173c23a8cf4494L);
  }

  @Test
  void log() {
    compare("log", MathHashTest::logDigest, 0x0d71f1958749d1f6L);
  }

  @Test
  void log1p() {
    compare("log1p", MathHashTest::log1pDigest, 0x0582977495b11e7bL);
  }

  private static void compare(String function, Digest digest, long expectedTotal) {
    long[] digests = IntStream.range(0, CHUNKS).parallel().mapToLong(digest::of).toArray();
    long total = OFFSET;
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
      assertThat(digests[chunk])
          .as("%s of %08x and the 2^20 - 1 inputs after it", function, chunk * CHUNK)
          .isEqualTo(NATIVE.get("%s 0x%03x".formatted(function, chunk)));
      total = (total ^ digests[chunk] & 0xffffffffL) * PRIME;
      total = (total ^ digests[chunk] >>> 32) * PRIME;
    }
    assertThat(total).isEqualTo(NATIVE.get(function + " total")).isEqualTo(expectedTotal);
  }

  // One loop per function, so that the call in it is inlined.

  private static long expDigest(int chunk) {
    long h = OFFSET;
    for (int i = 0; i < CHUNK; i++) {
      h = mix(h, MathReference.exp(Float.intBitsToFloat(chunk * CHUNK + i)));
    }
    return h;
  }

  private static long logDigest(int chunk) {
    long h = OFFSET;
    for (int i = 0; i < CHUNK; i++) {
      h = mix(h, MathReference.log(Float.intBitsToFloat(chunk * CHUNK + i)));
    }
    return h;
  }

  private static long log1pDigest(int chunk) {
    long h = OFFSET;
    for (int i = 0; i < CHUNK; i++) {
      h = mix(h, MathReference.log1p(Float.intBitsToFloat(chunk * CHUNK + i)));
    }
    return h;
  }

  private static long mix(long h, float y) {
    return (h ^ Integer.toUnsignedLong(Float.floatToRawIntBits(y))) * PRIME;
  }
}
