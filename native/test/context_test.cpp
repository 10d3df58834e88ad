// SPDX-License-Identifier: Apache-2.0
// CPU contexts: options, one thread at a time, reports, recorded graphs, the pool.
#include "common/context.hpp"

#include <signal.h>

#include <atomic>
#include <thread>

#include "fixture.hpp"

using namespace fixture;

namespace {

constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr int32_t kState = NVFP4J_ERROR_INVALID_STATE;

nvfp4j_context_options cpu_options() {
  nvfp4j_context_options options{};
  options.struct_size = sizeof options;
  options.device = NVFP4J_DEVICE_CPU;
  return options;
}

// A small quantize call that reports a NaN when asked to.
struct Work {
  explicit Work(bool nan) : x(4 * 16, 1.0f), out(4, 16) {
    if (nan) x[2 * 16 + 3] = NAN;
    input = tensor(x.data(), NVFP4J_DTYPE_F32, {4, 16});
  }
  int32_t run(nvfp4j_context* context, nvfp4j_error* error) {
    const nvfp4j_quantize_options options = quantize_options();
    return nvfp4j_quantize(context, &input, nullptr, &options, &out.descriptor, error);
  }
  std::vector<float> x;
  Nvfp4 out;
  nvfp4j_tensor input;
};

}  // namespace

TEST(options_are_checked) {
  nvfp4j_context* context = nullptr;
  const auto refused = [&](auto change, const char* message) {
    nvfp4j_context_options options = cpu_options();
    change(options);
    CHECK_FAILS(nvfp4j_context_create(&options, &context, error), kInvalid, message);
  };
  refused([](auto& o) { o.struct_size = 12; },
          "context_create: options.struct_size is 12, expected 32 (ABI version " NVFP4J_ABI_TEXT
          ")");
  refused([](auto& o) { o.device = -2; },
          "context_create: options.device is -2, expected -1 (the CPU) or a CUDA ordinal");
  refused([](auto& o) { o.threads = -1; },
          "context_create: options.threads is -1, expected 0 (one per available core) to 1024");
  refused([](auto& o) { o.threads = 1025; },
          "context_create: options.threads is 1025, expected 0 (one per available core) to 1024");
  refused(
      [](auto& o) { o.foreign_stream = 2; },
      "context_create: options.foreign_stream is 2, expected 0 to 1 (own stream, foreign stream)");
  refused([](auto& o) { o.foreign_stream = 1; },
          "context_create: options.foreign_stream is 1, expected 0 (options.device is the CPU)");
  refused([](auto& o) { o.workspace_bytes = -1; },
          "context_create: options.workspace_bytes is -1, expected 0 (the default) or more");
  refused(
      [](auto& o) { o.cuda_stream = reinterpret_cast<void*>(0x10); },
      "context_create: options.cuda_stream is 0x10, expected NULL (options.foreign_stream is 0)");
  refused(
      [](auto& o) {
        o.device = 0, o.foreign_stream = 1, o.cuda_stream = reinterpret_cast<void*>(2);
      },
      "context_create: options.cuda_stream is 0x2 (cudaStreamPerThread), expected a stream that "
      "is the same in every thread");
  refused([](auto& o) { o.device = 0, o.threads = 4; },
          "context_create: options.threads is 4, expected 0 (options.device is cuda:0)");
  CHECK_FAILS(nvfp4j_context_create(nullptr, &context, error), kInvalid,
              "context_create: options is NULL, expected a structure");
  const nvfp4j_context_options options = cpu_options();
  CHECK_FAILS(nvfp4j_context_create(&options, nullptr, error), kInvalid,
              "context_create: context is NULL, expected a pointer");
  CHECK(context == nullptr);
}

TEST(a_context_of_the_cpu) {
  for (const int32_t threads : {0, 1, 2, 7}) {
    const Context context(threads);
    int unset = 0;
    void* stream = &unset;
    CHECK_OK(nvfp4j_context_stream(context, &stream, error));
    CHECK(stream == nullptr);
    CHECK_OK(nvfp4j_context_warm_up(context, error));
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  }
  CHECK_OK(nvfp4j_context_destroy(nullptr, error));
  CHECK_OK(nvfp4j_cpu_graph_destroy(nullptr, error));
}

TEST(a_null_context_is_refused_everywhere) {
  const Context context;
  void* stream;
  nvfp4j_cpu_graph* graph = nullptr;
  CHECK_FAILS(nvfp4j_context_stream(nullptr, &stream, error), kInvalid,
              "context_stream: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_context_stream(context, nullptr, error), kInvalid,
              "context_stream: cuda_stream is NULL, expected a pointer");
  CHECK_FAILS(nvfp4j_context_warm_up(nullptr, error), kInvalid,
              "context_warm_up: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_context_synchronize(nullptr, nullptr, error), kInvalid,
              "context_synchronize: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_context_request_report(nullptr, error), kInvalid,
              "context_request_report: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_context_report(nullptr, nullptr, error), kInvalid,
              "context_report: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_cpu_capture_begin(nullptr, error), kInvalid,
              "cpu_capture_begin: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_cpu_capture_end(nullptr, &graph, error), kInvalid,
              "cpu_capture_end: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_cpu_graph_launch(nullptr, graph, error), kInvalid,
              "cpu_graph_launch: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_cpu_graph_launch(context, nullptr, error), kInvalid,
              "cpu_graph_launch: graph is NULL, expected a pointer");
  nvfp4j_status_record record = status_record();
  record.struct_size = 3;
  CHECK_FAILS(
      nvfp4j_context_synchronize(context, &record, error), kInvalid,
      "context_synchronize: record.struct_size is 3, expected 544 (ABI version " NVFP4J_ABI_TEXT
      ")");
  CHECK_FAILS(nvfp4j_context_report(context, &record, error), kInvalid,
              "context_report: record.struct_size is 3, expected 544 (ABI version " NVFP4J_ABI_TEXT
              ")");
}

TEST(a_second_thread_is_refused_by_name) {
  const Context context;
  // This thread stands inside, as an op of another thread would.
  const nvfp4j::Use use(*static_cast<nvfp4j_context*>(context), "swiglu");
  std::thread([&] {
    Work work(false);
    CHECK_FAILS(work.run(context, error), kState,
                "quantize: the context is in use by another thread (in swiglu), expected one "
                "thread at a time");
    CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), kState,
                "context_synchronize: the context is in use by another thread (in swiglu), "
                "expected one thread at a time");
    CHECK_FAILS(
        nvfp4j_context_destroy(context, error), kState,
        "context_destroy: the context is in use by another thread (in swiglu), expected none");
    // An argument error comes first: it does not depend on anybody else.
    CHECK_FAILS(nvfp4j_quantize(context, nullptr, nullptr, nullptr, nullptr, error), kInvalid,
                "quantize: input is NULL, expected a structure");
  }).join();
}

TEST(two_threads_hammer_one_context) {
  const Context context(2);
  std::atomic<int> done{0};
  std::atomic<int> refused{0};
  std::atomic<int> other{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Work work(false);
      for (int i = 0; i < 2000; ++i) {
        const int32_t status = work.run(context, nullptr);
        ++(status == NVFP4J_OK ? done : status == kState ? refused : other);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(other.load(), 0);
  CHECK_EQ(done + refused, 8000);
  CHECK(done > 0);
  Work work(false);
  CHECK_OK(work.run(context, error));
}

TEST(contexts_are_independent) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      const Context context(t % 3 + 1);
      for (int i = 0; i < 200; ++i) {
        Work work(i % 5 == 0);
        CHECK_OK(work.run(context, error));
        CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr),
                 i % 5 == 0 ? NVFP4J_ERROR_REPORTED : NVFP4J_OK);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(reports_without_waiting) {
  const Context context;
  Work work(true);
  CHECK_FAILS(nvfp4j_context_report(context, nullptr, error), kState,
              "context_report: no report is outstanding, expected context_request_report before");
  CHECK_OK(work.run(context, error));
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_FAILS(nvfp4j_context_request_report(context, error), kState,
              "context_request_report: a report is outstanding, expected none: fetch it with "
              "context_report first");
  // The record was cleared behind the copy.
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  nvfp4j_status_record record = status_record();
  const char* message =
      "quantize: NON_FINITE_INPUT: an input element is NaN or infinite, first seen at row 2, "
      "column 3";
  // Another thread may fetch it while one is inside.
  {
    const nvfp4j::Use use(*static_cast<nvfp4j_context*>(context), "swiglu");
    std::thread([&] {
      CHECK_FAILS(nvfp4j_context_report(context, &record, error), NVFP4J_ERROR_REPORTED, message);
    }).join();
  }
  CHECK_EQ(record.first_row, 2);
  CHECK_FAILS(nvfp4j_context_report(context, nullptr, error), kState,
              "context_report: no report is outstanding, expected context_request_report before");
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_report(context, &record, error));
  CHECK_EQ(record.first_op, -1);
}

TEST(a_cancelled_request_loses_nothing) {
  const Context context;
  Work bad(true);
  Work good(false);
  const char* message =
      "quantize: NON_FINITE_INPUT: an input element is NaN or infinite, first seen at row 2, "
      "column 3";
  CHECK_OK(nvfp4j_context_cancel_report(context, error));  // none: nothing to do
  CHECK_FAILS(nvfp4j_context_cancel_report(nullptr, error), kInvalid,
              "context_cancel_report: context is NULL, expected a context");

  // By the next synchronize.
  CHECK_OK(bad.run(context, error));
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_cancel_report(context, error));
  CHECK_FAILS(nvfp4j_context_report(context, nullptr, error), kState,
              "context_report: no report is outstanding, expected context_request_report before");
  nvfp4j_status_record record = status_record();
  CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED, message);
  CHECK_EQ(record.first_row, 2);
  CHECK_OK(nvfp4j_context_synchronize(context, &record, error));  // once
  CHECK_EQ(record.first_op, -1);

  // By the next report, however often the request was taken back; the first fault stays first.
  CHECK_OK(bad.run(context, error));
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_cancel_report(context, error));
  CHECK_OK(good.run(context, error));
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_cancel_report(context, error));
  Nvfp4 x(1, 16);
  x.scales[0] = 0xFF;
  x.gs()[0] = 1.0f;
  float y[16];
  const nvfp4j_tensor output = tensor(y, NVFP4J_DTYPE_F32, {1, 16});
  CHECK_OK(nvfp4j_dequantize(context, &x.descriptor, &output, error));
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));  // it is the request's
  CHECK_FAILS(nvfp4j_context_report(context, &record, error), NVFP4J_ERROR_REPORTED,
              std::string(message) + "; also dequantize: BAD_BLOCK_SCALE");
  CHECK_EQ(record.causes[NVFP4J_OP_DEQUANTIZE], uint64_t{1} << NVFP4J_CAUSE_BAD_BLOCK_SCALE);
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));

  // Not while somebody fetches it.
  CHECK_OK(nvfp4j_context_request_report(context, error));
  nvfp4j_context& inner = *static_cast<nvfp4j_context*>(context);
  inner.report = nvfp4j_context::Report::fetching;
  CHECK_FAILS(nvfp4j_context_cancel_report(context, error), kState,
              "context_cancel_report: the report is being fetched by another thread (in "
              "context_report), expected none");
  inner.report = nvfp4j_context::Report::requested;
  CHECK_OK(nvfp4j_context_cancel_report(context, error));
}

TEST(a_report_names_every_cause) {
  const Context context;
  Work work(true);
  CHECK_OK(work.run(context, error));
  Nvfp4 x(1, 16);
  x.scales[0] = 0xFF;
  x.gs()[0] = 1.0f;
  float y[16];
  const nvfp4j_tensor output = tensor(y, NVFP4J_DTYPE_F32, {1, 16});
  CHECK_OK(nvfp4j_dequantize(context, &x.descriptor, &output, error));
  CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), NVFP4J_ERROR_REPORTED,
              "quantize: NON_FINITE_INPUT: an input element is NaN or infinite, first seen at row "
              "2, column 3; also dequantize: BAD_BLOCK_SCALE");
}

TEST(a_recorded_sequence_runs_again) {
  const Context context(2);
  const Context other(3);
  std::vector<float> x(8 * 64);
  Nvfp4 q(8, 64);
  std::vector<float> y(8 * 64, -1.0f);
  nvfp4j_tensor input = tensor(x.data(), NVFP4J_DTYPE_F32, {8, 64});
  nvfp4j_tensor output = tensor(y.data(), NVFP4J_DTYPE_F32, {8, 64});
  nvfp4j_quantize_options options = quantize_options();
  nvfp4j_cpu_graph* graph = nullptr;

  CHECK_FAILS(
      nvfp4j_cpu_capture_end(context, &graph, error), kState,
      "cpu_capture_end: the context is not being captured, expected cpu_capture_begin before");
  CHECK_OK(nvfp4j_cpu_capture_begin(context, error));
  CHECK_FAILS(nvfp4j_cpu_capture_begin(context, error), kState,
              "cpu_capture_begin: the context is being captured, expected no capture: end it with "
              "cpu_capture_end first");
  CHECK_OK(nvfp4j_quantize(context, &input, nullptr, &options, &q.descriptor, error));
  CHECK_OK(nvfp4j_dequantize(context, &q.descriptor, &output, error));
  // Validation is not put off.
  options.recipe = 9;
  CHECK_FAILS(nvfp4j_quantize(context, &input, nullptr, &options, &q.descriptor, error), kInvalid,
              "quantize: options.recipe is 9, expected 0 to 1 (EXACT, TE_EXACT)");
  CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), kState,
              "context_synchronize: the context is being captured, expected no capture: end it "
              "with cpu_capture_end first");
  CHECK_FAILS(nvfp4j_context_request_report(context, error), kState,
              "context_request_report: the context is being captured, expected no capture: end it "
              "with cpu_capture_end first");
  CHECK_OK(nvfp4j_cpu_capture_end(context, &graph, error));
  CHECK(graph != nullptr);
  CHECK_EQ(y[0], -1.0f);  // recorded, not run
  const nvfp4j_nvfp4_tensor descriptor = q.descriptor;
  // Descriptors were copied: what becomes of them does not matter.
  std::memset(&input, 0xFF, sizeof input);
  std::memset(&output, 0xFF, sizeof output);
  std::memset(&q.descriptor, 0xFF, sizeof q.descriptor);
  for (int round = 1; round <= 3; ++round) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(round);
    CHECK_OK(nvfp4j_cpu_graph_launch(round == 2 ? other : context, graph, error));
    CHECK_EQ(y[0], static_cast<float>(round));
    CHECK_EQ(y[511], static_cast<float>(round));
  }
  // What the ops find is the launching context's.
  x[70] = NAN;
  CHECK_OK(nvfp4j_cpu_graph_launch(other, graph, error));
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  CHECK_FAILS(nvfp4j_context_synchronize(other, nullptr, error), NVFP4J_ERROR_REPORTED,
              "quantize: NON_FINITE_INPUT: an input element is NaN or infinite, first seen at row "
              "1, column 6");
  CHECK_OK(nvfp4j_cpu_capture_begin(context, error));
  CHECK_FAILS(nvfp4j_cpu_graph_launch(context, graph, error), kState,
              "cpu_graph_launch: the context is being captured, expected no capture: end it with "
              "cpu_capture_end first");
  CHECK_OK(nvfp4j_cpu_capture_end(context, nullptr, error));  // dropped
  graph->running = true;
  CHECK_FAILS(
      nvfp4j_cpu_graph_launch(context, graph, error), kState,
      "cpu_graph_launch: the graph is running on another thread, expected one launch at a time");
  CHECK_FAILS(nvfp4j_cpu_graph_destroy(graph, error), kState,
              "cpu_graph_destroy: the graph is running on another thread, expected it to be idle");
  graph->running = false;
  CHECK_OK(nvfp4j_cpu_graph_destroy(graph, error));
  q.descriptor = descriptor;
}

TEST(a_context_can_be_destroyed_while_it_records) {
  nvfp4j_context_options options = cpu_options();
  nvfp4j_context* context = nullptr;
  CHECK_OK(nvfp4j_context_create(&options, &context, error));
  CHECK_OK(nvfp4j_cpu_capture_begin(context, error));
  Work work(false);
  CHECK_OK(work.run(context, error));
  CHECK_OK(nvfp4j_context_destroy(context, error));
}

TEST(the_pool_covers_a_range_once) {
  for (const int threads : {1, 2, 3, 8, 33}) {
    nvfp4j::CpuPool pool(threads);
    CHECK_EQ(pool.threads(), threads);
    for (const int64_t count : {0, 1, 2, 7, 32, 33, 34, 1000}) {
      for (const int64_t grain : {1, 3, 1000}) {
        std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
        std::atomic<int> calls{0};
        pool.run(count, grain, [&](int part, int64_t begin, int64_t end) noexcept {
          ++calls;
          CHECK(part >= 0 && part < threads && begin < end);
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        for (const auto& n : visits) CHECK_EQ(n.load(), 1);
        CHECK_EQ(calls.load(), count == 0 ? 0 : pool.parts(count, grain));
      }
    }
  }
}

TEST(signals_are_not_delivered_to_pool_threads) {
  nvfp4j::CpuPool pool(3);
  std::atomic<int> open{0};
  const std::thread::id caller = std::this_thread::get_id();
  pool.run(3, 1, [&](int, int64_t, int64_t) noexcept {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    if (std::this_thread::get_id() != caller &&
        (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGQUIT) ||
         sigismember(&mask, SIGSEGV)))
      ++open;
  });
  CHECK_EQ(open.load(), 0);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  CHECK(!sigismember(&mask, SIGTERM));  // the caller's own mask is as it was
}

int main(int count, char** arguments) { return check::main(count, arguments); }
