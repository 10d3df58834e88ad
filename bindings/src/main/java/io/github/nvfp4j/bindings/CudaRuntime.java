// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.cuda.cuda_runtime_api_h;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import org.jspecify.annotations.Nullable;

/// The functions that nvfp4j needs of the CUDA runtime (`cuda_runtime_api.h` 13.0), one static
/// method each, named without the `cuda` prefix. NVIDIA's reference is their specification.
///
/// - An `int` result is a `cudaError_t`: [CudaConstants#SUCCESS] or `CudaConstants.ERROR_*`.
/// - A stream, event, graph or device address is a `long`; 0 is NULL (and the legacy default
///   stream).
/// - A host struct or out parameter is a native segment.
/// - The current device belongs to the operating system's thread, which is not the virtual thread:
///   put the calls that depend on it (all that take or make memory, a stream, an event, a graph:
///   without a device they choose one) between [Nvfp4jNative#deviceEnter] and
///   [Nvfp4jNative#deviceLeave], on a thread that is not virtual or that cannot be unmounted
///   between them (no blocking Java call). [#setDevice] has no way back that makes no context.
///
/// The functions are there when the library was built with CUDA: ask [#available] first. Without,
/// each throws [UnsupportedOperationException] with [#unavailableReason]; where the library is not
/// loadable, each throws [NativeLibraryException]. Whether the machine has a driver and a device is
/// [#getDeviceCount]'s answer.
public final class CudaRuntime {
  // Both constant to the compiler: a call costs no more than the call.
  private static final @Nullable NativeLibraryException FAILURE = NativeLibrary.failure();
  private static final boolean PRESENT =
      FAILURE == null && SymbolLookup.loaderLookup().find("cudaGetDeviceCount").isPresent();

  private CudaRuntime() {}

  /// Whether the loaded library brings the CUDA runtime.
  public static boolean available() {
    return PRESENT;
  }

  /// One sentence, or null when the runtime is available.
  public static @Nullable String unavailableReason() {
    if (PRESENT) {
      return null;
    }
    return FAILURE != null
        ? FAILURE.getMessage()
        : "cuda: this libnvfp4j was built without CUDA (" + NativeLibrary.file() + ")";
  }

  private static void require() {
    if (!PRESENT) {
      if (FAILURE != null) {
        throw FAILURE.again();
      }
      throw new UnsupportedOperationException(unavailableReason());
    }
  }

  private static MemorySegment pointer(long address) {
    return MemorySegment.ofAddress(address);
  }

  // --- Errors

  /// `cudaGetErrorName`: for example `cudaErrorNoDevice`.
  public static String getErrorName(int error) {
    require();
    return cuda_runtime_api_h.cudaGetErrorName(error).getString(0);
  }

  /// `cudaGetErrorString`: for example `no CUDA-capable device is detected`.
  public static String getErrorString(int error) {
    require();
    return cuda_runtime_api_h.cudaGetErrorString(error).getString(0);
  }

  /// `cudaGetLastError`: the calling thread's last error, which is then forgotten (unless it is
  /// sticky).
  public static int getLastError() {
    require();
    return cuda_runtime_api_h.cudaGetLastError();
  }

  /// `cudaPeekAtLastError`.
  public static int peekAtLastError() {
    require();
    return cuda_runtime_api_h.cudaPeekAtLastError();
  }

  /// Whether the error leaves the process unable to use the device again: those of which NVIDIA's
  /// reference says that the process must be terminated and relaunched, and uncorrectable memory
  /// and NVLink errors.
  public static boolean isSticky(int error) {
    return switch (error) {
      case CudaConstants.ERROR_ECC_UNCORRECTABLE,
          CudaConstants.ERROR_NVLINK_UNCORRECTABLE,
          CudaConstants.ERROR_CONTAINED,
          CudaConstants.ERROR_ILLEGAL_ADDRESS,
          CudaConstants.ERROR_LAUNCH_TIMEOUT,
          CudaConstants.ERROR_ASSERT,
          CudaConstants.ERROR_HARDWARE_STACK_ERROR,
          CudaConstants.ERROR_ILLEGAL_INSTRUCTION,
          CudaConstants.ERROR_MISALIGNED_ADDRESS,
          CudaConstants.ERROR_INVALID_ADDRESS_SPACE,
          CudaConstants.ERROR_INVALID_PC,
          CudaConstants.ERROR_LAUNCH_FAILURE,
          CudaConstants.ERROR_TENSOR_MEMORY_LEAK,
          CudaConstants.ERROR_MPS_CLIENT_TERMINATED,
          CudaConstants.ERROR_EXTERNAL_DEVICE ->
          true;
      default -> false;
    };
  }

  // --- Devices

  /// `cudaGetDeviceCount`.
  ///
  /// @param countOut room for one `int`
  public static int getDeviceCount(MemorySegment countOut) {
    require();
    return cuda_runtime_api_h.cudaGetDeviceCount(countOut);
  }

  /// `cudaGetDeviceProperties`.
  ///
  /// @param properties receives them
  public static int getDeviceProperties(CudaDeviceProperties properties, int device) {
    require();
    return cuda_runtime_api_h.cudaGetDeviceProperties(properties.segment(), device);
  }

  /// `cudaDeviceGetAttribute`.
  ///
  /// @param valueOut room for one `int`
  /// @param attribute one of `CudaConstants.DEVICE_ATTRIBUTE_*`
  public static int deviceGetAttribute(MemorySegment valueOut, int attribute, int device) {
    require();
    return cuda_runtime_api_h.cudaDeviceGetAttribute(valueOut, attribute, device);
  }

  /// `cudaDriverGetVersion`: 13000 is 13.0; 0 without a driver.
  ///
  /// @param versionOut room for one `int`
  public static int driverGetVersion(MemorySegment versionOut) {
    require();
    return cuda_runtime_api_h.cudaDriverGetVersion(versionOut);
  }

  /// `cudaRuntimeGetVersion`: 13000 is 13.0.
  ///
  /// @param versionOut room for one `int`
  public static int runtimeGetVersion(MemorySegment versionOut) {
    require();
    return cuda_runtime_api_h.cudaRuntimeGetVersion(versionOut);
  }

  /// `cudaSetDevice`, of the calling operating system thread.
  public static int setDevice(int device) {
    require();
    return cuda_runtime_api_h.cudaSetDevice(device);
  }

  /// `cudaGetDevice`, of the calling operating system thread.
  ///
  /// @param deviceOut room for one `int`
  public static int getDevice(MemorySegment deviceOut) {
    require();
    return cuda_runtime_api_h.cudaGetDevice(deviceOut);
  }

  /// `cudaDeviceSynchronize`. Waits: a virtual thread keeps its carrier meanwhile.
  public static int deviceSynchronize() {
    require();
    return cuda_runtime_api_h.cudaDeviceSynchronize();
  }

  // --- Memory

  /// `cudaMalloc`.
  ///
  /// @param addressOut room for one pointer, which receives a device address
  public static int malloc(MemorySegment addressOut, long bytes) {
    require();
    return cuda_runtime_api_h.cudaMalloc(addressOut, bytes);
  }

  /// `cudaFree`. Waits for the device.
  public static int free(long deviceAddress) {
    require();
    return cuda_runtime_api_h.cudaFree(pointer(deviceAddress));
  }

  /// `cudaMallocHost`: pinned host memory.
  ///
  /// @param addressOut room for one pointer, which receives a host address
  public static int mallocHost(MemorySegment addressOut, long bytes) {
    require();
    return cuda_runtime_api_h.cudaMallocHost(addressOut, bytes);
  }

  /// `cudaHostAlloc`: pinned host memory.
  ///
  /// @param addressOut room for one pointer, which receives a host address
  /// @param flags `CudaConstants.HOST_ALLOC_*`
  public static int hostAlloc(MemorySegment addressOut, long bytes, int flags) {
    require();
    return cuda_runtime_api_h.cudaHostAlloc(addressOut, bytes, flags);
  }

  /// `cudaFreeHost`.
  public static int freeHost(long hostAddress) {
    require();
    return cuda_runtime_api_h.cudaFreeHost(pointer(hostAddress));
  }

  /// `cudaMemGetInfo`, of the current device.
  ///
  /// @param freeOut room for one `size_t`
  /// @param totalOut room for one `size_t`
  public static int memGetInfo(MemorySegment freeOut, MemorySegment totalOut) {
    require();
    return cuda_runtime_api_h.cudaMemGetInfo(freeOut, totalOut);
  }

  /// `cudaMemcpy`. A host segment is safe while it runs; a device address comes from
  /// [MemorySegment#ofAddress].
  ///
  /// @param kind `CudaConstants.MEMCPY_*`
  public static int memcpy(MemorySegment destination, MemorySegment source, long bytes, int kind) {
    require();
    return cuda_runtime_api_h.cudaMemcpy(destination, source, bytes, kind);
  }

  /// `cudaMemcpyAsync`. The caller keeps both sides alive until the stream has done it: the
  /// segments are held only while the call enqueues it.
  ///
  /// @param kind `CudaConstants.MEMCPY_*`
  public static int memcpyAsync(
      MemorySegment destination, MemorySegment source, long bytes, int kind, long stream) {
    require();
    return cuda_runtime_api_h.cudaMemcpyAsync(destination, source, bytes, kind, pointer(stream));
  }

  /// `cudaMemsetAsync`.
  public static int memsetAsync(long deviceAddress, int value, long bytes, long stream) {
    require();
    return cuda_runtime_api_h.cudaMemsetAsync(
        pointer(deviceAddress), value, bytes, pointer(stream));
  }

  /// `cudaPointerGetAttributes`: whose memory an address is.
  ///
  /// @param attributes receives them
  public static int pointerGetAttributes(CudaPointerAttributes attributes, long address) {
    require();
    return cuda_runtime_api_h.cudaPointerGetAttributes(attributes.segment(), pointer(address));
  }

  // --- Streams

  /// `cudaStreamCreateWithFlags`.
  ///
  /// @param streamOut room for one pointer
  /// @param flags [CudaConstants#STREAM_DEFAULT] or [CudaConstants#STREAM_NON_BLOCKING]
  public static int streamCreateWithFlags(MemorySegment streamOut, int flags) {
    require();
    return cuda_runtime_api_h.cudaStreamCreateWithFlags(streamOut, flags);
  }

  /// `cudaStreamDestroy`.
  public static int streamDestroy(long stream) {
    require();
    return cuda_runtime_api_h.cudaStreamDestroy(pointer(stream));
  }

  /// `cudaStreamSynchronize`. Waits: a virtual thread keeps its carrier meanwhile.
  public static int streamSynchronize(long stream) {
    require();
    return cuda_runtime_api_h.cudaStreamSynchronize(pointer(stream));
  }

  /// `cudaStreamQuery`: [CudaConstants#ERROR_NOT_READY] while there is work left.
  public static int streamQuery(long stream) {
    require();
    return cuda_runtime_api_h.cudaStreamQuery(pointer(stream));
  }

  /// `cudaStreamWaitEvent`.
  ///
  /// @param flags 0
  public static int streamWaitEvent(long stream, long event, int flags) {
    require();
    return cuda_runtime_api_h.cudaStreamWaitEvent(pointer(stream), pointer(event), flags);
  }

  // --- Capture and graphs

  /// `cudaStreamBeginCapture`.
  ///
  /// @param mode `CudaConstants.STREAM_CAPTURE_MODE_*`
  public static int streamBeginCapture(long stream, int mode) {
    require();
    return cuda_runtime_api_h.cudaStreamBeginCapture(pointer(stream), mode);
  }

  /// `cudaStreamEndCapture`.
  ///
  /// @param graphOut room for one pointer; NULL when the capture was invalidated
  public static int streamEndCapture(long stream, MemorySegment graphOut) {
    require();
    return cuda_runtime_api_h.cudaStreamEndCapture(pointer(stream), graphOut);
  }

  /// `cudaStreamIsCapturing`.
  ///
  /// @param statusOut room for one `int`: `CudaConstants.STREAM_CAPTURE_STATUS_*`
  public static int streamIsCapturing(long stream, MemorySegment statusOut) {
    require();
    return cuda_runtime_api_h.cudaStreamIsCapturing(pointer(stream), statusOut);
  }

  /// `cudaThreadExchangeStreamCaptureMode`, of the calling operating system thread.
  ///
  /// @param mode one `int`: the new mode, replaced by the old one
  public static int threadExchangeStreamCaptureMode(MemorySegment mode) {
    require();
    return cuda_runtime_api_h.cudaThreadExchangeStreamCaptureMode(mode);
  }

  /// `cudaGraphInstantiate`.
  ///
  /// @param graphExecOut room for one pointer
  /// @param flags 0
  public static int graphInstantiate(MemorySegment graphExecOut, long graph, long flags) {
    require();
    return cuda_runtime_api_h.cudaGraphInstantiate(graphExecOut, pointer(graph), flags);
  }

  /// `cudaGraphGetNodes`.
  ///
  /// @param nodesOut room for `count` pointers, or [MemorySegment#NULL] to ask for the count
  /// @param countInOut one `size_t`
  public static int graphGetNodes(long graph, MemorySegment nodesOut, MemorySegment countInOut) {
    require();
    return cuda_runtime_api_h.cudaGraphGetNodes(pointer(graph), nodesOut, countInOut);
  }

  /// `cudaGraphUpload`.
  public static int graphUpload(long graphExec, long stream) {
    require();
    return cuda_runtime_api_h.cudaGraphUpload(pointer(graphExec), pointer(stream));
  }

  /// `cudaGraphLaunch`.
  public static int graphLaunch(long graphExec, long stream) {
    require();
    return cuda_runtime_api_h.cudaGraphLaunch(pointer(graphExec), pointer(stream));
  }

  /// `cudaGraphExecDestroy`.
  public static int graphExecDestroy(long graphExec) {
    require();
    return cuda_runtime_api_h.cudaGraphExecDestroy(pointer(graphExec));
  }

  /// `cudaGraphDestroy`.
  public static int graphDestroy(long graph) {
    require();
    return cuda_runtime_api_h.cudaGraphDestroy(pointer(graph));
  }

  // --- Events

  /// `cudaEventCreateWithFlags`.
  ///
  /// @param eventOut room for one pointer
  /// @param flags `CudaConstants.EVENT_*`
  public static int eventCreateWithFlags(MemorySegment eventOut, int flags) {
    require();
    return cuda_runtime_api_h.cudaEventCreateWithFlags(eventOut, flags);
  }

  /// `cudaEventRecord`.
  public static int eventRecord(long event, long stream) {
    require();
    return cuda_runtime_api_h.cudaEventRecord(pointer(event), pointer(stream));
  }

  /// `cudaEventQuery`: [CudaConstants#ERROR_NOT_READY] while the event's work is not done.
  public static int eventQuery(long event) {
    require();
    return cuda_runtime_api_h.cudaEventQuery(pointer(event));
  }

  /// `cudaEventSynchronize`. Waits: a virtual thread keeps its carrier meanwhile.
  public static int eventSynchronize(long event) {
    require();
    return cuda_runtime_api_h.cudaEventSynchronize(pointer(event));
  }

  /// `cudaEventElapsedTime`.
  ///
  /// @param millisecondsOut room for one `float`
  public static int eventElapsedTime(MemorySegment millisecondsOut, long start, long end) {
    require();
    return cuda_runtime_api_h.cudaEventElapsedTime(millisecondsOut, pointer(start), pointer(end));
  }

  /// `cudaEventDestroy`.
  public static int eventDestroy(long event) {
    require();
    return cuda_runtime_api_h.cudaEventDestroy(pointer(event));
  }
}
