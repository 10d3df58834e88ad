// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// The little JSON that result files need: maps, lists, strings, numbers, booleans and null.
///
/// The command has a class of its own, which says why.
final class Json {
  private final String text;
  private int at;

  private Json(String text) {
    this.text = text;
  }

  /// Reads one JSON value.
  ///
  /// @param text the whole document
  /// @return `Map`, `List`, `String`, `Double`, `Boolean` or null
  /// @throws IllegalArgumentException when the text is not JSON; the message has the position
  static @Nullable Object parse(String text) {
    Json json = new Json(text);
    Object value = json.value();
    json.space();
    if (json.at != text.length()) {
      throw json.unexpected("end of text");
    }
    return value;
  }

  /// Writes a value with an indent of two spaces; maps that hold only scalars stay on one line.
  static String write(@Nullable Object value) {
    StringBuilder out = new StringBuilder();
    write(out, value, 0);
    return out.append('\n').toString();
  }

  private static void write(StringBuilder out, @Nullable Object value, int depth) {
    switch (value) {
      case null -> out.append("null");
      case String string -> quote(out, string);
      case Boolean flag -> out.append(flag.booleanValue());
      case Double number -> out.append(number(number));
      case Number number -> out.append(number);
      case Map<?, ?> map -> writeMap(out, map, depth);
      case List<?> list -> writeList(out, list, depth);
      default -> throw new IllegalArgumentException("not a JSON value: " + value.getClass());
    }
  }

  private static String number(double number) {
    if (!Double.isFinite(number)) {
      return "null"; // JSON has no NaN: "not measured"
    }
    String plain = String.format(Locale.ROOT, "%.4f", number);
    return plain.replaceFirst("\\.?0+$", "");
  }

  private static void writeMap(StringBuilder out, Map<?, ?> map, int depth) {
    boolean flat = map.values().stream().noneMatch(v -> v instanceof Map || v instanceof List);
    String end = flat ? "" : "\n" + "  ".repeat(depth);
    String separator = flat ? "" : "\n" + "  ".repeat(depth + 1);
    out.append('{');
    String before = separator;
    for (Map.Entry<?, ?> entry : map.entrySet()) {
      out.append(before);
      quote(out, String.valueOf(entry.getKey()));
      out.append(": ");
      write(out, entry.getValue(), depth + 1);
      before = flat ? ", " : "," + separator;
    }
    out.append(map.isEmpty() ? "" : end).append('}');
  }

  private static void writeList(StringBuilder out, List<?> list, int depth) {
    out.append('[');
    String before = "";
    for (Object element : list) {
      out.append(before).append('\n').append("  ".repeat(depth + 1));
      write(out, element, depth + 1);
      before = ",";
    }
    out.append(list.isEmpty() ? "" : "\n" + "  ".repeat(depth)).append(']');
  }

  private static void quote(StringBuilder out, String string) {
    out.append('"');
    for (int i = 0; i < string.length(); i++) {
      char c = string.charAt(i);
      switch (c) {
        case '"', '\\' -> out.append('\\').append(c);
        case '\n' -> out.append("\\n");
        case '\t' -> out.append("\\t");
        default -> {
          if (c < ' ') {
            out.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
          } else {
            out.append(c);
          }
        }
      }
    }
    out.append('"');
  }

  private @Nullable Object value() {
    space();
    if (at == text.length()) {
      throw unexpected("a value");
    }
    char c = text.charAt(at);
    return switch (c) {
      case '{' -> map();
      case '[' -> list();
      case '"' -> string();
      case 't' -> word("true", true);
      case 'f' -> word("false", false);
      case 'n' -> word("null", null);
      default -> number();
    };
  }

  private Map<String, @Nullable Object> map() {
    Map<String, @Nullable Object> map = new LinkedHashMap<>();
    at++;
    space();
    if (take('}')) {
      return map;
    }
    do {
      space();
      String key = string();
      space();
      expect(':');
      map.put(key, value());
      space();
    } while (take(','));
    expect('}');
    return map;
  }

  private List<@Nullable Object> list() {
    List<@Nullable Object> list = new ArrayList<>();
    at++;
    space();
    if (take(']')) {
      return list;
    }
    do {
      list.add(value());
      space();
    } while (take(','));
    expect(']');
    return list;
  }

  private String string() {
    expect('"');
    StringBuilder out = new StringBuilder();
    while (at < text.length() && text.charAt(at) != '"') {
      char c = text.charAt(at++);
      if (c != '\\' || at == text.length()) {
        out.append(c);
        continue;
      }
      char escape = text.charAt(at++);
      switch (escape) {
        case 'n' -> out.append('\n');
        case 't' -> out.append('\t');
        case 'r' -> out.append('\r');
        case 'b' -> out.append('\b');
        case 'f' -> out.append('\f');
        case 'u' -> {
          if (at + 4 > text.length()) {
            throw unexpected("four hexadecimal digits");
          }
          out.append((char) Integer.parseInt(text, at, at + 4, 16));
          at += 4;
        }
        default -> out.append(escape);
      }
    }
    expect('"');
    return out.toString();
  }

  private Double number() {
    int start = at;
    while (at < text.length() && "+-0123456789.eE".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
    try {
      return Double.valueOf(text.substring(start, at));
    } catch (NumberFormatException e) {
      at = start;
      throw unexpected("a value");
    }
  }

  private @Nullable Object word(String word, @Nullable Object value) {
    if (!text.startsWith(word, at)) {
      throw unexpected(word);
    }
    at += word.length();
    return value;
  }

  private void space() {
    while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
  }

  private boolean take(char c) {
    boolean found = at < text.length() && text.charAt(at) == c;
    at += found ? 1 : 0;
    return found;
  }

  private void expect(char c) {
    if (!take(c)) {
      throw unexpected("'" + c + "'");
    }
  }

  private IllegalArgumentException unexpected(String expected) {
    String found = at < text.length() ? "'" + text.charAt(at) + "'" : "the end";
    return new IllegalArgumentException(
        "JSON: found " + found + " at offset " + at + ", expected " + expected);
  }
}
