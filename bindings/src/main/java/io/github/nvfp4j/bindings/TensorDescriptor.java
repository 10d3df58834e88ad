// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_tensor`: a dense tensor.
///
/// The address in it keeps no arena open: allocate the descriptor in the data's own arena, so that
/// a downcall that holds the one holds the other.
public final class TensorDescriptor {
  /// Its size in bytes.
  public static final long BYTES = nvfp4j_tensor.sizeof();

  private TensorDescriptor() {}

  /// Allocates and fills one; see [#write].
  public static MemorySegment allocate(
      SegmentAllocator allocator,
      int dtype,
      int memory,
      long address,
      long[] shape,
      long[] stride) {
    MemorySegment descriptor = nvfp4j_tensor.allocate(allocator);
    write(descriptor, dtype, memory, address, shape, stride);
    return descriptor;
  }

  /// Fills one.
  ///
  /// @param dtype one of `Nvfp4jConstants.DTYPE_*`
  /// @param memory one of `Nvfp4jConstants.MEMORY_*`
  /// @param address of the first element, host or device; 0 when the tensor is empty
  /// @param shape elements along each dimension, outermost first; its length is the rank
  /// @param stride distance between neighbours along each dimension, in elements
  /// @throws IllegalArgumentException when shape and stride differ in length, or are too long for
  ///   the struct
  public static void write(
      MemorySegment descriptor, int dtype, int memory, long address, long[] shape, long[] stride) {
    if (shape.length > Nvfp4jConstants.MAX_RANK || shape.length != stride.length) {
      throw new IllegalArgumentException(
          "tensor: shape has rank "
              + shape.length
              + " and stride "
              + stride.length
              + ", expected the same rank of at most "
              + Nvfp4jConstants.MAX_RANK);
    }
    descriptor.asSlice(0, BYTES).fill((byte) 0);
    nvfp4j_tensor.struct_size(descriptor, (int) BYTES);
    nvfp4j_tensor.dtype(descriptor, dtype);
    nvfp4j_tensor.memory(descriptor, memory);
    nvfp4j_tensor.rank(descriptor, shape.length);
    nvfp4j_tensor.data(descriptor, MemorySegment.ofAddress(address));
    MemorySegment.copy(shape, 0, descriptor, JAVA_LONG, nvfp4j_tensor.shape$offset(), shape.length);
    MemorySegment.copy(
        stride, 0, descriptor, JAVA_LONG, nvfp4j_tensor.stride$offset(), stride.length);
  }
}
