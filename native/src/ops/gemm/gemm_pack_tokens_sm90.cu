// SPDX-License-Identifier: Apache-2.0
// NVFP4 tokens on their way to gemm_wgmma.cuh: decoded to BF16 once, in the workspace. In that kernel each tile of tokens would be decoded by every thread block that multiplies it, for which its warps have no time: it took twice as long from 64 rows on.
//
// A block of 16 elements a thread. The kernel after this one starts at once and reads W meanwhile.
#include "device/launch.cuh"
#include "device/ptx.cuh"
#include "ops/gemm/gemm_cuda_impl.hpp"
#include "ops/gemm/gemm_operands.cuh"

namespace nvfp4j {
namespace {

using namespace device;

constexpr int kThreads = 128;

struct PackedTokens {
  const std::uint8_t* codes;
  const std::uint8_t* scales;
  std::int64_t stride;  // elements from row to row of both
  uint4* packed;
  std::uint32_t row_blocks;  // of 16 elements
  std::uint32_t blocks;
};

__global__ void __launch_bounds__(kThreads) gemm_pack_tokens_kernel(PackedTokens p) {
  await_predecessor();
  const std::uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i >= p.blocks) return;
  const std::uint32_t row = i / p.row_blocks, block = i - row * p.row_blocks;
  const auto* q =
      reinterpret_cast<const std::uint32_t*>(p.codes + row * (p.stride / 2) + 8 * block);
  uint4 first, second;
  pack_block(make_uint2(load(q), load(q + 1)), load(p.scales + row * (p.stride / 16) + block),
             first, second);
  p.packed[2 * static_cast<std::int64_t>(i)] = first;
  p.packed[2 * static_cast<std::int64_t>(i) + 1] = second;
}

}  // namespace

int gemm_pack_tokens(const CudaLaunch& launch, const GemmArgs& args, std::int64_t first,
                     std::int64_t rows, void* packed) {
  const std::int64_t columns = a_columns(args);
  const std::int64_t stride = args.a.stride;
  PackedTokens p = {static_cast<const std::uint8_t*>(args.a.data) + first * (stride / 2),
                    args.a.scales + first * (stride / 16),
                    stride,
                    static_cast<uint4*>(packed),
                    static_cast<std::uint32_t>(columns / 16),
                    static_cast<std::uint32_t>(rows * (columns / 16))};
  void* arguments[] = {&p};
  return launch_programmatic(reinterpret_cast<const void*>(&gemm_pack_tokens_kernel), launch,
                             grid_of((p.blocks + kThreads - 1) / kThreads), kThreads, 0, arguments);
}

int gemm_pack_tokens_warm_up() {
  return load_kernel(reinterpret_cast<const void*>(&gemm_pack_tokens_kernel));
}

}  // namespace nvfp4j
