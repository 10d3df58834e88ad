// SPDX-License-Identifier: Apache-2.0
// What the GPU test programs share: a device, poisoned buffers with guard bytes, random data, and the formats as scalar host code straight from the specification.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/cuda_launch.hpp"
#include "common/device_code.hpp"
#include "nvfp4j/quantize.h"

namespace nvfp4j::test {

inline int passed = 0;
inline int failed = 0;

inline void check(bool ok, const std::string& what) {
  if (ok) {
    ++passed;
  } else if (++failed <= 20) {
    std::printf("FAILED %s\n", what.c_str());
  }
}

inline int finish() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

// The option that all these programs take. `--quick`: few and small cases, but every kernel, for
// compute-sanitizer, which makes a program a hundred times slower.
inline bool quick_option(int argc, char** argv) {
  if (argc == 1) return false;
  if (argc == 2 && std::strcmp(argv[1], "--quick") == 0) return true;
  std::printf("usage: %s [--quick]\n", argv[0]);
  std::exit(2);
}

inline void must(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(status));
  std::exit(3);
}
#define MUST(call) ::nvfp4j::test::must((call), #call)

// ---- formats ---------------------------------------------------------------------------------------------------------

inline std::uint32_t bits_of(float x) {
  std::uint32_t b;
  std::memcpy(&b, &x, 4);
  return b;
}
inline float float_of(std::uint32_t b) {
  float x;
  std::memcpy(&x, &b, 4);
  return x;
}

inline float bf16_to_f32(std::uint16_t h) { return float_of(static_cast<std::uint32_t>(h) << 16); }
inline std::uint16_t f32_to_bf16(float x) {
  if (x != x) return 0x7FC0;
  const std::uint32_t b = bits_of(x);
  return static_cast<std::uint16_t>((b + 0x7FFFu + (b >> 16 & 1u)) >> 16);
}

inline float f16_to_f32(std::uint16_t h) {
  const int e = h >> 10 & 31;
  const int m = h & 1023;
  double v = e == 0    ? std::ldexp(m, -24)
             : e == 31 ? (m != 0 ? std::numeric_limits<double>::quiet_NaN()
                                 : std::numeric_limits<double>::infinity())
                       : std::ldexp(1024 + m, e - 25);
  return static_cast<float>(h & 0x8000 ? -v : v);
}
inline std::uint16_t f32_to_f16(float x) {
  if (x != x) return 0x7E00;
  const std::uint16_t sign = static_cast<std::uint16_t>(bits_of(x) >> 16 & 0x8000u);
  const double a = std::fabs(static_cast<double>(x));
  if (a == 0) return sign;
  if (a >= 65520.0) return sign | 0x7C00;
  int e;
  std::frexp(a, &e);                       // a in [2^(e-1), 2^e)
  const int unit = std::max(e - 11, -24);  // exponent of the last place
  const double n = std::nearbyint(std::ldexp(a, -unit));
  if (unit == -24) return static_cast<std::uint16_t>(sign | static_cast<int>(n));
  return static_cast<std::uint16_t>(sign | (((e - 1 + 15) << 10) + static_cast<int>(n) - 1024));
}

inline std::uint32_t e2m1(float x) {
  const float a = std::fabs(x);
  if (x != x) return 7;
  const std::uint32_t code =
      (a > .25f) + (a >= .75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.f);
  return code | (std::signbit(x) ? 8u : 0u);
}
inline float e2m1_to_f32(std::uint32_t c) {
  static const float values[8] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
  return c & 8 ? -values[c & 7] : values[c & 7];
}
inline float e4m3_to_f32(std::uint32_t s) {
  const int e = s >> 3 & 15;
  const int m = s & 7;
  if ((s & 127) == 127) return std::numeric_limits<float>::quiet_NaN();
  const float v =
      e == 0 ? std::ldexp(static_cast<float>(m), -9) : std::ldexp(1.0f + m / 8.0f, e - 7);
  return s & 128 ? -v : v;
}
// Nearest of the 127 values, ties to the even code, saturating: by search.
inline std::uint32_t e4m3(float x) {
  if (x != x) return 0x7F;
  if (x >= 448.0f) return 0x7E;
  std::uint32_t low = 0;
  std::uint32_t high = 0x7E;
  while (high - low > 1) {
    const std::uint32_t mid = (low + high) / 2;
    (e4m3_to_f32(mid) <= x ? low : high) = mid;
  }
  const double below = static_cast<double>(x) - e4m3_to_f32(low);
  const double above = static_cast<double>(e4m3_to_f32(high)) - x;
  return below < above || (below == above && low % 2 == 0) ? low : high;
}

inline int element_bytes(int dtype) { return dtype == NVFP4J_DTYPE_F32 ? 4 : 2; }
inline float load_element(const void* p, int dtype, std::int64_t i) {
  switch (dtype) {
    case NVFP4J_DTYPE_BF16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(p)[i]);
    case NVFP4J_DTYPE_F16:
      return f16_to_f32(static_cast<const std::uint16_t*>(p)[i]);
    default:
      return static_cast<const float*>(p)[i];
  }
}
inline void store_element(void* p, int dtype, std::int64_t i, float v) {
  switch (dtype) {
    case NVFP4J_DTYPE_BF16:
      static_cast<std::uint16_t*>(p)[i] = f32_to_bf16(v);
      break;
    case NVFP4J_DTYPE_F16:
      static_cast<std::uint16_t*>(p)[i] = f32_to_f16(v);
      break;
    default:
      static_cast<std::uint32_t*>(p)[i] = v != v ? 0x7FC00000u : bits_of(v);
  }
}

inline std::int64_t swizzled_bytes(std::int64_t rows, std::int64_t blocks) {
  return (rows + 127) / 128 * 128 * ((blocks + 3) / 4 * 4);
}
inline std::int64_t scale_offset(int layout, std::int64_t m, std::int64_t s, std::int64_t blocks) {
  if (layout == NVFP4J_SCALE_LAYOUT_LINEAR) return m * blocks + s;
  const std::int64_t tiles = (blocks + 3) / 4;
  return (m / 128 * tiles + s / 4) * 512 + m % 32 * 16 + m % 128 / 32 * 4 + s % 4;
}
inline std::int64_t scale_bytes(int layout, std::int64_t rows, std::int64_t blocks) {
  return layout == NVFP4J_SCALE_LAYOUT_LINEAR ? rows * blocks : swizzled_bytes(rows, blocks);
}

// ---- random data -----------------------------------------------------------------------------------------------------

enum Data { kGauss, kTies, kWide, kTiny, kSparse, kZero, kNonFinite, kOutlier, kDataKinds };

inline float random_value(std::mt19937& g, Data kind) {
  // A sum of uniform variables is normal enough, and the same everywhere.
  const auto gauss = [&] {
    float s = 0;
    for (int i = 0; i < 4; ++i) s += static_cast<float>(g() >> 8) * 0x1p-24f - 0.5f;
    return s * 1.7f;
  };
  const float sign = g() & 1 ? -1.0f : 1.0f;
  switch (kind) {
    case kTies:  // midpoints of e2m1 under scales that are powers of two and 3/2 of them
      return sign * static_cast<float>(g() % 25) * 0.25f * (g() % 8 == 0 ? 1.5f : 1.0f);
    case kWide:
      return gauss() * std::ldexp(1.0f, static_cast<int>(g() % 41) - 30);
    case kTiny:
      return sign * float_of(g() % 0x01800000u);  // subnormals of f32, zeros of f16
    case kSparse:
      return g() % 23 == 0 ? gauss() : sign * 0.0f;
    case kZero:
      return sign * 0.0f;
    case kNonFinite:
      switch (g() % 97) {
        case 0:
          return std::numeric_limits<float>::quiet_NaN();
        case 1:
          return sign * std::numeric_limits<float>::infinity();
        default:
          return gauss();
      }
    case kOutlier:
      return g() % 5000 == 0 ? sign * 3e4f : gauss() * 1e-5f;
    default:
      return gauss();
  }
}

inline std::vector<std::uint8_t> random_tensor(std::mt19937& g, int dtype, std::int64_t elements,
                                               Data kind) {
  std::vector<std::uint8_t> v(static_cast<std::size_t>(elements * element_bytes(dtype)));
  constexpr std::int64_t kPeriod =
      1048573;  // a prime: no two rows of a large tensor are alike, and it is made quickly
  for (std::int64_t i = 0; i < std::min(elements, kPeriod); ++i)
    store_element(v.data(), dtype, i, random_value(g, kind));
  const std::size_t period = static_cast<std::size_t>(kPeriod * element_bytes(dtype));
  for (std::size_t i = period; i < v.size(); i += period)
    std::memcpy(&v[i], v.data(), std::min(period, v.size() - i));
  // Some NaNs with a sign.
  if (kind == kNonFinite && dtype != NVFP4J_DTYPE_F32) {
    for (std::int64_t i = 0; i < elements; ++i) {
      auto& h = reinterpret_cast<std::uint16_t*>(v.data())[i];
      if ((h & 0x7FFF) > (dtype == NVFP4J_DTYPE_BF16 ? 0x7F80 : 0x7C00) && (g() & 1)) h |= 0x8000;
    }
  }
  return v;
}

// f(begin, end) over [0, n) on all cores.
inline void parallel(std::int64_t n, const std::function<void(std::int64_t, std::int64_t)>& f) {
  const std::int64_t threads = std::max<std::int64_t>(
      1, std::min<std::int64_t>(n / 16, std::thread::hardware_concurrency()));
  std::vector<std::thread> pool;
  for (std::int64_t i = 0; i < threads; ++i)
    pool.emplace_back([&, i] { f(n * i / threads, n * (i + 1) / threads); });
  for (auto& t : pool) t.join();
}

// ---- device ----------------------------------------------------------------------------------------------------------

// Device memory with poison before, in and after it; `misalign` bytes off a 256-byte boundary.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t bytes, int misalign = 0) : bytes_(bytes), misalign_(misalign) {
    MUST(cudaMalloc(&base_, static_cast<std::size_t>(bytes + misalign + 2 * kGuard)));
    poison();
  }
  ~Buffer() { cudaFree(base_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void poison() {
    MUST(cudaMemset(base_, kPoison, static_cast<std::size_t>(bytes_ + misalign_ + 2 * kGuard)));
    MUST(cudaDeviceSynchronize());  // a stream of the test does not wait for the legacy stream
  }
  std::uint8_t* data() const { return static_cast<std::uint8_t*>(base_) + kGuard + misalign_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data());
  }
  std::int64_t bytes() const { return bytes_; }
  void put(const void* host, std::int64_t bytes) const {
    MUST(cudaMemcpy(data(), host, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice));
    MUST(cudaDeviceSynchronize());
  }
  // Contents; fails the test when bytes outside were written.
  std::vector<std::uint8_t> get(const char* what) const {
    std::vector<std::uint8_t> all(static_cast<std::size_t>(bytes_ + misalign_ + 2 * kGuard));
    MUST(cudaMemcpy(all.data(), base_, all.size(), cudaMemcpyDeviceToHost));
    const std::size_t from = static_cast<std::size_t>(kGuard + misalign_);
    const std::size_t to = from + static_cast<std::size_t>(bytes_);
    bool clean = true;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if ((i < from || i >= to) && all[i] != kPoison) clean = false;
    }
    if (!clean) check(false, std::string(what) + ": bytes outside the buffer were written");
    return {all.begin() + static_cast<std::ptrdiff_t>(from),
            all.begin() + static_cast<std::ptrdiff_t>(to)};
  }

  static constexpr int kPoison = 0xA5;

 private:
  static constexpr std::int64_t kGuard = 1024;
  void* base_ = nullptr;
  std::int64_t bytes_ = 0;
  int misalign_ = 0;
};

struct Gpu {
  CudaDeviceProperties properties = {};
  CudaLaunch launch = {};

  explicit Gpu(std::int64_t workspace_bytes = 1 << 16) {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
      std::printf("skipped: no CUDA device\n");
      std::exit(77);
    }
    cudaDeviceProp p;
    MUST(cudaGetDeviceProperties(&p, 0));
    properties = {0,
                  p.major,
                  p.minor,
                  p.multiProcessorCount,
                  static_cast<int>(p.sharedMemPerBlockOptin),
                  static_cast<int>(p.sharedMemPerMultiprocessor),
                  p.l2CacheSize,
                  p.cooperativeLaunch,
                  0};
    int architecture = 0;
    must(static_cast<cudaError_t>(device_code_architecture(&architecture)),
         "device_code_architecture");
    properties.programmatic_launch = p.major >= 9 && architecture >= kProgrammaticArchitecture;
    cudaStream_t stream;
    MUST(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    launch.stream = stream;
    MUST(cudaMalloc(&launch.status, sizeof(DeviceStatus)));
    MUST(cudaMemset(launch.status, 0, sizeof(DeviceStatus)));
    MUST(cudaMalloc(&launch.workspace, static_cast<std::size_t>(workspace_bytes)));
    MUST(cudaMemset(launch.workspace, 0, static_cast<std::size_t>(workspace_bytes)));
    MUST(cudaDeviceSynchronize());
    launch.workspace_bytes = workspace_bytes;
    launch.device = &properties;
    launch.programmatic = properties.programmatic_launch != 0;
  }

  // What was reported since the last call.
  DeviceStatus take_status() {
    DeviceStatus s;
    MUST(cudaStreamSynchronize(launch.stream));
    MUST(cudaMemcpy(&s, launch.status, sizeof s, cudaMemcpyDeviceToHost));
    MUST(cudaMemset(launch.status, 0, sizeof s));
    MUST(cudaDeviceSynchronize());
    return s;
  }
  void wait() {
    MUST(cudaGetLastError());
    MUST(cudaStreamSynchronize(launch.stream));
  }
  // Captures f and replays it `times`.
  void replay(const std::function<void()>& f, int times) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    MUST(cudaStreamBeginCapture(launch.stream, cudaStreamCaptureModeThreadLocal));
    f();
    MUST(cudaStreamEndCapture(launch.stream, &graph));
    MUST(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < times; ++i) MUST(cudaGraphLaunch(exec, launch.stream));
    wait();
    MUST(cudaGraphExecDestroy(exec));
    MUST(cudaGraphDestroy(graph));
  }
};

}  // namespace nvfp4j::test
