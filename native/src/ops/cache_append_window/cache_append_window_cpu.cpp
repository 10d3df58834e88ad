// SPDX-License-Identifier: Apache-2.0
#include "ops/cache_append_window/cache_append_window_cpu.hpp"

#include "common/faults.hpp"
#include "ops/cache_append/cache_rows_cpu.hpp"
#include "ops/cache_append_window/cache_append_window_slot.hpp"

namespace nvfp4j {

void cache_append_window_cpu(CpuPool& pool, DeviceStatus& status,
                             const CacheAppendWindowArgs& args) {
  const std::int64_t position = read_counter(args.position);
  if (position < 0) {
    Faults faults;
    faults.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, -1, -1);
    faults.publish(status, NVFP4J_OP_CACHE_APPEND_WINDOW);
    return;
  }
  const std::uint32_t first = first_slot(position, args.skipped, args.slots);
  copy_cache_rows(pool, args.copy, args.written,
                  [&](std::int64_t i) { return slot_of(first, i, args.slots); });
}

const char* cache_append_window_cpu_path() {
  return "cpu: cache_append_window_cpu, memcpy row by row";
}

}  // namespace nvfp4j
