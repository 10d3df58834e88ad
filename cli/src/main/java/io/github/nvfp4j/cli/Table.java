// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;

/// Rows of text with aligned columns.
final class Table {
  private final boolean[] right;
  private final List<String[]> rows = new ArrayList<>();

  /// A table whose columns have these titles; a title that starts with `>` sets its column right.
  Table(String... titles) {
    right = new boolean[titles.length];
    String[] header = new String[titles.length];
    for (int i = 0; i < titles.length; i++) {
      right[i] = titles[i].startsWith(">");
      header[i] = right[i] ? titles[i].substring(1) : titles[i];
    }
    rows.add(header);
  }

  void add(Object... cells) {
    String[] row = new String[right.length];
    for (int i = 0; i < row.length; i++) {
      row[i] = i < cells.length ? cells[i].toString() : "";
    }
    rows.add(row);
  }

  void print(PrintWriter out) {
    int[] widths = new int[right.length];
    for (String[] row : rows) {
      for (int i = 0; i < row.length; i++) {
        widths[i] = Math.max(widths[i], row[i].length());
      }
    }
    for (String[] row : rows) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < row.length; i++) {
        String space = " ".repeat(widths[i] - row[i].length());
        line.append(i == 0 ? "" : "  ").append(right[i] ? space + row[i] : row[i] + space);
      }
      out.println(line.toString().stripTrailing());
    }
  }
}
