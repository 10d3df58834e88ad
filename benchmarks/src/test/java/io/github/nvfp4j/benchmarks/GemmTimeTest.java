// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.nvfp4j.Device;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GemmTimeTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @Test
  void aQuickRunOnTheCpuMeasuresEveryKindAndWritesOneFile(@TempDir Path folder) throws IOException {
    int status = run("--device", "cpu", "--quick", "--out", folder.toString());
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
    assertThat(status).as(out.toString(StandardCharsets.UTF_8)).isZero();
    List<Path> files;
    try (Stream<Path> listed = Files.list(folder)) {
      files = listed.toList();
    }
    assertThat(files).hasSize(1);
    assertThat(files.getFirst().getFileName().toString()).endsWith("-gemm.json");
    Map<?, ?> result = (Map<?, ?>) Json.parse(Files.readString(files.getFirst()));
    assertThat(Objects.requireNonNull(result).get("kind")).isEqualTo("gemm");
    assertThat(result.get("quick")).isEqualTo(true);
    assertThat(result.get("cublaslt")).isNull();
    List<?> rows = (List<?>) Objects.requireNonNull(result.get("rows"));
    assertThat(rows)
        .hasSameSizeAs(GemmPlan.all(true, false))
        .allSatisfy(row -> assertThat((Double) ((Map<?, ?>) row).get("us")).isPositive())
        .allSatisfy(row -> assertThat(((Map<?, ?>) row).get("tile_right")).isEqualTo(true));
    assertThat(rows.stream().map(row -> (Object) ((Map<?, ?>) row).get("op")).distinct())
        .containsExactly("gemm", "grouped_gemm", "batched_gemm");
  }

  @Test
  @Tag("gpu")
  void aQuickRunOnAGpuFindsEveryTileRight() {
    assumeTrue(
        "required".equals(System.getProperty("nvfp4j.gpu"))
            || Device.all().stream().anyMatch(device -> device.id().equals("cuda:0")),
        "no cuda:0 on this machine");
    int status = run("--device", "cuda:0", "--quick");
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
    assertThat(out.toString(StandardCharsets.UTF_8)).doesNotContain("WRONG");
    assertThat(status).isZero();
  }

  @Test
  void onlyWhatMatchesIsMeasured() {
    assertThat(run("--quick", "--only", "^batched")).isZero();
    assertThat(out.toString(StandardCharsets.UTF_8).lines().filter(l -> l.contains("gemm ")))
        .hasSize(1);
  }

  @Test
  void nothingToMeasureHasAStatusOfItsOwn() {
    assertThat(run("--quick", "--only", "quantize")).isEqualTo(NothingMatches.STATUS);
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("no workload matches quantize");
  }

  @Test
  void aPlaceOfCublasLtThatDoesNotExistIsNamed() {
    assertThat(run("--quick", "--cublaslt", "/nowhere/lib")).isEqualTo(2);
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("/nowhere/lib");
  }

  private int run(String... arguments) {
    return GemmTime.run(new PrintStream(out, true), new PrintStream(err, true), arguments);
  }
}
