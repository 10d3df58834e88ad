// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4TensorDescriptor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// An NVFP4 matrix `[M, K]`: packed e2m1 codes, one E4M3 scale per block of 16 elements of a row,
/// and one F32 global scale for the tensor or for each row. An element is `e2m1(code) *
/// (e4m3(scale) * globalScale)`.
///
/// Byte `j` of a row of codes holds element `2j` in its low and element `2j + 1` in its high
/// nibble. e2m1 code values are 0, 0.5, 1, 1.5, 2, 3, 4, 6 and, with bit 3 set, their negatives.
///
/// It is a **view** of its three tensors, which are one memory kind on one device, and lives as
/// long as their arena.
public final class Nvfp4Tensor {
  private final long rows;
  private final long columns;
  private final Tensor codes;
  private final Tensor scales;
  private final Tensor globalScales;
  private final ScaleLayout scaleLayout;
  private final GlobalScale globalScale;

  /// `nvfp4j_nvfp4_tensor`, in the arena.
  final MemorySegment descriptor;

  /// The CUDA device that the memory is on, or [Tensor#HOST].
  final int ordinal;

  /// The name of a buffer that must not be written, or null.
  final @Nullable String readOnly;

  private Nvfp4Tensor(
      Arena arena,
      Tensor codes,
      Tensor scales,
      Tensor globalScales,
      ScaleLayout scaleLayout,
      GlobalScale globalScale) {
    this.rows = codes.shape(0);
    this.columns = codes.shape(1) * 2;
    this.codes = codes;
    this.scales = scales;
    this.globalScales = globalScales;
    this.scaleLayout = scaleLayout;
    this.globalScale = globalScale;
    this.ordinal = codes.ordinal;
    this.readOnly =
        codes.readOnly
            ? "codes"
            : scales.readOnly ? "scales" : globalScales.readOnly ? "global_scales" : null;
    this.descriptor =
        Nvfp4TensorDescriptor.allocate(
            arena,
            codes.memory,
            scaleLayout.code(),
            globalScale.code(),
            rows,
            columns,
            codes.address(),
            codes.byteSize(),
            scales.address(),
            scales.byteSize(),
            globalScales.address(),
            globalScales.elements());
  }

  /// A view of three tensors; what the global scales cover follows from their number: one is for
  /// the tensor, `M` of them (M not 1) are for the rows.
  ///
  /// @see #of(Arena, Tensor, Tensor, Tensor, ScaleLayout, GlobalScale)
  public static Nvfp4Tensor of(
      Arena arena, Tensor codes, Tensor scales, Tensor globalScales, ScaleLayout scaleLayout) {
    return of(
        arena,
        codes,
        scales,
        globalScales,
        scaleLayout,
        globalScales.elements() == 1 ? GlobalScale.TENSOR : GlobalScale.ROW);
  }

  /// A view of three tensors. Sizes of scales and global scales, and alignment (16 bytes for codes
  /// and scales), are checked by the ops that use it.
  ///
  /// @param arena the arena that all three belong to: a call can only keep the memory open that it
  ///   knows through it
  /// @param codes U8 `[M, K/2]`, contiguous
  /// @param scales U8, contiguous, as many bytes as `scaleLayout` needs: `[M, K/16]`, or the
  ///   swizzled bytes in any shape
  /// @param globalScales F32, contiguous: one (`[1]` or a scalar), or `[M]`
  /// @param scaleLayout how the scales lie
  /// @param globalScale what one global scale covers
  /// @throws IllegalArgumentException if a type, rank or stride is wrong, the three are not in
  ///   memory of one kind on one device, or one belongs to another arena
  public static Nvfp4Tensor of(
      Arena arena,
      Tensor codes,
      Tensor scales,
      Tensor globalScales,
      ScaleLayout scaleLayout,
      GlobalScale globalScale) {
    check(arena, "codes", codes, DType.U8, codes);
    check(arena, "scales", scales, DType.U8, codes);
    check(arena, "globalScales", globalScales, DType.F32, codes);
    if (codes.rank() != 2) {
      throw new IllegalArgumentException(
          "nvfp4: codes has shape "
              + Arrays.toString(codes.shape())
              + ", expected rank 2: [M, K/2]");
    }
    if (codes.shape(1) > Long.MAX_VALUE / 2) {
      throw new IllegalArgumentException(
          "nvfp4: codes has " + codes.shape(1) + " columns, expected at most 2^62 - 1");
    }
    // Canonical shapes, so that any two tensors of one kind can be copied into each other. Where a
    // size is wrong, the op that uses the tensor says so.
    long rows = codes.shape(0);
    long blocks = codes.shape(1) / 8;
    long[] scaleShape =
        scaleLayout == ScaleLayout.LINEAR
            ? new long[] {rows, blocks}
            : new long[] {scales.elements()};
    return new Nvfp4Tensor(
        arena,
        codes,
        shaped(arena, scales, scaleShape),
        shaped(arena, globalScales, globalScales.elements()),
        scaleLayout,
        globalScale);
  }

  private static Tensor shaped(Arena arena, Tensor tensor, long... shape) {
    long elements = 1;
    for (long dim : shape) {
      elements *= dim;
    }
    return Arrays.equals(tensor.shape(), shape) || elements != tensor.elements()
        ? tensor
        : tensor.reshaped(arena, shape);
  }

  private static void check(Arena arena, String name, Tensor tensor, DType dtype, Tensor codes) {
    String what = "nvfp4: " + name;
    Scopes.require(what, arena, tensor.descriptor);
    if (tensor.dtype() != dtype) {
      throw new IllegalArgumentException(
          what + " has dtype " + tensor.dtype() + ", expected " + dtype);
    }
    if (!tensor.isContiguous()) {
      throw new IllegalArgumentException(
          what
              + " has strides "
              + Arrays.toString(tensor.stride())
              + " for shape "
              + Arrays.toString(tensor.shape())
              + ", expected contiguous memory");
    }
    if (tensor.memory != codes.memory || tensor.ordinal != codes.ordinal) {
      throw new IllegalArgumentException(
          what + " is " + tensor + ", expected memory of the same kind as codes (" + codes + ")");
    }
  }

  /// M.
  public long rows() {
    return rows;
  }

  /// K, in elements.
  public long columns() {
    return columns;
  }

  /// The packed codes, U8 `[M, K/2]`: a view.
  public Tensor codes() {
    return codes;
  }

  /// The block scales, U8: a view, `[M, K/16]` or, swizzled, `[bytes]`.
  public Tensor scales() {
    return scales;
  }

  /// The global scales, F32: a view, `[1]` or `[M]`.
  public Tensor globalScales() {
    return globalScales;
  }

  /// How the block scales lie.
  public ScaleLayout scaleLayout() {
    return scaleLayout;
  }

  /// What a global scale covers.
  public GlobalScale globalScale() {
    return globalScale;
  }

  /// Whether the memory is on a CUDA device.
  public boolean isDevice() {
    return codes.isDevice();
  }

  /// Copies codes, scales and global scales into another NVFP4 tensor of the same shape and
  /// layouts; as [Tensor#copyTo], three copies.
  ///
  /// @throws IllegalArgumentException if shape, scale layout or kind of global scale differ;
  ///   nothing is copied then
  public void copyTo(Stream stream, Nvfp4Tensor destination) {
    if (destination.rows != rows
        || destination.columns != columns
        || destination.scaleLayout != scaleLayout
        || destination.globalScale != globalScale) {
      throw new IllegalArgumentException(
          "copy: destination is " + destination + ", expected the like of the source, " + this);
    }
    Copy.run(stream, codes, destination.codes);
    Copy.run(stream, scales, destination.scales);
    Copy.run(stream, globalScales, destination.globalScales);
  }

  /// Copies another NVFP4 tensor into this one: `source.copyTo(stream, this)`.
  public void copyFrom(Stream stream, Nvfp4Tensor source) {
    source.copyTo(stream, this);
  }

  /// A **copy** of this tensor on the stream's device, allocated there from `arena` and freed with
  /// it. Waits or not as [Tensor#copyTo] does.
  ///
  /// @throws OutOfDeviceMemoryException if the device has no room
  public Nvfp4Tensor to(Stream stream, Arena arena) {
    Nvfp4Tensor copy =
        stream.device().allocateNvfp4(arena, rows, columns, scaleLayout, globalScale);
    copyTo(stream, copy);
    return copy;
  }

  /// A **copy** of this tensor in ordinary host memory of `arena`. Waits until it is done.
  public Nvfp4Tensor toHost(Stream stream, Arena arena) {
    return of(
        arena,
        codes.toHost(stream, arena),
        scales.toHost(stream, arena),
        globalScales.toHost(stream, arena),
        scaleLayout,
        globalScale);
  }

  /// Shape, layout and place, for example `NVFP4[16, 7168] (scales LINEAR, global scale TENSOR) on
  /// cuda:0`.
  @Override
  public String toString() {
    return describe()
        + " (scales "
        + scaleLayout
        + ", global scale "
        + globalScale
        + ") "
        + (ordinal == Tensor.HOST ? "on the host" : "on cuda:" + ordinal);
  }

  /// Type and shape, for example `NVFP4[16, 7168]`.
  String describe() {
    return "NVFP4[" + rows + ", " + columns + "]";
  }
}
