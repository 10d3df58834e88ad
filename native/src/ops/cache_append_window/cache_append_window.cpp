// SPDX-License-Identifier: Apache-2.0
#include "common/context.hpp"
#include "common/guard.hpp"
#include "nvfp4j/cache.h"
#include "ops/cache_append/cache_checks.hpp"
#include "ops/cache_append_window/cache_append_window_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/cache_append_window/cache_append_window_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "cache_append_window";

CacheAppendWindowArgs check_cache_append_window(const Place& place, const nvfp4j_tensor* cache,
                                                const nvfp4j_tensor* rows,
                                                const nvfp4j_tensor* position) {
  const CheckedCache c = check_cache(place, cache, rows);
  const std::int64_t slots = c.cache.rows;
  if (slots < 1 || slots > 0x7fffffff) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: cache has %lld rows, expected 1 to 2147483647", kOp,
         static_cast<long long>(slots));
  }
  const Vector p = check_counter(place, "position", position, c.cache);
  const std::int64_t written = c.rows.rows < slots ? c.rows.rows : slots;
  const std::int64_t skipped = c.rows.rows - written;
  CacheRows copy = c.copy;
  copy.rows += skipped * copy.rows_stride;
  return CacheAppendWindowArgs{copy, written, static_cast<std::uint32_t>(skipped % slots),
                               static_cast<std::uint32_t>(slots),
                               CacheCounter{p.data, position->dtype == NVFP4J_DTYPE_I64}};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_cache_append_window(nvfp4j_context* context, const nvfp4j_tensor* cache,
                                              const nvfp4j_tensor* rows,
                                              const nvfp4j_tensor* position, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const CacheAppendWindowArgs args =
        check_cache_append_window(place_of(kOp, context), cache, rows, position);
    const Use use(*context, kOp);
    if (args.written == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(
          NVFP4J_OP_CACHE_APPEND_WINDOW, args.written, args.copy.row_bytes,
          [&](const CudaLaunch& launch) { return cache_append_window_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run([args](CpuPool& pool, DeviceStatus& status) {
      cache_append_window_cpu(pool, status, args);
    });
  });
}
