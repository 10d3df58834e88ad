// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Other implementations of `quantize` with a dynamic global scale, measured in the same session by
/// `benchmarks/peers/quantize_triton.py`, which prints `{"torch": "2.8.0", "triton": "3.4.0",
/// "results": [{"rows": 8192, "columns": 7168, "triton_us": 100.0, "torch_compile_us": 200.0},
/// ...]}`.
///
/// @param versions versions of the software
/// @param figures what was measured
record Peers(Map<String, String> versions, List<Figure> figures) {
  private static final String OP = "quantize";
  private static final String VARIANT = "dynamic, tensor";
  private static final String UNIT = "_us";

  static final Peers NONE = new Peers(Map.of(), List.of());

  /// One figure.
  ///
  /// @param name the implementation
  /// @param rows rows of the output
  /// @param columns elements in a row of the output
  /// @param micros device time of one call
  record Figure(String name, long rows, long columns, double micros) {}

  /// @param file what the script printed
  /// @throws IllegalArgumentException when its contents are not as above
  static Peers read(Path file) throws IOException {
    if (!(Json.parse(Files.readString(file)) instanceof Map<?, ?> document)
        || !(document.get("results") instanceof List<?> results)) {
      throw new IllegalArgumentException("--peers: " + file + " has no list 'results'");
    }
    Map<String, String> versions = new LinkedHashMap<>();
    for (String software : List.of("torch", "triton")) {
      if (document.get(software) instanceof String version) {
        versions.put(software, version);
      }
    }
    List<Figure> figures = new ArrayList<>();
    for (Object result : results) {
      if (!(result instanceof Map<?, ?> row)
          || !(row.get("rows") instanceof Double rows)
          || !(row.get("columns") instanceof Double columns)) {
        throw new IllegalArgumentException(
            "--peers: " + file + " has the result " + result + ", expected rows and columns");
      }
      for (Map.Entry<?, ?> entry : row.entrySet()) {
        if (entry.getKey() instanceof String key
            && key.endsWith(UNIT)
            && entry.getValue() instanceof Double micros) {
          String name = key.substring(0, key.length() - UNIT.length());
          figures.add(new Figure(name, rows.longValue(), columns.longValue(), micros));
        }
      }
    }
    return new Peers(versions, figures);
  }

  /// @return microseconds by name, of those that did the same as a workload
  Map<String, Double> of(Workload workload) {
    Map<String, Double> micros = new LinkedHashMap<>();
    if (!workload.op().equals(OP) || !workload.variant().equals(VARIANT)) {
      return micros;
    }
    for (Figure figure : figures) {
      if (figure.rows == workload.rows() && figure.columns == workload.columns()) {
        micros.put(figure.name, figure.micros);
      }
    }
    return micros;
  }

  /// @return the figures as rows of a result file
  List<Map<String, @Nullable Object>> json() {
    List<Map<String, @Nullable Object>> rows = new ArrayList<>();
    for (Figure figure : figures) {
      Map<String, @Nullable Object> row = new LinkedHashMap<>();
      row.put("name", figure.name);
      row.put("op", OP);
      row.put("variant", VARIANT);
      row.put("rows", figure.rows);
      row.put("columns", figure.columns);
      row.put("us", figure.micros);
      rows.add(row);
    }
    return rows;
  }
}
