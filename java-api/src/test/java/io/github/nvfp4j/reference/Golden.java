// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// One file of `src/test/resources/goldens`. It has its own reading of the format, so that the
/// oracle and the library's safetensors reader cannot be wrong together.
final class Golden {
  private static final Pattern ENTRY =
      Pattern.compile(
          "\"([^\"]+)\":\\{\"dtype\":\"(\\w+)\",\"shape\":\\[([\\d,]*)],"
              + "\"data_offsets\":\\[(\\d+),(\\d+)]}");

  private record Entry(String dtype, int[] shape, ByteBuffer data) {}

  private final String name;
  private final Map<String, Entry> entries = new LinkedHashMap<>();

  private Golden(String name) {
    this.name = name;
  }

  static Golden read(String name) {
    try (InputStream in = Golden.class.getResourceAsStream("/goldens/" + name + ".safetensors")) {
      if (in == null) {
        throw new IllegalStateException("no golden file " + name);
      }
      return parse(name, ByteBuffer.wrap(in.readAllBytes()).order(ByteOrder.LITTLE_ENDIAN));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Golden parse(String name, ByteBuffer file) {
    int headerBytes = Math.toIntExact(file.getLong(0));
    byte[] header = new byte[headerBytes];
    file.get(8, header);
    String json = new String(header, StandardCharsets.UTF_8).replace(" ", "");
    Golden golden = new Golden(name);
    Matcher m = ENTRY.matcher(json);
    int end = 0;
    while (m.find()) {
      int from = Integer.parseInt(m.group(4));
      int to = Integer.parseInt(m.group(5));
      end = Math.max(end, to);
      ByteBuffer data =
          file.slice(8 + headerBytes + from, to - from).order(ByteOrder.LITTLE_ENDIAN);
      String shape = m.group(3);
      int[] dims =
          shape.isEmpty()
              ? new int[0]
              : Pattern.compile(",").splitAsStream(shape).mapToInt(Integer::parseInt).toArray();
      golden.entries.put(m.group(1), new Entry(m.group(2), dims, data));
    }
    if (8 + headerBytes + end != file.capacity()) {
      throw new IllegalStateException(name + ": the entries found do not cover the file");
    }
    return golden;
  }

  Set<String> names() {
    return entries.keySet();
  }

  boolean has(String tensor) {
    return entries.containsKey(tensor);
  }

  String dtype(String tensor) {
    return entry(tensor).dtype();
  }

  int shape(String tensor, int dimension) {
    return entry(tensor).shape()[dimension];
  }

  /// F32, or BF16 widened.
  float[] floats(String tensor) {
    Entry e = entry(tensor);
    float[] x;
    switch (e.dtype()) {
      case "F32" -> {
        x = new float[e.data().capacity() / 4];
        e.data().asFloatBuffer().get(0, x);
      }
      case "BF16" -> {
        x = new float[e.data().capacity() / 2];
        for (int i = 0; i < x.length; i++) {
          x[i] = Float.intBitsToFloat(e.data().getShort(2 * i) << 16);
        }
      }
      default -> throw wrongType(tensor, e);
    }
    return x;
  }

  double[] doubles(String tensor) {
    Entry e = expect(tensor, "F64");
    double[] x = new double[e.data().capacity() / 8];
    e.data().asDoubleBuffer().get(0, x);
    return x;
  }

  long[] longs(String tensor) {
    Entry e = expect(tensor, "I64");
    long[] x = new long[e.data().capacity() / 8];
    e.data().asLongBuffer().get(0, x);
    return x;
  }

  byte[] bytes(String tensor) {
    Entry e = expect(tensor, "U8");
    byte[] x = new byte[e.data().capacity()];
    e.data().get(0, x);
    return x;
  }

  short[] shorts(String tensor) {
    Entry e = entry(tensor);
    if (!e.dtype().equals("U16") && !e.dtype().equals("BF16")) {
      throw wrongType(tensor, e);
    }
    short[] x = new short[e.data().capacity() / 2];
    e.data().asShortBuffer().get(0, x);
    return x;
  }

  int[] ints(String tensor) {
    Entry e = entry(tensor);
    if (!e.dtype().equals("U32") && !e.dtype().equals("I32")) {
      throw wrongType(tensor, e);
    }
    int[] x = new int[e.data().capacity() / 4];
    e.data().asIntBuffer().get(0, x);
    return x;
  }

  private Entry expect(String tensor, String dtype) {
    Entry e = entry(tensor);
    if (!e.dtype().equals(dtype)) {
      throw wrongType(tensor, e);
    }
    return e;
  }

  private Entry entry(String tensor) {
    Entry e = entries.get(tensor);
    if (e == null) {
      throw new IllegalStateException(name + " has no tensor " + tensor);
    }
    return e;
  }

  private IllegalStateException wrongType(String tensor, Entry e) {
    return new IllegalStateException(name + ": " + tensor + " is " + e.dtype());
  }
}
