// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// Reads a safetensors header: a strict JSON parser that follows the header's schema, and the
/// checks of what it says.
///
/// The schema has three levels (the header, a tensor, its shape or offsets) and a value of any
/// other kind is refused where it begins, so that the parser neither recurses nor looks for the end
/// of what it does not know: nesting is bounded by construction.
///
/// Sources: RFC 8259 (JSON), and the format's description in the safetensors project: the header
/// begins with `{`, may be padded with spaces at its end, has no duplicate keys, and its tensors
/// cover the data without a hole.
final class HeaderReader {
  /// Limit of the format's own implementation.
  static final long MAX_HEADER_BYTES = 100_000_000;

  /// A tensor and where its data is, in bytes from the start of the data.
  record Placed(SafetensorsEntry entry, long begin) {
    long end() {
      return begin + entry.byteSize();
    }
  }

  /// What a header says; tensors in the order of their data.
  record Header(List<Placed> tensors, Map<String, String> metadata) {}

  private final String file;
  private final String json;
  private final long dataBytes;
  private final List<Placed> tensors = new ArrayList<>();
  private Map<String, String> metadata = Map.of();
  private int at;

  private HeaderReader(String file, String json, long dataBytes) {
    this.file = file;
    this.json = json;
    this.dataBytes = dataBytes;
  }

  /// Reads and checks a header.
  ///
  /// @param file the file's name, for messages
  /// @param header its bytes, without the length before them
  /// @param dataBytes bytes of the file behind the header
  static Header read(String file, byte[] header, long dataBytes) throws SafetensorsException {
    if (header.length == 0 || header[0] != '{') {
      throw new SafetensorsException(
          file
              + ": header begins with "
              + (header.length == 0 ? "nothing" : String.format("byte 0x%02x", header[0]))
              + ", expected {");
    }
    String json;
    try {
      // A new decoder reports what is malformed; it does not replace it.
      json = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(header)).toString();
    } catch (CharacterCodingException e) {
      throw new SafetensorsException(file + ": header is not valid UTF-8, expected UTF-8 JSON");
    }
    HeaderReader reader = new HeaderReader(file, json, dataBytes);
    reader.readHeader();
    return reader.place();
  }

  private void readHeader() throws SafetensorsException {
    Set<String> names = new HashSet<>();
    boolean hasMetadata = false;
    expect('{');
    for (boolean more = !accept('}'); more; more = separator('}')) {
      String name = string("a tensor's name");
      if (name.equals(SafetensorsEntry.METADATA_KEY)) {
        if (hasMetadata) {
          throw fault("has __metadata__ twice, expected it once");
        }
        hasMetadata = true;
        expect(':');
        metadata = readMetadata();
      } else {
        if (!names.add(name)) {
          throw fault("has tensor " + Text.quote(name) + " twice, expected distinct names");
        }
        expect(':');
        readTensor(name);
      }
    }
    for (; at < json.length(); at++) {
      if (json.charAt(at) != ' ') {
        throw fault("has " + found() + " behind its end, expected only spaces");
      }
    }
  }

  private Map<String, String> readMetadata() throws SafetensorsException {
    Map<String, String> map = new LinkedHashMap<>();
    expect('{', "__metadata__ begins with %s, expected an object of strings");
    for (boolean more = !accept('}'); more; more = separator('}')) {
      String key = string("a key of __metadata__");
      expect(':');
      skipSpace();
      if (peek() != '"') {
        throw fault(
            "__metadata__ key " + Text.quote(key) + " has " + found() + ", expected a string");
      }
      if (map.putIfAbsent(key, string("a string")) != null) {
        throw fault("__metadata__ has key " + Text.quote(key) + " twice, expected distinct keys");
      }
    }
    return Collections.unmodifiableMap(map);
  }

  private void readTensor(String name) throws SafetensorsException {
    SafetensorsDType dtype = null;
    long[] shape = null;
    long[] offsets = null;
    String tensor = "tensor " + Text.quote(name) + ": ";
    expect('{', tensor + "begins with %s, expected an object with dtype, shape and data_offsets");
    for (boolean more = !accept('}'); more; more = separator('}')) {
      String key = string("a key of tensor " + Text.quote(name));
      boolean twice =
          switch (key) {
            case "dtype" -> dtype != null;
            case "shape" -> shape != null;
            case "data_offsets" -> offsets != null;
            default ->
                throw fault(
                    tensor
                        + "has the key "
                        + Text.quote(key)
                        + ", expected dtype, shape and data_offsets");
          };
      if (twice) {
        throw fault(tensor + "has " + key + " twice, expected it once");
      }
      expect(':');
      switch (key) {
        case "dtype" -> dtype = dtype(tensor);
        case "shape" -> shape = integers(tensor + "shape");
        default -> offsets = integers(tensor + "data_offsets");
      }
    }
    if (dtype == null || shape == null || offsets == null) {
      String missing = dtype == null ? "dtype" : shape == null ? "shape" : "data_offsets";
      throw fault(tensor + "has no " + missing + ", expected dtype, shape and data_offsets");
    }
    if (offsets.length != 2 || offsets[0] > offsets[1]) {
      throw fault(
          tensor
              + "data_offsets is "
              + Text.show(offsets)
              + ", expected [begin, end] with begin <= end");
    }
    String problem = SafetensorsEntry.sizeProblem(dtype, shape);
    if (problem != null) {
      throw fault(tensor + problem);
    }
    SafetensorsEntry entry = new SafetensorsEntry(name, dtype, shape);
    if (offsets[1] - offsets[0] != entry.byteSize()) {
      throw fault(
          tensor
              + "data_offsets "
              + Text.show(offsets)
              + " have "
              + (offsets[1] - offsets[0])
              + " bytes, expected "
              + entry.byteSize()
              + " ("
              + dtype
              + " "
              + Text.show(shape)
              + ")");
    }
    if (offsets[1] > dataBytes) {
      throw fault(
          tensor
              + "data_offsets end at "
              + offsets[1]
              + ", expected at most "
              + dataBytes
              + ", the bytes behind the header");
    }
    tensors.add(new Placed(entry, offsets[0]));
  }

  private Header place() throws SafetensorsException {
    tensors.sort(Comparator.comparingLong(Placed::begin).thenComparingLong(Placed::end));
    long end = 0;
    String before = "the data begins";
    for (Placed tensor : tensors) {
      if (tensor.begin() != end) {
        throw fault(
            "tensor "
                + Text.quote(tensor.entry().name())
                + (tensor.begin() < end ? ": overlaps its neighbour" : ": leaves a hole")
                + ", data begins at "
                + tensor.begin()
                + ", expected "
                + end
                + ", where "
                + before);
      }
      end = tensor.end();
      before = "tensor " + Text.quote(tensor.entry().name()) + " ends";
    }
    if (end != dataBytes) {
      throw fault(
          "tensors cover "
              + end
              + " bytes, expected all "
              + dataBytes
              + " behind the header: "
              + (dataBytes - end)
              + " bytes trail");
    }
    return new Header(List.copyOf(tensors), metadata);
  }

  private SafetensorsDType dtype(String tensor) throws SafetensorsException {
    skipSpace();
    if (peek() != '"') {
      throw fault(tensor + "dtype is " + found() + ", expected a string");
    }
    String text = string("a dtype");
    SafetensorsDType dtype = SafetensorsDType.find(text);
    if (dtype == null) {
      throw fault(
          tensor
              + "dtype is "
              + Text.quote(text)
              + ", expected one of "
              + SafetensorsDType.names());
    }
    return dtype;
  }

  private long[] integers(String what) throws SafetensorsException {
    expect('[', what + " begins with %s, expected an array of integers");
    long[] values = new long[4];
    int count = 0;
    for (boolean more = !accept(']'); more; more = separator(']')) {
      if (count == values.length) {
        values = Arrays.copyOf(values, 2 * count);
      }
      values[count++] = integer(what);
    }
    return Arrays.copyOf(values, count);
  }

  /// A JSON number that is an integer from 0 to 2^63 - 1, written without sign, fraction or
  /// exponent.
  private long integer(String what) throws SafetensorsException {
    skipSpace();
    int start = at;
    long value = 0;
    boolean fits = true;
    for (; at < json.length() && isDigit(json.charAt(at)); at++) {
      int digit = json.charAt(at) - '0';
      fits &= value <= (Long.MAX_VALUE - digit) / 10;
      value = value * 10 + digit;
    }
    int length = at - start;
    if (length == 0) {
      throw fault(what + " has " + found() + ", expected an integer >= 0");
    }
    if (length > 1 && json.charAt(start) == '0') {
      throw fault(what + " has an integer with a leading zero, expected none");
    }
    if (at < json.length() && ".eE".indexOf(json.charAt(at)) >= 0) {
      throw fault(what + " has a number with a fraction or an exponent, expected an integer >= 0");
    }
    if (!fits) {
      throw fault(
          what
              + " has the integer "
              + json.substring(start, Math.min(at, start + 40))
              + ", expected less than 2^63");
    }
    return value;
  }

  private String string(String what) throws SafetensorsException {
    skipSpace();
    if (peek() != '"') {
      throw fault("has " + found() + ", expected " + what);
    }
    int start = ++at;
    while (at < json.length() && isPlain(json.charAt(at))) {
      at++;
    }
    if (at < json.length() && json.charAt(at) == '"') {
      return json.substring(start, at++);
    }
    StringBuilder text = new StringBuilder(json.substring(start, at));
    while (true) {
      if (at == json.length()) {
        throw fault("ends inside a string, expected \"");
      }
      char c = json.charAt(at++);
      if (c == '"') {
        break;
      }
      if (c < 0x20) {
        at--;
        throw fault("has " + found() + " inside a string, expected it escaped");
      }
      text.append(c == '\\' ? escape() : c);
    }
    String string = text.toString();
    if (!Text.isWellFormed(string)) {
      throw fault(
          "has the string " + Text.quote(string) + " with an unpaired surrogate, expected Unicode");
    }
    return string;
  }

  private char escape() throws SafetensorsException {
    int c = peek();
    at++;
    return switch (c) {
      case '"', '\\', '/' -> (char) c;
      case 'b' -> '\b';
      case 'f' -> '\f';
      case 'n' -> '\n';
      case 'r' -> '\r';
      case 't' -> '\t';
      case 'u' -> {
        int value = 0;
        for (int i = 0; i < 4; i++) {
          int digit = at < json.length() ? hexDigit(json.charAt(at)) : -1;
          if (digit < 0) {
            throw fault("has " + found() + " in a \\u escape, expected four hexadecimal digits");
          }
          value = value * 16 + digit;
          at++;
        }
        yield (char) value;
      }
      default -> {
        at--;
        throw fault("has " + found() + " behind a backslash, expected one of \" \\ / b f n r t u");
      }
    };
  }

  /// After a value: true for another, false at the closing bracket.
  private boolean separator(char close) throws SafetensorsException {
    if (accept(close)) {
      return false;
    }
    if (accept(',')) {
      return true;
    }
    throw fault("has " + found() + ", expected , or " + close);
  }

  private boolean accept(char c) {
    skipSpace();
    if (peek() == c) {
      at++;
      return true;
    }
    return false;
  }

  private void expect(char c) throws SafetensorsException {
    expect(c, "has %s, expected " + c);
  }

  private void expect(char c, String sentence) throws SafetensorsException {
    if (!accept(c)) {
      // Not String.format: the sentence holds names of the file, which may hold a %.
      int mark = sentence.lastIndexOf("%s");
      throw fault(sentence.substring(0, mark) + found() + sentence.substring(mark + 2));
    }
  }

  private void skipSpace() {
    while (at < json.length() && " \t\n\r".indexOf(json.charAt(at)) >= 0) {
      at++;
    }
  }

  /// The next character, or -1 at the end.
  private int peek() {
    return at < json.length() ? json.charAt(at) : -1;
  }

  /// The next character, for a sentence.
  private String found() {
    int c = peek();
    if (c < 0) {
      return "its end";
    }
    return c > 0x20 && c < 0x7f ? String.valueOf((char) c) : String.format("character U+%04X", c);
  }

  private SafetensorsException fault(String what) {
    return new SafetensorsException(file + ": header, near character " + at + ": " + what);
  }

  private static boolean isPlain(char c) {
    return c >= 0x20 && c != '"' && c != '\\';
  }

  private static boolean isDigit(char c) {
    return c >= '0' && c <= '9';
  }

  private static int hexDigit(char c) {
    return c < 0x80 ? Character.digit(c, 16) : -1;
  }
}
