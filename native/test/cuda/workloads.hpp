// SPDX-License-Identifier: Apache-2.0
// Calls of every op (workload.hpp).
#pragma once
#include "workloads_cache.hpp"
#include "workloads_experts.hpp"
#include "workloads_gemm.hpp"
#include "workloads_hc.hpp"
#include "workloads_indexer.hpp"
#include "workloads_quantize.hpp"
#include "workloads_routers.hpp"

namespace nvfp4j::test {

// Every op at a shape, in the types and modes that it has. One at a time, since large ones take memory.
inline void for_every_op(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                         const std::function<void(const Workload&)>& use) {
  constexpr std::int32_t kDynamic = NVFP4J_GLOBAL_SCALE_DYNAMIC;
  constexpr std::int32_t kGiven = NVFP4J_GLOBAL_SCALE_GIVEN;
  constexpr std::int32_t kTensor = NVFP4J_GLOBAL_SCALE_TENSOR;
  constexpr std::int32_t kRow = NVFP4J_GLOBAL_SCALE_ROW;
  constexpr std::int32_t kLinear = NVFP4J_SCALE_LAYOUT_LINEAR;
  constexpr std::int32_t kSwizzled = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;
  for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    use(quantize_workload(g, dtype, rows, columns, kDynamic, kTensor, kSwizzled));
    use(quantize_workload(g, dtype, rows, columns, kDynamic, kRow, kLinear));
    use(quantize_workload(g, dtype, rows, columns, kGiven, kTensor, kLinear));
    use(dequantize_workload(g, dtype, rows, columns, dtype == NVFP4J_DTYPE_F16 ? kRow : kTensor,
                            dtype == NVFP4J_DTYPE_F32 ? kLinear : kSwizzled));
  }
  use(quantize_workload(g, NVFP4J_DTYPE_BF16, rows, columns, kDynamic, kTensor, kSwizzled, true));
  use(quantize_workload(g, NVFP4J_DTYPE_BF16, rows, columns, kGiven, kRow, kSwizzled));
  use(swizzle_workload(g, rows, columns, false));
  use(swizzle_workload(g, rows, columns, true));
  for (const std::int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
    use(swiglu_workload(
        g, dtype, rows, columns,
        dtype == NVFP4J_DTYPE_F32 ? NVFP4J_SWIGLU_HALVES : NVFP4J_SWIGLU_INTERLEAVED));
    use(swiglu_quantize_workload(g, dtype, rows, columns, kDynamic, kTensor, kLinear));
    use(swiglu_quantize_workload(g, dtype, rows, columns, kDynamic, kRow, kSwizzled));
    use(swiglu_quantize_workload(g, dtype, rows, columns, kGiven, kTensor, kSwizzled));
  }
  use(copy_workload(g, NVFP4J_DTYPE_F32, rows, columns));
  for_every_product(g, rows, columns, use);
  for_every_hc_op(g, rows, columns, use);
  for_every_expert_op(g, rows, columns, use);
  for_every_cache_op(g, rows, columns, use);
  for_every_router(g, rows, columns, use);
  for_every_indexer(g, rows, columns, use);
}

}  // namespace nvfp4j::test
