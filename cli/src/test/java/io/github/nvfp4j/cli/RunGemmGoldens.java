// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// The matrix products through `nvfp4j run`, against the goldens and the reference; the device is
/// the subclass'.
abstract class RunGemmGoldens {
  private static final long SEED = Long.getLong("nvfp4j.test.seed", System.nanoTime());

  private final String device;
  private final Random random = new Random(SEED);

  @TempDir Path directory;

  RunGemmGoldens(String device) {
    this.device = device;
    System.out.println("nvfp4j.test.seed=" + SEED);
  }

  private Cli.Tensor run(String op, Map<String, Cli.Tensor> inputs, String... parameters)
      throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), inputs);
    Path out = directory.resolve("out.safetensors");
    List<Object> words = new ArrayList<>(List.of("run", op, in, out, "--device", device));
    words.addAll(List.of("--repeat", 2));
    for (String parameter : parameters) {
      words.addAll(List.of("-p", parameter));
    }
    Cli.run(words.toArray()).succeeded();
    Map<String, Cli.Tensor> results = Cli.read(out);
    assertThat(results).containsOnlyKeys("d");
    return results.get("d");
  }

  /// Every way to give the same operands to gemm and grouped_gemm.
  private static Stream<String[]> forms() {
    return Stream.of(
        new String[] {},
        new String[] {"layout=prepared"},
        new String[] {"a_layout=packed", "layout=direct"},
        new String[] {"a_layout=packed", "layout=prepared", "batch_invariant=true"});
  }

  private double gamma(int depth) {
    return device.equals("cpu")
        ? GemmReference.gammaOfCpu(depth)
        : GemmReference.gammaOfTensorCores(depth);
  }

  private static float[] values(Cli.Tensor d) {
    return d.dtype() == SafetensorsDType.F32
        ? Cli.floats(d)
        : Bf16.decode(d.data().toArray(ValueLayout.JAVA_SHORT_UNALIGNED));
  }

  private static Map<String, Cli.Tensor> golden(String shape, String... names) throws IOException {
    Map<String, Cli.Tensor> all = Cli.read(Cli.goldens().resolve("nvfp4/gemm.safetensors"));
    Map<String, Cli.Tensor> some = new LinkedHashMap<>();
    for (String name : names) {
      some.put(name, all.get(shape + "." + name));
    }
    return some;
  }

  @ParameterizedTest
  @ValueSource(strings = {"5x8x64", "16x32x256"})
  void goldens(String shape) throws IOException {
    Map<String, Cli.Tensor> in =
        golden(shape, "a_packed", "a_scale", "a_gs", "b_packed", "b_scale", "b_ws2");
    Map<String, Cli.Tensor> others = golden(shape, "d_f64", "a_bf16_bits", "w4a16_f64");
    double[] exact = others.get("d_f64").data().toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
    for (String[] form : forms().toList()) {
      float[] d = values(run("gemm", in, form));
      for (int i = 0; i < exact.length; i++) {
        // The scales of these lie close together: the sum is exact.
        assertThat(Math.abs(d[i] - exact[i])).isLessThanOrEqualTo(0x1p-21 * Math.abs(exact[i]));
      }
      Cli.Tensor bf16 =
          run(
              "gemm",
              in,
              Stream.concat(Stream.of(form), Stream.of("dtype=bf16")).toArray(String[]::new));
      assertThat(bf16.dtype()).isEqualTo(SafetensorsDType.BF16);
      assertThat(values(bf16)).isEqualTo(Bf16.decode(Bf16.encode(d)));
    }
    Cli.Tensor bits = others.get("a_bf16_bits");
    Map<String, Cli.Tensor> wide = golden(shape, "b_packed", "b_scale", "b_ws2");
    wide.put("a", Cli.Tensor.of(SafetensorsDType.BF16, bits.data(), bits.shape()));
    // As checkpoints type and shape them.
    Cli.Tensor scale = wide.get("b_scale");
    wide.put("b_scale", Cli.Tensor.of(SafetensorsDType.F8_E4M3, scale.data(), scale.shape()));
    wide.put("b_ws2", Cli.Tensor.of(SafetensorsDType.F32, wide.get("b_ws2").data()));
    double[] expected = others.get("w4a16_f64").data().toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
    float[] d = values(run("gemm", wide, "a_layout=packed"));
    double largest = Arrays.stream(expected).map(Math::abs).max().orElse(0);
    for (int i = 0; i < d.length; i++) {
      assertThat(Math.abs(d[i] - expected[i])).isLessThanOrEqualTo(1e-4 * largest);
    }
  }

  /// Any codes, block scales of one binade.
  private Nvfp4Matrix any(int rows, int columns, GlobalScale kind) {
    byte[] codes = new byte[rows * columns / 2];
    random.nextBytes(codes);
    byte[] scales = new byte[rows * columns / 16];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = (byte) random.nextInt(0x38, 0x40);
    }
    float[] gs = new float[(int) kind.count(rows)];
    for (int i = 0; i < gs.length; i++) {
      gs[i] = (1 + random.nextFloat()) * 0x1p-8f;
    }
    return new Nvfp4Matrix(rows, columns, codes, scales, kind, gs);
  }

  /// A matrix in the request's names; `groups` are side by side in its columns.
  private static void putA(Map<String, Cli.Tensor> in, Nvfp4Matrix a, int groups) {
    long rows = a.rows();
    long columns = a.columns() / groups;
    boolean flat = groups == 1;
    in.put("a_packed", bytes(a.codes(), flat, rows, groups, columns / 2));
    in.put("a_scale", bytes(a.scales(), flat, rows, groups, columns / 16));
    in.put("a_gs", Cli.Tensor.floats(a.globalScales(), a.globalScales().length));
  }

  private static Cli.Tensor bytes(byte[] data, boolean flat, long x, long y, long z) {
    return flat ? Cli.Tensor.bytes(data, x, z) : Cli.Tensor.bytes(data, x, y, z);
  }

  private static void putB(Map<String, Cli.Tensor> in, List<Nvfp4Matrix> w, long... globals) {
    Nvfp4Matrix first = w.getFirst();
    in.put("b_packed", stack(w.stream().map(Nvfp4Matrix::codes).toList(), first.rows()));
    in.put("b_scale", stack(w.stream().map(Nvfp4Matrix::scales).toList(), first.rows()));
    float[] gs = new float[(int) Arrays.stream(globals).reduce(1, (x, y) -> x * y)];
    for (int i = 0; i < gs.length; i++) {
      int perGroup = first.globalScales().length;
      gs[i] = w.get(i / perGroup).globalScales()[i % perGroup];
    }
    in.put("b_ws2", Cli.Tensor.floats(gs, globals));
  }

  private static Cli.Tensor stack(List<byte[]> parts, long rows) {
    byte[] all = new byte[parts.size() * parts.getFirst().length];
    for (int g = 0; g < parts.size(); g++) {
      System.arraycopy(parts.get(g), 0, all, g * parts.get(g).length, parts.get(g).length);
    }
    return Cli.Tensor.bytes(all, parts.size(), rows, parts.getFirst().length / rows);
  }

  private void requireAllowed(GemmExpectation expected, Cli.Tensor d) {
    assertThat(expected.difference(values(d))).isNull();
  }

  @Test
  void halvesAndSwiglu() throws IOException {
    Nvfp4Matrix a = any(7, 512, GlobalScale.ROW);
    Nvfp4Matrix w = any(32, 512, GlobalScale.HALVES);
    float[] weight = {1, 0.5f, 2, 0, -1, 0.125f, 3};
    GemmProduct product = GemmReference.gemm(a, w);
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    putA(in, a, 1);
    putB(in, List.of(w), 2);
    in.put("b_packed", Cli.Tensor.bytes(w.codes(), 32, 256));
    in.put("b_scale", Cli.Tensor.bytes(w.scales(), 32, 32));
    requireAllowed(product.expect(DType.F32, gamma(512)), run("gemm", in));
    for (String[] form : forms().toList()) {
      String[] swiglu =
          Stream.concat(Stream.of(form), Stream.of("swiglu=true")).toArray(String[]::new);
      Cli.Tensor d = run("gemm", in, swiglu);
      assertThat(d.dtype()).isEqualTo(SafetensorsDType.BF16);
      assertThat(d.shape()).containsExactly(7, 16);
      requireAllowed(product.expectSwiglu(null, 10, gamma(512)), d);
    }
    in.put("row_weight", Cli.Tensor.floats(weight, 7));
    requireAllowed(
        product.expectSwiglu(weight, 0.5f, gamma(512)),
        run("gemm", in, "swiglu=true", "limit=0.5", "dtype=bf16"));
    requireAllowed(
        product.expectSwiglu(weight, 0, gamma(512)), run("gemm", in, "swiglu=true", "limit=0"));
  }

  @Test
  void expertsKeepRowsOfNobody() throws IOException {
    Nvfp4Matrix a = any(20, 64, GlobalScale.TENSOR);
    List<Nvfp4Matrix> w =
        List.of(
            any(16, 64, GlobalScale.HALVES),
            any(16, 64, GlobalScale.HALVES),
            any(16, 64, GlobalScale.HALVES));
    int[] offsets = {2, 9, 9, 17};
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    putA(in, a, 1);
    putB(in, w, 3, 2);
    in.put("offsets", Cli.Tensor.ints(offsets));
    GemmProduct product = GemmReference.grouped(a, w, offsets);
    for (String[] form : forms().toList()) {
      Cli.Tensor d = run("grouped_gemm", in, form);
      assertThat(d.shape()).containsExactly(20, 16);
      float[] actual = values(d);
      for (int i = 0; i < actual.length; i++) {
        if (i / 16 < 2 || i / 16 >= 17) {
          assertThat(actual[i]).as("a row of nobody").isZero();
          actual[i] = Float.NaN;
        }
      }
      assertThat(product.expect(DType.F32, gamma(64)).difference(actual)).isNull();
    }
    // One scale per expert, all rows, BF16 activations.
    float[] x = new float[20 * 64];
    for (int i = 0; i < x.length; i++) {
      x[i] = random.nextInt(-8, 9);
    }
    List<Nvfp4Matrix> each =
        List.of(any(16, 64, GlobalScale.GROUP), any(16, 64, GlobalScale.GROUP));
    Map<String, Cli.Tensor> wide = new LinkedHashMap<>();
    wide.put(
        "a", Cli.Tensor.of(SafetensorsDType.BF16, MemorySegment.ofArray(Bf16.encode(x)), 20, 64));
    putB(wide, each, 2);
    wide.put("offsets", Cli.Tensor.ints(0, 11, 20));
    GemmProduct bf16 = GemmReference.grouped(x, 20, 64, each, new int[] {0, 11, 20});
    requireAllowed(bf16.expect(DType.F32, gamma(64)), run("grouped_gemm", wide));
    requireAllowed(
        bf16.expectSwiglu(null, 10, gamma(64)),
        run("grouped_gemm", wide, "swiglu=true", "layout=prepared", "a_layout=packed"));
  }

  @Test
  void batchesHaveTheGroupsBetween() throws IOException {
    Nvfp4Matrix a = any(6, 3 * 48, GlobalScale.ROW);
    List<Nvfp4Matrix> w =
        List.of(
            any(8, 48, GlobalScale.GROUP),
            any(8, 48, GlobalScale.GROUP),
            any(8, 48, GlobalScale.GROUP));
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    putA(in, a, 3);
    putB(in, w, 3);
    Cli.Tensor d = run("batched_gemm", in);
    assertThat(d.shape()).containsExactly(6, 3, 8);
    requireAllowed(GemmReference.batched(a, w).expect(DType.F32, gamma(48)), d);
    Cli.Tensor rounded = run("batched_gemm", in, "dtype=bf16");
    assertThat(values(rounded)).isEqualTo(Bf16.decode(Bf16.encode(values(d))));
    float[] x = new float[6 * 144];
    for (int i = 0; i < x.length; i++) {
      x[i] = Bf16.round((float) random.nextGaussian());
    }
    Map<String, Cli.Tensor> wide = new LinkedHashMap<>();
    wide.put(
        "a", Cli.Tensor.of(SafetensorsDType.BF16, MemorySegment.ofArray(Bf16.encode(x)), 6, 3, 48));
    Nvfp4Matrix same = w.getFirst();
    putB(wide, List.of(same, same, same), 1);
    requireAllowed(
        GemmReference.batched(x, 6, 144, List.of(same, same, same)).expect(DType.F32, gamma(48)),
        run("batched_gemm", wide));
  }

  @Test
  void noRowsGiveNoRows() throws IOException {
    Nvfp4Matrix w = any(16, 32, GlobalScale.GROUP);
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    in.put("a", Cli.Tensor.of(SafetensorsDType.BF16, MemorySegment.ofArray(new byte[0]), 0, 32));
    putB(in, List.of(w), 1);
    in.put("offsets", Cli.Tensor.ints(0, 0));
    assertThat(run("grouped_gemm", in, "swiglu=true").shape()).containsExactly(0, 8);
    in.remove("offsets");
    in.put("b_packed", Cli.Tensor.bytes(w.codes(), 16, 16));
    in.put("b_scale", Cli.Tensor.bytes(w.scales(), 16, 2));
    assertThat(run("gemm", in, "layout=prepared").shape()).containsExactly(0, 16);
  }

  @Test
  void packedIsLinearBitForBit() throws IOException {
    Map<String, Cli.Tensor> in = new LinkedHashMap<>();
    putA(in, any(33, 256, GlobalScale.ROW), 1);
    Nvfp4Matrix w = any(40, 256, GlobalScale.TENSOR);
    in.put("b_packed", Cli.Tensor.bytes(w.codes(), 40, 128));
    in.put("b_scale", Cli.Tensor.bytes(w.scales(), 40, 16));
    in.put("b_ws2", Cli.Tensor.floats(w.globalScales(), 1));
    Cli.Tensor linear = run("gemm", in);
    for (String[] form : forms().toList()) {
      assertSame(Arrays.toString(form), run("gemm", in, form), linear);
    }
  }
}
