// SPDX-License-Identifier: Apache-2.0
// The one list of all ops.
#include "common/op_table.hpp"

#include "ops/cache_append/cache_append_cpu.hpp"
#include "ops/cache_append_window/cache_append_window_cpu.hpp"
#include "ops/copy/copy_cpu.hpp"
#include "ops/dequantize/dequantize_cpu.hpp"
#include "ops/expert_combine/expert_combine_cpu.hpp"
#include "ops/expert_dispatch/expert_dispatch_cpu.hpp"
#include "ops/gemm/gemm_cpu.hpp"
#include "ops/hc_post/hc_post_cpu.hpp"
#include "ops/hc_pre/hc_pre_cpu.hpp"
#include "ops/indexer_topk/indexer_topk_cpu.hpp"
#include "ops/pack_activations/pack_activations_cpu.hpp"
#include "ops/prepare_weights/prepare_weights_cpu.hpp"
#include "ops/quantize/quantize_cpu.hpp"
#include "ops/router_dense/router_dense_cpu.hpp"
#include "ops/router_hash/router_hash_cpu.hpp"
#include "ops/sample/sample_cpu.hpp"
#include "ops/sinkhorn/sinkhorn_cpu.hpp"
#include "ops/swiglu/swiglu_cpu.hpp"
#include "ops/swiglu_quantize/swiglu_quantize_cpu.hpp"
#include "ops/swizzle/swizzle_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/cache_append/cache_append_cuda.hpp"
#include "ops/cache_append_window/cache_append_window_cuda.hpp"
#include "ops/copy/copy_cuda.hpp"
#include "ops/dequantize/dequantize_cuda.hpp"
#include "ops/expert_combine/expert_combine_cuda.hpp"
#include "ops/expert_dispatch/expert_dispatch_cuda.hpp"
#include "ops/gemm/gemm_cuda.hpp"
#include "ops/hc_post/hc_post_cuda.hpp"
#include "ops/hc_pre/hc_pre_cuda.hpp"
#include "ops/indexer_topk/indexer_topk_cuda.hpp"
#include "ops/pack_activations/pack_activations_cuda.hpp"
#include "ops/prepare_weights/prepare_weights_cuda.hpp"
#include "ops/quantize/quantize_cuda.hpp"
#include "ops/router_dense/router_dense_cuda.hpp"
#include "ops/router_hash/router_hash_cuda.hpp"
#include "ops/sample/sample_cuda.hpp"
#include "ops/sinkhorn/sinkhorn_cuda.hpp"
#include "ops/swiglu/swiglu_cuda.hpp"
#include "ops/swiglu_quantize/swiglu_quantize_cuda.hpp"
#include "ops/swizzle/swizzle_cuda.hpp"
// `kernels`: the op whose CUDA kernels it runs.
#define NVFP4J_OP_WITH(op, kernels) \
  {#op,                             \
   op##_cpu_path,                   \
   kernels##_cuda_path,             \
   kernels##_cuda_refusal,          \
   kernels##_cuda_warm_up,          \
   kernels##_cuda_workspace_bytes}
#define NVFP4J_OP(op) NVFP4J_OP_WITH(op, op)
#define NVFP4J_COPY_OP                             \
  {"copy",                                         \
   copy_cpu_path,                                  \
   copy_cuda_path,                                 \
   [](const CudaDeviceProperties&) { return ""; }, \
   [](const CudaDeviceProperties&) { return 0; },  \
   [](const CudaDeviceProperties&, std::int64_t, std::int64_t) { return std::int64_t{0}; }}
#else
#define NVFP4J_OP(op) {#op, op##_cpu_path, nullptr, nullptr, nullptr, nullptr}
#define NVFP4J_OP_WITH(op, kernels) NVFP4J_OP(op)
#define NVFP4J_COPY_OP NVFP4J_OP(copy)
#endif

namespace nvfp4j {

const OpInfo op_table[NVFP4J_OP_COUNT] = {
    NVFP4J_OP(quantize),
    NVFP4J_OP(dequantize),
    NVFP4J_OP(swizzle),
    NVFP4J_OP(unswizzle),
    NVFP4J_OP(swiglu),
    NVFP4J_OP(swiglu_quantize),
    NVFP4J_COPY_OP,
    NVFP4J_OP(gemm),
    NVFP4J_OP_WITH(grouped_gemm, gemm),
    NVFP4J_OP_WITH(batched_gemm, gemm),
    NVFP4J_OP(prepare_weights),
    NVFP4J_OP(pack_activations),
    NVFP4J_OP(sinkhorn),
    NVFP4J_OP(hc_pre),
    NVFP4J_OP(hc_post),
    NVFP4J_OP_WITH(hc_head, hc_pre),
    NVFP4J_OP_WITH(hc_post_pre, hc_pre),
    NVFP4J_OP(router_dense),
    NVFP4J_OP(router_hash),
    NVFP4J_OP(expert_dispatch),
    NVFP4J_OP(expert_combine),
    NVFP4J_OP(indexer_topk),
    NVFP4J_OP(cache_append_window),
    NVFP4J_OP(cache_append),
    NVFP4J_OP(sample),
};

static_assert(NVFP4J_OP_QUANTIZE == 0 && NVFP4J_OP_DEQUANTIZE == 1 && NVFP4J_OP_SWIZZLE == 2 &&
              NVFP4J_OP_UNSWIZZLE == 3 && NVFP4J_OP_SWIGLU == 4 && NVFP4J_OP_SWIGLU_QUANTIZE == 5 &&
              NVFP4J_OP_COPY == 6 && NVFP4J_OP_GEMM == 7 && NVFP4J_OP_GROUPED_GEMM == 8 &&
              NVFP4J_OP_BATCHED_GEMM == 9 && NVFP4J_OP_PREPARE_WEIGHTS == 10 &&
              NVFP4J_OP_PACK_ACTIVATIONS == 11 && NVFP4J_OP_SINKHORN == 12 &&
              NVFP4J_OP_HC_PRE == 13 && NVFP4J_OP_HC_POST == 14 && NVFP4J_OP_HC_HEAD == 15 &&
              NVFP4J_OP_HC_POST_PRE == 16 && NVFP4J_OP_ROUTER_DENSE == 17 &&
              NVFP4J_OP_ROUTER_HASH == 18 && NVFP4J_OP_EXPERT_DISPATCH == 19 &&
              NVFP4J_OP_EXPERT_COMBINE == 20 && NVFP4J_OP_INDEXER_TOPK == 21 &&
              NVFP4J_OP_CACHE_APPEND_WINDOW == 22 && NVFP4J_OP_CACHE_APPEND == 23 &&
              NVFP4J_OP_SAMPLE == 24 && NVFP4J_OP_COUNT == 25);

}  // namespace nvfp4j
