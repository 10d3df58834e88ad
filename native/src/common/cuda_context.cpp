// SPDX-License-Identifier: Apache-2.0
#include "common/cuda_context.hpp"

#if NVFP4J_WITH_CUDA
#include <cuda_runtime_api.h>

#include <algorithm>

#include "ops/gemm/gemm_plan_cache.hpp"

namespace nvfp4j {
namespace {

constexpr const char* kCreate = "context_create";

// Allocations, queries and waits are not allowed in a thread that captures a stream (in any thread
// during a capture of mode global), and would spoil that capture; a context's own memory, event
// and stream have nothing to do with it.
class RelaxedCapture {
 public:
  RelaxedCapture() noexcept { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { (void)cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace

std::int64_t default_workspace_bytes(const CudaDeviceProperties& properties) {
  // The needs of the ops grow with the shape up to what the grid of one device can use: the
  // largest of a small, a wide and a large shape.
  constexpr std::int64_t shapes[][2] = {{1, 16},
                                        {1, 1 << 20},
                                        {64, 7168},
                                        {8192, 7168},
                                        {1 << 20, 1 << 14},
                                        {std::int64_t{1} << 31, 16},
                                        {std::int64_t{1} << 31, 1 << 16},
                                        {std::int64_t{1} << 31, 1 << 20}};
  std::int64_t bytes = 256;
  for (const OpInfo& op : op_table) {
    if (op.cuda_workspace_bytes == nullptr || op.cuda_path(properties) == nullptr) continue;
    for (const auto& shape : shapes)
      bytes = std::max(bytes, op.cuda_workspace_bytes(properties, shape[0], shape[1]));
  }
  return (bytes + 255) / 256 * 256;
}

CudaContext::CudaContext(const Options& options)
    : device_(cuda_device(kCreate, options.ordinal)),
      gemm_plan_cache_(std::make_unique<GemmPlanCache>(device_.properties)) {
  const int ordinal = options.ordinal;
  const int failed = device_.failed.load(std::memory_order_relaxed);
  if (failed != 0) {
    fail_cuda(NVFP4J_ERROR_DEVICE_FAILED, failed,
              "%s: cuda:%d failed earlier with %s; the process must be restarted to use it again",
              kCreate, ordinal, cudaGetErrorName(static_cast<cudaError_t>(failed)));
  }
  const DeviceGuard guard(kCreate, device_);
  const RelaxedCapture relaxed;
  warm_up(kCreate, device_);  // sets the kernels' attributes too: no launch may come before it
  try {
    // 0, 1 and 2 are the default streams, which belong to whatever device is current.
    if (options.foreign_stream && reinterpret_cast<std::uintptr_t>(options.stream) > 2) {
      int owner = -1;
      check(kCreate, "cudaStreamGetDevice",
            cudaStreamGetDevice(static_cast<cudaStream_t>(options.stream), &owner));
      if (owner != ordinal) {
        fail(NVFP4J_ERROR_INVALID_ARGUMENT,
             "%s: options.cuda_stream belongs to cuda:%d, expected cuda:%d as options.device says",
             kCreate, owner, ordinal);
      }
    }
    workspace_bytes_ = options.workspace_bytes != 0 ? options.workspace_bytes
                                                    : default_workspace_bytes(device_.properties);
    cudaStream_t own = nullptr;
    check(kCreate, "cudaStreamCreateWithFlags",
          cudaStreamCreateWithFlags(&own, cudaStreamNonBlocking));
    own_stream_ = true;
    stream_ = own;
    check(kCreate, "cudaEventCreateWithFlags",
          cudaEventCreateWithFlags(&report_done_, cudaEventDisableTiming));
    check(kCreate, "cudaMalloc of the status record",
          cudaMalloc(reinterpret_cast<void**>(&status_), sizeof(DeviceStatus)));
    check(kCreate, "cudaMalloc of the workspace",
          cudaMalloc(&workspace_, static_cast<std::size_t>(workspace_bytes_)));
    check(kCreate, "cudaHostAlloc of the status record",
          cudaHostAlloc(reinterpret_cast<void**>(&host_status_), 2 * sizeof(DeviceStatus),
                        cudaHostAllocPortable));
    check(kCreate, "cudaMemsetAsync", cudaMemsetAsync(status_, 0, sizeof(DeviceStatus), own));
    check(kCreate, "cudaMemsetAsync",
          cudaMemsetAsync(workspace_, 0, static_cast<std::size_t>(workspace_bytes_), own));
    check(kCreate, "cudaStreamSynchronize", cudaStreamSynchronize(own));
    if (options.foreign_stream) {
      // The stream made for the clearing has served: a foreign one may be in the middle of
      // a capture.
      own_stream_ = false;
      stream_ = static_cast<cudaStream_t>(options.stream);
      check(kCreate, "cudaStreamDestroy", cudaStreamDestroy(own));
    }
  } catch (...) {
    free_all();
    throw;
  }
}

CudaContext::~CudaContext() {
  try {
    const DeviceGuard guard("context_destroy", device_);
    const RelaxedCapture relaxed;
    free_all();
  } catch (const Error&) {
    // A device that cannot be selected has failed: there is nothing left to free on it.
  }
}

void CudaContext::free_all() noexcept {
  // On a failed device every one of these fails too: there is nothing left to free.
  if (workspace_ != nullptr) (void)cudaFree(workspace_);
  if (status_ != nullptr) (void)cudaFree(status_);
  if (host_status_ != nullptr) (void)cudaFreeHost(host_status_);
  if (report_done_ != nullptr) (void)cudaEventDestroy(report_done_);
  if (own_stream_) (void)cudaStreamDestroy(stream_);
  (void)cudaGetLastError();
}

void CudaContext::check_op(const OpInfo& info, std::int64_t rows, std::int64_t columns) const {
  const CudaDeviceProperties& p = device_.properties;
  if (info.cuda_path(p) == nullptr) [[unlikely]] {
    fail(NVFP4J_ERROR_NOT_SUPPORTED,
         "%s: cuda:%d (compute capability %d.%d) has no implementation: %s", info.name, p.ordinal,
         p.major, p.minor, info.cuda_refusal(p));
  }
  const std::int64_t needed = info.cuda_workspace_bytes(p, rows, columns);
  if (needed > workspace_bytes_) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_STATE,
         "%s: the context's workspace has %lld bytes, expected %lld or more (input [%lld, %lld])",
         info.name, static_cast<long long>(workspace_bytes_), static_cast<long long>(needed),
         static_cast<long long>(rows), static_cast<long long>(columns));
  }
}

void CudaContext::refuse_capture(const char* name, const char* why) {
  const DeviceGuard guard(name, device_);
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  const cudaError_t error = cudaStreamIsCapturing(stream_, &capture);
  if (error == cudaErrorStreamCaptureImplicit) [[unlikely]] {
    (void)cudaGetLastError();
    fail(NVFP4J_ERROR_INVALID_STATE,
         "%s: a stream that waits for the context's legacy stream is being captured, expected no "
         "capture: %s",
         name, why);
  }
  check(name, "cudaStreamIsCapturing", error);
  if (capture != cudaStreamCaptureStatusNone) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_STATE,
         "%s: the context's stream is being captured, expected no capture: %s", name, why);
  }
}

void CudaContext::enqueue_copy(const char* name, DeviceStatus* host) {
  check(name, "cudaMemcpyAsync",
        cudaMemcpyAsync(host, status_, sizeof(DeviceStatus), cudaMemcpyDeviceToHost, stream_));
}

void CudaContext::enqueue_clearing(const char* name) {
  check(name, "cudaMemsetAsync", cudaMemsetAsync(status_, 0, sizeof(DeviceStatus), stream_));
}

DeviceStatus CudaContext::synchronize(const char* name) {
  const DeviceGuard guard(name, device_);
  const RelaxedCapture relaxed;
  refuse_capture(name, "a wait cannot be captured");
  enqueue_copy(name, &host_status_[0]);
  enqueue_clearing(name);
  check(name, "cudaStreamSynchronize", cudaStreamSynchronize(stream_));
  return host_status_[0];
}

void CudaContext::request_report(const char* name) {
  const DeviceGuard guard(name, device_);
  refuse_capture(name, "each replay of the graph would clear the record");
  enqueue_copy(name, &host_status_[1]);
  check(name, "cudaEventRecord", cudaEventRecord(report_done_, stream_));
  // Last: where one of the calls fails, the record is as it was, and the next report has it.
  enqueue_clearing(name);
}

DeviceStatus CudaContext::requested_report(const char* name) {
  const DeviceGuard guard(name, device_);
  const RelaxedCapture relaxed;
  const cudaError_t done = cudaEventQuery(report_done_);
  if (done == cudaErrorNotReady) {
    (void)cudaGetLastError();
    fail(NVFP4J_ERROR_INVALID_STATE,
         "%s: the requested report is not complete, expected a call after its work is done", name);
  }
  check(name, "cudaEventQuery", done);
  return host_status_[1];
}

void CudaContext::await_requested(const char* name) {
  const DeviceGuard guard(name, device_);
  const RelaxedCapture relaxed;
  check(name, "cudaEventSynchronize", cudaEventSynchronize(report_done_));
}

void CudaContext::drain(const char* name) {
  const DeviceGuard guard(name, device_);
  const RelaxedCapture relaxed;
  refuse_capture(name, "end the capture first");
  check(name, "cudaStreamSynchronize", cudaStreamSynchronize(stream_));
}

}  // namespace nvfp4j
#endif
