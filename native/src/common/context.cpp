// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"

#include <utility>

#include "common/guard.hpp"
#include "common/status_record.hpp"

namespace nvfp4j {

void Use::fail_busy(const char* name, const char* other) {
  fail(NVFP4J_ERROR_INVALID_STATE,
       "%s: the context is in use by another thread (in %s), expected one thread at a time", name,
       other != nullptr ? other : "a call that has just ended");
}

void Use::fail_device_failed(const nvfp4j_context& context, const char* name) {
  fail_cuda(
      NVFP4J_ERROR_DEVICE_FAILED, context.failed->load(std::memory_order_relaxed),
      "%s: cuda:%d failed earlier (CUDA error %d); the process must be restarted to use it again",
      name, context.device, context.failed->load(std::memory_order_relaxed));
}

namespace {

void check_options(const char* name, const nvfp4j_context_options* options) {
  check_struct(name, "options", options);
  constexpr std::int32_t invalid = NVFP4J_ERROR_INVALID_ARGUMENT;
  if (options->device < NVFP4J_DEVICE_CPU) {
    fail(invalid, "%s: options.device is %d, expected -1 (the CPU) or a CUDA ordinal", name,
         options->device);
  }
  check_choice(name, "options.foreign_stream", options->foreign_stream, 2,
               "own stream, foreign stream");
  if (options->workspace_bytes < 0) {
    fail(invalid, "%s: options.workspace_bytes is %lld, expected 0 (the default) or more", name,
         static_cast<long long>(options->workspace_bytes));
  }
  if (options->foreign_stream == 0 && options->cuda_stream != nullptr) {
    fail(invalid, "%s: options.cuda_stream is %p, expected NULL (options.foreign_stream is 0)",
         name, options->cuda_stream);
  }
  // 2 is cudaStreamPerThread: another stream in every thread, and a context may change threads.
  if (options->cuda_stream == reinterpret_cast<void*>(2)) {
    fail(invalid,
         "%s: options.cuda_stream is 0x2 (cudaStreamPerThread), expected a stream that is the same "
         "in every thread",
         name);
  }
  if (options->device == NVFP4J_DEVICE_CPU) {
    if (options->threads < 0 || options->threads > kMaxCpuThreads) {
      fail(invalid, "%s: options.threads is %d, expected 0 (one per available core) to %d", name,
           options->threads, kMaxCpuThreads);
    }
    if (options->foreign_stream != 0) {
      fail(invalid, "%s: options.foreign_stream is 1, expected 0 (options.device is the CPU)",
           name);
    }
  } else if (options->threads != 0) {
    fail(invalid, "%s: options.threads is %d, expected 0 (options.device is cuda:%d)", name,
         options->threads, options->device);
  }
}

std::unique_ptr<nvfp4j_context> create([[maybe_unused]] const char* name,
                                       const nvfp4j_context_options& options) {
  auto context = std::make_unique<nvfp4j_context>();
  context->device = options.device;
  if (options.device == NVFP4J_DEVICE_CPU) {
    context->cpu = std::make_unique<CpuContext>(options.threads != 0 ? options.threads
                                                                     : available_processors());
    return context;
  }
#if NVFP4J_WITH_CUDA
  context->cuda = std::make_unique<CudaContext>(CudaContext::Options{
      options.device, options.foreign_stream != 0, options.cuda_stream, options.workspace_bytes});
  context->failed = &context->cuda->device().failed;
  return context;
#else
  fail(NVFP4J_ERROR_NOT_SUPPORTED,
       "%s: options.device is cuda:%d, but nvfp4j was built without CUDA", name, options.device);
#endif
}

CpuContext& cpu_of(const char* name, nvfp4j_context* context) {
  place_of(name, context);
  if (context->cpu == nullptr) {
    fail(NVFP4J_ERROR_INVALID_STATE,
         "%s: the context's device is cuda:%d, expected the CPU (capture a CUDA stream with the "
         "CUDA runtime)",
         name, context->device);
  }
  return *context->cpu;
}

void refuse_recording(const char* name, const CpuContext& cpu) {
  if (cpu.recording()) [[unlikely]] {
    fail(
        NVFP4J_ERROR_INVALID_STATE,
        "%s: the context is being captured, expected no capture: end it with cpu_capture_end first",
        name);
  }
}

// What was reported before, with what is reported now, which is forgotten here.
DeviceStatus take_after(DeviceStatus& before, const DeviceStatus& now) {
  DeviceStatus status = before;
  before = DeviceStatus{};
  merge_status(now, status);
  return status;
}

void deliver(const DeviceStatus& status, nvfp4j_status_record* record) {
  if (record != nullptr) fill_status_record(status, *record);
  throw_if_reported(status);
}

}  // namespace
}  // namespace nvfp4j

using namespace nvfp4j;

extern "C" {

int32_t nvfp4j_context_create(const nvfp4j_context_options* options, nvfp4j_context** context,
                              nvfp4j_error* error) {
  constexpr const char* name = "context_create";
  return guard(error, name, [&] {
    check_options(name, options);
    check_not_null(name, "context", context);
    *context = create(name, *options).release();
  });
}

int32_t nvfp4j_context_destroy(nvfp4j_context* context, nvfp4j_error* error) {
  constexpr const char* name = "context_destroy";
  return guard(error, name, [&] {
    if (context == nullptr) return;
    const char* other = nullptr;
    if (!context->inside.compare_exchange_strong(other, name, std::memory_order_acquire)) {
      fail(NVFP4J_ERROR_INVALID_STATE,
           "%s: the context is in use by another thread (in %s), expected none", name,
           other != nullptr ? other : "a call that has just ended");
    }
    std::unique_ptr<nvfp4j_context> owned(context);
#if NVFP4J_WITH_CUDA
    if (owned->cuda != nullptr && owned->failed->load(std::memory_order_relaxed) == 0) {
      try {
        owned->cuda->drain(name);
      } catch (const Error& e) {
        // Under capture nothing may be freed: the context stays as it was. After any
        // other failure it is freed nevertheless.
        if (e.status() == NVFP4J_ERROR_INVALID_STATE) {
          owned->inside.store(nullptr, std::memory_order_release);
          (void)owned.release();
        }
        throw;
      }
    }
#endif
  });
}

int32_t nvfp4j_context_stream(nvfp4j_context* context, void** cuda_stream, nvfp4j_error* error) {
  constexpr const char* name = "context_stream";
  return guard(error, name, [&] {
    place_of(name, context);
    check_not_null(name, "cuda_stream", cuda_stream);
    *cuda_stream = nullptr;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) *cuda_stream = context->cuda->stream();
#endif
  });
}

int32_t nvfp4j_context_warm_up(nvfp4j_context* context, nvfp4j_error* error) {
  constexpr const char* name = "context_warm_up";
  return guard(error, name, [&] {
    place_of(name, context);
    const Use use(*context, name);
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      const DeviceGuard device(name, context->cuda->device());
      warm_up(name, context->cuda->device());
    }
#endif
  });
}

int32_t nvfp4j_context_synchronize(nvfp4j_context* context, nvfp4j_status_record* record,
                                   nvfp4j_error* error) {
  constexpr const char* name = "context_synchronize";
  return guard(error, name, [&] {
    place_of(name, context);
    if (record != nullptr) check_struct(name, "record", record);
    const Use use(*context, name);
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      const DeviceStatus status = context->cuda->synchronize(name);
      deliver(take_after(context->cancelled, status), record);
      return;
    }
#endif
    refuse_recording(name, *context->cpu);
    deliver(take_after(context->cancelled, context->cpu->take_status()), record);
  });
}

int32_t nvfp4j_context_request_report(nvfp4j_context* context, nvfp4j_error* error) {
  constexpr const char* name = "context_request_report";
  return guard(error, name, [&] {
    place_of(name, context);
    const Use use(*context, name);
    if (context->report.load(std::memory_order_acquire) != nvfp4j_context::Report::none) {
      fail(NVFP4J_ERROR_INVALID_STATE,
           "%s: a report is outstanding, expected none: fetch it with context_report first", name);
    }
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) context->cuda->request_report(name);
#endif
    if (context->cpu != nullptr) {
      refuse_recording(name, *context->cpu);
      context->cpu_report = context->cpu->take_status();
    }
    context->report_before = context->cancelled;
    context->cancelled = DeviceStatus{};
    context->report.store(nvfp4j_context::Report::requested, std::memory_order_release);
  });
}

int32_t nvfp4j_context_report(nvfp4j_context* context, nvfp4j_status_record* record,
                              nvfp4j_error* error) {
  constexpr const char* name = "context_report";
  return guard(error, name, [&] {
    place_of(name, context);
    if (record != nullptr) check_struct(name, "record", record);
    // No Use: the thread that waits for the copy is seldom the one that enqueues ops.
    using Report = nvfp4j_context::Report;
    Report expected = Report::requested;
    if (!context->report.compare_exchange_strong(expected, Report::fetching,
                                                 std::memory_order_acquire)) {
      fail(NVFP4J_ERROR_INVALID_STATE,
           "%s: no report is outstanding, expected context_request_report before", name);
    }
    DeviceStatus copied = context->cpu_report;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      try {
        copied = context->cuda->requested_report(name);
      } catch (...) {
        context->report.store(Report::requested, std::memory_order_release);
        throw;
      }
    }
#endif
    const DeviceStatus status = take_after(context->report_before, copied);
    context->report.store(Report::none, std::memory_order_release);
    deliver(status, record);
  });
}

int32_t nvfp4j_context_cancel_report(nvfp4j_context* context, nvfp4j_error* error) {
  constexpr const char* name = "context_cancel_report";
  return guard(error, name, [&] {
    place_of(name, context);
    const Use use(*context, name);
    using Report = nvfp4j_context::Report;
    Report state = Report::requested;
    if (!context->report.compare_exchange_strong(state, Report::fetching,
                                                 std::memory_order_acquire)) {
      if (state == Report::none) return;
      fail(NVFP4J_ERROR_INVALID_STATE,
           "%s: the report is being fetched by another thread (in context_report), expected none",
           name);
    }
    DeviceStatus copied = context->cpu_report;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      try {
        context->cuda->await_requested(name);
        copied = context->cuda->requested_report(name);
      } catch (...) {
        // This copy is lost; what earlier requests had kept for whoever asks next is not.
        context->cancelled = take_after(context->report_before, DeviceStatus{});
        context->report.store(Report::none, std::memory_order_release);
        throw;
      }
    }
#endif
    context->cancelled = take_after(context->report_before, copied);
    context->report.store(Report::none, std::memory_order_release);
  });
}

int32_t nvfp4j_cpu_capture_begin(nvfp4j_context* context, nvfp4j_error* error) {
  constexpr const char* name = "cpu_capture_begin";
  return guard(error, name, [&] {
    CpuContext& cpu = cpu_of(name, context);
    const Use use(*context, name);
    refuse_recording(name, cpu);
    cpu.begin_recording();
  });
}

int32_t nvfp4j_cpu_capture_end(nvfp4j_context* context, nvfp4j_cpu_graph** graph,
                               nvfp4j_error* error) {
  constexpr const char* name = "cpu_capture_end";
  return guard(error, name, [&] {
    CpuContext& cpu = cpu_of(name, context);
    const Use use(*context, name);
    if (!cpu.recording()) {
      fail(NVFP4J_ERROR_INVALID_STATE,
           "%s: the context is not being captured, expected cpu_capture_begin before", name);
    }
    std::unique_ptr<nvfp4j_cpu_graph> recorded = cpu.end_recording();
    if (graph != nullptr) *graph = recorded.release();
  });
}

int32_t nvfp4j_cpu_graph_launch(nvfp4j_context* context, nvfp4j_cpu_graph* graph,
                                nvfp4j_error* error) {
  constexpr const char* name = "cpu_graph_launch";
  return guard(error, name, [&] {
    CpuContext& cpu = cpu_of(name, context);
    check_not_null(name, "graph", graph);
    const Use use(*context, name);
    refuse_recording(name, cpu);
    if (graph->running.exchange(true, std::memory_order_acquire)) {
      fail(NVFP4J_ERROR_INVALID_STATE,
           "%s: the graph is running on another thread, expected one launch at a time", name);
    }
    cpu.replay(*graph);
    graph->running.store(false, std::memory_order_release);
  });
}

int32_t nvfp4j_cpu_graph_destroy(nvfp4j_cpu_graph* graph, nvfp4j_error* error) {
  constexpr const char* name = "cpu_graph_destroy";
  return guard(error, name, [&] {
    if (graph == nullptr) return;
    if (graph->running.exchange(true, std::memory_order_acquire)) {
      fail(NVFP4J_ERROR_INVALID_STATE,
           "%s: the graph is running on another thread, expected it to be idle", name);
    }
    delete graph;
  });
}

}  // extern "C"
