// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Random;

/// What the tests of dispatch and combine share: matrices of ids, with gaps between rows.
abstract class ExpertsOnDevice extends GemmOnDevice {
  /// Between rows of ids: no expert and no row.
  static final int BETWEEN = 0x7A7A7A7A;

  ExpertsOnDevice(String id) {
    super(id);
  }

  /// A matrix of ids on the device under test, `gap` elements between its rows.
  Tensor ids(int[] values, int rows, int columns, int gap) {
    int stride = columns + gap;
    MemorySegment memory = arena.allocate(Math.max(4L * rows * stride, 4), 64);
    for (int i = 0; i < rows * stride; i++) {
      boolean inside = i % stride < columns;
      int value = inside ? values[i / stride * columns + i % stride] : BETWEEN;
      memory.setAtIndex(ValueLayout.JAVA_INT, i, value);
    }
    Tensor host = Tensor.of(arena, memory.asSlice(0, 4L * rows * stride), DType.I32, rows, stride);
    Tensor whole = device.isCuda() ? host.to(stream, arena) : host;
    return whole.slice(arena, 1, 0, columns);
  }

  /// A vector full of poison.
  Tensor vector(DType dtype, int count) {
    Tensor all = device.allocate(arena, dtype, count);
    if (count > 0) {
      poison(all);
    }
    return all;
  }

  int[] ints(Tensor tensor) {
    return tensor.toHost(stream, arena).segment().toArray(ValueLayout.JAVA_INT);
  }

  static int[] choices(Random random, int count, int experts) {
    return random.ints(count, 0, experts).toArray();
  }
}
