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

class DeviceTimeTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @Test
  void aQuickRunOnTheCpuMeasuresEveryOpAndWritesOneFile(@TempDir Path folder) throws IOException {
    Path peers = folder.resolve("peers.json");
    Files.writeString(
        peers,
        """
        {"torch": "2.8.0", "triton": "3.4.0", "results": [
          {"rows": 64, "columns": 512, "triton_us": 1e3, "codes_equal_torch": 1.0}]}
        """);
    Path others = folder.resolve("others.json");
    Files.writeString(
        others,
        """
        {"torch": "2.8.0", "triton": "3.4.0", "results": [
          {"op": "hc_pre", "variant": "4 streams", "rows": 64, "columns": 512,
           "torch_compile_us": 2e3},
          {"op": "hc_pre", "variant": "4 streams", "rows": 65, "columns": 512,
           "torch_compile_us": 3e3}]}
        """);
    Path results = folder.resolve("results");
    int status =
        run(
            "--device",
            "cpu",
            "--quick",
            "--out",
            results.toString(),
            "--peers",
            peers.toString(),
            "--peers",
            others.toString());
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
    assertThat(status).isZero();
    List<Path> files;
    try (Stream<Path> listed = Files.list(results)) {
      files = listed.toList();
    }
    assertThat(files).hasSize(1);
    Map<?, ?> result = (Map<?, ?>) Json.parse(Files.readString(files.getFirst()));
    assertThat(Objects.requireNonNull(result).get("kind")).isEqualTo("device-time");
    assertThat(result.get("quick")).isEqualTo(true);
    List<?> rows = (List<?>) Objects.requireNonNull(result.get("rows"));
    assertThat(rows)
        .hasSameSizeAs(Workloads.all(true))
        .allSatisfy(row -> assertThat((Double) ((Map<?, ?>) row).get("us")).isPositive());
    assertThat(rows.stream().map(row -> (Object) ((Map<?, ?>) row).get("op")).distinct())
        .containsExactly(
            "quantize",
            "swiglu_quantize",
            "dequantize",
            "swiglu",
            "swizzle",
            "unswizzle",
            "sinkhorn",
            "hc_pre",
            "hc_post",
            "hc_head",
            "hc_post_pre",
            "router_dense",
            "router_hash",
            "expert_dispatch",
            "expert_combine",
            "indexer_topk",
            "cache_append_window",
            "cache_append",
            "sample");
    assertThat(rows)
        .filteredOn(row -> Double.valueOf(1e3).equals(((Map<?, ?>) row).get("peer_triton_us")))
        .hasSize(1);
    assertThat(rows)
        .filteredOn(row -> ((Map<?, ?>) row).containsKey("peer_torch_compile_us"))
        .singleElement()
        .satisfies(row -> assertThat(((Map<?, ?>) row).get("op")).isEqualTo("hc_pre"));
    assertThat((List<?>) result.get("peers")).hasSize(3);
    assertThat(result.get("peer_versions")).isEqualTo(Map.of("torch", "2.8.0", "triton", "3.4.0"));
  }

  @Test
  @Tag("gpu")
  void aQuickRunOnAGpuFindsEveryOpRight() {
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
    assertThat(run("--quick", "--only", "^swizzle")).isZero();
    assertThat(out.toString(StandardCharsets.UTF_8).lines().filter(l -> l.contains("swizzle")))
        .hasSize(1);
  }

  @Test
  void aWrongCommandLineIsOneSentence() {
    assertThat(run("--colour")).isEqualTo(2);
    assertThat(err.toString(StandardCharsets.UTF_8)).isEqualTo("unknown option --colour\n");
  }

  @Test
  void nothingToMeasureIsRefused() {
    assertThat(run("--quick", "--only", "gemm")).isEqualTo(NothingMatches.STATUS);
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("no workload matches gemm");
  }

  @Test
  void aMissingCeilingLibraryIsNamed() {
    assertThat(run("--quick", "--ceilings", "/nowhere/libnvfp4j_bench.so")).isEqualTo(2);
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("/nowhere/libnvfp4j_bench.so");
  }

  @Test
  void aPeersFileOfAnotherFormIsRefused(@TempDir Path folder) throws IOException {
    Path peers = folder.resolve("peers.json");
    Files.writeString(peers, "{\"results\": [{\"rows\": 8}]}");
    assertThat(run("--quick", "--peers", peers.toString())).isEqualTo(2);
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("expected rows and columns");
  }

  private int run(String... arguments) {
    return DeviceTime.run(new PrintStream(out, true), new PrintStream(err, true), arguments);
  }
}
