// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// What `nvfp4j run` refuses of the matrix products: exit 2 (1 where a kernel reports), one
/// sentence, no file.
class RunGemmRejectionTest {
  private static final SafetensorsDType F32 = SafetensorsDType.F32;
  private static final SafetensorsDType BF16 = SafetensorsDType.BF16;
  private static final SafetensorsDType U8 = SafetensorsDType.U8;
  private static final SafetensorsDType I32 = SafetensorsDType.I32;

  @TempDir Path directory;

  private static Cli.Tensor zeros(SafetensorsDType dtype, long... shape) {
    long bytes = dtype.bits() / 8;
    for (long dimension : shape) {
      bytes *= dimension;
    }
    return Cli.Tensor.of(dtype, MemorySegment.ofArray(new byte[(int) bytes]), shape);
  }

  /// A good request of gemm with these changes: a name and a tensor, or null to leave it out.
  private static Map<String, Cli.Tensor> gemm(Object... changes) {
    Map<String, Cli.Tensor> good = new LinkedHashMap<>();
    good.put("a", zeros(BF16, 4, 32));
    good.put("b_packed", zeros(U8, 16, 16));
    good.put("b_scale", zeros(U8, 16, 2));
    good.put("b_ws2", zeros(F32, 1));
    return changed(good, changes);
  }

  private static Map<String, Cli.Tensor> quantized(Object... changes) {
    Map<String, Cli.Tensor> good = gemm("a", null);
    good.put("a_packed", zeros(U8, 4, 16));
    good.put("a_scale", zeros(U8, 4, 2));
    good.put("a_gs", zeros(F32, 4));
    return changed(good, changes);
  }

  private static Map<String, Cli.Tensor> grouped(Object... changes) {
    Map<String, Cli.Tensor> good =
        gemm("b_packed", zeros(U8, 3, 16, 16), "b_scale", zeros(U8, 3, 16, 2));
    good.put("b_ws2", zeros(F32, 3, 2));
    good.put("offsets", zeros(I32, 4));
    return changed(good, changes);
  }

  private static Map<String, Cli.Tensor> batched(Object... changes) {
    Map<String, Cli.Tensor> good =
        gemm("b_packed", zeros(U8, 3, 16, 16), "b_scale", zeros(U8, 3, 16, 2));
    good.put("a", zeros(BF16, 4, 3, 32));
    return changed(good, changes);
  }

  private static Map<String, Cli.Tensor> changed(Map<String, Cli.Tensor> good, Object... changes) {
    for (int i = 0; i < changes.length; i += 2) {
      if (changes[i + 1] == null) {
        good.remove(changes[i]);
      } else {
        good.put((String) changes[i], (Cli.Tensor) changes[i + 1]);
      }
    }
    return good;
  }

  private static Arguments row(
      String op, Map<String, Cli.Tensor> tensors, String parameters, String sentence) {
    return Arguments.of(op, tensors, parameters, op + ": " + sentence);
  }

  static Stream<Arguments> refused() {
    return Stream.of(
        row(
            "gemm",
            gemm("a", null),
            "",
            "tensor a is missing, expected BF16 [T, 32], or a_packed, a_scale and a_gs in its"
                + " place"),
        row("gemm", gemm("a", zeros(F32, 4, 32)), "", "tensor a is F32 [4, 32], expected BF16"),
        row(
            "gemm",
            gemm("a", zeros(BF16, 4, 48)),
            "",
            "tensor a is BF16 [4, 48], expected BF16 [T, 32]"),
        row(
            "gemm",
            gemm("a", zeros(BF16, 128)),
            "",
            "tensor a is BF16 [128], expected BF16 [T, 32]"),
        row(
            "gemm",
            quantized("a", zeros(BF16, 4, 32)),
            "",
            "tensors a and a_packed are both given, expected one of them"),
        row(
            "gemm",
            gemm("a_gs", zeros(F32, 1)),
            "",
            "tensors a and a_gs are both given, expected a_packed in place of a"),
        row(
            "gemm",
            quantized("a_scale", null),
            "",
            "tensor a_scale is missing, expected U8 or F8_E4M3 [T, 2]"),
        row(
            "gemm",
            quantized("a_scale", zeros(U8, 3, 2)),
            "",
            "tensor a_scale is U8 [3, 2], expected U8 or F8_E4M3 [4, 2]"),
        row(
            "gemm",
            quantized("a_packed", zeros(U8, 4, 8)),
            "",
            "tensor a_packed is U8 [4, 8], expected U8 [T, 16]"),
        row(
            "gemm",
            quantized("a_gs", zeros(F32, 3)),
            "",
            "tensor a_gs is F32 [3], expected F32 [1] or [4]"),
        row(
            "gemm",
            quantized("a_gs", zeros(F32, 2, 2)),
            "",
            "tensor a_gs is F32 [2, 2], expected F32 [1] or [4]"),
        row("gemm", gemm("b_packed", null), "", "tensor b_packed is missing, expected U8 [N, K/2]"),
        row(
            "gemm",
            gemm("b_packed", zeros(U8, 1, 16, 16)),
            "",
            "tensor b_packed is U8 [1, 16, 16], expected U8 [N, K/2]"),
        row(
            "gemm",
            gemm("b_packed", zeros(U8, 12, 16)),
            "",
            "tensor b_packed is U8 [12, 16], expected a positive multiple of 8 rows"),
        row(
            "gemm",
            gemm("b_packed", zeros(U8, 16, 12)),
            "",
            "tensor b_packed is U8 [16, 12], expected a positive multiple of 8 bytes per row"),
        row(
            "gemm",
            gemm("b_scale", zeros(U8, 2, 16)),
            "",
            "tensor b_scale is U8 [2, 16], expected U8 or F8_E4M3 [16, 2]"),
        row(
            "gemm",
            gemm("b_ws2", zeros(F32, 16)),
            "",
            "tensor b_ws2 is F32 [16], expected F32 [1] or [2]"),
        row(
            "gemm",
            gemm("b_ws2", zeros(F32, 1, 2)),
            "",
            "tensor b_ws2 is F32 [1, 2], expected F32 [1] or [2]"),
        row("gemm", gemm(), "dtype=f16", "parameter dtype is f16, expected f32 or bf16"),
        row(
            "gemm",
            gemm(),
            "layout=linear",
            "parameter layout is linear, expected direct or prepared"),
        row(
            "gemm",
            gemm(),
            "a_layout=direct",
            "parameter a_layout is direct, expected linear or packed"),
        row(
            "gemm",
            gemm(),
            "batch_invariant=1",
            "parameter batch_invariant is 1, expected false or true"),
        row("gemm", gemm(), "swiglu=yes", "parameter swiglu is yes, expected false or true"),
        row(
            "gemm",
            gemm(),
            "swiglu=true limit=-1",
            "parameter limit is -1, expected a finite number"),
        row(
            "gemm",
            gemm(),
            "swiglu=true dtype=f32",
            "parameter dtype is f32 with swiglu=true, expected bf16"),
        row(
            "gemm",
            gemm("row_weight", zeros(F32, 4)),
            "",
            "tensor row_weight is given without swiglu=true, expected both"),
        row(
            "gemm",
            gemm("row_weight", zeros(F32, 3)),
            "swiglu=true",
            "tensor row_weight is F32 [3], expected F32 [4]"),
        row(
            "gemm",
            gemm("b_packed", zeros(U8, 8, 16), "b_scale", zeros(U8, 8, 2)),
            "swiglu=true",
            "w.rows is 8, expected a positive multiple of 16"),
        row(
            "gemm",
            gemm("offsets", zeros(I32, 2)),
            "",
            "tensor offsets is unknown, expected b_packed, b_scale, b_ws2, a, a_packed, a_scale,"
                + " a_gs, row_weight"),
        row(
            "gemm",
            gemm(),
            "path=wgmma",
            "parameter path is unknown, expected swiglu, dtype, layout, a_layout, batch_invariant,"
                + " limit"),
        row(
            "grouped_gemm",
            grouped("b_packed", zeros(U8, 16, 16)),
            "",
            "tensor b_packed is U8 [16, 16], expected U8 [E, N, K/2]"),
        row(
            "grouped_gemm",
            grouped("b_packed", zeros(U8, 0, 16, 16)),
            "",
            "tensor b_packed is U8 [0, 16, 16], expected one or more matrices"),
        row(
            "grouped_gemm",
            grouped("b_ws2", zeros(F32, 6)),
            "",
            "tensor b_ws2 is F32 [6], expected F32 [3] or [3, 2]"),
        row(
            "grouped_gemm",
            grouped("offsets", null),
            "",
            "tensor offsets is missing, expected I32 [4]"),
        row(
            "grouped_gemm",
            grouped("offsets", zeros(I32, 3)),
            "",
            "tensor offsets is I32 [3], expected I32 [4]"),
        row(
            "batched_gemm",
            batched("a", zeros(BF16, 4, 96)),
            "",
            "tensor a is BF16 [4, 96], expected BF16 [T, 3, 32]"),
        row(
            "batched_gemm",
            batched("a", zeros(BF16, 4, 2, 32)),
            "",
            "tensor a is BF16 [4, 2, 32], expected BF16 [T, 3, 32]"),
        row(
            "batched_gemm",
            batched("b_ws2", zeros(F32, 3, 2)),
            "",
            "tensor b_ws2 is F32 [3, 2], expected F32 [1] or [3]"),
        row(
            "batched_gemm",
            batched(),
            "swiglu=true",
            "parameter swiglu is unknown, expected dtype"));
  }

  @ParameterizedTest
  @MethodSource("refused")
  void refusesBadInput(
      String op, Map<String, Cli.Tensor> tensors, String parameters, String sentence)
      throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    List<Object> words =
        new ArrayList<>(List.of("run", op, in, directory.resolve("out.safetensors")));
    for (String parameter : parameters.split(" ")) {
      if (!parameter.isEmpty()) {
        words.addAll(List.of("-p", parameter));
      }
    }
    Cli.run(words.toArray()).failed(2, sentence);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
  }

  static Stream<Arguments> reported() {
    byte[] bad = new byte[32];
    bad[7] = 0x7f;
    short[] nan = new short[4 * 32];
    nan[40] = 0x7fc0;
    return Stream.of(
        Arguments.of("gemm", gemm("b_scale", Cli.Tensor.bytes(bad, 16, 2)), "BAD_BLOCK_SCALE"),
        Arguments.of(
            "gemm",
            gemm("a", Cli.Tensor.of(BF16, MemorySegment.ofArray(nan), 4, 32)),
            "NON_FINITE_RESULT"),
        Arguments.of(
            "grouped_gemm", grouped("offsets", Cli.Tensor.ints(0, 3, 2, 4)), "BAD_OFFSETS"),
        Arguments.of(
            "grouped_gemm", grouped("offsets", Cli.Tensor.ints(0, 1, 2, 5)), "BAD_OFFSETS"));
  }

  @ParameterizedTest
  @MethodSource("reported")
  void aReportedFaultIsExitOneAndWritesOnlyToKeep(
      String op, Map<String, Cli.Tensor> tensors, String cause) throws IOException {
    Path in = Cli.write(directory.resolve("in.safetensors"), tensors);
    Path out = directory.resolve("out.safetensors");
    assertThat(Cli.run("run", op, in, out).failed(1, op + ":").err()).contains(cause);
    assertThat(Cli.files(directory)).containsExactly("in.safetensors");
    Cli.run("run", op, in, out, "--keep", "--repeat", "3").failed(1, op + ":");
    assertThat(Cli.read(out)).containsOnlyKeys("d");
  }
}
