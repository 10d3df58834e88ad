// SPDX-License-Identifier: Apache-2.0
// Digests of exp, log and log1p over all 2^32 bit patterns, which the Java transcription and the
// CUDA build repeat: equal digests mean equal bits.
//
// Chunk c of a function holds the inputs with the bit patterns c * 2^20 to c * 2^20 + 2^20 - 1,
// in this order. Its digest is FNV-1a over 32-bit words instead of bytes, in 64-bit arithmetic
// modulo 2^64:
//     h = 0xcbf29ce484222325 ; for each input: h = (h xor word) * 0x00000100000001b3
// where word is the bit pattern of the result, zero-extended, and 0x7fc00000 for every NaN. The
// total of a function is the same over its 4096 chunk digests, each as its low and then its high
// 32 bits.
//
// Output, one line each, hexadecimal:
//     exp 0xCCC 0xDDDDDDDDDDDDDDDD      chunk (3 digits) and digest (16 digits), 4096 lines
//     exp total 0xDDDDDDDDDDDDDDDD      and so on for log and log1p
// Arguments: [threads] (default 2), [function] (default all three).
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "common/float_formats.hpp"
#include "common/math.hpp"

namespace {

constexpr std::uint64_t kOffset = 0xcbf29ce484222325;
constexpr std::uint64_t kPrime = 0x00000100000001b3;
constexpr std::uint32_t kChunk = 1u << 20;
constexpr std::uint32_t kChunks = 1u << 12;
constexpr int kBatch = 1024;

enum class Function { exp, log, log1p };

// The functions are evaluated in vectors, the digest is sequential by its nature.
#define NVFP4J_EVALUATE                                                                            \
  void evaluate(Function function, std::uint32_t first, std::uint32_t* __restrict out) {           \
    using namespace nvfp4j;                                                                        \
    if (function == Function::exp) {                                                               \
      for (std::uint32_t i = 0; i < kBatch; ++i) out[i] = bits_of(math::exp(float_of(first + i))); \
    } else if (function == Function::log) {                                                        \
      for (std::uint32_t i = 0; i < kBatch; ++i) out[i] = bits_of(math::log(float_of(first + i))); \
    } else {                                                                                       \
      for (std::uint32_t i = 0; i < kBatch; ++i)                                                   \
        out[i] = bits_of(math::log1p(float_of(first + i)));                                        \
    }                                                                                              \
  }

namespace baseline {
NVFP4J_EVALUATE
}
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
NVFP4J_EVALUATE
}
#pragma GCC pop_options

std::uint64_t digest(Function function, std::uint32_t chunk) {
  static const bool has_v3 = __builtin_cpu_supports("x86-64-v3") != 0;
  std::uint64_t h = kOffset;
  std::uint32_t results[kBatch];
  for (std::uint32_t i = 0; i < kChunk; i += kBatch) {
    (has_v3 ? v3::evaluate : baseline::evaluate)(function, chunk * kChunk + i, results);
    for (std::uint32_t word : results) {
      if ((word & nvfp4j::kMagnitude) > nvfp4j::kInfinity) word = nvfp4j::kNan;
      h = (h ^ word) * kPrime;
    }
  }
  return h;
}

void print(Function function, const char* name, unsigned threads) {
  std::vector<std::uint64_t> digests(kChunks);
  std::atomic<std::uint32_t> next{0};
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      for (std::uint32_t chunk; (chunk = next++) < kChunks;)
        digests[chunk] = digest(function, chunk);
    });
  }
  for (std::thread& worker : workers) worker.join();
  std::uint64_t total = kOffset;
  for (std::uint32_t chunk = 0; chunk < kChunks; ++chunk) {
    const std::uint64_t h = digests[chunk];
    std::printf("%s 0x%03x 0x%016llx\n", name, chunk, static_cast<unsigned long long>(h));
    total = (total ^ (h & 0xffffffff)) * kPrime;
    total = (total ^ (h >> 32)) * kPrime;
  }
  std::printf("%s total 0x%016llx\n", name, static_cast<unsigned long long>(total));
}

}  // namespace

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::atoi(arguments[1]) : 2;
  if (threads < 1 || threads > 256) {
    std::fprintf(stderr, "math_hash: threads is %s, expected 1 to 256\n", arguments[1]);
    return 2;
  }
  const char* only = count > 2 ? arguments[2] : nullptr;
  constexpr struct {
    Function function;
    const char* name;
  } functions[] = {{Function::exp, "exp"}, {Function::log, "log"}, {Function::log1p, "log1p"}};
  bool found = false;
  for (const auto& f : functions) {
    if (only != nullptr && std::strcmp(only, f.name) != 0) continue;
    found = true;
    print(f.function, f.name, static_cast<unsigned>(threads));
  }
  if (!found) std::fprintf(stderr, "math_hash: function is %s, expected exp, log or log1p\n", only);
  return found ? 0 : 2;
}
