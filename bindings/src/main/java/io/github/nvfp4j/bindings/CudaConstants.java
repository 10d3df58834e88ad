// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

/// Constants of `cuda_runtime_api.h` as compile-time constants, named without their `cuda` prefix;
/// NVIDIA's reference says what each means. (jextract makes methods of them, which no `switch` can
/// use.) A test holds them equal to the header's.
public final class CudaConstants {
  // --- Devices
  /// `CUDART_VERSION`.
  public static final int CUDART_VERSION = 13000;

  /// `cudaDevAttrClockRate`.
  public static final int DEVICE_ATTRIBUTE_CLOCK_RATE = 13;

  /// `cudaDevAttrComputeCapabilityMajor`.
  public static final int DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75;

  /// `cudaDevAttrComputeCapabilityMinor`.
  public static final int DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76;

  /// `cudaDevAttrComputeMode`.
  public static final int DEVICE_ATTRIBUTE_COMPUTE_MODE = 20;

  /// `cudaDevAttrCooperativeLaunch`.
  public static final int DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH = 95;

  /// `cudaDevAttrEccEnabled`.
  public static final int DEVICE_ATTRIBUTE_ECC_ENABLED = 32;

  /// `cudaDevAttrGlobalMemoryBusWidth`.
  public static final int DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH = 37;

  /// `cudaDevAttrL2CacheSize`.
  public static final int DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38;

  /// `cudaDevAttrMaxSharedMemoryPerBlockOptin`.
  public static final int DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97;

  /// `cudaDevAttrMemoryClockRate`.
  public static final int DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE = 36;

  /// `cudaDevAttrMultiProcessorCount`.
  public static final int DEVICE_ATTRIBUTE_MULTI_PROCESSOR_COUNT = 16;

  /// `cudaDevAttrPciBusId`.
  public static final int DEVICE_ATTRIBUTE_PCI_BUS_ID = 33;

  /// `cudaDevAttrPciDeviceId`.
  public static final int DEVICE_ATTRIBUTE_PCI_DEVICE_ID = 34;

  /// `cudaDevAttrPciDomainId`.
  public static final int DEVICE_ATTRIBUTE_PCI_DOMAIN_ID = 50;

  /// `cudaDevAttrUnifiedAddressing`.
  public static final int DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING = 41;

  // --- Memory
  /// `cudaHostAllocDefault`.
  public static final int HOST_ALLOC_DEFAULT = 0;

  /// `cudaHostAllocPortable`.
  public static final int HOST_ALLOC_PORTABLE = 1;

  /// `cudaMemcpyDefault`.
  public static final int MEMCPY_DEFAULT = 4;

  /// `cudaMemcpyDeviceToDevice`.
  public static final int MEMCPY_DEVICE_TO_DEVICE = 3;

  /// `cudaMemcpyDeviceToHost`.
  public static final int MEMCPY_DEVICE_TO_HOST = 2;

  /// `cudaMemcpyHostToDevice`.
  public static final int MEMCPY_HOST_TO_DEVICE = 1;

  /// `cudaMemcpyHostToHost`.
  public static final int MEMCPY_HOST_TO_HOST = 0;

  /// `cudaMemoryTypeDevice`.
  public static final int MEMORY_TYPE_DEVICE = 2;

  /// `cudaMemoryTypeHost`.
  public static final int MEMORY_TYPE_HOST = 1;

  /// `cudaMemoryTypeManaged`.
  public static final int MEMORY_TYPE_MANAGED = 3;

  /// `cudaMemoryTypeUnregistered`.
  public static final int MEMORY_TYPE_UNREGISTERED = 0;

  // --- Streams
  /// `cudaStreamDefault`.
  public static final int STREAM_DEFAULT = 0;

  /// `cudaStreamNonBlocking`.
  public static final int STREAM_NON_BLOCKING = 1;

  // --- Capture and graphs
  /// `cudaStreamCaptureModeGlobal`.
  public static final int STREAM_CAPTURE_MODE_GLOBAL = 0;

  /// `cudaStreamCaptureModeRelaxed`.
  public static final int STREAM_CAPTURE_MODE_RELAXED = 2;

  /// `cudaStreamCaptureModeThreadLocal`.
  public static final int STREAM_CAPTURE_MODE_THREAD_LOCAL = 1;

  /// `cudaStreamCaptureStatusActive`.
  public static final int STREAM_CAPTURE_STATUS_ACTIVE = 1;

  /// `cudaStreamCaptureStatusInvalidated`.
  public static final int STREAM_CAPTURE_STATUS_INVALIDATED = 2;

  /// `cudaStreamCaptureStatusNone`.
  public static final int STREAM_CAPTURE_STATUS_NONE = 0;

  // --- Events
  /// `cudaEventBlockingSync`.
  public static final int EVENT_BLOCKING_SYNC = 1;

  /// `cudaEventDefault`.
  public static final int EVENT_DEFAULT = 0;

  /// `cudaEventDisableTiming`.
  public static final int EVENT_DISABLE_TIMING = 2;

  // --- Errors: those that the Java API treats differently from "some CUDA error"
  /// `cudaErrorAssert`.
  public static final int ERROR_ASSERT = 710;

  /// `cudaErrorCallRequiresNewerDriver`.
  public static final int ERROR_CALL_REQUIRES_NEWER_DRIVER = 36;

  /// `cudaErrorCapturedEvent`.
  public static final int ERROR_CAPTURED_EVENT = 907;

  /// `cudaErrorCompatNotSupportedOnDevice`.
  public static final int ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE = 804;

  /// `cudaErrorContained`.
  public static final int ERROR_CONTAINED = 226;

  /// `cudaErrorContextIsDestroyed`.
  public static final int ERROR_CONTEXT_IS_DESTROYED = 709;

  /// `cudaErrorCooperativeLaunchTooLarge`.
  public static final int ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720;

  /// `cudaErrorCudartUnloading`.
  public static final int ERROR_CUDART_UNLOADING = 4;

  /// `cudaErrorDevicesUnavailable`.
  public static final int ERROR_DEVICES_UNAVAILABLE = 46;

  /// `cudaErrorECCUncorrectable`.
  public static final int ERROR_ECC_UNCORRECTABLE = 214;

  /// `cudaErrorExternalDevice`.
  public static final int ERROR_EXTERNAL_DEVICE = 911;

  /// `cudaErrorHardwareStackError`.
  public static final int ERROR_HARDWARE_STACK_ERROR = 714;

  /// `cudaErrorIllegalAddress`.
  public static final int ERROR_ILLEGAL_ADDRESS = 700;

  /// `cudaErrorIllegalInstruction`.
  public static final int ERROR_ILLEGAL_INSTRUCTION = 715;

  /// `cudaErrorInitializationError`.
  public static final int ERROR_INITIALIZATION_ERROR = 3;

  /// `cudaErrorInsufficientDriver`.
  public static final int ERROR_INSUFFICIENT_DRIVER = 35;

  /// `cudaErrorInvalidAddressSpace`.
  public static final int ERROR_INVALID_ADDRESS_SPACE = 717;

  /// `cudaErrorInvalidDevice`.
  public static final int ERROR_INVALID_DEVICE = 101;

  /// `cudaErrorInvalidDeviceFunction`.
  public static final int ERROR_INVALID_DEVICE_FUNCTION = 98;

  /// `cudaErrorInvalidPc`.
  public static final int ERROR_INVALID_PC = 718;

  /// `cudaErrorInvalidResourceHandle`.
  public static final int ERROR_INVALID_RESOURCE_HANDLE = 400;

  /// `cudaErrorInvalidValue`.
  public static final int ERROR_INVALID_VALUE = 1;

  /// `cudaErrorLaunchFailure`.
  public static final int ERROR_LAUNCH_FAILURE = 719;

  /// `cudaErrorLaunchOutOfResources`.
  public static final int ERROR_LAUNCH_OUT_OF_RESOURCES = 701;

  /// `cudaErrorLaunchTimeout`.
  public static final int ERROR_LAUNCH_TIMEOUT = 702;

  /// `cudaErrorMemoryAllocation`.
  public static final int ERROR_MEMORY_ALLOCATION = 2;

  /// `cudaErrorMisalignedAddress`.
  public static final int ERROR_MISALIGNED_ADDRESS = 716;

  /// `cudaErrorMpsClientTerminated`.
  public static final int ERROR_MPS_CLIENT_TERMINATED = 810;

  /// `cudaErrorNoDevice`.
  public static final int ERROR_NO_DEVICE = 100;

  /// `cudaErrorNoKernelImageForDevice`.
  public static final int ERROR_NO_KERNEL_IMAGE_FOR_DEVICE = 209;

  /// `cudaErrorNotPermitted`.
  public static final int ERROR_NOT_PERMITTED = 800;

  /// `cudaErrorNotReady`.
  public static final int ERROR_NOT_READY = 600;

  /// `cudaErrorNotSupported`.
  public static final int ERROR_NOT_SUPPORTED = 801;

  /// `cudaErrorNvlinkUncorrectable`.
  public static final int ERROR_NVLINK_UNCORRECTABLE = 220;

  /// `cudaErrorStreamCaptureImplicit`.
  public static final int ERROR_STREAM_CAPTURE_IMPLICIT = 906;

  /// `cudaErrorStreamCaptureInvalidated`.
  public static final int ERROR_STREAM_CAPTURE_INVALIDATED = 901;

  /// `cudaErrorStreamCaptureIsolation`.
  public static final int ERROR_STREAM_CAPTURE_ISOLATION = 905;

  /// `cudaErrorStreamCaptureMerge`.
  public static final int ERROR_STREAM_CAPTURE_MERGE = 902;

  /// `cudaErrorStreamCaptureUnjoined`.
  public static final int ERROR_STREAM_CAPTURE_UNJOINED = 904;

  /// `cudaErrorStreamCaptureUnmatched`.
  public static final int ERROR_STREAM_CAPTURE_UNMATCHED = 903;

  /// `cudaErrorStreamCaptureUnsupported`.
  public static final int ERROR_STREAM_CAPTURE_UNSUPPORTED = 900;

  /// `cudaErrorStreamCaptureWrongThread`.
  public static final int ERROR_STREAM_CAPTURE_WRONG_THREAD = 908;

  /// `cudaErrorSystemDriverMismatch`.
  public static final int ERROR_SYSTEM_DRIVER_MISMATCH = 803;

  /// `cudaErrorSystemNotReady`.
  public static final int ERROR_SYSTEM_NOT_READY = 802;

  /// `cudaErrorTensorMemoryLeak`.
  public static final int ERROR_TENSOR_MEMORY_LEAK = 721;

  /// `cudaErrorUnknown`.
  public static final int ERROR_UNKNOWN = 999;

  /// `cudaErrorUnsupportedPtxVersion`.
  public static final int ERROR_UNSUPPORTED_PTX_VERSION = 222;

  /// `cudaSuccess`.
  public static final int SUCCESS = 0;

  private CudaConstants() {}
}
