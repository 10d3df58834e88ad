// SPDX-License-Identifier: Apache-2.0
// The CUDA device behind a context: one stream, its workspace, its status record, its products'
// plans. Only where the library is built with CUDA.
#pragma once
#if NVFP4J_WITH_CUDA
#include <cstdint>
#include <memory>

#include "common/cuda_device.hpp"
#include "common/device_status.hpp"
#include "common/error.hpp"
#include "common/op_table.hpp"

struct CUevent_st;

namespace nvfp4j {

class GemmPlanCache;

class CudaContext {
 public:
  struct Options {
    int ordinal;
    bool foreign_stream;
    void* stream;                  // of the caller, when foreign
    std::int64_t workspace_bytes;  // 0 = the default
  };

  explicit CudaContext(const Options& options);
  /// Frees everything without waiting; see drain().
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  /// Calls launcher(CudaLaunch) -> cudaError_t for an op that has work to do, on the
  /// context's device.
  template <class Launcher>
  void launch(std::int32_t op, std::int64_t rows, std::int64_t columns, const Launcher& launcher) {
    const OpInfo& info = op_table[op];
    check_op(info, rows, columns);
    const DeviceGuard guard(info.name, device_);
    const int error =
        launcher(CudaLaunch{stream_, status_, workspace_, workspace_bytes_, &device_.properties,
                            own_stream_ && device_.properties.programmatic_launch != 0});
    if (error != 0) [[unlikely]]
      fail_cuda_call(info.name, "the launch", device_, error);
  }

  CudaDevice& device() const noexcept { return device_; }
  CUstream_st* stream() const noexcept { return stream_; }
  /// Plans of the context's matrix products.
  GemmPlanCache& gemm_plan_cache() const noexcept { return *gemm_plan_cache_; }

  /// Waits, then takes and clears what the kernels reported.
  DeviceStatus synchronize(const char* name);
  /// Enqueues a copy of the status record, and its clearing. Where that fails, nothing is lost: the
  /// record is not cleared.
  void request_report(const char* name);
  /// The copy that was requested last; throws INVALID_STATE while it is not complete.
  DeviceStatus requested_report(const char* name);
  /// Waits until the copy that was requested last is complete.
  void await_requested(const char* name);
  /// Waits for all work, before destruction.
  void drain(const char* name);

  /// Throws INVALID_STATE while the stream is being captured, naming why that is wrong.
  void refuse_capture(const char* name, const char* why);

 private:
  void check_op(const OpInfo& info, std::int64_t rows, std::int64_t columns) const;
  void check(const char* name, const char* call, int error) {
    if (error != 0) [[unlikely]]
      fail_cuda_call(name, call, device_, error);
  }
  void free_all() noexcept;
  void enqueue_copy(const char* name, DeviceStatus* host);
  void enqueue_clearing(const char* name);

  CudaDevice& device_;
  std::unique_ptr<GemmPlanCache> gemm_plan_cache_;
  bool own_stream_ = false;
  CUstream_st* stream_ = nullptr;
  CUevent_st* report_done_ = nullptr;
  DeviceStatus* status_ = nullptr;       // device
  DeviceStatus* host_status_ = nullptr;  // pinned: [0] for synchronize, [1] for request_report
  void* workspace_ = nullptr;            // device
  std::int64_t workspace_bytes_ = 0;
};

/// What every op of this version needs at any shape.
std::int64_t default_workspace_bytes(const CudaDeviceProperties& properties);

}  // namespace nvfp4j
#endif
