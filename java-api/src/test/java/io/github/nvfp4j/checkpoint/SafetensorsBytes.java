// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/// Safetensors files written by hand, well-formed or not.
final class SafetensorsBytes {
  private SafetensorsBytes() {}

  /// A file of a header's text and so many bytes of data, 0, 1, 2, ...
  static byte[] file(String json, int dataBytes) {
    return file(json.getBytes(StandardCharsets.UTF_8), dataBytes);
  }

  /// A file of a header's bytes and so many bytes of data.
  static byte[] file(byte[] json, int dataBytes) {
    ByteBuffer file =
        ByteBuffer.allocate(8 + json.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
    file.putLong(json.length).put(json);
    for (int i = 0; i < dataBytes; i++) {
      file.put((byte) i);
    }
    return file.array();
  }

  /// A header of one tensor `a`.
  static String tensor(String dtype, String shape, String offsets) {
    return "{\"a\":{\"dtype\":"
        + dtype
        + ",\"shape\":"
        + shape
        + ",\"data_offsets\":"
        + offsets
        + "}}";
  }
}
