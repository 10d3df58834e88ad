// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.Arrays;

/// The arithmetic of a tensor's shape and strides, checked: nothing overflows in silence.
final class Extents {
  /// The highest rank.
  private static final int MAX_RANK = 4;

  private Extents() {}

  /// The address of the first byte behind the tensor, gaps between rows counted.
  static long spanBytes(DType dtype, long[] shape, long[] stride) {
    if (stride.length != shape.length) {
      throw new IllegalArgumentException(
          "tensor: stride has "
              + stride.length
              + " entries, expected "
              + shape.length
              + ", one per dimension");
    }
    try {
      long last = 0;
      boolean empty = false;
      for (int i = 0; i < shape.length; i++) {
        if (stride[i] < 0) {
          throw new IllegalArgumentException(
              "tensor: stride[" + i + "] is " + stride[i] + ", expected at least 0");
        }
        if (shape[i] > 1 && i == shape.length - 1 && stride[i] != 1) {
          throw new IllegalArgumentException(
              "tensor: stride["
                  + i
                  + "] is "
                  + stride[i]
                  + ", expected 1 (the innermost dimension)");
        }
        empty |= shape[i] == 0;
        if (shape[i] > 1) {
          last = Math.addExact(last, Math.multiplyExact(shape[i] - 1, stride[i]));
        }
      }
      return empty ? 0 : Math.multiplyExact(Math.addExact(last, 1), (long) dtype.bytes());
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException(
          "tensor: "
              + text(dtype, shape)
              + " with strides "
              + Arrays.toString(stride)
              + " needs more than 2^63 - 1 bytes",
          e);
    }
  }

  static long elements(long[] shape) {
    if (shape.length > MAX_RANK) {
      throw new IllegalArgumentException(
          "tensor: shape has " + shape.length + " dimensions, expected at most " + MAX_RANK);
    }
    long elements = 1;
    boolean empty = false;
    for (int i = 0; i < shape.length; i++) {
      if (shape[i] < 0) {
        throw new IllegalArgumentException(
            "tensor: shape[" + i + "] is " + shape[i] + ", expected at least 0");
      }
      empty |= shape[i] == 0;
    }
    if (empty) {
      return 0;
    }
    for (long dim : shape) {
      try {
        elements = Math.multiplyExact(elements, dim);
      } catch (ArithmeticException e) {
        throw new IllegalArgumentException(
            "tensor: shape " + Arrays.toString(shape) + " has more than 2^63 - 1 elements", e);
      }
    }
    return elements;
  }

  static long bytes(DType dtype, long[] shape) {
    return bytes(elements(shape), dtype, shape);
  }

  static long bytes(long elements, DType dtype, long[] shape) {
    try {
      return Math.multiplyExact(elements, (long) dtype.bytes());
    } catch (ArithmeticException e) {
      throw new IllegalArgumentException(
          "tensor: " + text(dtype, shape) + " needs more than 2^63 - 1 bytes", e);
    }
  }

  static long[] contiguous(long[] shape) {
    long[] stride = new long[shape.length];
    long step = 1;
    for (int i = shape.length - 1; i >= 0; i--) {
      stride[i] = step;
      step *= Math.max(shape[i], 1);
    }
    return stride;
  }

  static String text(DType dtype, long[] shape) {
    return dtype + Arrays.toString(shape);
  }
}
