// SPDX-License-Identifier: Apache-2.0
// indexer_topk on any device from compute capability 8.0 on. (On 9.0 the products of BF16 with more than 32 heads and up to 128 columns are those of indexer_topk_sm90.cu.) Bound by what comes from L2 to the multiprocessors, keys and q, and then by the chain of what follows: sorting, one exchange between thread blocks, ranking.
// indexer_topk_few_kernel: up to 8 queries whose thread blocks have a handful of the best each (indexer_topk_few.cuh), 8 warps, so that the next launch's thread blocks fit beside them: they fetch to L2 while these sort and rank.
// indexer_topk_kernel: all else (indexer_topk_many.cuh). A thread block a multiprocessor, 16 warps. The rows are dealt out in chunks of 16, a warp each; scores stay in the thread block, which sorts them and sends the best k of them, so that the exchange is the only one of a launch
// (indexer_topk_rank.cuh). Up to 8 queries share a reading of the keys; more take another, from L2 mostly, and where their lists outgrow the workspace another launch.
// NVIDIA H200, commit 508c04d40ccf, with the products of indexer_topk_sm90.cu, the best 1024, 64 x 128: of 32768 rows for one query 8.4 us, 43 % of reading the keys, for four 20.8 us; for one of 8192 rows 6.6, of 65536 rows 12.3 us; 64 queries of 16384 rows 91 us: scores first, then sorting and ranks.
#include "common/workspace_layout.hpp"
#include "device/launch.cuh"
#include "nvfp4j/indexer.h"
#include "nvfp4j/tensor.h"
#include "ops/indexer_topk/indexer_topk_cuda.hpp"
#include "ops/indexer_topk/indexer_topk_few_mma.cuh"
#include "ops/indexer_topk/indexer_topk_few_run.cuh"
#include "ops/indexer_topk/indexer_topk_impl.hpp"
#include "ops/indexer_topk/indexer_topk_many.cuh"
#include "ops/indexer_topk/indexer_topk_score.cuh"

namespace nvfp4j {
namespace {

using namespace device;

template <typename Sweep>
__global__ void __launch_bounds__(kIndexerThreads, 1)
    indexer_topk_kernel(const __grid_constant__ IndexerTarget a) {
  extern __shared__ __align__(128) char shared[];
  indexer_topk_many<Sweep>(a, shared);
}

template <int STEPS>
__global__ void __launch_bounds__(kIndexerFewThreads, 2)
    indexer_topk_few_kernel(const __grid_constant__ IndexerTarget a) {
  extern __shared__ __align__(128) char shared[];
  indexer_topk_few<IndexerFewMma<STEPS>>(a, shared);
}

const void* kernel_of(int steps, bool few, bool wgmma) {
  if (wgmma) return few ? indexer_topk_few_wgmma(steps) : indexer_topk_many_wgmma(steps);
  if (few) {
    return steps == 4 ? reinterpret_cast<const void*>(&indexer_topk_few_kernel<4>)
                      : reinterpret_cast<const void*>(&indexer_topk_few_kernel<8>);
  }
  return steps == 0   ? reinterpret_cast<const void*>(&indexer_topk_kernel<IndexerF32>)
         : steps == 4 ? reinterpret_cast<const void*>(&indexer_topk_kernel<IndexerBf16<4>>)
         : steps == 8 ? reinterpret_cast<const void*>(&indexer_topk_kernel<IndexerBf16<8>>)
                      : reinterpret_cast<const void*>(&indexer_topk_kernel<IndexerBf16<16>>);
}

IndexerTarget target_of(const CudaLaunch& launch, const IndexerTopkArgs& args,
                        const IndexerPlan& plan) {
  const std::int64_t bytes = args.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  IndexerTarget t{};
  t.q_query = args.q_query_stride * bytes;
  t.q_head = args.q_head_stride * bytes;
  t.keys = static_cast<const char*>(args.keys);
  t.keys_row = args.keys_stride * bytes;
  t.weights_row = args.weights_stride;
  t.indices_row = args.indices_stride;
  t.scores_row = args.scores_stride;
  t.status = launch.status;
  char* workspace = static_cast<char*>(launch.workspace);
  t.exchange = reinterpret_cast<GridExchange*>(workspace);
  t.tagged = workspace + kWorkspaceTaggedAt;
  workspace += kWorkspaceExchangeBytes;
  if (!plan.shared_rows) {
    t.rows_of_blocks = reinterpret_cast<std::uint32_t*>(workspace);
    workspace += std::int64_t{plan.blocks} * plan.rows * 4;
  }
  t.lists = reinterpret_cast<std::uint64_t*>(workspace);
  t.set_queries = plan.set_queries;
  t.all_rows = static_cast<int>(args.rows);
  t.all_heads = args.heads;
  t.columns = args.columns;
  t.k = args.k;
  t.blocks = plan.blocks;
  t.group = plan.group;
  t.heads = plan.heads;
  t.padded_heads = plan.padded_heads;
  t.warps = plan.warps;
  t.rows = plan.rows;
  t.list = plan.list;
  t.q_aligned = aligned16(args.q, t.q_head) && (args.queries == 1 || t.q_query % 16 == 0);
  t.keys_aligned = aligned16(args.keys, t.keys_row);
  t.layout = plan.layout;
  return t;
}

}  // namespace

int indexer_topk_cuda(const CudaLaunch& launch, const IndexerTopkArgs& args) {
  const IndexerPlan plan = plan_indexer_topk(
      *launch.device,
      {args.queries, args.rows, args.heads, args.columns, args.k, args.dtype == NVFP4J_DTYPE_BF16});
  IndexerTarget t = target_of(launch, args, plan);
  void* arguments[] = {&t};
  for (std::int64_t first = 0; first < args.queries; first += plan.launch_queries) {
    t.first_query = first;
    t.queries =
        args.queries - first < plan.launch_queries ? args.queries - first : plan.launch_queries;
    t.q = static_cast<const char*>(args.q) + first * t.q_query;
    t.weights = args.weights + first * t.weights_row;
    t.valid = args.valid + first;
    t.indices = args.indices + first * t.indices_row;
    t.scores = args.scores == nullptr ? nullptr : args.scores + first * t.scores_row;
    const dim3 grid = grid_of((t.queries + plan.set_queries - 1) / plan.set_queries * plan.blocks);
    const void* kernel = kernel_of(plan.steps, plan.few, plan.wgmma);
    const int threads = plan.few ? kIndexerFewThreads : kIndexerThreads;
    const cudaError_t status =
        plan.blocks > 1
            ? launch_cooperative_programmatic(kernel, launch, grid, threads, plan.layout.total,
                                              arguments)
            : launch_programmatic(kernel, launch, grid, threads, plan.layout.total, arguments);
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

const char* indexer_topk_cuda_path(const CudaDeviceProperties& device) {
  if (runs_sm90a(device)) {
    return "sm_90: indexer_topk_sm90 for BF16 with more than 32 heads and up to 128 columns "
           "whose q has room, else indexer_topk_generic; compute capability 9.0";
  }
  return device.major < 8 ? nullptr
                          : "generic: indexer_topk_generic, compute capability 8.0 or newer";
}
const char* indexer_topk_cuda_refusal(const CudaDeviceProperties& device) {
  return device.major < 8 ? "the CUDA kernels need compute capability 8.0 or newer" : nullptr;
}

int indexer_topk_cuda_warm_up(const CudaDeviceProperties& device) {
  for (const int steps : {0, 4, 8, 16}) {
    for (const bool few : {false, true}) {
      for (const bool wgmma : {false, true}) {
        // What plan_indexer_topk() has.
        if ((few || wgmma) && steps != 4 && steps != 8) continue;
        if (wgmma && !runs_sm90a(device)) continue;
        const cudaError_t status = cudaFuncSetAttribute(kernel_of(steps, few, wgmma),
                                                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                        device.shared_memory_per_block_optin);
        if (status != cudaSuccess) return status;
      }
    }
  }
  return cudaSuccess;
}

std::int64_t indexer_topk_cuda_workspace_bytes(const CudaDeviceProperties& device,
                                               std::int64_t rows, std::int64_t columns) {
  return indexer_workspace_bytes(device, rows, columns);
}

}  // namespace nvfp4j
