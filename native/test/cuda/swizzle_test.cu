// SPDX-License-Identifier: Apache-2.0
// swizzle and unswizzle on the GPU against the formula: every path of the kernels (rows by 16 bytes, by words, by bytes; warps of
// 1 to 16 tiles), tails of rows and columns, strides, poison in the gaps between rows, noise in the padding, offsets beyond 32 bits.
#include "gpu_test.cuh"
#include "ops/swizzle/swizzle_cuda.hpp"

namespace nvfp4j::test {
namespace {

constexpr int kLayout = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;

std::string name_of(std::int64_t rows, std::int64_t blocks, std::int64_t stride, int misalign) {
  return "swizzle [" + std::to_string(rows) + ", " + std::to_string(blocks) + "] stride " +
         std::to_string(stride) + " misalign " + std::to_string(misalign);
}

void swizzle(Gpu& gpu, const SwizzleArgs& args) {
  must(static_cast<cudaError_t>(swizzle_cuda(gpu.launch, args)), "swizzle_cuda");
}
void unswizzle(Gpu& gpu, const SwizzleArgs& args) {
  must(static_cast<cudaError_t>(unswizzle_cuda(gpu.launch, args)), "unswizzle_cuda");
}

void test(Gpu& gpu, std::mt19937& g, std::int64_t rows, std::int64_t blocks, std::int64_t stride,
          int misalign) {
  const std::string name = name_of(rows, blocks, stride, misalign);
  const auto random_bytes = [&](std::int64_t count) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
    for (auto& b : bytes) b = static_cast<std::uint8_t>(g());
    return bytes;
  };
  // Without a gap after the last row: what is written there lies outside the buffer.
  const std::vector<std::uint8_t> linear = random_bytes((rows - 1) * stride + blocks);
  const std::int64_t bytes = swizzled_bytes(rows, blocks);
  std::vector<std::uint8_t> swizzled(static_cast<std::size_t>(bytes), 0);
  std::vector<std::uint8_t> noisy = random_bytes(bytes);  // in the padding
  std::vector<std::uint8_t> expected(linear.size(), Buffer::kPoison);
  for (std::int64_t m = 0; m < rows; ++m) {
    for (std::int64_t s = 0; s < blocks; ++s) {
      const auto from = static_cast<std::size_t>(m * stride + s);
      const auto to = static_cast<std::size_t>(scale_offset(kLayout, m, s, blocks));
      swizzled[to] = noisy[to] = expected[from] = linear[from];
    }
  }
  Buffer a(static_cast<std::int64_t>(linear.size()), misalign);
  Buffer b(bytes);
  Buffer c(static_cast<std::int64_t>(linear.size()), misalign);
  a.put(linear.data(), a.bytes());
  // The second reads what the first wrote, and may start before the first has ended.
  swizzle(gpu, {a.data(), b.data(), rows, blocks, stride});
  unswizzle(gpu, {c.data(), b.data(), rows, blocks, stride});
  gpu.wait();
  check(b.get("swizzle") == swizzled, name);
  check(c.get("unswizzle") == expected, name + ", and back");
  check(a.get("swizzle's input") == linear, name + ": its input");

  b.put(noisy.data(), b.bytes());
  c.poison();
  unswizzle(gpu, {c.data(), b.data(), rows, blocks, stride});
  gpu.wait();
  check(c.get("unswizzle") == expected, "un" + name + ", noise in the padding");
  check(b.get("unswizzle's input") == noisy, "un" + name + ": its input");
}

// A stride for rows of `blocks`, of one of 6 kinds.
std::int64_t stride_of(std::int64_t blocks, std::uint32_t kind) {
  const auto round_up = [&](std::int64_t to) { return (blocks + to - 1) / to * to; };
  switch (kind % 6) {
    case 0:
      return blocks;
    case 1:
      return blocks + 1;
    case 2:
      return round_up(4);
    case 3:
      return round_up(4) + 4;
    case 4:
      return round_up(16) + 16;
    default:
      return blocks + 7;
  }
}

// ---- without host copies ---------------------------------------------------------------------------------------------

struct Large {
  std::uint8_t* linear;
  std::uint8_t* swizzled;
  std::int64_t rows;
  std::int64_t blocks;
  std::int64_t stride;
  unsigned long long* wrong;
};

__device__ std::uint8_t value(std::int64_t m, std::int64_t s) {
  std::uint64_t x = (static_cast<std::uint64_t>(m) << 36) + static_cast<std::uint64_t>(s) + 1u;
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 29;
  return static_cast<std::uint8_t>(x * 0xBF58476D1CE4E5B9u >> 56);
}

// One thread a swizzled byte, padding included.
__global__ void check_swizzled(Large t) {
  const std::int64_t tiles = (t.blocks + 3) / 4;
  const std::int64_t bytes = (t.rows + 127) / 128 * tiles * 512;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < bytes;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    const std::int64_t tile = i / 512;
    const std::int64_t m = tile / tiles * 128 + i % 512 / 16 + i % 16 / 4 * 32;
    const std::int64_t s = tile % tiles * 4 + i % 4;
    const std::uint8_t expected = m < t.rows && s < t.blocks ? value(m, s) : 0;
    if (t.swizzled[i] != expected) atomicAdd(t.wrong, 1ull);
  }
}

// One thread a linear byte, gaps included: fills the scales, or checks everything.
template <bool FILL>
__global__ void visit_linear(Large t) {
  const std::int64_t bytes = t.rows * t.stride;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < bytes;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    const std::int64_t m = i / t.stride;
    const std::int64_t s = i % t.stride;
    if constexpr (FILL) {
      if (s < t.blocks) t.linear[i] = value(m, s);
    } else {
      const std::uint8_t expected = s < t.blocks ? value(m, s) : Buffer::kPoison;
      if (t.linear[i] != expected) atomicAdd(t.wrong, 1ull);
    }
  }
}

void test_large(Gpu& gpu, std::int64_t rows, std::int64_t blocks, std::int64_t stride) {
  const std::string name = name_of(rows, blocks, stride, 0);
  const std::int64_t bytes = swizzled_bytes(rows, blocks);
  std::size_t free_bytes = 0;
  std::size_t all_bytes = 0;
  MUST(cudaMemGetInfo(&free_bytes, &all_bytes));
  if (static_cast<std::int64_t>(free_bytes) < rows * stride + bytes + (256 << 20)) {
    std::printf("left out for want of memory: %s\n", name.c_str());
    return;
  }
  Buffer linear(rows * stride);
  Buffer swizzled(bytes);
  Buffer counter(8);
  const Large t = {linear.data(), swizzled.data(), rows,
                   blocks,        stride,          counter.as<unsigned long long>()};
  const auto wrong = [&] {
    unsigned long long count = 0;
    MUST(cudaGetLastError());
    MUST(cudaStreamSynchronize(gpu.launch.stream));
    MUST(cudaMemcpy(&count, counter.data(), 8, cudaMemcpyDeviceToHost));
    return count;
  };
  const unsigned grid = static_cast<unsigned>(gpu.properties.sm_count) * 16;
  constexpr unsigned kThreads = 256;
  const SwizzleArgs args = {linear.data(), swizzled.data(), rows, blocks, stride};
  const cudaStream_t stream = gpu.launch.stream;
  MUST(cudaMemset(counter.data(), 0, 8));
  MUST(cudaDeviceSynchronize());
  visit_linear<true><<<grid, kThreads, 0, stream>>>(t);
  swizzle(gpu, args);
  check_swizzled<<<grid, kThreads, 0, stream>>>(t);
  check(wrong() == 0, name + ", large");
  linear.poison();
  unswizzle(gpu, args);
  visit_linear<false><<<grid, kThreads, 0, stream>>>(t);
  check(wrong() == 0, name + ", large, and back");
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  must(static_cast<cudaError_t>(nvfp4j::swizzle_cuda_warm_up(gpu.properties)),
       "swizzle_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::unswizzle_cuda_warm_up(gpu.properties)),
       "unswizzle_cuda_warm_up");
  std::mt19937 g(20261126);
  const int misaligned[] = {0, 4, 8, 1, 0, 2, 12, 15};
  constexpr std::int64_t kBlocks[] = {1,  2,  3,  4,  5,  6,  7,  8,   9,   12,  16,
                                      17, 32, 33, 48, 64, 65, 96, 100, 112, 448, 449};
  if (quick) {
    // Each path, with full tiles and with tails.
    for (const std::int64_t rows : {1, 33, 130}) {
      for (const std::int64_t blocks : {1, 4, 7, 16, 32, 36, 48, 80, 100}) {
        test(gpu, g, rows, blocks, (blocks + 15) / 16 * 16, 0);
        test(gpu, g, rows, blocks, stride_of(blocks, g()), misaligned[g() % 8]);
      }
    }
    return finish();
  }
  for (std::int64_t rows = 1; rows <= 130; ++rows) {
    for (const std::int64_t blocks : kBlocks) {
      test(gpu, g, rows, blocks, (blocks + 15) / 16 * 16, 0);
      test(gpu, g, rows, blocks, stride_of(blocks, g()), misaligned[g() % 8]);
    }
  }
  // Every stride with every base.
  for (std::uint32_t kind = 0; kind < 6; ++kind) {
    for (const int misalign : misaligned) {
      for (const std::int64_t blocks : {5, 16, 36, 100, 448}) {
        for (const std::int64_t rows : {1, 70, 257})
          test(gpu, g, rows, blocks, stride_of(blocks, kind), misalign);
      }
    }
  }
  test(gpu, g, 1000, 448, 448, 0);
  test(gpu, g, 8192, 448, 448, 0);
  test(gpu, g, 4097, 1153, 1153, 0);

  test_large(gpu, 65536, 448, 448);
  // More tiles of rows than a grid's second dimension has.
  test_large(gpu, 65536 * 128 + 5, 1, 1);
  test_large(gpu, 65535 * 128 + 1, 20, 20);
  // Linear offsets beyond 2^32, by vectors, words and bytes.
  for (const std::int64_t stride : {1 << 24, (1 << 24) + 4, (1 << 24) + 1})
    test_large(gpu, 300, 464, stride);
  // Swizzled offsets beyond 2^32, and more than 2^24 scales in a row.
  test_large(gpu, 127, (1 << 25) + 48, (1 << 25) + 48);
  test_large(gpu, 2, (1 << 25) + 51, (1 << 25) + 51);
  return finish();
}
