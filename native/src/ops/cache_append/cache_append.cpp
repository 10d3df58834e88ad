// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/cache.h"
#include "ops/cache_append/cache_append_cpu.hpp"
#include "ops/cache_append/cache_checks.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/cache_append/cache_append_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "cache_append";

CacheAppendArgs check_cache_append(const Place& place, const nvfp4j_tensor* cache,
                                   const nvfp4j_tensor* rows, const nvfp4j_tensor* length) {
  const CheckedCache c = check_cache(place, cache, rows);
  const Vector n = check_counter(place, "length", length, c.cache);
  check_disjoint(kOp, n.buffer, c.rows.buffer);
  const bool wide = length->dtype == NVFP4J_DTYPE_I64;
  if (!wide && c.cache.rows > 0x7fffffff) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: length has dtype I32, expected I64: cache has %lld rows", kOp,
         static_cast<long long>(c.cache.rows));
  }
  return CacheAppendArgs{c.copy, c.rows.rows, c.cache.rows, CacheCounter{n.data, wide}};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_cache_append(nvfp4j_context* context, const nvfp4j_tensor* cache,
                                       const nvfp4j_tensor* rows, const nvfp4j_tensor* length,
                                       nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const CacheAppendArgs args = check_cache_append(place_of(kOp, context), cache, rows, length);
    const Use use(*context, kOp);
    if (args.tokens == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_CACHE_APPEND, args.tokens, args.copy.row_bytes,
          [&](const CudaLaunch& launch) { return cache_append_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { cache_append_cpu(pool, status, args); });
  });
}
