// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4TensorDescriptor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// An NVFP4 matrix `[M, K]`, or a stack of `G` of them, `[G, M, K]` (the weights of experts):
/// packed e2m1 codes, one E4M3 scale per block of 16 elements of a row, and F32 global scales, for
/// the tensor, each row, each matrix of a stack, or the halves of each. An element is `e2m1(code) *
/// (e4m3(scale) * globalScale)`.
///
/// Byte `j` of a row of codes holds element `2j` in its low and element `2j + 1` in its high
/// nibble. e2m1 code values are 0, 0.5, 1, 1.5, 2, 3, 4, 6 and, with bit 3 set, their negatives.
///
/// It is a **view** of its tensors, which are one memory kind on one device, and lives as long as
/// their arena. Operands of matrix products may be in an order of their own
/// ([ScaleLayout#PREPARED], [ScaleLayout#PACKED]): [Device#allocateNvfp4] makes such tensors,
/// [PrepareWeights] and [PackActivations] fill them.
public final class Nvfp4Tensor {
  private final long groups;
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
      long groups,
      long rows,
      long columns,
      Tensor codes,
      Tensor scales,
      Tensor globalScales,
      ScaleLayout scaleLayout,
      GlobalScale globalScale) {
    this.groups = groups;
    this.rows = rows;
    this.columns = columns;
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
            groups,
            rows,
            columns,
            codes.address(),
            codes.byteSize(),
            scaleLayout.hasScales() ? scales.address() : 0,
            scales.byteSize(),
            globalScales.address(),
            globalScales.elements());
  }

  /// A view of three tensors; what the global scales cover follows from their number. Of a matrix
  /// `[M, K]`: one is for the tensor, any other number for the rows (two for its halves are named:
  /// see the longer form). Of a stack `[G, M, K]`: one is for the tensor, `2 * G` are for the
  /// halves of each matrix, any other number for the matrices.
  ///
  /// @see #of(Arena, Tensor, Tensor, Tensor, ScaleLayout, GlobalScale)
  public static Nvfp4Tensor of(
      Arena arena, Tensor codes, Tensor scales, Tensor globalScales, ScaleLayout scaleLayout) {
    GlobalScale kind = GlobalScale.TENSOR;
    if (globalScales.elements() != 1) {
      boolean stack = codes.rank() == 3;
      boolean halves =
          stack
              && globalScales.elements() % 2 == 0
              && globalScales.elements() / 2 == codes.shape(0);
      kind = halves ? GlobalScale.HALVES : stack ? GlobalScale.GROUP : GlobalScale.ROW;
    }
    return of(arena, codes, scales, globalScales, scaleLayout, kind);
  }

  /// A view of three tensors, as a checkpoint has them. Sizes of scales and global scales, and
  /// alignment (16 bytes for codes and scales), are checked by the ops that use it.
  ///
  /// @param arena the arena that all three belong to: a call can only keep the memory open that it
  ///   knows through it
  /// @param codes U8 `[M, K/2]` or `[G, M, K/2]`, contiguous
  /// @param scales U8, contiguous, as many bytes as `scaleLayout` needs: `[M, K/16]` or `[G, M,
  ///   K/16]`, or the swizzled bytes in any shape
  /// @param globalScales F32, contiguous, any shape: one, `M`, `G` or `2 * G`, as `globalScale`
  ///   says
  /// @param scaleLayout [ScaleLayout#LINEAR] or [ScaleLayout#SWIZZLED_128X4]
  /// @param globalScale what one global scale covers
  /// @throws IllegalArgumentException if a type, rank, stride or layout is wrong, the three are not
  ///   in memory of one kind on one device, or one belongs to another arena
  public static Nvfp4Tensor of(
      Arena arena,
      Tensor codes,
      Tensor scales,
      Tensor globalScales,
      ScaleLayout scaleLayout,
      GlobalScale globalScale) {
    if (!scaleLayout.hasScales()) {
      throw new IllegalArgumentException(
          "nvfp4: scaleLayout is "
              + scaleLayout
              + ", expected LINEAR or SWIZZLED_128X4: tensors of that layout are made by"
              + " Device.allocateNvfp4");
    }
    check(arena, "codes", codes, DType.U8, codes);
    check(arena, "scales", scales, DType.U8, codes);
    check(arena, "globalScales", globalScales, DType.F32, codes);
    int rank = codes.rank();
    if (rank != 2 && rank != 3) {
      throw new IllegalArgumentException(
          "nvfp4: codes has shape "
              + Arrays.toString(codes.shape())
              + ", expected rank 2: [M, K/2], or rank 3: [G, M, K/2]");
    }
    if (codes.shape(rank - 1) > Long.MAX_VALUE / 2) {
      throw new IllegalArgumentException(
          "nvfp4: codes has " + codes.shape(rank - 1) + " columns, expected at most 2^62 - 1");
    }
    return shaped(
        arena,
        rank == 3 ? codes.shape(0) : 1,
        codes.shape(rank - 2),
        codes.shape(rank - 1) * 2,
        codes,
        scales,
        globalScales,
        scaleLayout,
        globalScale);
  }

  /// The buffers in canonical shapes, so that any two tensors of one kind can be copied into each
  /// other. Where a size is wrong, the op that uses the tensor says so.
  static Nvfp4Tensor shaped(
      Arena arena,
      long groups,
      long rows,
      long columns,
      Tensor codes,
      Tensor scales,
      Tensor globalScales,
      ScaleLayout scaleLayout,
      GlobalScale globalScale) {
    return new Nvfp4Tensor(
        arena,
        groups,
        rows,
        columns,
        shaped(arena, codes, codesShape(scaleLayout, groups, rows, columns, codes.elements())),
        shaped(arena, scales, scalesShape(scaleLayout, groups, rows, columns, scales.elements())),
        shaped(
            arena,
            globalScales,
            globalScale == GlobalScale.HALVES && groups != 1
                ? new long[] {groups, 2}
                : new long[] {globalScales.elements()}),
        scaleLayout,
        globalScale);
  }

  private static long[] codesShape(
      ScaleLayout layout, long groups, long rows, long columns, long elements) {
    return switch (layout) {
      case LINEAR, SWIZZLED_128X4 -> stack(groups, rows, columns / 2);
      case PACKED -> stack(groups, rows, columns);
      case PREPARED -> new long[] {elements};
    };
  }

  private static long[] scalesShape(
      ScaleLayout layout, long groups, long rows, long columns, long elements) {
    return layout == ScaleLayout.LINEAR ? stack(groups, rows, columns / 16) : new long[] {elements};
  }

  private static long[] stack(long groups, long rows, long columns) {
    return groups == 1 ? new long[] {rows, columns} : new long[] {groups, rows, columns};
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

  /// G: 1 for a matrix.
  public long groups() {
    return groups;
  }

  /// M: the rows of a matrix, or of each matrix of a stack.
  public long rows() {
    return rows;
  }

  /// K, in elements.
  public long columns() {
    return columns;
  }

  /// The packed codes, U8 `[M, K/2]`, or `[G, M, K/2]` where G is not 1: a view. Where the layout
  /// is [ScaleLayout#PREPARED], codes and scales in the products' order, U8 `[bytes]`; where it is
  /// [ScaleLayout#PACKED], the unpacked values without global scale, BF16 `[M, K]`.
  public Tensor codes() {
    return codes;
  }

  /// The block scales, U8: a view, `[M, K/16]` (`[G, M, K/16]` where G is not 1) or, swizzled,
  /// `[bytes]`. [ScaleLayout#PREPARED] and [ScaleLayout#PACKED] have none: an empty tensor, `[0]`.
  public Tensor scales() {
    return scales;
  }

  /// The global scales, F32: a view, `[1]`, `[M]`, `[G]` or `[G, 2]` (`[2]` where G is 1).
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
  /// layouts; as [Tensor#copyTo], a copy for each.
  ///
  /// @throws IllegalArgumentException if shape, scale layout or kind of global scale differ;
  ///   nothing is copied then
  public void copyTo(Stream stream, Nvfp4Tensor destination) {
    if (destination.groups != groups
        || destination.rows != rows
        || destination.columns != columns
        || destination.scaleLayout != scaleLayout
        || destination.globalScale != globalScale) {
      throw new IllegalArgumentException(
          "copy: destination is " + destination + ", expected the like of the source, " + this);
    }
    Copy.run(stream, codes, destination.codes);
    if (scaleLayout.hasScales()) {
      Copy.run(stream, scales, destination.scales);
    }
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
        stream.device().allocateNvfp4(arena, groups, rows, columns, scaleLayout, globalScale);
    copyTo(stream, copy);
    return copy;
  }

  /// A **copy** of this tensor in ordinary host memory of `arena`. Waits until it is done.
  public Nvfp4Tensor toHost(Stream stream, Arena arena) {
    return shaped(
        arena,
        groups,
        rows,
        columns,
        codes.toHost(stream, arena),
        scaleLayout.hasScales()
            ? scales.toHost(stream, arena)
            : Tensor.of(arena, arena.allocate(0), DType.U8, 0),
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

  /// Type and shape, for example `NVFP4[16, 7168]` or `NVFP4[8, 512, 7168]`.
  String describe() {
    return "NVFP4[" + (groups == 1 ? "" : groups + ", ") + rows + ", " + columns + "]";
  }
}
