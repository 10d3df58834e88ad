// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/indexer.h"

#include "common/context.hpp"
#include "common/guard.hpp"
#include "common/overlap_checks.hpp"
#include "ops/indexer_topk/indexer_topk_cpu.hpp"
#include "ops/indexer_topk/indexer_topk_order.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/indexer_topk/indexer_topk_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "indexer_topk";

IndexerTopkArgs check_indexer_topk(const Place& place, const nvfp4j_tensor* q,
                                   const nvfp4j_tensor* keys, const nvfp4j_tensor* weights,
                                   const nvfp4j_tensor* valid, const nvfp4j_tensor* indices,
                                   const nvfp4j_tensor* scores) {
  const Tokens in = check_tokens(place, "q", q, dtype_set({NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}));
  if (in.streams < 1 || in.streams > NVFP4J_MAX_INDEXER_HEADS) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: q has %lld heads (its second dimension), expected 1 to %d", kOp,
         static_cast<long long>(in.streams), NVFP4J_MAX_INDEXER_HEADS);
  }
  if (in.columns < 16 || in.columns > NVFP4J_MAX_INDEXER_COLUMNS || in.columns % 16 != 0)
      [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: q has %lld columns a head (its last dimension), expected a multiple of 16 from 16 to "
         "%d",
         kOp, static_cast<long long>(in.columns), NVFP4J_MAX_INDEXER_COLUMNS);
  }
  const Matrix cache = check_matrix(place, "keys", keys, dtype_set({in.dtype}));
  if (cache.rows > kMaxIndexerRows) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: keys has %lld rows, expected %lld or fewer", kOp,
         static_cast<long long>(cache.rows), static_cast<long long>(kMaxIndexerRows));
  }
  check_shape(kOp, "keys", cache, cache.rows, in.columns, "as many columns as a head of q");
  const Matrix w = check_matrix(place, "weights", weights, dtype_set({NVFP4J_DTYPE_F32}));
  check_shape(kOp, "weights", w, in.tokens, in.streams, "one weight per query and head");
  const Vector visible = check_vector(place, "valid", valid, dtype_set({NVFP4J_DTYPE_I32}));
  check_count(kOp, "valid", visible, in.tokens, "one per query");
  const Matrix out = check_matrix(place, "indices", indices, dtype_set({NVFP4J_DTYPE_I32}));
  if (out.columns < 1 || out.columns > NVFP4J_MAX_INDEXER_TOPK) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: indices has k = %lld (its columns), expected 1 to %d",
         kOp, static_cast<long long>(out.columns), NVFP4J_MAX_INDEXER_TOPK);
  }
  check_shape(kOp, "indices", out, in.tokens, out.columns, "one row per query");
  Matrix all{};
  if (scores != nullptr) {
    all = check_matrix(place, "scores", scores, dtype_set({NVFP4J_DTYPE_F32}));
    check_shape(kOp, "scores", all, in.tokens, cache.rows, "one score per query and row of keys");
  }
  check_apart(kOp, {&out.buffer, &all.buffer},
              {&in.buffer, &cache.buffer, &w.buffer, &visible.buffer});
  return {in.dtype,
          in.data,
          in.token_stride,
          in.stream_stride,
          cache.data,
          cache.stride,
          static_cast<const float*>(w.data),
          w.stride,
          static_cast<const std::int32_t*>(visible.data),
          static_cast<std::int32_t*>(out.data),
          out.stride,
          static_cast<float*>(all.data),
          all.stride,
          in.tokens,
          cache.rows,
          static_cast<int>(in.streams),
          static_cast<int>(in.columns),
          static_cast<int>(out.columns)};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_indexer_topk(nvfp4j_context* context, const nvfp4j_tensor* q,
                                       const nvfp4j_tensor* keys, const nvfp4j_tensor* weights,
                                       const nvfp4j_tensor* valid, const nvfp4j_tensor* indices,
                                       const nvfp4j_tensor* scores, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const IndexerTopkArgs args =
        check_indexer_topk(place_of(kOp, context), q, keys, weights, valid, indices, scores);
    const Use use(*context, kOp);
    if (args.queries == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_INDEXER_TOPK, args.queries, args.rows,
          [&](const CudaLaunch& launch) { return indexer_topk_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { indexer_topk_cpu(pool, status, args); });
  });
}
