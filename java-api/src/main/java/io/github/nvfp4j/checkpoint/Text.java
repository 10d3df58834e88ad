// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.util.Arrays;

/// Strings of unknown origin: shown in messages, written as JSON.
final class Text {
  private static final int SHOWN_CHARACTERS = 160;

  private Text() {}

  /// Quotes a string for a sentence: control characters are escaped, so that a file cannot write to
  /// the terminal or break the sentence into two, and the length is bounded.
  static String quote(String text) {
    StringBuilder quoted = new StringBuilder(text.length() + 2).append('"');
    for (int i = 0; i < text.length(); i++) {
      if (i == SHOWN_CHARACTERS) {
        quoted.append("...");
        break;
      }
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        quoted.append('\\').append(c);
      } else if (Character.isISOControl(c)
          || Character.isSurrogate(c)
          || Character.getType(c) == Character.FORMAT
          || Character.getType(c) == Character.LINE_SEPARATOR
          || Character.getType(c) == Character.PARAGRAPH_SEPARATOR) {
        quoted.append(String.format("\\u%04x", (int) c));
      } else {
        quoted.append(c);
      }
    }
    return quoted.append('"').toString();
  }

  /// A shape or a pair of offsets for a sentence, of bounded length.
  static String show(long[] values) {
    return values.length <= 8
        ? Arrays.toString(values)
        : "an array of " + values.length + " integers";
  }

  /// Whether every surrogate has its partner, which is to say whether UTF-8 can hold the string.
  static boolean isWellFormed(String text) {
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (Character.isHighSurrogate(c)
          && i + 1 < text.length()
          && Character.isLowSurrogate(text.charAt(i + 1))) {
        i++;
      } else if (Character.isSurrogate(c)) {
        return false;
      }
    }
    return true;
  }

  /// Appends a JSON string.
  static void appendJson(StringBuilder json, String text) {
    json.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      switch (c) {
        case '"' -> json.append("\\\"");
        case '\\' -> json.append("\\\\");
        case '\n' -> json.append("\\n");
        case '\r' -> json.append("\\r");
        case '\t' -> json.append("\\t");
        default -> {
          if (c < 0x20) {
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
