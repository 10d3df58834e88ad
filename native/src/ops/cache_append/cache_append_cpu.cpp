// SPDX-License-Identifier: Apache-2.0
#include "ops/cache_append/cache_append_cpu.hpp"

#include "common/faults.hpp"
#include "ops/cache_append/cache_rows_cpu.hpp"

namespace nvfp4j {

void cache_append_cpu(CpuPool& pool, DeviceStatus& status, const CacheAppendArgs& args) {
  const std::int64_t n = read_counter(args.length);
  const bool in_range = n >= 0 && n <= args.capacity;
  if (!in_range || args.tokens > args.capacity - n) {
    Faults faults;
    if (in_range) {
      faults.report(NVFP4J_CAUSE_CACHE_OVERFLOW, args.capacity, -1);
    } else {
      faults.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, -1, -1);
    }
    faults.publish(status, NVFP4J_OP_CACHE_APPEND);
    return;
  }
  copy_cache_rows(pool, args.copy, args.tokens, [&](std::int64_t i) { return n + i; });
  write_counter(args.length, n + args.tokens);
}

const char* cache_append_cpu_path() { return "cpu: cache_append_cpu, memcpy row by row"; }

}  // namespace nvfp4j
