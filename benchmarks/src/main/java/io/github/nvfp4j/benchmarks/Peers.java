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

/// Other implementations, measured in the same session by the scripts in `benchmarks/peers`, of
/// which each prints `{"torch": "2.8.0", "triton": "3.4.0", "results": [{"op": "hc_pre", "variant":
/// "4 streams", "rows": 8192, "columns": 7168, "torch_compile_us": 200.0}, ...]}`. A result without
/// op and variant is one of `quantize` with a dynamic global scale.
///
/// @param versions versions of the software
/// @param figures what was measured
record Peers(Map<String, String> versions, List<Figure> figures) {
  private static final String OP = "quantize";
  private static final String VARIANT = "dynamic, tensor";
  private static final String UNIT = "_us";

  /// One figure.
  ///
  /// @param name the implementation
  /// @param op the op that does the same
  /// @param variant of it
  /// @param rows rows of the output
  /// @param columns elements in a row of the output
  /// @param micros device time of one call
  record Figure(String name, String op, String variant, long rows, long columns, double micros) {

    private boolean isOf(Workload workload) {
      return op.equals(workload.op())
          && variant.equals(workload.variant())
          && rows == workload.rows()
          && columns == workload.columns();
    }
  }

  /// @param files what scripts printed
  /// @throws IllegalArgumentException when the contents of one are not as above
  static Peers read(List<Path> files) throws IOException {
    Map<String, String> versions = new LinkedHashMap<>();
    List<Figure> figures = new ArrayList<>();
    for (Path file : files) {
      read(file, versions, figures);
    }
    return new Peers(versions, figures);
  }

  private static void read(Path file, Map<String, String> versions, List<Figure> figures)
      throws IOException {
    if (!(Json.parse(Files.readString(file)) instanceof Map<?, ?> document)
        || !(document.get("results") instanceof List<?> results)) {
      throw new IllegalArgumentException("--peers: " + file + " has no list 'results'");
    }
    for (String software : List.of("torch", "triton")) {
      if (document.get(software) instanceof String version) {
        versions.put(software, version);
      }
    }
    for (Object result : results) {
      if (!(result instanceof Map<?, ?> row)
          || !(row.get("rows") instanceof Double rows)
          || !(row.get("columns") instanceof Double columns)) {
        throw new IllegalArgumentException(
            "--peers: " + file + " has the result " + result + ", expected rows and columns");
      }
      String op = row.get("op") instanceof String given ? given : OP;
      String variant = row.get("variant") instanceof String given ? given : VARIANT;
      for (Map.Entry<?, ?> entry : row.entrySet()) {
        if (entry.getKey() instanceof String key
            && key.endsWith(UNIT)
            && entry.getValue() instanceof Double micros) {
          String name = key.substring(0, key.length() - UNIT.length());
          figures.add(new Figure(name, op, variant, rows.longValue(), columns.longValue(), micros));
        }
      }
    }
  }

  /// @return microseconds by name, of those that did the same as a workload
  Map<String, Double> of(Workload workload) {
    Map<String, Double> micros = new LinkedHashMap<>();
    for (Figure figure : figures) {
      if (figure.isOf(workload)) {
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
      row.put("op", figure.op);
      row.put("variant", figure.variant);
      row.put("rows", figure.rows);
      row.put("columns", figure.columns);
      row.put("us", figure.micros);
      rows.add(row);
    }
    return rows;
  }
}
