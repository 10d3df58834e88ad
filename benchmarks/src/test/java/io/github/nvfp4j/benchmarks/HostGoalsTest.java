// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

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
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HostGoalsTest {

  @Test
  void aQuickRunMeasuresEveryCallAndAllocatesNothing(@TempDir Path folder) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    int status =
        HostGoals.run(
            new PrintStream(out, true),
            new PrintStream(err, true),
            "--quick",
            "--out",
            folder.toString());
    assertThat(err.toString(StandardCharsets.UTF_8)).isEmpty();
    assertThat(status).isZero();
    Path file;
    try (Stream<Path> files = Files.list(folder)) {
      file = files.findFirst().orElseThrow();
    }
    assertThat(file.getFileName().toString()).endsWith("-host.json");
    Map<?, ?> result = (Map<?, ?>) Json.parse(Files.readString(file));
    List<?> rows = (List<?>) Objects.requireNonNull(Objects.requireNonNull(result).get("rows"));
    assertThat(rows.stream().map(row -> (Object) ((Map<?, ?>) row).get("benchmark")))
        .contains(
            "abiVersion",
            "quantize",
            "dequantize",
            "swizzle",
            "unswizzle",
            "swiglu",
            "swigluQuantize",
            "gemmBf16",
            "gemmNvfp4",
            "groupedGemm",
            "batchedGemm",
            "packActivations",
            "sinkhorn",
            "hcPre",
            "hcPost",
            "hcHead",
            "hcPostPre",
            "routerDense",
            "routerHash",
            "expertCombine",
            "indexerTopk",
            "cacheAppendWindow",
            "cacheAppend",
            "sample",
            "copy",
            "cpuGiven",
            "cpuDynamicTensor",
            "cpuDynamicRow",
            "cpuHyperConnections");
    assertThat(rows)
        .allSatisfy(row -> {
          Map<?, ?> figures = (Map<?, ?>) row;
          assertThat(((Number) Objects.requireNonNull(figures.get("ns_lowest"))).doubleValue())
              .isPositive()
              .isLessThanOrEqualTo(
                  ((Number) Objects.requireNonNull(figures.get("ns"))).doubleValue());
        });
  }
}
