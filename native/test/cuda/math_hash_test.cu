// SPDX-License-Identifier: Apache-2.0
// exp, log and log1p on the GPU: the digests of native/test/math_hash.cpp, whose output this program repeats line by line with --print, and every 61st chunk against the host's functions.
// With --quick: a few chunks.
// Arguments: [--print | --quick]
#include "common/math.hpp"
#include "gpu_test.cuh"

namespace nvfp4j::test {
namespace {

constexpr std::uint64_t kOffset = 0xcbf29ce484222325;
constexpr std::uint64_t kPrime = 0x00000100000001b3;
constexpr std::uint32_t kChunk = 1u << 20;
constexpr std::uint32_t kChunks = 1u << 12;

template <int FUNCTION>
__host__ __device__ std::uint64_t digest(std::uint32_t chunk) {
  std::uint64_t h = kOffset;
  for (std::uint32_t i = 0; i < kChunk; ++i) {
    const float x = math::detail::from_bits(chunk * kChunk + i);
    const float y = FUNCTION == 0 ? math::exp(x) : FUNCTION == 1 ? math::log(x) : math::log1p(x);
    std::uint32_t word = math::detail::bits(y);
    if ((word & 0x7fffffffu) > 0x7f800000u) word = 0x7fc00000u;
    h = (h ^ word) * kPrime;
  }
  return h;
}

template <int FUNCTION>
__global__ void digest_chunks(std::uint64_t* out) {
  const std::uint32_t chunk = blockIdx.x * blockDim.x + threadIdx.x;
  out[chunk] = digest<FUNCTION>(chunk);
}

// The first `chunks` chunks, a multiple of 32.
template <int FUNCTION>
void run(const char* name, std::uint32_t chunks, bool print) {
  std::uint64_t* device;
  std::vector<std::uint64_t> digests(chunks);
  MUST(cudaMalloc(&device, chunks * 8));
  digest_chunks<FUNCTION><<<chunks / 32, 32>>>(device);
  MUST(cudaGetLastError());
  MUST(cudaMemcpy(digests.data(), device, chunks * 8, cudaMemcpyDeviceToHost));
  MUST(cudaFree(device));
  if (print) {
    std::uint64_t total = kOffset;
    for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
      const std::uint64_t h = digests[chunk];
      std::printf("%s 0x%03x 0x%016llx\n", name, chunk, static_cast<unsigned long long>(h));
      total = (total ^ (h & 0xffffffff)) * kPrime;
      total = (total ^ (h >> 32)) * kPrime;
    }
    std::printf("%s total 0x%016llx\n", name, static_cast<unsigned long long>(total));
    return;
  }
  constexpr std::uint32_t kStep = 61;
  std::vector<char> same(chunks / kStep + 1, 1);
  parallel(static_cast<std::int64_t>(same.size()), [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) {
      const auto chunk = static_cast<std::uint32_t>(i) * kStep;
      same[i] = chunk >= chunks || digest<FUNCTION>(chunk) == digests[chunk];
    }
  });
  for (std::size_t i = 0; i < same.size(); ++i)
    check(same[i] != 0, std::string(name) + " chunk " + std::to_string(i * kStep));
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool print = argc > 1 && std::strcmp(argv[1], "--print") == 0;
  const std::uint32_t chunks = !print && quick_option(argc, argv) ? 32 : kChunks;
  Gpu gpu;
  run<0>("exp", chunks, print);
  run<1>("log", chunks, print);
  run<2>("log1p", chunks, print);
  return print ? 0 : finish();
}
