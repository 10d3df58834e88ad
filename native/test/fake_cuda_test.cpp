// SPDX-License-Identifier: Apache-2.0
// CUDA contexts on a GPU made of paper: what becomes of reports when a call of the CUDA runtime fails
// (which no GPU does when asked), and which calls wait for each other. The functions below stand in
// for the runtime's: a program's own come before a shared library's. They do everything at once.
// Exit status 77: built without CUDA.
#if NVFP4J_WITH_CUDA
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <mutex>

#include "common/context.hpp"
#include "fixture.hpp"
#include "ops/gemm/gemm_plan_cache.hpp"

using namespace fixture;

namespace {

// The outcomes of the next calls.
struct Outcomes {
  cudaError_t record = cudaSuccess;
  cudaError_t clear = cudaSuccess;
  cudaError_t await = cudaSuccess;
};
Outcomes next;
int counts_of_devices = 0;
thread_local CUctx_st* current = nullptr;

CUctx_st* primary() { return reinterpret_cast<CUctx_st*>(0x100); }

int get_current(CUctx_st** context) {
  *context = current;
  return 0;
}

int set_current(CUctx_st* context) {
  current = context;
  return 0;
}

int retain_primary(CUctx_st** context, int) {
  *context = primary();
  return 0;
}

template <class Handle>
cudaError_t make(Handle* handle) {
  *handle = reinterpret_cast<Handle>(0x200);
  return cudaSuccess;
}

cudaError_t take(cudaError_t& outcome) {
  const cudaError_t taken = outcome;
  outcome = cudaSuccess;
  return taken;
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  ++counts_of_devices;
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* ordinal) {
  *ordinal = 0;
  return cudaSuccess;
}
// Compute capability 1.1, for which no kernel is loaded.
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 1;
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = cudaFuncAttributes{};
  return cudaSuccess;
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** address, unsigned,
                                             unsigned long long, cudaDriverEntryPointQueryResult*) {
  *address = std::strcmp(symbol, "cuCtxGetCurrent") == 0 ? reinterpret_cast<void*>(get_current)
             : std::strcmp(symbol, "cuCtxSetCurrent") == 0
                 ? reinterpret_cast<void*>(set_current)
                 : reinterpret_cast<void*>(retain_primary);
  return cudaSuccess;
}
cudaError_t cudaInitDevice(int, unsigned, unsigned) { return cudaSuccess; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t) { return "cudaErrorOfPaper"; }
const char* cudaGetErrorString(cudaError_t) { return "paper"; }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned) {
  return cudaMalloc(memory, bytes);
}
cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  const cudaError_t outcome = take(next.clear);
  if (outcome == cudaSuccess) std::memset(memory, value, bytes);
  return outcome;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return make(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return make(event); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return take(next.record); }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return take(next.await); }

}  // extern "C"

namespace {

// A context whose record says what a test writes into it, as a kernel would.
class Paper {
 public:
  Paper() {
    nvfp4j_context_options options{};
    options.struct_size = sizeof options;
    options.device = 0;
    CHECK_OK(nvfp4j_context_create(&options, &context_, error));
  }
  ~Paper() { CHECK_OK(nvfp4j_context_destroy(context_, error)); }
  Paper(const Paper&) = delete;
  Paper& operator=(const Paper&) = delete;
  operator nvfp4j_context*() const { return context_; }

  void find_fault(int32_t op, int64_t row) const {
    nvfp4j::DeviceStatus* status = nullptr;
    context_->cuda->launch(NVFP4J_OP_COPY, 1, 16, [&](const nvfp4j::CudaLaunch& launch) {
      status = launch.status;
      return 0;
    });
    status->causes[op] |= 1;
    status->claimed = 1;
    status->first_op = op;
    status->first_row = row;
    status->first_column = -1;
  }

 private:
  nvfp4j_context* context_ = nullptr;
};

// Whether the report of a call has faults at just these ops.
void check_reported(int32_t status, const nvfp4j_status_record& record,
                    const std::vector<int32_t>& ops) {
  CHECK_EQ(status, ops.empty() ? NVFP4J_OK : NVFP4J_ERROR_REPORTED);
  CHECK_EQ(record.first_op, ops.empty() ? -1 : ops.front());
  for (int32_t op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
    const bool expected = std::find(ops.begin(), ops.end(), op) != ops.end();
    CHECK_EQ(record.causes[op] != 0, expected);
  }
}

}  // namespace

TEST(a_request_that_fails_loses_nothing) {
  const Paper context;
  nvfp4j_status_record record = status_record();
  for (cudaError_t Outcomes::* const outcome : {&Outcomes::record, &Outcomes::clear}) {
    // The fault is the next synchronisation's,
    context.find_fault(NVFP4J_OP_QUANTIZE, 7);
    next.*outcome = cudaErrorUnknown;
    CHECK_EQ(nvfp4j_context_request_report(context, nullptr), NVFP4J_ERROR_CUDA);
    CHECK_EQ(nvfp4j_context_report(context, nullptr, nullptr), NVFP4J_ERROR_INVALID_STATE);
    check_reported(nvfp4j_context_synchronize(context, &record, nullptr), record,
                   {NVFP4J_OP_QUANTIZE});
    CHECK_EQ(record.first_row, 7);
    check_reported(nvfp4j_context_synchronize(context, &record, nullptr), record, {});

    // or the next request's.
    context.find_fault(NVFP4J_OP_QUANTIZE, 8);
    next.*outcome = cudaErrorUnknown;
    CHECK_EQ(nvfp4j_context_request_report(context, nullptr), NVFP4J_ERROR_CUDA);
    CHECK_OK(nvfp4j_context_request_report(context, error));
    check_reported(nvfp4j_context_report(context, &record, nullptr), record, {NVFP4J_OP_QUANTIZE});
    CHECK_EQ(record.first_row, 8);
    check_reported(nvfp4j_context_synchronize(context, &record, nullptr), record, {});
  }
}

TEST(a_cancellation_that_fails_loses_its_own_copy_alone) {
  const Paper context;
  nvfp4j_status_record record = status_record();
  context.find_fault(NVFP4J_OP_QUANTIZE, 7);
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_cancel_report(context, error));
  context.find_fault(NVFP4J_OP_SWIGLU, 8);
  CHECK_OK(nvfp4j_context_request_report(context, error));
  next.await = cudaErrorUnknown;
  CHECK_EQ(nvfp4j_context_cancel_report(context, nullptr), NVFP4J_ERROR_CUDA);
  // Nothing is outstanding: a new request is allowed, and has what the first had found.
  CHECK_OK(nvfp4j_context_request_report(context, error));
  check_reported(nvfp4j_context_report(context, &record, nullptr), record, {NVFP4J_OP_QUANTIZE});
  check_reported(nvfp4j_context_synchronize(context, &record, nullptr), record, {});
}

TEST(a_thread_selects_a_device_while_another_loads_kernels) {
  const Paper context;
  nvfp4j::CudaDevice& device = static_cast<nvfp4j_context*>(context)->cuda->device();
  const int counted = counts_of_devices;
  std::unique_lock loading(device.mutex);  // warm_up()'s
  std::future<void> selected = std::async(std::launch::async, [] {
    void* former = nullptr;
    CHECK_OK(nvfp4j_device_enter(0, &former, error));
    CHECK_OK(nvfp4j_device_leave(0, former, error));
  });
  CHECK(selected.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
  loading.unlock();
  selected.get();
  CHECK_EQ(counts_of_devices, counted);
}

// Planned, the second time from the context's cache, and nothing is launched: this device has no kernels.
TEST(a_product_without_rows) {
  const Paper context;
  Nvfp4 weights(64, 512);
  weights.descriptor.memory = NVFP4J_MEMORY_DEVICE;
  nvfp4j_tensor a = matrix(weights.codes.data(), NVFP4J_DTYPE_BF16, 0, 512, 512);
  nvfp4j_tensor d = matrix(weights.scales.data(), NVFP4J_DTYPE_F32, 0, 64, 64);
  a.memory = d.memory = NVFP4J_MEMORY_DEVICE;
  nvfp4j::GemmPlanCache& cache = static_cast<nvfp4j_context*>(context)->cuda->gemm_plan_cache();
  for (const int32_t path :
       {NVFP4J_GEMM_PATH_AUTO, NVFP4J_GEMM_PATH_DECODE, NVFP4J_GEMM_PATH_GENERIC}) {
    const nvfp4j::GemmShape shape = {
        1,    0,    64,    512,  NVFP4J_OP_GEMM, NVFP4J_GEMM_A_BF16, NVFP4J_SCALE_LAYOUT_LINEAR,
        path, true, false, false};
    CHECK(!cache.contains(shape));
    for (int again = 0; again < 2; ++again) {
      nvfp4j_gemm_options options = gemm_options();
      options.path = path;
      const Outcome said = outcome([&](nvfp4j_error* e) {
        return nvfp4j_gemm(context, &a, nullptr, &weights.descriptor, nullptr, &options, &d, e);
      });
      const bool refused = path == NVFP4J_GEMM_PATH_DECODE;
      CHECK_EQ(said.status, refused ? NVFP4J_ERROR_NOT_SUPPORTED : NVFP4J_OK);
      CHECK_EQ(said.message.starts_with("gemm: options.path is DECODE, which takes "), refused);
      CHECK(cache.contains(shape));
    }
  }
}

// Last: the device stays failed.
TEST(on_a_failed_device_a_request_stays_as_it_is) {
  const Paper context;
  CHECK_OK(nvfp4j_context_request_report(context, error));
  next.await = cudaErrorIllegalAddress;
  CHECK_EQ(nvfp4j_context_cancel_report(context, nullptr), NVFP4J_ERROR_DEVICE_FAILED);
  nvfp4j_context& inner = *static_cast<nvfp4j_context*>(context);
  CHECK(inner.report == nvfp4j_context::Report::none);
  inner.report = nvfp4j_context::Report::requested;
  CHECK_EQ(nvfp4j_context_cancel_report(context, nullptr), NVFP4J_ERROR_DEVICE_FAILED);
  CHECK(inner.report == nvfp4j_context::Report::requested);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
#else
#include <cstdio>

int main() {
  std::printf("skipped: built without CUDA\n");
  return 77;
}
#endif
