// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Writes maps, lists, strings, numbers, booleans and null as JSON.
///
/// The benchmarks have a class of their own. All that the two applications share at run time is the
/// library that others embed, which has no use for JSON; and they want different files: every digit
/// of a number here, few and rows that a person can compare there.
final class Json {
  private Json() {}

  static String of(@Nullable Object value) {
    StringBuilder json = new StringBuilder();
    append(json, value, "\n");
    return json.toString();
  }

  /// The same without line breaks.
  static String line(@Nullable Object value) {
    StringBuilder json = new StringBuilder();
    append(json, value, null);
    return json.toString();
  }

  /// @param newLine a line break and the indentation of this value, or null for one line
  private static void append(StringBuilder json, @Nullable Object value, @Nullable String newLine) {
    switch (value) {
      case null -> json.append("null");
      case Map<?, ?> map -> {
        String inner = newLine == null ? null : newLine + "  ";
        String gap = inner == null ? "" : inner;
        String separator = "{" + gap;
        for (Map.Entry<?, ?> member : map.entrySet()) {
          appendString(json.append(separator), member.getKey().toString());
          append(json.append(": "), member.getValue(), inner);
          separator = (inner == null ? ", " : ",") + gap;
        }
        json.append(map.isEmpty() ? "{}" : newLine == null ? "}" : newLine + "}");
      }
      case List<?> list -> {
        String separator = "[";
        for (Object item : list) {
          append(json.append(separator), item, newLine == null ? null : newLine + "  ");
          separator = ", ";
        }
        json.append(list.isEmpty() ? "[]" : "]");
      }
      // JSON has no infinity: the SNR of what was stored without loss, say.
      case Double number -> json.append(Double.isFinite(number) ? number.toString() : "null");
      case Number number -> json.append(number);
      case Boolean flag -> json.append(flag);
      default -> appendString(json, value.toString());
    }
  }

  private static void appendString(StringBuilder json, String text) {
    json.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '"' -> json.append("\\\"");
        case '\\' -> json.append("\\\\");
        case '\n' -> json.append("\\n");
        case '\t' -> json.append("\\t");
        default -> {
          if (c < 0x20 || Character.isSurrogate(c)) {
            json.append(String.format("\\u%04x", (int) c));
          } else {
            json.append(c);
          }
        }
      }
    }
    json.append('"');
  }
}
