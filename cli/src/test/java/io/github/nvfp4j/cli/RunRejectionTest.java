// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// What `nvfp4j run` refuses: exit 2 (1 where a kernel reports), one sentence, no file.
class RunRejectionTest {
  @TempDir Path directory;
  private Path in;
  private Path out;

  @BeforeEach
  void paths() {
    in = directory.resolve("in.safetensors");
    out = directory.resolve("out.safetensors");
  }

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    long bytes = dtype.bits() / 8;
    for (long dimension : shape) {
      bytes *= dimension;
    }
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) bytes]), shape);
  }

  private static Map<String, Cli.Tensor> tensors(Object... namesAndTensors) {
    Map<String, Cli.Tensor> tensors = new LinkedHashMap<>();
    for (int i = 0; i < namesAndTensors.length; i += 2) {
      tensors.put((String) namesAndTensors[i], (Cli.Tensor) namesAndTensors[i + 1]);
    }
    return tensors;
  }

  static Stream<Arguments> refused() {
    SafetensorsDType f32 = SafetensorsDType.F32;
    SafetensorsDType u8 = SafetensorsDType.U8;
    Cli.Tensor x = zeros(f32, 4, 32);
    Cli.Tensor packed = zeros(u8, 4, 16);
    Cli.Tensor scale = zeros(u8, 4, 2);
    Cli.Tensor gs = zeros(f32, 1);
    return Stream.of(
        // quantize
        Arguments.of(
            "quantize",
            tensors(),
            "",
            "quantize: tensor input is missing, expected BF16 or F16 or F32 [T, K]"),
        Arguments.of(
            "quantize",
            tensors("input", zeros(SafetensorsDType.F64, 4, 32)),
            "",
            "quantize: tensor input is F64 [4, 32], expected BF16 or F16 or F32 [T, K]"),
        Arguments.of(
            "quantize",
            tensors("input", zeros(SafetensorsDType.I64, 4, 32)),
            "",
            "quantize: tensor input is I64 [4, 32], expected"),
        Arguments.of(
            "quantize",
            tensors("input", zeros(f32, 32)),
            "",
            "quantize: tensor input is F32 [32], expected BF16 or F16 or F32 [T, K]"),
        Arguments.of(
            "quantize",
            tensors("input", zeros(f32, 1, 4, 32)),
            "",
            "quantize: tensor input is F32 [1, 4, 32], expected"),
        Arguments.of(
            "quantize",
            tensors("input", zeros(f32, 4, 24)),
            "",
            "quantize: tensor input is F32 [4, 24], expected a positive multiple of 16 columns, has"
                + " 24"),
        Arguments.of(
            "quantize",
            tensors("input", zeros(f32, 4, 0)),
            "",
            "quantize: tensor input is F32 [4, 0], expected a positive multiple of 16 columns"),
        Arguments.of(
            "quantize",
            tensors("input", x, "a\u001b[31m\u202eb\nc", gs),
            "",
            "quantize: tensor a\\u001b[31m\\u202eb; c is unknown, expected input, rows, gs"),
        Arguments.of(
            "quantize",
            tensors("input", x, "other", gs),
            "",
            "quantize: tensor other is unknown, expected input, rows, gs"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "speed=fast",
            "quantize: parameter speed is unknown, expected row_stride, cols, global, recipe,"
                + " zero_scale, scale_layout, dequantize"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "global=column",
            "quantize: parameter global is column, expected tensor or row"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "recipe=fast",
            "quantize: parameter recipe is fast, expected exact or te_exact"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "zero_scale=max",
            "quantize: parameter zero_scale is max, expected min or flush"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "scale_layout=8x4",
            "quantize: parameter scale_layout is 8x4, expected linear or swizzled"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "dequantize=yes",
            "quantize: parameter dequantize is yes, expected false or true"),
        Arguments.of(
            "quantize", tensors("input", x), "dequantize", "parameter is dequantize, expected"),
        Arguments.of("quantize", tensors("input", x), "=x", "parameter is =x, expected NAME=VALUE"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "global=row global=row",
            "quantize: parameter global is given twice, expected once"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "row_stride=40",
            "quantize: tensor input is F32 [4, 32], expected [T, 40] (row_stride=40)"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "row_stride=-1",
            "quantize: parameter row_stride is -1, expected an integer >= 0"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "row_stride=3e1",
            "quantize: parameter row_stride is 3e1, expected an integer >= 0"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "row_stride=32 cols=24",
            "quantize: tensor input is F32 [4, 32], expected a positive multiple of 16 columns, has"
                + " 24"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "row_stride=32 cols=48",
            "quantize: parameter cols is 48, expected at most row_stride=32"),
        Arguments.of(
            "quantize",
            tensors("input", x),
            "cols=16",
            "quantize: parameter cols is given without row_stride, expected both"),
        Arguments.of(
            "quantize",
            tensors("input", x, "gs", zeros(f32, 4)),
            "",
            "quantize: tensor gs is F32 [4], expected F32 [1] (global=tensor)"),
        Arguments.of(
            "quantize",
            tensors("input", x, "gs", gs),
            "global=row",
            "quantize: tensor gs is F32 [1], expected F32 [4] (global=row)"),
        Arguments.of(
            "quantize",
            tensors("input", x, "gs", zeros(f32, 2, 2)),
            "global=row",
            "quantize: tensor gs is F32 [2, 2], expected F32 [4] (global=row)"),
        Arguments.of(
            "quantize",
            tensors("input", x, "gs", zeros(SafetensorsDType.F16, 1)),
            "",
            "quantize: tensor gs is F16 [1], expected F32 [1]"),
        Arguments.of(
            "quantize",
            tensors("input", x, "rows", zeros(SafetensorsDType.I64, 2)),
            "",
            "quantize: tensor rows is I64 [2], expected I32 [R]"),
        Arguments.of(
            "quantize",
            tensors("input", x, "rows", zeros(SafetensorsDType.I32, 2, 1)),
            "",
            "quantize: tensor rows is I32 [2, 1], expected I32 [R]"),
        // dequantize
        Arguments.of(
            "dequantize",
            tensors("scale", scale, "gs", gs),
            "",
            "dequantize: tensor packed is missing, expected U8 [T, K/2]"),
        Arguments.of(
            "dequantize",
            tensors("packed", zeros(u8, 4, 12), "scale", scale, "gs", gs),
            "",
            "dequantize: tensor packed is U8 [4, 12], expected a positive multiple of 8 bytes per"
                + " row"),
        Arguments.of(
            "dequantize",
            tensors("packed", zeros(u8, 4, 0), "scale", scale, "gs", gs),
            "",
            "dequantize: tensor packed is U8 [4, 0], expected a positive multiple of 8 bytes"),
        Arguments.of(
            "dequantize",
            tensors("packed", packed, "scale", zeros(u8, 4, 3), "gs", gs),
            "",
            "dequantize: tensor scale is U8 [4, 3], expected U8 or F8_E4M3 [4, 2]"),
        Arguments.of(
            "dequantize",
            tensors("packed", packed, "scale", scale, "gs", gs),
            "scale_layout=swizzled",
            "dequantize: tensor scale is U8 [4, 2], expected U8 or F8_E4M3 [512] (swizzled, 4 rows"
                + " of 2 scales)"),
        Arguments.of(
            "dequantize",
            tensors("packed", packed, "scale", scale),
            "",
            "dequantize: tensor gs is missing, expected F32 [1] or [T]"),
        Arguments.of(
            "dequantize",
            tensors("packed", packed, "scale", scale, "gs", zeros(f32, 3)),
            "",
            "dequantize: tensor gs is F32 [3], expected F32 [1] or [4]"),
        Arguments.of(
            "dequantize",
            tensors("packed", packed, "scale", scale, "gs", gs),
            "dtype=f64",
            "dequantize: parameter dtype is f64, expected f32 or bf16 or f16"),
        // swizzle, unswizzle
        Arguments.of(
            "swizzle",
            tensors("scale", zeros(f32, 4, 2)),
            "",
            "swizzle: tensor scale is F32 [4, 2], expected U8 or F8_E4M3 [T, K/16]"),
        Arguments.of(
            "swizzle",
            tensors("scale", scale),
            "rows=4",
            "swizzle: parameter rows is unknown, expected none"),
        Arguments.of(
            "unswizzle",
            tensors("scale", zeros(u8, 512)),
            "cols=2",
            "unswizzle: parameter rows is missing, expected an integer >= 0"),
        Arguments.of(
            "unswizzle",
            tensors("scale", zeros(u8, 512)),
            "rows=129 cols=2",
            "unswizzle: tensor scale is U8 [512], expected U8 or F8_E4M3 [1024] (swizzled, 129"
                + " rows of 2 scales)"),
        Arguments.of(
            "unswizzle",
            tensors("scale", zeros(u8, 512)),
            "rows=9223372036854775807 cols=2",
            "expected below 2^63 bytes"),
        Arguments.of(
            "unswizzle",
            tensors("scale", zeros(u8, 512)),
            "rows=1 cols=9223372036854775807",
            "unswizzle: parameter cols is 9223372036854775807, expected K/16"),
        // swiglu, swiglu_quantize
        Arguments.of(
            "swiglu",
            tensors("gate_up", zeros(SafetensorsDType.F16, 4, 32)),
            "",
            "swiglu: tensor gate_up is F16 [4, 32], expected BF16 or F32 [T, 2I]"),
        Arguments.of(
            "swiglu",
            tensors("gate_up", zeros(f32, 4, 31)),
            "",
            "swiglu: tensor gate_up is F32 [4, 31], expected an even number of columns"),
        Arguments.of(
            "swiglu",
            tensors("gate_up", x, "weight", zeros(f32, 3)),
            "",
            "swiglu: tensor weight is F32 [3], expected F32 [4]"),
        Arguments.of(
            "swiglu",
            tensors("gate_up", x),
            "limit=-1",
            "swiglu: parameter limit is -1, expected a finite number >= 0"),
        Arguments.of(
            "swiglu",
            tensors("gate_up", x),
            "limit=NaN",
            "swiglu: parameter limit is NaN, expected a finite number >= 0"),
        Arguments.of(
            "swiglu",
            tensors("gate_up", x),
            "limit=1e99",
            "swiglu: parameter limit is 1e99, expected a finite number >= 0"),
        Arguments.of(
            "swiglu",
            tensors("gate_up", x),
            "interleaved=1",
            "swiglu: parameter interleaved is 1, expected false or true"),
        Arguments.of(
            "swiglu_quantize",
            tensors("gate_up", zeros(f32, 4, 48)),
            "",
            "swiglu_quantize: tensor gate_up is F32 [4, 48], expected a positive multiple of 32"
                + " columns"),
        Arguments.of(
            "swiglu_quantize",
            tensors("gate_up", x, "rows", zeros(SafetensorsDType.I32, 2)),
            "",
            "swiglu_quantize: tensor rows is unknown, expected gate_up, weight, gs"),
        // ops that there are not
        Arguments.of(
            "attention",
            tensors("x", x),
            "",
            "run: OP is attention, expected one of quantize, dequantize, swizzle, unswizzle,"
                + " swiglu, swiglu_quantize, gemm, grouped_gemm, batched_gemm, sinkhorn, hc_pre,"
                + " hc_post, hc_head, hc_post_pre, router_dense, router_hash,"
                + " expert_dispatch, expert_combine, indexer_topk, cache_append_window,"
                + " cache_append, sample"));
  }

  @ParameterizedTest
  @MethodSource("refused")
  void refusesBadInput(
      String op, Map<String, Cli.Tensor> tensors, String parameters, String sentence)
      throws IOException {
    Cli.write(in, tensors);
    List<Object> words = new ArrayList<>(List.of("run", op, in, out));
    for (String parameter : parameters.split(" ")) {
      if (!parameter.isEmpty()) {
        words.addAll(List.of("-p", parameter));
      }
    }
    Cli.run(words.toArray()).failed(2, sentence);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  @Test
  void refusesBadFiles() throws IOException {
    Cli.run("run", "quantize", in, out).failed(2, in + ": no such file");
    Cli.run("run", "quantize", directory, out).failed(2, directory + ": is not a regular file");
    Files.write(in, new byte[] {1, 2, 3});
    Cli.run("run", "quantize", in, out)
        .failed(2, in + ": has 3 bytes, expected at least 8, the header's length");
    Cli.write(in, tensors("input", zeros(SafetensorsDType.F32, 1, 16)));
    Cli.run("run", "quantize", in, in).failed(2, "run: OUT is " + in + ", which is IN");
    Path link = Files.createLink(directory.resolve("link"), in);
    Cli.run("run", "quantize", in, link).failed(2, "run: OUT is " + link + ", which is IN");
    Path nowhere = directory.resolve("no/out");
    Cli.run("run", "quantize", in, nowhere).failed(2, nowhere.getParent() + ": no such directory");
    Cli.run("run", "quantize", in, directory).failed(2, directory + ": is not a regular file");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "link");
  }

  @Test
  void refusesBadUsage() throws IOException {
    Cli.write(in, tensors("input", zeros(SafetensorsDType.F32, 1, 16)));
    Cli.run("run").failed(2, "nvfp4j run: Missing required parameters");
    Cli.run("run", "quantize", in).failed(2, "nvfp4j run: Missing required parameter: 'OUT'");
    Cli.run("run", "quantize", in, out, "more").failed(2, "Unmatched argument at index 4: 'more'");
    Cli.run("run", "quantize", in, out, "--what").failed(2, "Unknown option: '--what'");
    Cli.run("run", "quantize", in, out, "--repeat", "0")
        .failed(2, "run: --repeat is 0, expected at least 1");
    Cli.run("run", "quantize", in, out, "--repeat", "many").failed(2, "'many' is not an int");
    Cli.run("run", "quantize", in, out, "--device", "gpu")
        .failed(2, "--device is gpu, expected cpu or cuda:N");
    Cli.run("run", "quantize", in, out, "--device", "cuda:-1")
        .failed(2, "--device is cuda:-1, expected cpu or cuda:N");
    Cli.run("run", "quantize", in, out, "--device", "cuda:0", "--threads", "2")
        .failed(2, "--threads is 2 with --device cuda:0, expected --device cpu");
    Cli.run("run", "quantize", in, out, "--threads", "-2").failed(2, "--threads is -2, expected 0");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  @Test
  void aDeviceThatIsNotThereIsExitThree() throws IOException {
    Cli.write(in, tensors("input", zeros(SafetensorsDType.F32, 1, 16)));
    Cli.run("run", "quantize", in, out, "--device", "cuda:999").failed(3, "cuda:999");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  static Stream<Arguments> reported() {
    float[] nan = new float[32];
    nan[17] = Float.NaN;
    byte[] badScale = {0x38, 0x7f};
    return Stream.of(
        Arguments.of("quantize", tensors("input", Cli.Tensor.floats(nan, 1, 32))),
        Arguments.of(
            "quantize",
            tensors(
                "input", zeros(SafetensorsDType.F32, 1, 32),
                "gs", Cli.Tensor.floats(new float[] {-1}, 1))),
        Arguments.of(
            "quantize",
            tensors(
                "input", zeros(SafetensorsDType.F32, 2, 32), "rows", Cli.Tensor.ints(0, 2, -1))),
        Arguments.of(
            "dequantize",
            tensors(
                "packed", Cli.Tensor.bytes(new byte[16], 1, 16),
                "scale", Cli.Tensor.bytes(badScale, 1, 2),
                "gs", Cli.Tensor.floats(new float[] {1}, 1))));
  }

  @ParameterizedTest
  @MethodSource("reported")
  void aReportedFaultIsExitOneAndWritesOnlyToKeep(String op, Map<String, Cli.Tensor> tensors)
      throws IOException {
    Cli.write(in, tensors);
    Cli.run("run", op, in, out).failed(1, op + ":");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
    Cli.run("run", op, in, out, "--keep", "--repeat", "3").failed(1, op + ":");
    assertThat(Cli.files(directory)).containsExactly("in.safetensors", "out.safetensors");
    assertThat(Cli.read(out)).isNotEmpty();
  }
}
