// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.CudaDeviceProperties;
import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeError;
import io.github.nvfp4j.bindings.NativeMemory;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// Where ops run: the CPU, or one CUDA device. The caller chooses; an op that the device cannot run
/// is refused, never run elsewhere.
///
/// Both have the same surface and give the same bits, but for matrix products whose sum depends on
/// its order ([Gemm] says when it does not). On the CPU device an op is done when it returns,
/// page-locked memory is ordinary memory, an [Event] reads the clock, and a [Graph] replays calls.
///
/// A device is a handle: several of the same device may be open, and take each other's tensors.
/// Thread-safe.
public final class Device implements AutoCloseable {
  private static final int CPU = -1;
  private static final int MAX_THREADS = 1024;
  // cudaMalloc's alignment, kept between the buffers of an NVFP4 tensor.
  private static final long ALIGNMENT = 256;

  private final DeviceInfo info;
  private final int ordinal;
  private final int threads;
  private final DeviceState state;
  private final LiveCount live;

  private Device(DeviceInfo info, int ordinal, int threads, DeviceState state) {
    this.info = info;
    this.ordinal = ordinal;
    this.threads = threads;
    this.state = state;
    this.live = new LiveCount(info.id());
  }

  /// The CPU device, with a thread per available processor for each of its streams.
  ///
  /// @throws LibraryLoadException if the native library cannot be loaded
  public static Device cpu() {
    return cpu(0);
  }

  /// The CPU device.
  ///
  /// @param threads how many threads work on an op of a stream; 0 means one per available processor
  /// @throws IllegalArgumentException if it is negative or greater than 1024
  /// @throws LibraryLoadException if the native library cannot be loaded
  public static Device cpu(int threads) {
    Library.require();
    if (threads < 0 || threads > MAX_THREADS) {
      throw new IllegalArgumentException(
          "device: threads is " + threads + ", expected 0 (one per processor) to " + MAX_THREADS);
    }
    return new Device(HostInfo.read(), CPU, threads, DeviceState.ofCpu());
  }

  /// A CUDA device.
  ///
  /// @param ordinal 0 for `cuda:0`
  /// @throws IllegalArgumentException if it is negative
  /// @throws DeviceNotSupportedException if there is no such device, no driver, or no CUDA in the
  ///   library; the message says which
  /// @throws LibraryLoadException if the native library cannot be loaded
  public static Device cuda(int ordinal) {
    Library.require();
    if (ordinal < 0) {
      throw new IllegalArgumentException("device: ordinal is " + ordinal + ", expected at least 0");
    }
    String id = "cuda:" + ordinal;
    String reason = CudaRuntime.unavailableReason();
    if (reason != null) {
      throw new DeviceNotSupportedException("device: " + id + ": " + reason, null, 0, "", null);
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment count = arena.allocate(ValueLayout.JAVA_INT);
      int code = CudaRuntime.getDeviceCount(count);
      if (code != CudaConstants.SUCCESS) {
        CudaRuntime.getLastError();
        throw new DeviceNotSupportedException(
            "device: " + id + ": cudaGetDeviceCount: " + Cuda.describe(code), null, code, "", null);
      }
      int devices = count.get(ValueLayout.JAVA_INT, 0);
      if (ordinal >= devices) {
        throw new DeviceNotSupportedException(
            "device: "
                + id
                + " does not exist, expected "
                + (devices == 1 ? "cuda:0" : "cuda:0 to cuda:" + (devices - 1)),
            null,
            CudaConstants.ERROR_INVALID_DEVICE,
            "",
            null);
      }
    }
    DeviceState state = DeviceState.ofCuda(ordinal);
    return new Device(cudaInfo(state, ordinal), ordinal, 0, state);
  }

  /// The device of a name: `cpu`, or `cuda:0` and so on.
  ///
  /// @throws IllegalArgumentException if it is not such a name
  /// @throws DeviceNotSupportedException as [#cuda]
  public static Device of(String id) {
    if (id.equals("cpu")) {
      return cpu();
    }
    if (id.matches("cuda:[0-9]{1,4}")) {
      return cuda(Integer.parseInt(id.substring("cuda:".length())));
    }
    throw new IllegalArgumentException(
        "device: id is \"" + id + "\", expected cpu, cuda:0, cuda:1 and so on");
  }

  /// Every device of this machine, the CPU first. Without a CUDA driver, or with a library built
  /// without CUDA, the CPU alone; [#cuda] says why.
  ///
  /// @throws LibraryLoadException if the native library cannot be loaded
  public static List<DeviceInfo> all() {
    Library.require();
    List<DeviceInfo> devices = new ArrayList<>();
    devices.add(HostInfo.read());
    if (CudaRuntime.available()) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment count = arena.allocate(ValueLayout.JAVA_INT);
        if (CudaRuntime.getDeviceCount(count) == CudaConstants.SUCCESS) {
          for (int i = 0; i < count.get(ValueLayout.JAVA_INT, 0); i++) {
            devices.add(cudaInfo(DeviceState.ofCuda(i), i));
          }
        } else {
          CudaRuntime.getLastError();
        }
      }
    }
    return List.copyOf(devices);
  }

  private static DeviceInfo cudaInfo(DeviceState state, int ordinal) {
    String what = "device: cuda:" + ordinal;
    try (Arena arena = Arena.ofConfined()) {
      CudaDeviceProperties properties = new CudaDeviceProperties(arena);
      Cuda.check(
          state,
          what + ": cudaGetDeviceProperties",
          CudaRuntime.getDeviceProperties(properties, ordinal));
      MemorySegment driver = arena.allocate(ValueLayout.JAVA_INT);
      MemorySegment runtime = arena.allocate(ValueLayout.JAVA_INT);
      Cuda.check(state, what + ": cudaDriverGetVersion", CudaRuntime.driverGetVersion(driver));
      Cuda.check(state, what + ": cudaRuntimeGetVersion", CudaRuntime.runtimeGetVersion(runtime));
      return new DeviceInfo(
          "cuda:" + ordinal,
          properties.name(),
          properties.major(),
          properties.minor(),
          properties.multiprocessorCount(),
          properties.totalGlobalMemory(),
          driver.get(ValueLayout.JAVA_INT, 0),
          runtime.get(ValueLayout.JAVA_INT, 0));
    }
  }

  /// What the device is.
  public DeviceInfo info() {
    return info;
  }

  /// Whether it is a CUDA device.
  public boolean isCuda() {
    return ordinal != CPU;
  }

  /// Which implementation of an op the device gets, and why: for example `sm_90: quantize_sm90,
  /// compute capability 9.0`. What a matrix product of one shape gets, [Gemm#path] says.
  ///
  /// @throws DeviceNotSupportedException if it has none; the message is the reason
  public String pathFor(Op op) {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment text = arena.allocate(512);
      int status = Nvfp4jNative.path(op.code(), ordinal, text, error.segment());
      if (status != 0) {
        throw Failures.of(state, op, status, error, "");
      }
      return text.getString(0);
    }
  }

  /// The bytes of device workspace that an op needs for a first input of a shape; a matrix product
  /// for NVFP4 activations of [ScaleLayout#LINEAR]. (A stream, and a graph, brings what every op of
  /// this version needs at any shape: 44 MiB on compute capability 9.0, 28 MiB elsewhere.)
  ///
  /// @throws IllegalArgumentException if `rows` or `columns` is negative
  public long workspaceBytes(Op op, long rows, long columns) {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment bytes = arena.allocate(ValueLayout.JAVA_LONG);
      int status =
          Nvfp4jNative.workspaceBytes(op.code(), ordinal, rows, columns, bytes, error.segment());
      if (status != 0) {
        throw Failures.of(state, op, status, error, "");
      }
      return bytes.get(ValueLayout.JAVA_LONG, 0);
    }
  }

  /// A new stream of this device, which the caller closes before the device. On a CUDA device it
  /// does not wait for the legacy default stream; its workspace and status record are allocated
  /// now, so that no op allocates. On the CPU device it starts its threads.
  ///
  /// @throws OutOfDeviceMemoryException if there is no room for the workspace
  /// @throws IllegalStateException if the device is closed
  public Stream openStream() {
    return Stream.open(this);
  }

  /// A new contiguous tensor in this device's memory, freed when its arena closes. Its contents are
  /// undefined.
  ///
  /// On a CUDA device it is `cudaMalloc`'s memory; closing the arena **waits** for the device's
  /// work before it is freed, so that no kernel loses its memory (for `Arena.ofAuto()`, on a thread
  /// of this library). On the CPU device it is the arena's memory, 64-byte aligned.
  ///
  /// @param arena any kind; a confined one makes a tensor that belongs to its thread
  /// @param shape up to 4 dimensions, each at least 0
  /// @throws OutOfDeviceMemoryException if there is no room
  /// @throws IllegalStateException if the arena or the device is closed
  public Tensor allocate(Arena arena, DType dtype, long... shape) {
    long[] dims = shape.clone();
    long bytes = Extents.bytes(dtype, dims);
    Memory memory = allocate("allocate", arena, bytes, 64);
    return memory.tensor(arena, 0, bytes, dtype, dims);
  }

  /// A new NVFP4 tensor `[rows, columns]` with [ScaleLayout#LINEAR] scales and one global scale;
  /// otherwise as [#allocate].
  public Nvfp4Tensor allocateNvfp4(Arena arena, long rows, long columns) {
    return allocateNvfp4(arena, rows, columns, ScaleLayout.LINEAR, GlobalScale.TENSOR);
  }

  /// A new NVFP4 matrix `[rows, columns]`; otherwise as the form with groups.
  public Nvfp4Tensor allocateNvfp4(
      Arena arena, long rows, long columns, ScaleLayout scaleLayout, GlobalScale globalScale) {
    return allocateNvfp4(arena, 1, rows, columns, scaleLayout, globalScale);
  }

  /// A new NVFP4 tensor in this device's memory, `groups` matrices `[rows, columns]`: codes, scales
  /// and global scales in one allocation. Otherwise as [#allocate].
  ///
  /// @param groups G, at least 1
  /// @param rows M, at least 0
  /// @param columns K in elements, a positive multiple of 16
  /// @throws IllegalArgumentException if the shape is not one
  public Nvfp4Tensor allocateNvfp4(
      Arena arena,
      long groups,
      long rows,
      long columns,
      ScaleLayout scaleLayout,
      GlobalScale globalScale) {
    if (groups < 1) {
      throw new IllegalArgumentException(
          "allocateNvfp4: groups is " + groups + ", expected at least 1");
    }
    if (rows < 0) {
      throw new IllegalArgumentException(
          "allocateNvfp4: rows is " + rows + ", expected at least 0");
    }
    if (columns <= 0 || columns % 16 != 0) {
      throw new IllegalArgumentException(
          "allocateNvfp4: columns is " + columns + ", expected a positive multiple of 16");
    }
    long codeBytes;
    long scaleBytes;
    long globals;
    long globalBytes;
    long total;
    try {
      codeBytes = scaleLayout.codesBytes(Math.multiplyExact(groups, rows), columns);
      scaleBytes = Math.multiplyExact(groups, scaleLayout.bytes(rows, columns));
      globals = globalScale.count(groups, rows);
      globalBytes = Math.multiplyExact(globals, 4L);
      total = Math.addExact(Math.addExact(aligned(codeBytes), aligned(scaleBytes)), globalBytes);
    } catch (ArithmeticException e) {
      String shape = (groups == 1 ? "[" : "[" + groups + ", ") + rows + ", " + columns + "]";
      throw new IllegalArgumentException(
          "allocateNvfp4: " + shape + " needs more than 2^63 - 1 bytes", e);
    }
    Memory memory = allocate("allocateNvfp4", arena, total, ALIGNMENT);
    long scalesAt = aligned(codeBytes);
    long globalsAt = scalesAt + aligned(scaleBytes);
    DType codes = scaleLayout == ScaleLayout.PACKED ? DType.BF16 : DType.U8;
    return Nvfp4Tensor.shaped(
        arena,
        groups,
        rows,
        columns,
        memory.tensor(arena, 0, codeBytes, codes, new long[] {codeBytes / codes.bytes()}),
        memory.tensor(arena, scalesAt, scaleBytes, DType.U8, new long[] {scaleBytes}),
        memory.tensor(arena, globalsAt, globalBytes, DType.F32, new long[] {globals}),
        scaleLayout,
        globalScale);
  }

  private static long aligned(long bytes) {
    return Math.addExact(bytes, ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  /// Page-locked host memory as an ordinary segment: [Tensor#of] recognises it (and slices of it),
  /// and copies between it and device memory are asynchronous, on streams of every CUDA device.
  /// Freed when its arena closes, which **waits** for the work of this device and of each whose
  /// streams copied from or to it. On the CPU device, ordinary memory.
  ///
  /// @param bytes the size, at least 0
  /// @return a segment of the arena with undefined contents, aligned to at least 64 bytes
  /// @throws OutOfDeviceMemoryException if so much cannot be locked
  /// @throws IllegalStateException if the arena or the device is closed
  public MemorySegment allocatePinned(Arena arena, long bytes) {
    if (bytes < 0) {
      throw new IllegalArgumentException(
          "allocatePinned: bytes is " + bytes + ", expected at least 0");
    }
    Scopes.require("allocatePinned", arena);
    state.requireWorking("allocatePinned");
    if (!isCuda() || bytes == 0) {
      live.requireOpen("allocatePinned");
      try {
        return arena.allocate(bytes, 64);
      } catch (OutOfMemoryError e) {
        throw new OutOfDeviceMemoryException(
            "allocatePinned: cpu has no room for " + bytes + " bytes", null, 0, "", e);
      }
    }
    live.add("allocatePinned", LiveCount.Kind.PINNED, bytes);
    Allocation allocation;
    try {
      long address = Cuda.allocate(state, "allocatePinned", ordinal, bytes, true);
      allocation = new Allocation(state, live, Allocation.Kind.PINNED, address, bytes);
    } catch (RuntimeException e) {
      live.remove(LiveCount.Kind.PINNED, bytes);
      throw e;
    }
    return attach(arena, allocation, bytes);
  }

  // The memory of one allocation: a segment on the CPU device, an allocation on a CUDA device.
  private record Memory(
      Device device, @Nullable MemorySegment segment, @Nullable Allocation allocation) {
    Tensor tensor(Arena arena, long offset, long bytes, DType dtype, long[] dims) {
      if (segment != null) {
        return Tensor.of(arena, segment.asSlice(offset, bytes), dtype, dims);
      }
      return Tensor.onDevice(arena, device, allocation, offset, dtype, dims);
    }
  }

  private Memory allocate(String what, Arena arena, long bytes, long alignment) {
    Scopes.require(what, arena);
    state.requireWorking(what);
    if (isCuda() && bytes == 0) {
      live.requireOpen(what);
      return new Memory(this, null, null);
    }
    live.add(what, LiveCount.Kind.TENSOR, bytes);
    MemorySegment segment = null;
    Allocation allocation;
    try {
      if (isCuda()) {
        long address = Cuda.allocate(state, what, ordinal, bytes, false);
        allocation = new Allocation(state, live, Allocation.Kind.DEVICE, address, bytes);
      } else {
        segment = arena.allocate(bytes, alignment);
        allocation = new Allocation(state, live, Allocation.Kind.HOST, 0, bytes);
      }
    } catch (RuntimeException e) {
      live.remove(LiveCount.Kind.TENSOR, bytes);
      throw e;
    } catch (OutOfMemoryError e) {
      live.remove(LiveCount.Kind.TENSOR, bytes);
      throw new OutOfDeviceMemoryException(
          what + ": cpu has no room for " + bytes + " bytes", null, 0, "", e);
    }
    attach(arena, allocation, 0);
    return isCuda() ? new Memory(this, null, allocation) : new Memory(this, segment, null);
  }

  // Hands the allocation to the arena: from here on, closing that frees it.
  private static MemorySegment attach(Arena arena, Allocation allocation, long bytes) {
    Runnable cleanup = allocation.cleanup();
    allocation.publish();
    try {
      return NativeMemory.ofHost(allocation.address(), bytes, arena, address -> cleanup.run());
    } catch (RuntimeException e) {
      cleanup.run();
      throw e;
    }
  }

  /// Loads every kernel onto the device, so that neither a capture nor a measurement meets a module
  /// load. **Waits.** Once is enough; does nothing on the CPU device.
  public void warmUp() {
    state.requireWorking("warmUp");
    live.requireOpen("warmUp");
    MemorySegment context = Contexts.create(state, this, false, 0);
    try {
      Contexts.warmUp(state, context);
    } finally {
      Contexts.destroyQuietly(context);
    }
  }

  /// Closes the handle. Closing twice does nothing.
  ///
  /// @throws IllegalStateException if streams, graphs, events or tensors of this handle are open;
  ///   the message says how many, and the device stays open
  @Override
  public void close() {
    state.drain();
    live.close();
  }

  /// The device's id and name.
  @Override
  public String toString() {
    return info.id() + " (" + info.name() + ")";
  }

  int ordinal() {
    return ordinal;
  }

  int threads() {
    return threads;
  }

  DeviceState state() {
    return state;
  }

  LiveCount live() {
    return live;
  }
}
