// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ZeroScale;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The golden vectors through `nvfp4j run`, bit for bit; the device is the subclass'.
abstract class RunGoldens {
  private final String device;

  @TempDir Path directory;

  RunGoldens(String device) {
    this.device = device;
  }

  static Stream<String> quantizeCases() throws IOException {
    List<String> names;
    try (Stream<Path> files = Files.list(Cli.goldens().resolve("nvfp4"))) {
      names = files.map(file -> file.getFileName().toString()).toList();
    }
    List<String> cases = names.stream().filter(name -> name.startsWith("quantize_")).toList();
    assertThat(cases).as("golden files").hasSizeGreaterThanOrEqualTo(15);
    return cases.stream().sorted();
  }

  private static Map<String, Cli.Tensor> golden(String file) throws IOException {
    return Cli.read(Cli.goldens().resolve(file));
  }

  private Map<String, Cli.Tensor> run(
      String op, Map<String, Cli.Tensor> inputs, String... parameters) throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), inputs);
    Path out = directory.resolve("out.safetensors");
    Object[] words = {"run", op, in, out, "--device", device, "--repeat", 2};
    Object[] all = Stream.concat(Arrays.stream(words), Stream.of(parameters)).toArray();
    Cli.run(all).succeeded();
    return Cli.read(out);
  }

  @ParameterizedTest
  @MethodSource("quantizeCases")
  void quantizeEqualsTheExactDefinition(String file) throws IOException {
    Map<String, Cli.Tensor> golden = golden("nvfp4/" + file);
    Map<String, Cli.Tensor> out =
        run("quantize", Map.of("input", golden.get("input")), "-p", "dequantize=true");
    for (String name : List.of("packed", "scale", "gs", "dq")) {
      assertSame(name, out.get(name), golden.get("spec_exact." + name));
    }
  }

  @ParameterizedTest
  @MethodSource("quantizeCases")
  void transformerEnginesRecipeEqualsIts(String file) throws IOException {
    Map<String, Cli.Tensor> golden = golden("nvfp4/" + file);
    Map<String, Cli.Tensor> out =
        run("quantize", Map.of("input", golden.get("input")), "-p", "recipe=te_exact");
    assertSame("scale", out.get("scale"), golden.get("te.scale"));
    // Its kernels differ among themselves in the sign of a zero.
    byte[] actual = withoutNegativeZeros(Cli.bytes(out.get("packed")));
    assertThat(actual).isEqualTo(withoutNegativeZeros(Cli.bytes(golden.get("te.packed"))));
  }

  private static byte[] withoutNegativeZeros(byte[] packed) {
    byte[] codes = packed.clone();
    for (int i = 0; i < codes.length; i++) {
      int low = codes[i] & 15;
      int high = codes[i] >>> 4 & 15;
      codes[i] = (byte) ((low == 8 ? 0 : low) | (high == 8 ? 0 : high) << 4);
    }
    return codes;
  }

  @ParameterizedTest
  @MethodSource("quantizeCases")
  void aGivenGlobalScaleIsUsedForTheTensorAndForEachRow(String file) throws IOException {
    Map<String, Cli.Tensor> golden = golden("nvfp4/" + file);
    Cli.Tensor input = golden.get("input");
    Cli.Tensor gs = golden.get("spec_exact.gs");
    Map<String, Cli.Tensor> inputs = new LinkedHashMap<>();
    inputs.put("input", input);
    inputs.put("gs", gs);
    Map<String, Cli.Tensor> tensor = run("quantize", inputs);
    float[] rows = new float[(int) input.shape()[0]];
    Arrays.fill(rows, Cli.floats(gs)[0]);
    inputs.put("gs", Cli.Tensor.floats(rows, rows.length));
    Map<String, Cli.Tensor> row = run("quantize", inputs, "-p", "global=row");
    for (String name : List.of("packed", "scale")) {
      assertSame(name, tensor.get(name), golden.get("spec_exact." + name));
      assertSame(name, row.get(name), golden.get("spec_exact." + name));
    }
    assertSame("gs", row.get("gs"), inputs.get("gs"));
  }

  @ParameterizedTest
  @MethodSource("quantizeCases")
  void perRowEqualsEachRowAlone(String file) throws IOException {
    Cli.Tensor input = golden("nvfp4/" + file).get("input");
    int rows = (int) input.shape()[0];
    int columns = (int) input.shape()[1];
    float[] x =
        input.dtype() == SafetensorsDType.F32
            ? Cli.floats(input)
            : Bf16.decode(input.data().toArray(ValueLayout.JAVA_SHORT_UNALIGNED));
    Map<String, Cli.Tensor> out =
        run("quantize", Map.of("input", input), "-p", "global=row", "-p", "scale_layout=linear");
    byte[] packed = Cli.bytes(out.get("packed"));
    byte[] scale = Cli.bytes(out.get("scale"));
    float[] gs = Cli.floats(out.get("gs"));
    assertThat(out.get("gs").shape()).containsExactly(rows);
    for (int row = 0; row < rows; row++) {
      float[] one = Arrays.copyOfRange(x, row * columns, (row + 1) * columns);
      Nvfp4Matrix expected =
          QuantizeReference.dynamic(
              one, 1, columns, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN);
      int half = columns / 2;
      int blocks = columns / 16;
      assertThat(Arrays.copyOfRange(packed, row * half, (row + 1) * half))
          .as("codes of row %d", row)
          .isEqualTo(expected.codes());
      assertThat(Arrays.copyOfRange(scale, row * blocks, (row + 1) * blocks))
          .as("scales of row %d", row)
          .isEqualTo(expected.scales());
      assertThat(Float.floatToRawIntBits(gs[row]))
          .as("global scale of row %d", row)
          .isEqualTo(Float.floatToRawIntBits(expected.globalScales()[0]));
    }
  }

  @ParameterizedTest
  @MethodSource("quantizeCases")
  void dequantizeDecodesTheGoldens(String file) throws IOException {
    Map<String, Cli.Tensor> golden = golden("nvfp4/" + file);
    Map<String, Cli.Tensor> inputs = new LinkedHashMap<>();
    for (String name : List.of("packed", "scale", "gs")) {
      inputs.put(name, golden.get("spec_exact." + name));
    }
    assertSame("output", run("dequantize", inputs).get("output"), golden.get("spec_exact.dq"));
    // The scales as checkpoints type them, the global scale as they shape it.
    Cli.Tensor scale = inputs.get("scale");
    Cli.Tensor gs = inputs.get("gs");
    inputs.put("scale", Cli.Tensor.of(SafetensorsDType.F8_E4M3, scale.data(), scale.shape()));
    inputs.put("gs", Cli.Tensor.of(SafetensorsDType.F32, gs.data()));
    assertSame("output", run("dequantize", inputs).get("output"), golden.get("spec_exact.dq"));
  }

  @Test
  void scalesSwizzleAndBackAsTheGoldensDo() throws IOException {
    Map<String, Cli.Tensor> golden = golden("nvfp4/layouts.safetensors");
    int shapes = 0;
    for (String name : golden.keySet()) {
      if (!name.startsWith("linear_")) {
        continue;
      }
      shapes++;
      Cli.Tensor linear = golden.get(name);
      Cli.Tensor swizzled = golden.get(name.replace("linear_", "sw128x4_"));
      assertSame(name, run("swizzle", Map.of("scale", linear)).get("scale"), swizzled);
      String rows = "rows=" + linear.shape()[0];
      String cols = "cols=" + linear.shape()[1];
      assertSame(
          name,
          run("unswizzle", Map.of("scale", swizzled), "-p", rows, "-p", cols).get("scale"),
          linear);
    }
    assertThat(shapes).isEqualTo(7);
  }

  @Test
  void swizzledScalesAreTheLinearOnesSwizzled() throws IOException {
    Map<String, Cli.Tensor> input =
        Map.of("input", golden("nvfp4/quantize_odd_rows_130x272_bf16.safetensors").get("input"));
    Map<String, Cli.Tensor> linear = run("quantize", input);
    Map<String, Cli.Tensor> swizzled =
        run("quantize", input, "-p", "scale_layout=swizzled", "-p", "dequantize=true");
    assertSame("packed", swizzled.get("packed"), linear.get("packed"));
    assertSame(
        "scale",
        swizzled.get("scale"),
        run("swizzle", Map.of("scale", linear.get("scale"))).get("scale"));
    Cli.Tensor dq = swizzled.remove("dq");
    assertSame("dq", run("dequantize", swizzled, "-p", "scale_layout=swizzled").get("output"), dq);
  }

  @Test
  void swigluEqualsTheGoldenWithinAnUlpAndQuantizesAsTheTwoOpsInTurn() throws IOException {
    Map<String, Cli.Tensor> golden = golden("deepseek_v4/swiglu_clamp.safetensors");
    Map<String, Cli.Tensor> gateUp = Map.of("gate_up", golden.get("gate_up"));
    Cli.Tensor output = run("swiglu", gateUp).get("output");
    float[] y = Cli.floats(output);
    float[] expected = Cli.floats(golden.get("y"));
    assertThat(y).hasSameSizeAs(expected);
    for (int i = 0; i < y.length; i++) {
      // The golden's exp is another library's.
      assertThat(Math.abs(y[i] - expected[i]))
          .as("element %d", i)
          .isLessThanOrEqualTo(4 * Math.ulp(expected[i]));
    }
    Map<String, Cli.Tensor> inTurn = run("quantize", Map.of("input", output));
    Map<String, Cli.Tensor> fused = run("swiglu_quantize", gateUp);
    for (String name : List.of("packed", "scale", "gs")) {
      assertSame(name, fused.get(name), inTurn.get(name));
    }
  }

  @Test
  void gatheredRowsAreThoseRows() throws IOException {
    Cli.Tensor input = golden("nvfp4/quantize_gauss_f32.safetensors").get("input");
    int columns = (int) input.shape()[1];
    int[] ids = {32, 0, 7, 7, 1};
    MemorySegment gathered = MemorySegment.ofArray(new float[ids.length * columns]);
    for (int i = 0; i < ids.length; i++) {
      long row = 4L * columns;
      MemorySegment.copy(input.data(), ids[i] * row, gathered, i * row, row);
    }
    Cli.Tensor dense = Cli.Tensor.of(SafetensorsDType.F32, gathered, ids.length, columns);
    for (String global : List.of("global=tensor", "global=row")) {
      Map<String, Cli.Tensor> out =
          run("quantize", Map.of("input", input, "rows", Cli.Tensor.ints(ids)), "-p", global);
      Map<String, Cli.Tensor> expected = run("quantize", Map.of("input", dense), "-p", global);
      for (String name : List.of("packed", "scale", "gs")) {
        assertSame(name, out.get(name), expected.get(name));
      }
    }
    // Given scales are those of the input's rows.
    float[] scales = new float[33];
    float[] gatheredScales = new float[ids.length];
    for (int i = 0; i < scales.length; i++) {
      scales[i] = 0.001f * (i + 1);
    }
    for (int i = 0; i < ids.length; i++) {
      gatheredScales[i] = scales[ids[i]];
    }
    Map<String, Cli.Tensor> inputs = new LinkedHashMap<>();
    inputs.put("input", input);
    inputs.put("rows", Cli.Tensor.ints(ids));
    inputs.put("gs", Cli.Tensor.floats(scales, scales.length));
    Map<String, Cli.Tensor> out = run("quantize", inputs, "-p", "global=row");
    Map<String, Cli.Tensor> expected =
        run(
            "quantize",
            Map.of("input", dense, "gs", Cli.Tensor.floats(gatheredScales, ids.length)),
            "-p",
            "global=row");
    for (String name : List.of("packed", "scale", "gs")) {
      assertSame(name, out.get(name), expected.get(name));
    }
  }

  @Test
  void aRowStrideSkipsThePadding() throws IOException {
    Map<String, Cli.Tensor> golden = golden("nvfp4/quantize_gauss_f32.safetensors");
    int rows = 33;
    int columns = 272;
    for (int stride : new int[] {273, 287, 300}) {
      float[] padded = new float[rows * stride];
      Arrays.fill(padded, Float.NaN); // which a kernel would report
      float[] x = Cli.floats(golden.get("input"));
      for (int row = 0; row < rows; row++) {
        System.arraycopy(x, row * columns, padded, row * stride, columns);
      }
      Map<String, Cli.Tensor> input = Map.of("input", Cli.Tensor.floats(padded, rows, stride));
      String strideWord = "row_stride=" + stride;
      Map<String, Cli.Tensor> out =
          stride < 288
              ? run("quantize", input, "-p", strideWord)
              : run("quantize", input, "-p", strideWord, "-p", "cols=" + columns);
      for (String name : List.of("packed", "scale", "gs")) {
        assertSame(name, out.get(name), golden.get("spec_exact." + name));
      }
    }
  }

  @Test
  void noRowsGiveNoRows() throws IOException {
    Map<String, Cli.Tensor> none = Map.of("input", Cli.Tensor.floats(new float[0], 0, 32));
    Map<String, Cli.Tensor> out = run("quantize", none, "-p", "dequantize=true");
    assertThat(out.get("packed").shape()).containsExactly(0, 16);
    assertThat(out.get("scale").shape()).containsExactly(0, 2);
    assertThat(out.get("dq").shape()).containsExactly(0, 32);
    assertThat(Cli.floats(out.get("gs"))).containsExactly(1f);
    Map<String, Cli.Tensor> gateUp = Map.of("gate_up", Cli.Tensor.floats(new float[0], 0, 64));
    assertThat(run("swiglu", gateUp).get("output").shape()).containsExactly(0, 32);
  }
}
