// SPDX-License-Identifier: Apache-2.0
#include "common/cpu_pool.hpp"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cstdio>
#include <system_error>

#include "common/error.hpp"

namespace nvfp4j {
namespace {

constexpr std::uint32_t kDefaultMxcsr =
    0x1F80;  // all exceptions masked, nearest even, no FTZ, no DAZ
constexpr std::uint32_t kControlBits = 0xFFC0;  // the rest are sticky exception flags

// Signals belong to the application's threads (a JVM has its own handlers); only faults of the
// thread itself stay open.
class BlockSignals {
 public:
  BlockSignals() noexcept {
    sigset_t blocked;
    sigfillset(&blocked);
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT})
      sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &saved_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t saved_;
};

}  // namespace

CpuPool::CpuPool(int threads)
    : words_(static_cast<std::size_t>(threads)),
      scratch_(std::make_unique_for_overwrite<std::uint8_t[]>(
          static_cast<std::size_t>(threads) * kCpuScratchBytes + 64)) {
  workers_.reserve(static_cast<std::size_t>(threads - 1));
  const BlockSignals block;  // new threads inherit the mask
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& e) {
    const int made = this->threads();
    stop();
    fail(NVFP4J_ERROR_OUT_OF_MEMORY,
         "context_create: options.threads is %d, but the system refused thread %d: %s", threads,
         made + 1, e.what());
  } catch (...) {
    stop();  // no memory for a thread's state: a thread that nobody joins would end the process
    throw;
  }
}

CpuPool::~CpuPool() { stop(); }

void CpuPool::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void CpuPool::run_part(const Job& job, int part) noexcept {
  // The first `rest` parts have one item more.
  const std::int64_t size = job.count / job.parts;
  const std::int64_t rest = job.count % job.parts;
  const std::int64_t begin = size * part + std::min<std::int64_t>(part, rest);
  job.function(job.data, part, begin, begin + size + (part < rest ? 1 : 0));
}

void CpuPool::run_job(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    job_ = job;
    running_ = threads() - 1;
    ++generation_;
  }
  start_.notify_all();
  run_part(job, 0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return running_ == 0; });
}

void CpuPool::work(int index) noexcept {
  char name[16];
  std::snprintf(name, sizeof name, "nvfp4j-cpu-%d", index);
  pthread_setname_np(pthread_self(), name);
  const StandardFloatEnvironment environment;
  std::uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (true) {
    start_.wait(lock, [&] { return stopping_ || generation_ != seen; });
    if (stopping_) return;
    seen = generation_;
    const Job job = job_;
    lock.unlock();
    if (index < job.parts) run_part(job, index);
    lock.lock();
    if (--running_ == 0) done_.notify_one();
  }
}

int available_processors() noexcept {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    return std::clamp(CPU_COUNT(&set), 1, kMaxCpuThreads);
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxCpuThreads);
}

StandardFloatEnvironment::StandardFloatEnvironment() noexcept : saved_(_mm_getcsr()) {
  if ((saved_ & kControlBits) != kDefaultMxcsr) _mm_setcsr(kDefaultMxcsr);
}

StandardFloatEnvironment::~StandardFloatEnvironment() {
  if ((saved_ & kControlBits) != kDefaultMxcsr) _mm_setcsr(saved_);
}

}  // namespace nvfp4j
