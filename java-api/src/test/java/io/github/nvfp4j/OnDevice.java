// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.F16;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.SwizzleReference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/// A test that runs on a device: with the device, a stream and an arena for each test. Closing the
/// device afterwards proves that nothing was left open.
abstract class OnDevice {
  /// What outputs are filled with before an op: no op writes it everywhere by accident.
  static final byte POISON = (byte) 0xA5;

  /// The global scales that quantisation makes.
  static final List<GlobalScale> GLOBAL_SCALES = List.of(GlobalScale.TENSOR, GlobalScale.ROW);

  /// The scale layouts that quantisation writes.
  static final List<ScaleLayout> LAYOUTS = List.of(ScaleLayout.LINEAR, ScaleLayout.SWIZZLED_128X4);

  final String id;
  Device device;
  Stream stream;
  Arena arena;

  OnDevice(String id) {
    this.id = id;
  }

  @BeforeEach
  final void open() {
    device = Device.of(id);
    stream = device.openStream();
    arena = Arena.ofShared();
  }

  @AfterEach
  final void close() {
    arena.close();
    stream.close();
    device.close();
  }

  /// A host tensor of values, rounded to the type; `stride` elements apart, with poison between
  /// rows.
  Tensor host(DType dtype, float[] values, long rows, long columns, long stride) {
    MemorySegment memory = arena.allocate(Math.max(rows * stride, 1) * dtype.bytes(), 64);
    memory.fill(POISON);
    for (long m = 0; m < rows; m++) {
      for (long k = 0; k < columns; k++) {
        put(memory, dtype, m * stride + k, values[(int) (m * columns + k)]);
      }
    }
    return Tensor.of(arena, memory.asSlice(0, rows * stride * dtype.bytes()), dtype, rows, stride)
        .slice(arena, 1, 0, columns);
  }

  private static void put(MemorySegment memory, DType dtype, long index, float value) {
    switch (dtype) {
      case F32 -> memory.setAtIndex(ValueLayout.JAVA_FLOAT, index, value);
      case BF16 -> memory.setAtIndex(ValueLayout.JAVA_SHORT, index, Bf16.encode(value));
      case F16 -> memory.setAtIndex(ValueLayout.JAVA_SHORT, index, F16.encode(value));
      default -> throw new IllegalArgumentException(dtype.toString());
    }
  }

  /// A matrix on the device under test.
  Tensor upload(DType dtype, float[] values, long rows, long columns) {
    return upload(dtype, values, rows, columns, columns);
  }

  /// A matrix on the device under test, with a row stride.
  Tensor upload(DType dtype, float[] values, long rows, long columns, long stride) {
    Tensor source = host(dtype, values, rows, columns, stride);
    if (!device.isCuda()) {
      return source;
    }
    Tensor all = device.allocate(arena, dtype, rows, stride);
    poison(all);
    Tensor target = all.slice(arena, 1, 0, columns);
    source.copyTo(stream, target);
    return target;
  }

  /// A vector of row numbers on the device under test.
  Tensor upload(int[] values) {
    MemorySegment memory = arena.allocateFrom(ValueLayout.JAVA_INT, values);
    return move(Tensor.of(arena, memory, DType.I32, values.length));
  }

  /// A vector of floats on the device under test.
  Tensor upload(float[] values) {
    MemorySegment memory = arena.allocateFrom(ValueLayout.JAVA_FLOAT, values);
    return move(Tensor.of(arena, memory, DType.F32, values.length));
  }

  /// Bytes on the device under test, in a shape.
  Tensor upload(byte[] values, long... shape) {
    MemorySegment memory = arena.allocate(values.length, 64);
    MemorySegment.copy(values, 0, memory, ValueLayout.JAVA_BYTE, 0, values.length);
    return move(Tensor.of(arena, memory, DType.U8, shape));
  }

  private Tensor move(Tensor tensor) {
    return device.isCuda() ? tensor.to(stream, arena) : tensor;
  }

  /// An output matrix full of poison, with a row stride.
  Tensor output(DType dtype, long rows, long columns, long stride) {
    Tensor all = device.allocate(arena, dtype, rows, stride);
    poison(all);
    return all.slice(arena, 1, 0, columns);
  }

  /// An NVFP4 output full of poison.
  Nvfp4Tensor output(long rows, long columns, ScaleLayout layout, GlobalScale globalScale) {
    Nvfp4Tensor out = device.allocateNvfp4(arena, rows, columns, layout, globalScale);
    poison(out.codes());
    poison(out.scales());
    poison(out.globalScales());
    return out;
  }

  /// Fills a contiguous tensor with poison.
  void poison(Tensor tensor) {
    MemorySegment memory = arena.allocate(tensor.byteSize(), 64);
    memory.fill(POISON);
    Tensor.of(arena, memory, tensor.dtype(), tensor.shape()).copyTo(stream, tensor);
  }

  /// The bytes of a tensor, without the gaps between rows.
  byte[] bytes(Tensor tensor) {
    return tensor.toHost(stream, arena).segment().toArray(ValueLayout.JAVA_BYTE);
  }

  /// The values of a tensor.
  float[] floats(Tensor tensor) {
    MemorySegment memory = tensor.toHost(stream, arena).segment();
    return switch (tensor.dtype()) {
      case F32 -> memory.toArray(ValueLayout.JAVA_FLOAT);
      case BF16 -> Bf16.decode(memory.toArray(ValueLayout.JAVA_SHORT));
      case F16 -> F16.decode(memory.toArray(ValueLayout.JAVA_SHORT));
      default -> throw new IllegalArgumentException(tensor.toString());
    };
  }

  /// The reference's matrix on the device under test.
  Nvfp4Tensor upload(Nvfp4Matrix matrix, ScaleLayout layout) {
    int rows = matrix.rows();
    int blocks = matrix.blocksPerRow();
    byte[] scales = matrix.scales();
    Tensor scaleTensor =
        layout == ScaleLayout.LINEAR
            ? upload(scales, rows, blocks)
            : upload(
                SwizzleReference.swizzle(scales, rows, blocks),
                SwizzleReference.bytes(rows, blocks));
    return Nvfp4Tensor.of(
        arena,
        upload(matrix.codes(), rows, matrix.columns() / 2),
        scaleTensor,
        upload(matrix.globalScales()),
        layout,
        matrix.globalScale());
  }

  /// Requires that a tensor equals the reference's matrix in every bit.
  void requireEqual(Nvfp4Matrix expected, Nvfp4Tensor actual) {
    byte[] scales = expected.scales();
    if (actual.scaleLayout() == ScaleLayout.SWIZZLED_128X4) {
      scales = SwizzleReference.swizzle(scales, expected.rows(), expected.blocksPerRow());
    }
    requireEqual("global scale", expected.globalScales(), floats(actual.globalScales()));
    requireEqual("scales", scales, bytes(actual.scales()));
    requireEqual("codes", expected.codes(), bytes(actual.codes()));
  }

  static void requireEqual(String what, byte[] expected, byte[] actual) {
    if (expected.length != actual.length) {
      throw new AssertionError(what + ": " + actual.length + " bytes, expected " + expected.length);
    }
    int wrong = 0;
    int first = -1;
    for (int i = 0; i < expected.length; i++) {
      if (expected[i] != actual[i]) {
        first = wrong++ == 0 ? i : first;
      }
    }
    if (wrong > 0) {
      throw new AssertionError(
          String.format(
              "%s: %d of %d bytes differ, the first at %d: 0x%02x, expected 0x%02x",
              what, wrong, expected.length, first, actual[first] & 0xff, expected[first] & 0xff));
    }
  }

  /// Bit for bit; -0 and 0 differ, NaNs are canonical.
  static void requireEqual(String what, float[] expected, float[] actual) {
    if (expected.length != actual.length) {
      throw new AssertionError(
          what + ": " + actual.length + " values, expected " + expected.length);
    }
    int wrong = 0;
    int first = -1;
    for (int i = 0; i < expected.length; i++) {
      if (Float.floatToRawIntBits(expected[i]) != Float.floatToRawIntBits(actual[i])) {
        first = wrong++ == 0 ? i : first;
      }
    }
    if (wrong > 0) {
      throw new AssertionError(
          String.format(
              "%s: %d of %d values differ, the first at %d: %s (%08x), expected %s (%08x)",
              what,
              wrong,
              expected.length,
              first,
              actual[first],
              Float.floatToRawIntBits(actual[first]),
              expected[first],
              Float.floatToRawIntBits(expected[first])));
    }
  }
}
