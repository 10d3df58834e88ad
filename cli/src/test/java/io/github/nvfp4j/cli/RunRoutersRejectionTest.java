// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.checkpoint.SafetensorsDType.BF16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F16;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.F32;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.I32;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.I64;
import static io.github.nvfp4j.checkpoint.SafetensorsDType.U8;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// What `nvfp4j run` refuses of the routers: exit 2 (1 where a kernel reports), one sentence, no
/// file.
class RunRoutersRejectionTest {
  @TempDir Path directory;

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    long bytes = dtype.bits() / 8;
    for (long dimension : shape) {
      bytes *= dimension;
    }
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) bytes]), shape);
  }

  /// Two tokens of 32 columns, eight experts.
  private static Map<String, Cli.Tensor> good(String op, boolean quantized) {
    Map<String, Cli.Tensor> good = new LinkedHashMap<>();
    good.put("x", zeros(BF16, 2, 32));
    if (quantized) {
      good.put("weight_packed", zeros(U8, 8, 16));
      good.put("weight_scale", zeros(U8, 8, 2));
      good.put("weight_ws2", Cli.Tensor.floats(new float[] {1}, 1));
    } else {
      good.put("weight", zeros(BF16, 8, 32));
    }
    if (op.equals("router_dense")) {
      good.put("bias", zeros(F32, 8));
    } else {
      good.put("tid2eid", zeros(I64, 5, 6));
      good.put("input_ids", zeros(I32, 2));
    }
    return good;
  }

  private static Arguments row(String op, String parameters, String sentence) {
    return Arguments.of(op, good(op, false), parameters, op + ": " + sentence);
  }

  /// A tensor in the place of the good one; null: none.
  private static Arguments row(
      String op, boolean quantized, String name, Cli.Tensor tensor, String sentence) {
    Map<String, Cli.Tensor> tensors = good(op, quantized);
    if (tensor == null) {
      tensors.remove(name);
    } else {
      tensors.put(name, tensor);
    }
    return Arguments.of(op, tensors, "", op + ": " + sentence);
  }

  private static String text(Cli.Tensor tensor) {
    return tensor.dtype() + " " + Arrays.toString(tensor.shape());
  }

  static Stream<Arguments> refused() {
    List<Arguments> rows = new ArrayList<>();
    for (String op : List.of("router_dense", "router_hash")) {
      rows.add(row(op, false, "x", null, "tensor x is missing, expected BF16 or F32 [T, D]"));
      for (Cli.Tensor bad : List.of(zeros(F16, 2, 32), zeros(BF16, 64))) {
        rows.add(
            row(op, false, "x", bad, "tensor x is " + text(bad) + ", expected BF16 or F32 [T, D]"));
      }
      for (Cli.Tensor bad : List.of(zeros(BF16, 2, 0), zeros(BF16, 0, (1 << 24) + 1))) {
        rows.add(
            row(op, false, "x", bad, "tensor x is " + text(bad) + ", expected D from 1 to 2^24"));
      }
      rows.add(
          row(
              op,
              false,
              "weight",
              null,
              "tensor weight is missing, expected BF16 or F32 [E, 32], or weight_packed,"
                  + " weight_scale and weight_ws2 in its place"));
      for (Cli.Tensor bad : List.of(zeros(F16, 8, 32), zeros(BF16, 8, 31), zeros(F32, 256))) {
        rows.add(
            row(
                op,
                false,
                "weight",
                bad,
                "tensor weight is " + text(bad) + ", expected BF16 or F32 [E, 32]"));
      }
      for (int experts : new int[] {0, 1025}) {
        Cli.Tensor bad = zeros(BF16, experts, 32);
        rows.add(
            row(
                op,
                false,
                "weight",
                bad,
                "tensor weight is " + text(bad) + ", expected E from 1 to 1024"));
        Cli.Tensor packed = zeros(U8, experts, 16);
        rows.add(
            row(
                op,
                true,
                "weight_packed",
                packed,
                "tensor weight_packed is " + text(packed) + ", expected E from 1 to 1024"));
      }
      for (String extra : List.of("weight_packed", "weight_scale", "weight_ws2")) {
        rows.add(
            row(
                op,
                false,
                extra,
                good(op, true).get(extra),
                "tensors weight and " + extra + " are both given, expected one gate"));
      }
      for (Cli.Tensor bad : List.of(zeros(U8, 8, 15), zeros(U8, 128))) {
        rows.add(
            row(
                op,
                true,
                "weight_packed",
                bad,
                "tensor weight_packed is " + text(bad) + ", expected U8 [E, 16]"));
      }
      rows.add(
          row(
              op,
              true,
              "x",
              zeros(BF16, 2, 40),
              "tensor x is BF16 [2, 40], expected D a multiple of 16 where weight_packed is"
                  + " given"));
      rows.add(
          row(
              op,
              true,
              "weight_scale",
              null,
              "tensor weight_scale is missing, expected U8 or F8_E4M3 [8, 2]"));
      rows.add(
          row(
              op,
              true,
              "weight_scale",
              zeros(U8, 8, 1),
              "tensor weight_scale is U8 [8, 1], expected U8 or F8_E4M3 [8, 2]"));
      rows.add(row(op, true, "weight_ws2", null, "tensor weight_ws2 is missing, expected F32 [1]"));
      rows.add(
          row(
              op,
              true,
              "weight_ws2",
              zeros(F32, 2),
              "tensor weight_ws2 is F32 [2], expected F32 [1]"));
      rows.add(row(op, "scale=0", "parameter scale is 0.0, expected a finite number > 0"));
      for (String bad : List.of("-1", "x", "NaN", "Infinity")) {
        rows.add(
            row(
                op,
                "scale=" + bad,
                "parameter scale is " + bad + ", expected a finite number >= 0"));
      }
    }
    rows.add(row("router_dense", false, "bias", null, "tensor bias is missing, expected F32 [8]"));
    for (Cli.Tensor bad : List.of(zeros(BF16, 8), zeros(F32, 7), zeros(F32, 8, 1))) {
      rows.add(
          row(
              "router_dense",
              false,
              "bias",
              bad,
              "tensor bias is " + text(bad) + ", expected F32 [8]"));
    }
    for (String topk : List.of("0", "9", "17")) {
      rows.add(
          row("router_dense", "topk=" + topk, "parameter topk is " + topk + ", expected 1 to 8"));
    }
    rows.add(row("router_dense", "topk=-1", "parameter topk is -1, expected an integer >= 0"));
    rows.add(row("router_dense", "logits=1", "parameter logits is 1, expected false or true"));
    rows.add(
        row("router_dense", "limit=1", "parameter limit is unknown, expected topk, scale, logits"));
    rows.add(
        row(
            "router_dense",
            false,
            "tid2eid",
            zeros(I32, 5, 6),
            "tensor tid2eid is unknown, expected x, weight, weight_packed, weight_scale,"
                + " weight_ws2, bias"));
    rows.add(row("router_hash", "topk=6", "parameter topk is unknown, expected scale"));
    rows.add(
        row(
            "router_hash",
            false,
            "bias",
            zeros(F32, 8),
            "tensor bias is unknown, expected x, weight, weight_packed, weight_scale, weight_ws2,"
                + " tid2eid, input_ids"));
    rows.add(
        row(
            "router_hash",
            false,
            "tid2eid",
            null,
            "tensor tid2eid is missing, expected I32 or I64 [V, k]"));
    for (Cli.Tensor bad : List.of(zeros(F32, 5, 6), zeros(I32, 30))) {
      rows.add(
          row(
              "router_hash",
              false,
              "tid2eid",
              bad,
              "tensor tid2eid is " + text(bad) + ", expected I32 or I64 [V, k]"));
    }
    for (Cli.Tensor bad : List.of(zeros(I32, 0, 6), zeros(I32, 5, 0), zeros(I64, 5, 17))) {
      rows.add(
          row(
              "router_hash",
              false,
              "tid2eid",
              bad,
              "tensor tid2eid is "
                  + text(bad)
                  + ", expected V from 1 to 2^31 - 1 and k from 1 to 16"));
    }
    rows.add(
        row(
            "router_hash",
            false,
            "input_ids",
            null,
            "tensor input_ids is missing, expected I32 or I64 [2]"));
    for (Cli.Tensor bad : List.of(zeros(F32, 2), zeros(I32, 3), zeros(I64, 2, 1))) {
      rows.add(
          row(
              "router_hash",
              false,
              "input_ids",
              bad,
              "tensor input_ids is " + text(bad) + ", expected I32 or I64 [2]"));
    }
    return rows.stream();
  }

  @ParameterizedTest
  @MethodSource("refused")
  void refusesBadInput(
      String op, Map<String, Cli.Tensor> tensors, String parameters, String sentence)
      throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Path out = directory.resolve("out.safetensors");
    List<Object> words = new ArrayList<>(List.of("run", op, in, out));
    if (!parameters.isEmpty()) {
      words.addAll(List.of("-p", parameters));
    }
    Cli.run(words.toArray()).failed(2, sentence);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  @Test
  void theGoodInputsAreGood() throws IOException {
    for (String op : List.of("router_dense", "router_hash")) {
      for (boolean quantized : new boolean[] {false, true}) {
        Path in = Cli.write(directory.resolve("in.safetensors"), good(op, quantized));
        Cli.run("run", op, in, directory.resolve("out.safetensors")).succeeded();
      }
    }
  }

  static Stream<Arguments> reported() {
    float[] bad = new float[64];
    bad[40] = Float.NaN;
    byte[] scales = new byte[16];
    scales[2] = (byte) 0xff;
    Cli.Tensor table = Cli.Tensor.of(I32, MemorySegment.ofArray(new int[] {0, 0, 0, 8}), 1, 4);
    return Stream.of(
        Arguments.of("router_dense", "x", Cli.Tensor.floats(bad, 2, 32), "NON_FINITE_RESULT"),
        Arguments.of("router_hash", "x", Cli.Tensor.floats(bad, 2, 32), "NON_FINITE_RESULT"),
        Arguments.of("router_dense", "weight_scale", Cli.Tensor.bytes(scales, 8, 2), "BAD_BLOCK"),
        Arguments.of(
            "router_dense", "weight_ws2", Cli.Tensor.floats(new float[] {0}, 1), "BAD_GLOBAL"),
        Arguments.of("router_hash", "input_ids", Cli.Tensor.ints(0, -1), "INDEX_OUT_OF_RANGE"),
        Arguments.of("router_hash", "input_ids", Cli.Tensor.ints(5, 0), "INDEX_OUT_OF_RANGE"),
        Arguments.of("router_hash", "tid2eid", table, "INDEX_OUT_OF_RANGE"));
  }

  @ParameterizedTest
  @MethodSource("reported")
  void aReportedFaultIsExitOneAndWritesOnlyToKeep(
      String op, String name, Cli.Tensor tensor, String cause) throws IOException {
    Map<String, Cli.Tensor> tensors = good(op, true);
    tensors.put(name, tensor);
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Path out = directory.resolve("out.safetensors");
    assertThat(Cli.run("run", op, in, out).failed(1, op + ":").err()).contains(cause);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
    Cli.run("run", op, in, out, "--keep", "--repeat", "3").failed(1, op + ":");
    assertThat(Cli.read(out)).containsOnlyKeys("indices", "weights");
  }

  /// What a bad id leaves: -1 and 0, and the other token's experts.
  @Test
  void aBadIdIsMarked() throws IOException {
    Map<String, Cli.Tensor> tensors = good("router_hash", false);
    tensors.put("input_ids", Cli.Tensor.ints(-1, 4));
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Path out = directory.resolve("out.safetensors");
    Cli.run("run", "router_hash", in, out, "--keep").failed(1, "router_hash:");
    Map<String, Cli.Tensor> result = Cli.read(out);
    int[] indices = result.get("indices").data().toArray(ValueLayout.JAVA_INT_UNALIGNED);
    assertThat(indices).containsExactly(-1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0);
    float[] weights = Cli.floats(result.get("weights"));
    for (int i = 0; i < 12; i++) {
      assertThat(Float.floatToRawIntBits(weights[i]) == 0).isEqualTo(i < 6);
    }
  }
}
