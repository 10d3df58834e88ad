// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.TensorDescriptor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// A dense tensor: a shape over memory that an [Arena] owns, on the host or on a CUDA device.
///
/// A tensor is a **view**: making one copies nothing, and it lives as long as its arena does. Host
/// tensors wrap any native segment ([#of]): of an arena, of a mapped file, page-locked
/// ([Device#allocatePinned]). Device tensors come from [Device#allocate] and are freed with their
/// arena; Java cannot read them ([#segment] throws), only copies can ([#copyTo]).
///
/// Shapes are outermost dimension first; strides count elements. The innermost stride is 1; which
/// ops take a row stride, each op says.
///
/// A tensor of a confined arena belongs to that arena's thread. Otherwise tensors may be shared
/// freely: they are immutable, their contents are the caller's to order.
public final class Tensor {
  /// [#ordinal] of host memory.
  static final int HOST = Integer.MIN_VALUE;

  private final DType dtype;
  private final long[] shape;
  private final long[] stride;
  private final long elements;
  private final long address;
  private final @Nullable MemorySegment segment;
  private final @Nullable Device device;
  private final String thread;

  /// `nvfp4j_tensor`, in the tensor's arena: a downcall that gets it holds the arena open.
  final MemorySegment descriptor;

  /// The CUDA device that the memory is on, or [#HOST].
  final int ordinal;

  /// `NVFP4J_MEMORY_*`.
  final int memory;

  /// Writing to it would end the JVM.
  final boolean readOnly;

  /// What must not be freed while a graph knows the tensor; null where this library did not
  /// allocate it.
  final @Nullable Allocation allocation;

  private Tensor(
      Arena arena,
      DType dtype,
      long[] shape,
      long[] stride,
      long elements,
      long address,
      @Nullable MemorySegment segment,
      @Nullable Device device,
      @Nullable Allocation allocation) {
    this.dtype = dtype;
    this.shape = shape;
    this.stride = stride;
    this.elements = elements;
    this.address = address;
    this.segment = segment;
    this.device = device;
    this.ordinal = device == null ? HOST : device.ordinal();
    this.readOnly = segment != null && segment.isReadOnly();
    this.allocation = allocation;
    this.thread = Thread.currentThread().getName();
    if (device != null) {
      this.memory = Nvfp4jConstants.MEMORY_DEVICE;
    } else {
      this.memory =
          allocation == null ? Nvfp4jConstants.MEMORY_HOST : Nvfp4jConstants.MEMORY_PINNED;
    }
    this.descriptor =
        TensorDescriptor.allocate(arena, dtype.code(), memory, address, shape, stride);
  }

  /// A contiguous host tensor over a segment: a view, nothing is copied.
  ///
  /// @param arena the arena that `segment` belongs to; the tensor's descriptor is allocated there,
  ///   so that a call holds both open. (A slice of a segment belongs to the segment's arena.) It
  ///   must keep [Arena]'s promise: one that hands out the same memory twice overwrites descriptors
  /// @param segment native memory, exactly the tensor's bytes, aligned to the element size;
  ///   read-only segments make tensors that no op writes to. Memory of [Device#allocatePinned] is
  ///   recognised
  /// @param dtype the element type
  /// @param shape up to 4 dimensions, each at least 0; none makes a scalar
  /// @throws IllegalArgumentException if the segment is on the Java heap, belongs to another arena,
  ///   or does not have the size
  /// @throws IllegalStateException if the arena is closed
  /// @throws WrongThreadException if the arena is confined to another thread
  public static Tensor of(Arena arena, MemorySegment segment, DType dtype, long... shape) {
    long[] dims = shape.clone();
    long elements = Extents.elements(dims);
    long bytes = Extents.bytes(elements, dtype, dims);
    Scopes.require("tensor", arena, segment);
    if (segment.byteSize() != bytes) {
      throw new IllegalArgumentException(
          "tensor: segment has "
              + segment.byteSize()
              + " bytes, expected "
              + bytes
              + " ("
              + Extents.text(dtype, dims)
              + ")");
    }
    return host(arena, segment, dtype, dims, Extents.contiguous(dims), elements);
  }

  /// A host tensor with strides over a segment: a view, nothing is copied. As [#of], except that
  /// the segment may have more bytes than the last element needs.
  ///
  /// @param stride the distance between neighbours along each dimension, in elements, not negative;
  ///   as many as dimensions. The last must be 1 unless its dimension is at most 1
  /// @throws IllegalArgumentException as [#of], and if a stride does not fit
  public static Tensor ofStrided(
      Arena arena, MemorySegment segment, DType dtype, long[] shape, long[] stride) {
    long[] dims = shape.clone();
    long[] steps = stride.clone();
    long elements = Extents.elements(dims);
    long bytes = Extents.spanBytes(dtype, dims, steps);
    Scopes.require("tensor", arena, segment);
    if (segment.byteSize() < bytes) {
      throw new IllegalArgumentException(
          "tensor: segment has "
              + segment.byteSize()
              + " bytes, expected at least "
              + bytes
              + " ("
              + Extents.text(dtype, dims)
              + ", strides "
              + Arrays.toString(steps)
              + ")");
    }
    return host(arena, segment, dtype, dims, steps, elements);
  }

  /// A tensor over memory of a CUDA device that something else owns. **Unsafe**: nothing checks
  /// that the memory exists, has the size, and stays allocated until every op and graph that uses
  /// the tensor is done; if not, the process can crash or compute nonsense.
  ///
  /// @param arena where the descriptor lives: the tensor may be used as long as it is open
  /// @param device the CUDA device that the memory is on
  /// @param address of the first element, on the device's primary context
  /// @throws IllegalArgumentException if the device is the CPU, or shape and strides are not valid
  public static Tensor ofUnsafeDevicePointer(
      Arena arena, Device device, long address, DType dtype, long[] shape, long[] stride) {
    if (!device.isCuda()) {
      throw new IllegalArgumentException(
          "tensor: device is cpu, expected a CUDA device: wrap host memory with Tensor.of");
    }
    long[] dims = shape.clone();
    long[] steps = stride.clone();
    long elements = Extents.elements(dims);
    if (Extents.spanBytes(dtype, dims, steps) > 0 && address == 0) {
      throw new IllegalArgumentException("tensor: address is 0, expected a device pointer");
    }
    Scopes.require("tensor", arena);
    return new Tensor(arena, dtype, dims, steps, elements, address, null, device, null);
  }

  /// A tensor over a part of an allocation of a CUDA device; an empty one has none.
  static Tensor onDevice(
      Arena arena,
      Device device,
      @Nullable Allocation allocation,
      long offset,
      DType dtype,
      long[] dims) {
    return new Tensor(
        arena,
        dtype,
        dims,
        Extents.contiguous(dims),
        Extents.elements(dims),
        allocation == null ? 0 : allocation.address() + offset,
        null,
        device,
        allocation);
  }

  private static Tensor host(
      Arena arena, MemorySegment segment, DType dtype, long[] dims, long[] steps, long elements) {
    Allocation pinned = Allocation.pinnedAt(segment.address(), segment.byteSize());
    return new Tensor(
        arena, dtype, dims, steps, elements, segment.address(), segment, null, pinned);
  }

  /// The element type.
  public DType dtype() {
    return dtype;
  }

  /// The number of dimensions, 0 to 4.
  public int rank() {
    return shape.length;
  }

  /// The size of one dimension, outermost first.
  ///
  /// @throws IndexOutOfBoundsException if there is no such dimension
  public long shape(int dim) {
    return shape[Objects.checkIndex(dim, shape.length)];
  }

  /// The sizes of all dimensions, outermost first: a copy.
  public long[] shape() {
    return shape.clone();
  }

  /// The distance between neighbours along a dimension, in elements.
  ///
  /// @throws IndexOutOfBoundsException if there is no such dimension
  public long stride(int dim) {
    return stride[Objects.checkIndex(dim, stride.length)];
  }

  /// The strides of all dimensions, in elements: a copy.
  public long[] stride() {
    return stride.clone();
  }

  /// The number of elements: the product of the shape, 1 for a scalar.
  public long elements() {
    return elements;
  }

  /// The bytes of the elements: `elements() * dtype().bytes()`, gaps between rows not counted.
  public long byteSize() {
    return elements * dtype.bytes();
  }

  /// Whether the elements follow each other without gaps, in row-major order.
  public boolean isContiguous() {
    long expected = 1;
    for (int i = shape.length - 1; i >= 0; i--) {
      if (shape[i] == 0) {
        return true;
      }
      if (shape[i] > 1 && stride[i] != expected) {
        return false;
      }
      expected *= shape[i];
    }
    return true;
  }

  /// The memory of a host tensor: the very segment, a view that lives as long as its arena. Ops on
  /// a CPU stream are done when they return; an asynchronous copy into page-locked memory is done
  /// after [Stream#synchronize].
  ///
  /// @throws IllegalStateException if the tensor is on a CUDA device, whose memory Java cannot read
  public MemorySegment segment() {
    if (segment == null) {
      throw new IllegalStateException(
          "tensor: "
              + this
              + " is memory that Java cannot read, expected a host tensor: copy it with"
              + " copyTo(stream, hostTensor) or toHost(stream, arena)");
    }
    return segment;
  }

  /// The address of the first element, on the host or on the device.
  public long address() {
    return address;
  }

  /// Whether the memory is on a CUDA device.
  public boolean isDevice() {
    return device != null;
  }

  /// The CUDA device that the memory is on, as it was given at allocation; null for host memory
  /// (the CPU device's tensors included: any CPU device takes them).
  public @Nullable Device device() {
    return device;
  }

  /// Copies this tensor into another of the same dtype and shape, bit for bit.
  ///
  /// On a CUDA stream, between any two of device, page-locked and ordinary host memory of one
  /// machine and device. Between device and page-locked memory it is **asynchronous**: source and
  /// destination belong to the stream until it is synchronised. With ordinary host memory on either
  /// side it **waits** until the copy is done (and cannot be captured). On a CPU stream, between
  /// host tensors, done on return.
  ///
  /// @param stream decides the device and the order
  /// @param destination rank at most 2 with any row stride, or contiguous; does not overlap this
  ///   tensor
  /// @throws IllegalArgumentException if dtypes or shapes differ, the memories overlap, or the
  ///   stream cannot reach one of them
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream is in use by
  ///   another thread
  public void copyTo(Stream stream, Tensor destination) {
    Copy.run(stream, this, destination);
  }

  /// Copies another tensor into this one: `source.copyTo(stream, this)`.
  public void copyFrom(Stream stream, Tensor source) {
    Copy.run(stream, source, this);
  }

  /// A **copy** of this tensor on the stream's device, contiguous, allocated there from `arena` and
  /// freed with it. Waits or not as [#copyTo] does.
  ///
  /// @throws OutOfDeviceMemoryException if the device has no room
  public Tensor to(Stream stream, Arena arena) {
    Tensor copy = stream.device().allocate(arena, dtype, shape);
    Copy.run(stream, this, copy);
    return copy;
  }

  /// A **copy** of this tensor in ordinary host memory of `arena`, contiguous. **Waits** until it
  /// is done: its [#segment] can be read at once.
  ///
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream is being
  ///   captured or in use by another thread
  public Tensor toHost(Stream stream, Arena arena) {
    if (stream.isCapturing()) {
      throw new IllegalStateException(
          "toHost: stream is being captured, expected no capture: what waits cannot be replayed");
    }
    Scopes.require("toHost", arena);
    MemorySegment memory = arena.allocate(byteSize(), 64);
    Tensor copy = of(arena, memory, dtype, shape);
    Copy.run(stream, this, copy);
    return copy;
  }

  /// Rows of this tensor, that is part of its outermost dimension: a **view** of the same memory.
  ///
  /// @param arena the arena of this tensor
  /// @param fromRow the first index
  /// @param rows how many of them
  /// @throws IllegalArgumentException if the arena is another one, or this is a scalar
  /// @throws IndexOutOfBoundsException if the range is not within the dimension
  public Tensor slice(Arena arena, long fromRow, long rows) {
    return slice(arena, 0, fromRow, rows);
  }

  /// Part of this tensor along one dimension: a **view** of the same memory, with the same strides.
  /// Columns of a matrix, for example, are `slice(arena, 1, from, length)`: a matrix with a row
  /// stride.
  ///
  /// @param arena the arena of this tensor
  /// @param dim the dimension, outermost first
  /// @param from the first index along it
  /// @param length how many of them
  /// @throws IllegalArgumentException if the arena is another one
  /// @throws IndexOutOfBoundsException if there is no such dimension, or the range is not within it
  public Tensor slice(Arena arena, int dim, long from, long length) {
    if (shape.length == 0) {
      throw new IllegalArgumentException("slice: tensor is a scalar, expected rank 1 to 4");
    }
    Objects.checkIndex(dim, shape.length);
    Objects.checkFromIndexSize(from, length, shape[dim]);
    Scopes.require("slice", arena, descriptor);
    long[] dims = shape.clone();
    dims[dim] = length;
    long bytes = Extents.spanBytes(dtype, dims, stride);
    // An empty slice behind the last row of a strided tensor could begin outside the segment.
    long offset = bytes == 0 ? 0 : from * stride[dim] * dtype.bytes();
    MemorySegment part = segment == null ? null : segment.asSlice(offset, bytes);
    return new Tensor(
        arena,
        dtype,
        dims,
        stride,
        Extents.elements(dims),
        address + offset,
        part,
        device,
        allocation);
  }

  /// The same elements in another shape of as many: a **view** of the same memory. `[T, G, K]`, for
  /// example, is `[T, G * K]`.
  ///
  /// @param arena the arena of this tensor
  /// @param shape up to 4 dimensions, each at least 0
  /// @throws IllegalArgumentException if the arena is another one, this tensor is not contiguous,
  ///   or the shape has another number of elements
  public Tensor reshaped(Arena arena, long... shape) {
    long[] dims = shape.clone();
    Scopes.require("reshaped", arena, descriptor);
    if (Extents.elements(dims) != elements) {
      throw new IllegalArgumentException(
          "reshaped: shape is "
              + Arrays.toString(dims)
              + ", expected "
              + elements
              + " elements, as many as "
              + describe()
              + " has");
    }
    if (!isContiguous()) {
      throw new IllegalArgumentException(
          "reshaped: tensor has strides "
              + Arrays.toString(stride)
              + " for shape "
              + Arrays.toString(this.shape)
              + ", expected contiguous memory");
    }
    return new Tensor(
        arena,
        dtype,
        dims,
        Extents.contiguous(dims),
        elements,
        address,
        segment,
        device,
        allocation);
  }

  /// Type, shape and place, for example `BF16[16, 7168] on cuda:0`.
  @Override
  public String toString() {
    return describe() + (ordinal == HOST ? " on the host" : " on cuda:" + ordinal);
  }

  /// Type and shape, for example `BF16[16, 7168]`.
  String describe() {
    return Extents.text(dtype, shape);
  }

  /// The thread that made the tensor: the owner, where the arena is confined.
  String threadName() {
    return thread;
  }
}
