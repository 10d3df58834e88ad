// SPDX-License-Identifier: Apache-2.0
// The threads of a CPU context. A range is cut into contiguous parts, one per thread; how it is
// cut depends only on the range and the number of threads. No call allocates. Bodies must not
// throw.
#pragma once
#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace nvfp4j {

inline constexpr int kMaxCpuThreads = 1024;

/// Of a part's scratch memory: what leaves most of a core's second-level cache to others.
inline constexpr std::size_t kCpuScratchBytes = std::size_t{192} << 10;

class CpuPool {
 public:
  /// `threads` from 1 to kMaxCpuThreads, the calling thread included; 1 makes no thread at all.
  explicit CpuPool(int threads);
  ~CpuPool();
  CpuPool(const CpuPool&) = delete;
  CpuPool& operator=(const CpuPool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  /// Parts that run() makes of `count` items when a part should have `grain` of them or more.
  int parts(std::int64_t count, std::int64_t grain) const noexcept {
    const std::int64_t wanted = count / std::max<std::int64_t>(grain, 1);
    return static_cast<int>(std::clamp<std::int64_t>(wanted, 1, threads()));
  }

  /// Calls body(part, begin, end) for contiguous parts of [0, count), and returns when all
  /// are done.
  template <class Body>
  void run(std::int64_t count, std::int64_t grain, const Body& body) {
    static_assert(std::is_nothrow_invocable_v<const Body&, int, std::int64_t, std::int64_t>,
                  "bodies of a pool must be noexcept");
    if (count <= 0) return;
    const int wanted = parts(count, grain);
    if (wanted == 1) {
      body(0, std::int64_t{0}, count);
      return;
    }
    const Job job{[](const void* data, int part, std::int64_t begin, std::int64_t end) noexcept {
                    (*static_cast<const Body*>(data))(part, begin, end);
                  },
                  &body, count, wanted};
    run_job(job);
  }

  /// A word of scratch for each part, on a cache line of its own.
  std::uint32_t& word(int part) noexcept { return words_[static_cast<std::size_t>(part)].value; }

  /// kCpuScratchBytes for each part, on cache lines of its own. Memory that nobody uses is reserved
  /// only.
  void* scratch(int part) noexcept {
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(scratch_.get());
    return reinterpret_cast<void*>((begin + 63) / 64 * 64 +
                                   static_cast<std::size_t>(part) * kCpuScratchBytes);
  }

 private:
  struct Job {
    void (*function)(const void*, int, std::int64_t, std::int64_t) noexcept;
    const void* data;
    std::int64_t count;
    int parts;
  };
  struct alignas(64) Word {
    std::uint32_t value = 0;
  };

  static void run_part(const Job& job, int part) noexcept;
  void run_job(const Job& job);
  void work(int index) noexcept;
  void stop() noexcept;

  std::vector<Word> words_;
  std::unique_ptr<std::uint8_t[]> scratch_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  Job job_{};
  std::uint64_t generation_ = 0;
  int running_ = 0;
  bool stopping_ = false;
};

/// Processors that this process may use.
int available_processors() noexcept;

/// While it lives, the calling thread computes as IEEE 754 says: round to nearest even,
/// subnormals kept, no traps. Another library may have set flush-to-zero in the caller's thread
/// (-ffast-math does so when it is loaded).
class StandardFloatEnvironment {
 public:
  StandardFloatEnvironment() noexcept;
  ~StandardFloatEnvironment();
  StandardFloatEnvironment(const StandardFloatEnvironment&) = delete;
  StandardFloatEnvironment& operator=(const StandardFloatEnvironment&) = delete;

 private:
  std::uint32_t saved_;
};

}  // namespace nvfp4j
