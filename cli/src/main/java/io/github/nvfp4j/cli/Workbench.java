// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// Tensors on a device for one run of an op.
///
/// Results begin as a pattern, so that an element that a kernel leaves alone shows: two runs on
/// benches with different patterns differ there.
///
/// @param stream where the op runs
/// @param arena owns the tensors
/// @param pattern the byte that results are filled with
record Workbench(Stream stream, Arena arena, byte pattern) {
  /// What an op's kernels read best: a cache line.
  private static final int ALIGNMENT = 64;

  Device device() {
    return stream.device();
  }

  /// A fresh copy of these bytes.
  Tensor upload(MemorySegment bytes, DType dtype, long... shape) {
    MemorySegment copy = arena.allocate(bytes.byteSize(), ALIGNMENT).copyFrom(bytes);
    Tensor host = Tensor.of(arena, copy, dtype, shape);
    return device().isCuda() ? host.to(stream, arena) : host;
  }

  /// The first `columns` of each row of a matrix: a view, whose row stride is the matrix' columns.
  Tensor leftColumns(Tensor matrix, long columns) {
    return matrix.shape(1) == columns ? matrix : matrix.slice(arena, 1, 0, columns);
  }

  /// Room for a result.
  Tensor result(DType dtype, long... shape) {
    Tensor tensor = device().allocate(arena, dtype, shape);
    fill(tensor);
    return tensor;
  }

  /// Room for a quantised result.
  Nvfp4Tensor result(long rows, long columns, ScaleLayout layout, GlobalScale global) {
    return result(1, rows, columns, layout, global);
  }

  /// Room for a quantised stack of matrices.
  Nvfp4Tensor result(long groups, long rows, long columns, ScaleLayout layout, GlobalScale global) {
    Nvfp4Tensor tensor = device().allocateNvfp4(arena, groups, rows, columns, layout, global);
    fill(tensor.codes());
    fill(tensor.scales());
    fill(tensor.globalScales());
    return tensor;
  }

  private void fill(Tensor tensor) {
    if (tensor.isDevice()) {
      MemorySegment bytes = arena.allocate(tensor.byteSize(), ALIGNMENT).fill(pattern);
      tensor.copyFrom(stream, Tensor.of(arena, bytes, tensor.dtype(), tensor.shape()));
    } else {
      tensor.segment().fill(pattern);
    }
  }
}
