// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.Cli.assertSame;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ZeroScale;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import io.github.nvfp4j.checkpoint.SafetensorsFile;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.DequantizeReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.QuantizeReference;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class QuantizeCommandTest {
  @TempDir Path directory;
  private Path in;
  private Path out;

  @BeforeEach
  void paths() {
    in = directory.resolve("in.safetensors");
    out = directory.resolve("out.safetensors");
  }

  @Test
  void theSampleBecomesWhatTheReferenceSays() throws IOException {
    Cli.Result result = Cli.run("quantize", Cli.nano(), out).succeeded();
    assertThat(result.out())
        .containsPattern("(?m)^experts +288  128x256 \\(192\\), 256x128 \\(96\\) +20\\.\\d\\d ")
        .containsPattern("(?m)^total +359 +20\\.\\d\\d +23,476,224 +6,604,124$")
        .contains("device  cpu (");
    Map<String, Cli.Tensor> before = Cli.read(Cli.nano());
    Map<String, Cli.Tensor> after = Cli.read(out);
    int quantized = 0;
    int kept = 0;
    for (Map.Entry<String, Cli.Tensor> tensor : before.entrySet()) {
      String name = tensor.getKey();
      if (after.containsKey(name + "_scale")) {
        quantized++;
        assertEqualsReference(name, tensor.getValue(), after);
      } else {
        kept++;
        assertSame(name, after.get(name), tensor.getValue());
      }
    }
    assertThat(quantized).isEqualTo(359);
    assertThat(kept).isEqualTo(99);
    assertThat(after).hasSize(3 * quantized + kept);
  }

  private static void assertEqualsReference(
      String name, Cli.Tensor weight, Map<String, Cli.Tensor> after) {
    int rows = (int) weight.shape()[0];
    int columns = (int) weight.shape()[1];
    float[] x = Bf16.decode(weight.data().toArray(ValueLayout.JAVA_SHORT_UNALIGNED));
    Nvfp4Matrix expected =
        QuantizeReference.dynamic(
            x, rows, columns, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN);
    assertSame(name, after.get(name), Cli.Tensor.bytes(expected.codes(), rows, columns / 2));
    MemorySegment scales = MemorySegment.ofArray(expected.scales());
    assertSame(
        name,
        after.get(name + "_scale"),
        Cli.Tensor.of(SafetensorsDType.F8_E4M3, scales, rows, columns / 16));
    assertSame(name, after.get(name + "_scale_2"), Cli.Tensor.floats(expected.globalScales()));
    // And the file decodes to what the reference decodes to, within half a step of the weights.
    Nvfp4Matrix written =
        new Nvfp4Matrix(
            rows,
            columns,
            Cli.bytes(after.get(name)),
            Cli.bytes(after.get(name + "_scale")),
            GlobalScale.TENSOR,
            Cli.floats(after.get(name + "_scale_2")));
    assertThat(DequantizeReference.dequantize(written, DType.F32))
        .isEqualTo(DequantizeReference.dequantize(expected, DType.F32));
  }

  @Test
  void twiceIsTheSameFileOnAnyNumberOfThreads() throws IOException {
    Path again = directory.resolve("again.safetensors");
    Cli.run("quantize", Cli.nano(), out).succeeded();
    Cli.run("quantize", Cli.nano(), again, "--threads", "3").succeeded();
    assertThat(Files.mismatch(out, again)).isEqualTo(-1);
    assertThat(Cli.files(directory)).containsExactly("again.safetensors", "out.safetensors");
  }

  @Test
  @Gpu
  void theGpuWritesTheSameFile() throws IOException {
    Path gpu = directory.resolve("gpu.safetensors");
    Cli.run("quantize", Cli.nano(), out).succeeded();
    Cli.Result result = Cli.run("quantize", Cli.nano(), gpu, "--device", "cuda:0").succeeded();
    assertThat(result.out()).contains("device  cuda:0 (");
    assertThat(Files.mismatch(out, gpu)).isEqualTo(-1);
  }

  @Test
  void metadataIsKeptAndSaysHow() throws IOException {
    Cli.run("quantize", Cli.nano(), out).succeeded();
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile file = SafetensorsFile.open(out, arena);
      assertThat(file.metadata()).containsEntry("format", "pt");
      JsonNode note = new ObjectMapper().readTree(file.metadata().get("nvfp4j.quantization"));
      assertThat(note.get("format").asText()).isEqualTo("nvfp4");
      assertThat(note.get("tensors").asInt()).isEqualTo(359);
      for (SafetensorsEntry entry : file.entries()) {
        assertThat(file.isAligned(entry.name(), entry.dtype().alignment()))
            .as(entry.name())
            .isTrue();
      }
    }
  }

  @Test
  void jsonSaysWhatTheTableSays() throws IOException {
    Cli.Result result = Cli.run("quantize", Cli.nano(), out, "--json").succeeded();
    JsonNode json = new ObjectMapper().readTree(result.out());
    assertThat(json.get("device").asText()).isEqualTo("cpu");
    assertThat(json.get("quantized_total").get("count").asInt()).isEqualTo(359);
    assertThat(json.get("copied_total").get("count").asInt()).isEqualTo(99);
    assertThat(json.get("quantized_total").get("snr_db").asDouble()).isBetween(20.0, 21.0);
    assertThat(json.get("file_bytes_before").asLong()).isEqualTo(Files.size(Cli.nano()));
    assertThat(json.get("file_bytes_after").asLong()).isEqualTo(Files.size(out));
    JsonNode experts = json.get("quantized").get(0);
    assertThat(experts.get("class").asText()).isEqualTo("experts");
    assertThat(experts.get("shapes").size()).isEqualTo(2);
    assertThat(json.get("seconds").asDouble())
        .isGreaterThan(json.get("quantize_seconds").asDouble());
    List<String> reasons = new ArrayList<>();
    json.get("copied").forEach(row -> reasons.add(row.get("reason").asText()));
    assertThat(reasons)
        .containsExactly(
            "other types",
            "embeddings",
            "router gates",
            "hyper-connections",
            "norms",
            "position biases",
            "not matrices");
  }

  @Test
  void includeReplacesTheListAndExcludeTakesAway() throws IOException {
    Cli.run("quantize", Cli.nano(), out, "--include", "ffn\\.experts\\.", "--exclude", "w2")
        .succeeded();
    Map<String, Cli.Tensor> after = Cli.read(out);
    assertThat(after.keySet().stream().filter(name -> name.endsWith("_scale_2")))
        .hasSize(192)
        .allMatch(name -> name.matches(".*\\.ffn\\.experts\\.\\d+\\.w[13]\\.weight_scale_2"));
  }

  @Test
  void whatIsNeverQuantizedIsNotEvenWhenIncluded() throws IOException {
    Cli.run("quantize", Cli.nano(), out, "--include", ".").succeeded();
    Map<String, Cli.Tensor> after = Cli.read(out);
    assertThat(after.keySet().stream().filter(name -> name.endsWith("_scale_2"))).hasSize(359);
  }

  @Test
  void everyFloatTypeAndAnyAlignmentIsRead() throws IOException {
    Random random = new Random(5);
    float[] x = new float[32 * 48];
    for (int i = 0; i < x.length; i++) {
      x[i] = Bf16.round((float) random.nextGaussian());
    }
    MemorySegment bf16 = MemorySegment.ofArray(Bf16.encode(x));
    Map<String, Cli.Tensor> tensors = new LinkedHashMap<>();
    tensors.put("a", Cli.Tensor.bytes(new byte[] {7}, 1)); // what follows lies at odd offsets
    tensors.put("f32.w1.weight", Cli.Tensor.floats(x, 32, 48));
    tensors.put("b", Cli.Tensor.bytes(new byte[] {8}, 1));
    tensors.put("bf16.w1.weight", Cli.Tensor.of(SafetensorsDType.BF16, bf16, 32, 48));
    tensors.put("f64.w1.weight", zeros(SafetensorsDType.F64, 16, 16));
    tensors.put("three.w1.weight", zeros(SafetensorsDType.BF16, 2, 16, 16));
    tensors.put("odd.w1.weight", zeros(SafetensorsDType.BF16, 16, 24));
    tensors.put("empty.w1.weight", zeros(SafetensorsDType.BF16, 0, 16));
    tensors.put("zero.w1.weight", zeros(SafetensorsDType.F16, 16, 16));
    Cli.write(in, tensors);
    Cli.run("quantize", in, out).succeeded();
    Map<String, Cli.Tensor> after = Cli.read(out);
    for (String type : List.of("f32", "bf16")) {
      Nvfp4Matrix expected =
          QuantizeReference.dynamic(x, 32, 48, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN);
      assertThat(Cli.bytes(after.get(type + ".w1.weight"))).isEqualTo(expected.codes());
      assertThat(Cli.floats(after.get(type + ".w1.weight_scale_2")))
          .isEqualTo(expected.globalScales());
    }
    assertThat(Cli.floats(after.get("zero.w1.weight_scale_2"))).containsExactly(1f);
    for (String name : List.of("a", "b", "f64.w1.weight", "three.w1.weight", "odd.w1.weight")) {
      assertSame(name, after.get(name), tensors.get(name));
    }
    assertThat(after).doesNotContainKeys("empty.w1.weight_scale", "f64.w1.weight_scale");
  }

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    SafetensorsEntry entry = new SafetensorsEntry("zeros", dtype, shape);
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) entry.byteSize()]), shape);
  }

  @Test
  void aFaultInTheWeightsIsExitOneAndNamesTheTensor() throws IOException {
    float[] x = new float[64];
    x[33] = Float.POSITIVE_INFINITY;
    Cli.write(
        in,
        Map.of(
            "good.w1.weight", Cli.Tensor.floats(new float[64], 2, 32),
            "bad.w1.weight", Cli.Tensor.floats(x, 2, 32)));
    Cli.run("quantize", in, out).failed(1, "bad.w1.weight: quantize:");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  @Test
  void refusesBadUsageAndBadFiles() throws IOException {
    Cli.run("quantize", in, out).failed(2, in + ": no such file");
    Cli.run("quantize", in).failed(2, "nvfp4j quantize: Missing required parameter: 'OUT'");
    Cli.run("quantize", Cli.nano(), out, "--include", "(")
        .failed(2, "quantize: --include is (, expected a regular expression: Unclosed group");
    Cli.run("quantize", Cli.nano(), out, "--device", "cuda")
        .failed(2, "--device is cuda, expected cpu or cuda:N");
    Cli.run("quantize", Cli.nano(), out, "--exclude", ".")
        .failed(2, "has no tensor to quantise among its 458, expected one that");
    Cli.run("quantize", Cli.nano(), out, "--device", "cuda:999").failed(3, "cuda:999");
    assertThat(Cli.files(directory)).isEmpty();

    Cli.write(in, Map.of("x.w1.weight", Cli.Tensor.floats(new float[64], 2, 32)));
    Cli.run("quantize", in, in).failed(2, "quantize: OUT is " + in + ", which is IN");
    Path link = Files.createSymbolicLink(directory.resolve("link"), in);
    Cli.run("quantize", in, link).failed(2, "quantize: OUT is " + link + ", which is IN");
    Cli.run("quantize", link, in).failed(2, "quantize: OUT is " + in + ", which is IN");
    Cli.run("quantize", in, directory).failed(2, directory + ": is not a regular file");
    Cli.run("quantize", in, "/dev/null").failed(2, "/dev/null: is not a regular file");
    Cli.run("quantize", in, directory.resolve("no/out")).failed(2, "no: no such directory");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "link");

    byte[] bytes = Files.readAllBytes(in);
    Files.write(in, Arrays.copyOf(bytes, bytes.length - 1));
    Cli.run("quantize", in, out).failed(2, in + ": header, near character");
    Cli.write(
        in,
        Map.of(
            "x.w1.weight", Cli.Tensor.floats(new float[64], 2, 32),
            "x.w1.weight_scale", Cli.Tensor.floats(new float[1], 1)));
    Cli.run("quantize", in, out)
        .failed(2, "has a tensor x.w1.weight_scale, the name of a scale to be written");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "link");
  }

  @Test
  void anOldOutputIsReplacedOnlyByAWholeNewOne() throws IOException {
    Files.writeString(out, "old");
    float[] nan = new float[64];
    nan[0] = Float.NaN;
    Cli.write(in, Map.of("x.w1.weight", Cli.Tensor.floats(nan, 2, 32)));
    Cli.run("quantize", in, out).failed(1, "x.w1.weight:");
    assertThat(out).hasContent("old");
    Cli.write(in, Map.of("x.w1.weight", Cli.Tensor.floats(new float[64], 2, 32)));
    Cli.run("quantize", in, out).succeeded();
    assertThat(Cli.read(out)).containsKey("x.w1.weight_scale");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "out.safetensors");
  }

  @Test
  void theNoiseIsThatOfADirectComputation() throws IOException {
    Random random = new Random(11);
    float[] x = new float[200 * 64];
    for (int i = 0; i < x.length; i++) {
      x[i] = (float) random.nextGaussian();
    }
    Cli.write(in, Map.of("x.w1.weight", Cli.Tensor.floats(x, 200, 64)));
    Cli.Result result = Cli.run("quantize", in, out, "--json").succeeded();
    Nvfp4Matrix q =
        QuantizeReference.dynamic(x, 200, 64, GlobalScale.TENSOR, Recipe.EXACT, ZeroScale.MIN);
    float[] y = DequantizeReference.dequantize(q, DType.F32);
    double signal = 0;
    double noise = 0;
    for (int i = 0; i < x.length; i++) {
      signal += (double) x[i] * x[i];
      noise += ((double) x[i] - y[i]) * ((double) x[i] - y[i]);
    }
    double decibels = 10 * Math.log10(signal / noise);
    assertThat(decibels).isBetween(20.2, 20.7); // Gaussian: 20.43
    double printed =
        new ObjectMapper().readTree(result.out()).get("quantized_total").get("snr_db").asDouble();
    assertThat(printed).isCloseTo(decibels, within(1e-9));
  }
}
