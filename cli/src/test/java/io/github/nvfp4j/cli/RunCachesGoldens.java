// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.CacheReference;
import io.github.nvfp4j.reference.SampleReference;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// The caches and sample through `nvfp4j run`, against the reference and by hand; the device is the
/// subclass'.
abstract class RunCachesGoldens {
  private final String device;
  private final SplittableRandom random = new SplittableRandom(20_261_130);

  @TempDir Path directory;

  RunCachesGoldens(String device) {
    this.device = device;
  }

  private Map<String, Cli.Tensor> run(
      String op, Map<String, Cli.Tensor> inputs, String... parameters) throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), inputs);
    Path out = directory.resolve("out.safetensors");
    List<Object> words = new ArrayList<>(List.of("run", op, in, out, "--device", device));
    words.addAll(List.of("--repeat", 2));
    for (String parameter : parameters) {
      words.addAll(List.of("-p", parameter));
    }
    Cli.run(words.toArray()).succeeded();
    return Cli.read(out);
  }

  private byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    random.nextBytes(bytes);
    return bytes;
  }

  private static Cli.Tensor tensor(SafetensorsDType dtype, byte[] values, long... shape) {
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(values), shape);
  }

  private static Cli.Tensor wide(long value) {
    return Cli.Tensor.of(SafetensorsDType.I64, MemorySegment.ofArray(new long[] {value}), 1);
  }

  /// A scalar of rank 0.
  private static Cli.Tensor scalar(int value) {
    return Cli.Tensor.of(SafetensorsDType.I32, MemorySegment.ofArray(new int[] {value}));
  }

  private static Map<String, Cli.Tensor> tensors(Object... namesAndTensors) {
    Map<String, Cli.Tensor> tensors = new LinkedHashMap<>();
    for (int i = 0; i < namesAndTensors.length; i += 2) {
      tensors.put((String) namesAndTensors[i], (Cli.Tensor) namesAndTensors[i + 1]);
    }
    return tensors;
  }

  @ParameterizedTest
  @EnumSource(
      value = SafetensorsDType.class,
      names = {"F32", "BF16", "F16", "U8"})
  void window(SafetensorsDType dtype) throws IOException {
    int rowBytes = 9 * dtype.bits() / 8;
    byte[] cache = bytes(8 * rowBytes);
    for (int rows : new int[] {0, 1, 3, 8, 9, 30}) {
      byte[] kv = bytes(rows * rowBytes);
      for (int position : new int[] {0, 7, 1003}) {
        Cli.Tensor expected =
            tensor(dtype, CacheReference.appendWindow(cache, kv, rowBytes, position), 8, 9);
        for (Cli.Tensor at : List.of(Cli.Tensor.ints(position), scalar(position), wide(position))) {
          Map<String, Cli.Tensor> out =
              run(
                  "cache_append_window",
                  tensors(
                      "cache",
                      tensor(dtype, cache, 8, 9),
                      "kv",
                      tensor(dtype, kv, rows, 9),
                      "position",
                      at));
          assertThat(out).containsOnlyKeys("cache");
          assertSame("cache", out.get("cache"), expected);
        }
      }
    }
  }

  /// Position 127 is the last slot of 128, 128 the first.
  @Test
  void windowByHand() throws IOException {
    byte[] cache = new byte[128];
    byte[] expected = cache.clone();
    expected[127] = 11;
    expected[0] = 22;
    Map<String, Cli.Tensor> out =
        run(
            "cache_append_window",
            tensors(
                "cache",
                Cli.Tensor.bytes(cache, 128, 1),
                "kv",
                Cli.Tensor.bytes(new byte[] {11, 22}, 2, 1),
                "position",
                Cli.Tensor.ints(127)));
    assertSame("cache", out.get("cache"), Cli.Tensor.bytes(expected, 128, 1));
    // The last of four rows on two slots: those of positions 2^63 + 1 and 2^63 + 2.
    out =
        run(
            "cache_append_window",
            tensors(
                "cache",
                Cli.Tensor.bytes(new byte[2], 2, 1),
                "kv",
                Cli.Tensor.bytes(new byte[] {1, 2, 3, 4}, 4, 1),
                "position",
                wide(Long.MAX_VALUE)));
    assertSame("cache", out.get("cache"), Cli.Tensor.bytes(new byte[] {4, 3}, 2, 1));
  }

  @ParameterizedTest
  @EnumSource(
      value = SafetensorsDType.class,
      names = {"F32", "BF16", "F16", "U8"})
  void append(SafetensorsDType dtype) throws IOException {
    int rowBytes = 9 * dtype.bits() / 8;
    byte[] cache = bytes(20 * rowBytes);
    for (int count : new int[] {0, 1, 5, 20}) {
      byte[] rows = bytes(count * rowBytes);
      for (int length : new int[] {0, (20 - count) / 2, 20 - count}) {
        byte[] expected = CacheReference.append(cache, rows, rowBytes, length);
        for (Cli.Tensor at : List.of(Cli.Tensor.ints(length), scalar(length), wide(length))) {
          Map<String, Cli.Tensor> out =
              run(
                  "cache_append",
                  tensors(
                      "cache",
                      tensor(dtype, cache, 20, 9),
                      "rows",
                      tensor(dtype, rows, count, 9),
                      "length",
                      at));
          assertThat(out).containsOnlyKeys("cache", "length");
          assertSame("cache", out.get("cache"), tensor(dtype, expected, 20, 9));
          Cli.Tensor after =
              at.dtype() == SafetensorsDType.I64
                  ? wide(length + count)
                  : Cli.Tensor.ints(length + count);
          assertSame("length", out.get("length"), after);
        }
      }
    }
  }

  private float[] logits(int count) {
    float[] logits = new float[count];
    for (int i = 0; i < count; i++) {
      // BF16 has them too.
      logits[i] = (random.nextInt(256) - 128) * 0.0625f;
    }
    return logits;
  }

  private static Cli.Tensor bf16(float[] values, long... shape) {
    return Cli.Tensor.of(SafetensorsDType.BF16, MemorySegment.ofArray(Bf16.encode(values)), shape);
  }

  @Test
  void sample() throws IOException {
    for (int columns : new int[] {1, 3, 1000, 9001}) {
      float[] logits = logits(4 * columns);
      float[] noise = new float[4 * columns];
      for (int i = 0; i < noise.length; i++) {
        noise[i] = (float) -Math.log(1 - random.nextDouble()) + Float.MIN_VALUE;
      }
      for (Cli.Tensor l :
          List.of(Cli.Tensor.floats(logits, 4, columns), bf16(logits, 4, columns))) {
        Map<String, Cli.Tensor> in = tensors("logits", l);
        assertTokens(run("sample", in), SampleReference.sample(logits, 4, columns, null, 0, 0, 0));
        assertTokens(
            run("sample", in, "temperature=0.7"),
            SampleReference.sample(logits, 4, columns, null, 0.7f, 0, 0));
        assertTokens(
            run("sample", in, "temperature=1", "seed=18446744073709551615", "offset=-3"),
            SampleReference.sample(logits, 4, columns, null, 1, -1, -3));
        in.put("noise", Cli.Tensor.floats(noise, 4, columns));
        assertTokens(
            run("sample", in, "temperature=0.7"),
            SampleReference.sample(logits, 4, columns, noise, 0.7f, 0, 0));
        assertTokens(run("sample", in), SampleReference.sample(logits, 4, columns, null, 0, 0, 0));
      }
    }
    assertTokens(
        run("sample", tensors("logits", Cli.Tensor.floats(new float[0], 0, 5))), new int[0]);
  }

  private static void assertTokens(Map<String, Cli.Tensor> out, int[] expected) {
    assertThat(out).containsOnlyKeys("token");
    assertSame("token", out.get("token"), Cli.Tensor.ints(expected));
  }

  /// p = softmax([0, ln 2]) = [1/3, 2/3], and argmax p / E.
  @Test
  void sampleByHand() throws IOException {
    float ln2 = (float) Math.log(2);
    float[] logits = {0, ln2, 0, ln2, 0, ln2};
    float[] noise = {1, 1, 1, 1.9f, 1, 2.1f};
    assertTokens(
        run(
            "sample",
            tensors(
                "logits", Cli.Tensor.floats(logits, 3, 2), "noise", Cli.Tensor.floats(noise, 3, 2)),
            "temperature=1"),
        new int[] {1, 1, 0});
    // At half the temperature the second is four times as likely.
    assertTokens(
        run(
            "sample",
            tensors(
                "logits",
                Cli.Tensor.floats(new float[] {0, ln2, 0, ln2}, 2, 2),
                "noise",
                Cli.Tensor.floats(new float[] {1, 3.9f, 1, 4.1f}, 2, 2)),
            "temperature=0.5"),
        new int[] {1, 0});
  }
}
