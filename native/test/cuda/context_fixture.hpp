// SPDX-License-Identifier: Apache-2.0
// Contexts, streams and captured graphs for the programs that test CUDA contexts through the C ABI alone: they are linked to
// libnvfp4j.so as it ships.
#pragma once
#include <unistd.h>
#include <csignal>

#include <atomic>
#include <chrono>

#include "workloads.hpp"

namespace nvfp4j::test {

using namespace fixture;

inline constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
inline constexpr int32_t kState = NVFP4J_ERROR_INVALID_STATE;
inline constexpr int32_t kReported = NVFP4J_ERROR_REPORTED;

inline bool quick = false;

inline std::mt19937 seeded(unsigned seed) { return std::mt19937(20261127 + seed); }

inline nvfp4j_context_options cuda_options() {
  nvfp4j_context_options options{};
  options.struct_size = sizeof options;
  return options;
}

inline nvfp4j_context_options foreign(cudaStream_t stream) {
  nvfp4j_context_options options = cuda_options();
  options.foreign_stream = 1;
  options.cuda_stream = stream;
  return options;
}

class CudaContext {
 public:
  explicit CudaContext(const nvfp4j_context_options& options = cuda_options()) {
    CHECK_OK(nvfp4j_context_create(&options, &context_, error));
    if (context_ == nullptr) throw std::runtime_error("no context");
  }
  ~CudaContext() { CHECK_OK(nvfp4j_context_destroy(context_, error)); }
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;
  operator nvfp4j_context*() const { return context_; }
  cudaStream_t stream() const {
    void* stream = nullptr;
    CHECK_OK(nvfp4j_context_stream(context_, &stream, error));
    return static_cast<cudaStream_t>(stream);
  }

 private:
  nvfp4j_context* context_ = nullptr;
};

class OwnedStream {
 public:
  explicit OwnedStream(unsigned flags) { MUST(cudaStreamCreateWithFlags(&stream_, flags)); }
  ~OwnedStream() { cudaStreamDestroy(stream_); }
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Whether a Gate holds up copies too: compute-sanitizer's initcheck waits for each.
inline bool gates = true;

// What is enqueued behind it waits until release(), or half a minute, so that a test that fails
// cannot hang. Kernels are not launched behind it: compute-sanitizer may wait for each.
class Gate {
 public:
  explicit Gate(cudaStream_t stream) {
    MUST(cudaLaunchHostFunc(stream, [](void* gate) { static_cast<Gate*>(gate)->wait(); }, this));
  }
  ~Gate() {
    release();
    MUST(cudaDeviceSynchronize());  // wait() reads this object
    CHECK(!timed_out_);
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  void release() { open_ = true; }

 private:
  void wait() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!open_ && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    timed_out_ = !open_;
  }
  std::atomic<bool> open_{false};
  std::atomic<bool> timed_out_{false};
};

// A captured sequence.
class Graph {
 public:
  Graph(cudaStream_t stream, const std::function<void()>& body) {
    MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    body();
    MUST(cudaStreamEndCapture(stream, &graph_));
    if (nodes() != 0) MUST(cudaGraphInstantiate(&exec_, graph_, 0));
  }
  ~Graph() {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
    cudaGraphDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  std::size_t nodes() const {
    std::size_t count = 0;
    MUST(cudaGraphGetNodes(graph_, nullptr, &count));
    return count;
  }
  void launch(cudaStream_t stream) const { MUST(cudaGraphLaunch(exec_, stream)); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

inline int32_t on_gpu(const Workload& w, nvfp4j_context* context, nvfp4j_error* error) {
  return w.call(Side::kGpu, context, error);
}

inline void expect_on_cpu(const Workload& w) {
  static const Context cpu(0);
  CHECK_OK(w.call(Side::kCpu, cpu, error));
  CHECK_OK(nvfp4j_context_synchronize(cpu, nullptr, error));
}

inline void check_equal(const Workload& w) {
  if (!w.equal()) check::failed(__FILE__, __LINE__, w.name + " differs from the CPU's result");
}

// The programs' main(). Arguments: [--quick] [--no-gates] [part of the tests' names]
inline int run_tests(int count, char** arguments) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 77;
  }
  for (; count > 1 && arguments[1][0] == '-'; --count) {
    const std::string option = arguments[1];
    if (option == "--quick") {
      quick = true;
    } else if (option == "--no-gates") {
      gates = false;
    } else {
      std::printf("no option %s\n", arguments[1]);
      return 2;
    }
    arguments[1] = arguments[0];
    ++arguments;
  }
  // A deadlock on the card ends here and not with the patience of whoever waits.
  std::signal(SIGALRM, [](int) {
    constexpr char kText[] = "FAILED: not done after its time: a deadlock?\n";
    if (write(STDOUT_FILENO, kText, sizeof kText - 1) < 0) _exit(4);
    _exit(4);
  });
  alarm(quick ? 800 : 300);
  // What was said before a deadlock is to be seen, in a file too.
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const int result = check::main(count, arguments);
  // Buffers count bytes that were written beside them.
  return failed == 0 ? result : 1;
}

}  // namespace nvfp4j::test
