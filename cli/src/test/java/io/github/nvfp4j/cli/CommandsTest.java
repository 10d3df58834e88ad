// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.github.nvfp4j.Op;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/// `devices`, `selftest`, `--version`, `--help`, and the printing that all commands share.
class CommandsTest {
  @Test
  void devicesNamesEveryOpOfEveryDevice() throws IOException {
    String text = Cli.run("devices").succeeded().out();
    assertThat(text).startsWith("cpu  ");
    JsonNode json = new ObjectMapper().readTree(Cli.run("devices", "--json").succeeded().out());
    assertThat(json.get("devices").get(0).get("id").asText()).isEqualTo("cpu");
    for (JsonNode device : json.get("devices")) {
      assertThat(text).contains(device.get("name").asText());
      assertThat(device.get("ops").size()).isEqualTo(Op.values().length);
      for (JsonNode op : device.get("ops")) {
        String path = op.get("path").isNull() ? op.get("reason").asText() : op.get("path").asText();
        assertThat(path).isNotEmpty();
        assertThat(text).contains(op.get("op").asText()).contains(path);
      }
    }
    boolean cuda = json.get("devices").size() > 1;
    assertThat(json.get("no_cuda").isNull()).isEqualTo(cuda);
    assertThat(text.contains("cuda  no device: ")).isNotEqualTo(cuda);
  }

  @Test
  void selftestPassesOnTheCpuAndSaysTheSameInJson() throws IOException {
    String text = Cli.run("selftest", "--seed", "7").succeeded().out();
    assertThat(text).startsWith("selftest on cpu (").contains("--seed 7");
    assertThat(text.strip().lines().toList().getLast()).matches("[1-9]\\d* passed, 0 failed");
    JsonNode json =
        new ObjectMapper().readTree(Cli.run("selftest", "--seed", "7", "--json").succeeded().out());
    assertThat(text).contains(json.get("passed").asInt() + " passed, 0 failed");
    assertThat(json.get("failed").asInt()).isZero();
  }

  @Test
  @Gpu
  void selftestPassesOnTheGpu() {
    String text = Cli.run("selftest", "--device", "cuda:0").succeeded().out();
    assertThat(text).startsWith("selftest on cuda:0 (").contains(" passed, 0 failed");
  }

  /// Every op has its cases, so that a pass means something.
  @Test
  void selftestCoversEveryOp() {
    List<String> names = new Selftest(1).cases().stream().map(Selftest.Case::name).toList();
    assertThat(names).doesNotHaveDuplicates();
    for (Op op : Op.values()) {
      assertThat(names).as(op.opName()).anyMatch(name -> name.startsWith(op.opName() + " "));
    }
  }

  @Test
  void runKnowsEveryOpThatGivesNumbers() {
    // A copy changes nothing; the order of prepared weights is nobody's business; packed
    // activations
    // are a parameter of the products.
    Set<Op> parts = EnumSet.of(Op.COPY, Op.PREPARE_WEIGHTS, Op.PACK_ACTIVATIONS);
    List<String> expected = new ArrayList<>();
    for (Op op : Op.values()) {
      if (!parts.contains(op)) {
        expected.add(op.opName());
      }
    }
    assertThat(RunOps.ALL.keySet()).containsExactlyElementsOf(expected);
  }

  @Test
  void versionAndHelpAreGood() {
    assertThat(Cli.run("--version").succeeded().out()).startsWith("nvfp4j ").contains("ABI 2");
    assertThat(Cli.run("--help").succeeded().out())
        .contains("devices", "quantize", "run", "selftest", "Exit codes:");
    for (String command : List.of("devices", "quantize", "run", "selftest")) {
      assertThat(Cli.run(command, "--help").succeeded().out()).contains("Usage: nvfp4j " + command);
      assertThat(Cli.run(command, "--version").succeeded().out()).startsWith("nvfp4j ");
    }
    Cli.run().failed(2, "nvfp4j: a command is missing (see nvfp4j --help)");
  }

  @Test
  void tablesAreAligned() {
    StringWriter text = new StringWriter();
    Table table = new Table("name", ">count", "shape");
    table.add("a", 1, "x");
    table.add("longer", 12345678, "");
    table.print(new PrintWriter(text, true));
    assertThat(text.toString().lines())
        .containsExactly("name       count  shape", "a              1  x", "longer  12345678");
  }

  @Test
  void jsonIsJson() throws IOException {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("a \"quoted\"\n\t\\\u0001é😀", List.of(1, 2.5, true, List.of(), Map.of()));
    map.put("nan", Double.NaN);
    map.put("null", null);
    map.put("map", Map.of("x", List.of(Map.of("y", "z"))));
    JsonNode tree = new ObjectMapper().readTree(Json.of(map));
    assertThat(tree).isEqualTo(new ObjectMapper().readTree(Json.line(map)));
    assertThat(Json.line(map)).doesNotContain("\n");
    assertThat(tree.get("a \"quoted\"\n\t\\\u0001é😀").get(1).asDouble()).isEqualTo(2.5);
    assertThat(tree.get("nan").isNull()).isTrue();
    assertThat(tree.get("map").get("x").get(0).get("y").asText()).isEqualTo("z");
  }

  @Test
  void progressIsSilentUnlessItIsForATerminal() {
    StringWriter quiet = new StringWriter();
    try (Progress progress = new Progress(new PrintWriter(quiet), "work", 10, false)) {
      progress.update(5);
    }
    assertThat(quiet.toString()).isEmpty();
    StringWriter shown = new StringWriter();
    try (Progress progress = new Progress(new PrintWriter(shown), "work", 10, true)) {
      progress.update(5);
    }
    assertThat(shown.toString()).startsWith("\rwork: 50 %").endsWith("\r");
  }
}
