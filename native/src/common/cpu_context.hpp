// SPDX-License-Identifier: Apache-2.0
// The CPU device behind a context: a pool, a status record in host memory, and the recorder that
// stands in for CUDA graphs.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"

namespace nvfp4j {

using CpuStep = std::function<void(CpuPool&, DeviceStatus&)>;

}  // namespace nvfp4j

struct nvfp4j_cpu_graph {
  std::vector<nvfp4j::CpuStep> steps;
  std::atomic<bool> running{false};
};

namespace nvfp4j {

class CpuContext {
 public:
  explicit CpuContext(int threads) : pool_(threads) {}

  /// Runs a validated op, or records it. `step` owns copies of its arguments; it must not throw.
  template <class Step>
  void run(const Step& step) {
    if (recording_) [[unlikely]] {
      recording_->steps.emplace_back(step);
      return;
    }
    const StandardFloatEnvironment environment;
    step(pool_, status_);
  }

  bool recording() const noexcept { return recording_ != nullptr; }
  void begin_recording() { recording_ = std::make_unique<nvfp4j_cpu_graph>(); }
  std::unique_ptr<nvfp4j_cpu_graph> end_recording() { return std::move(recording_); }

  void replay(const nvfp4j_cpu_graph& graph) {
    const StandardFloatEnvironment environment;
    for (const CpuStep& step : graph.steps) step(pool_, status_);
  }

  /// What ops found since the last call.
  DeviceStatus take_status() noexcept {
    const DeviceStatus taken = status_;
    status_ = DeviceStatus{};
    return taken;
  }

 private:
  CpuPool pool_;
  DeviceStatus status_{};
  std::unique_ptr<nvfp4j_cpu_graph> recording_;
};

}  // namespace nvfp4j
