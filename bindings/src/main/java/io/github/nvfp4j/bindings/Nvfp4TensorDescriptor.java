// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_nvfp4_tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_nvfp4_tensor`: codes, block scales and global scales of a matrix `[M, K]`, or
/// of a stack of them, `[G, M, K]`.
///
/// The addresses in it keep no arena open: allocate the descriptor in the data's own arena.
public final class Nvfp4TensorDescriptor {
  /// Its size in bytes.
  public static final long BYTES = nvfp4j_nvfp4_tensor.sizeof();

  private Nvfp4TensorDescriptor() {}

  /// Allocates and fills one; see [#write].
  public static MemorySegment allocate(
      SegmentAllocator allocator,
      int memory,
      int scaleLayout,
      int globalScaleKind,
      long groups,
      long rows,
      long columns,
      long codes,
      long codesBytes,
      long scales,
      long scalesBytes,
      long globalScales,
      long globalScalesCount) {
    MemorySegment descriptor = nvfp4j_nvfp4_tensor.allocate(allocator);
    write(
        descriptor,
        memory,
        scaleLayout,
        globalScaleKind,
        groups,
        rows,
        columns,
        codes,
        codesBytes,
        scales,
        scalesBytes,
        globalScales,
        globalScalesCount);
    return descriptor;
  }

  /// Fills one.
  ///
  /// @param memory one of `Nvfp4jConstants.MEMORY_*`, of all three buffers
  /// @param scaleLayout one of `Nvfp4jConstants.SCALE_LAYOUT_*`
  /// @param globalScaleKind one of `Nvfp4jConstants.GLOBAL_SCALE_TENSOR`, `GLOBAL_SCALE_ROW`,
  ///   `GLOBAL_SCALE_GROUP`, `GLOBAL_SCALE_HALVES`
  /// @param groups G, 1 for a matrix
  /// @param rows M
  /// @param columns K, in elements
  /// @param codes address of the packed codes
  /// @param codesBytes size of the buffer behind it
  /// @param scales address of the E4M3 block scales, 0 where the layout has none
  /// @param scalesBytes size of the buffer behind it
  /// @param globalScales address of the F32 global scales
  /// @param globalScalesCount how many there are
  public static void write(
      MemorySegment descriptor,
      int memory,
      int scaleLayout,
      int globalScaleKind,
      long groups,
      long rows,
      long columns,
      long codes,
      long codesBytes,
      long scales,
      long scalesBytes,
      long globalScales,
      long globalScalesCount) {
    descriptor.asSlice(0, BYTES).fill((byte) 0);
    nvfp4j_nvfp4_tensor.struct_size(descriptor, (int) BYTES);
    nvfp4j_nvfp4_tensor.memory(descriptor, memory);
    nvfp4j_nvfp4_tensor.scale_layout(descriptor, scaleLayout);
    nvfp4j_nvfp4_tensor.global_scale_kind(descriptor, globalScaleKind);
    nvfp4j_nvfp4_tensor.groups(descriptor, groups);
    nvfp4j_nvfp4_tensor.rows(descriptor, rows);
    nvfp4j_nvfp4_tensor.columns(descriptor, columns);
    nvfp4j_nvfp4_tensor.codes(descriptor, MemorySegment.ofAddress(codes));
    nvfp4j_nvfp4_tensor.codes_bytes(descriptor, codesBytes);
    nvfp4j_nvfp4_tensor.scales(descriptor, MemorySegment.ofAddress(scales));
    nvfp4j_nvfp4_tensor.scales_bytes(descriptor, scalesBytes);
    nvfp4j_nvfp4_tensor.global_scales(descriptor, MemorySegment.ofAddress(globalScales));
    nvfp4j_nvfp4_tensor.global_scales_count(descriptor, globalScalesCount);
  }
}
