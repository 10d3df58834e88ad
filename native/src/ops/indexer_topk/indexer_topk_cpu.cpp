// SPDX-License-Identifier: Apache-2.0
#include "ops/indexer_topk/indexer_topk_cpu.hpp"

#include <algorithm>
#include <functional>
#include <limits>

#include "common/faults.hpp"
#include "common/float_formats.hpp"
#include "nvfp4j/indexer.h"
#include "nvfp4j/tensor.h"
#include "ops/indexer_topk/indexer_topk_kernels.hpp"
#include "ops/indexer_topk/indexer_topk_order.hpp"

namespace nvfp4j {
namespace {

/// What a thread keeps of a query in its scratch memory.
struct Scratch {
  std::uint64_t best[NVFP4J_MAX_INDEXER_TOPK];  // a heap, the worst of the best at its front
  std::int64_t count;
  float q[NVFP4J_MAX_INDEXER_HEADS * NVFP4J_MAX_INDEXER_COLUMNS];
  float weights[NVFP4J_MAX_INDEXER_HEADS];
  float key[NVFP4J_MAX_INDEXER_COLUMNS];

  void offer(std::uint64_t entry, int k) {
    if (count < k) {
      best[count++] = entry;
      std::push_heap(best, best + count, std::greater<>());
    } else if (entry > best[0]) {
      std::pop_heap(best, best + count, std::greater<>());
      best[count - 1] = entry;
      std::push_heap(best, best + count, std::greater<>());
    }
  }
};
static_assert(sizeof(Scratch) <= kCpuScratchBytes);

void widen(const void* from, std::int64_t first, std::int32_t dtype, int count, float* to) {
  if (dtype == NVFP4J_DTYPE_F32) {
    const float* p = static_cast<const float*>(from) + first;
    for (int i = 0; i < count; ++i) to[i] = p[i];
  } else {
    const std::uint16_t* p = static_cast<const std::uint16_t*>(from) + first;
    for (int i = 0; i < count; ++i) to[i] = bf16_to_f32(p[i]);
  }
}

class Indexer {
 public:
  Indexer(CpuPool& pool, const IndexerTopkArgs& args) : pool_(pool), args_(args) {}

  void run() {
    // Rows that are worth waking a thread.
    const std::int64_t work = std::int64_t{args_.heads} * args_.columns;
    const std::int64_t row_grain = std::max<std::int64_t>(1, (std::int64_t{1} << 18) / work);
    if (args_.queries >= pool_.threads() || args_.rows < 2 * row_grain) {
      const std::int64_t grain =
          std::max<std::int64_t>(1, row_grain / std::max<std::int64_t>(1, args_.rows));
      pool_.run(args_.queries, grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
        for (std::int64_t s = begin; s < end; ++s) {
          start(part, s);
          scan(part, s, 0, args_.rows);
          finish(part, s);
        }
      });
      return;
    }
    for (std::int64_t s = 0; s < args_.queries; ++s) {
      pool_.run(args_.rows, row_grain,
                [&](int part, std::int64_t begin, std::int64_t end) noexcept {
                  start(part, s);
                  scan(part, s, begin, end);
                });
      // No entry is there twice, so the best of the parts' best are the same however rows were dealt out.
      for (int part = 1; part < pool_.parts(args_.rows, row_grain); ++part) {
        const Scratch& other = scratch(part);
        for (std::int64_t i = 0; i < other.count; ++i) scratch(0).offer(other.best[i], args_.k);
      }
      finish(0, s);
    }
  }

  void publish(DeviceStatus& status) const { faults_.publish(status, NVFP4J_OP_INDEXER_TOPK); }

 private:
  Scratch& scratch(int part) { return *static_cast<Scratch*>(pool_.scratch(part)); }

  std::int64_t visible(std::int64_t s) const {
    const std::int32_t valid = args_.valid[s];
    return valid < 0 || valid > args_.rows ? 0 : valid;
  }

  void start(int part, std::int64_t s) {
    Scratch& mine = scratch(part);
    mine.count = 0;
    for (int h = 0; h < args_.heads; ++h) {
      widen(args_.q, s * args_.q_query_stride + h * args_.q_head_stride, args_.dtype, args_.columns,
            mine.q + h * args_.columns);
      mine.weights[h] = args_.weights[s * args_.weights_stride + h];
    }
  }

  void scan(int part, std::int64_t s, std::int64_t begin, std::int64_t end) {
    Scratch& mine = scratch(part);
    const std::int64_t valid = visible(s);
    for (std::int64_t t = begin; t < std::min(end, valid); ++t) {
      widen(args_.keys, t * args_.keys_stride, args_.dtype, args_.columns, mine.key);
      const std::uint32_t key =
          indexer_key(kernel_(mine.q, mine.weights, mine.key, args_.heads, args_.columns));
      if (!indexer_key_is_finite(key)) faults_.report(NVFP4J_CAUSE_NON_FINITE_RESULT, s, t);
      if (args_.scores != nullptr) args_.scores[s * args_.scores_stride + t] = indexer_score(key);
      mine.offer(indexer_entry(key, static_cast<std::uint32_t>(t)), args_.k);
    }
    if (args_.scores == nullptr) return;
    for (std::int64_t t = std::max(begin, valid); t < end; ++t)
      args_.scores[s * args_.scores_stride + t] = -std::numeric_limits<float>::infinity();
  }

  void finish(int part, std::int64_t s) {
    Scratch& mine = scratch(part);
    if (args_.valid[s] < 0 || args_.valid[s] > args_.rows)
      faults_.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, s, -1);
    std::sort_heap(mine.best, mine.best + mine.count, std::greater<>());
    std::int32_t* out = args_.indices + s * args_.indices_stride;
    for (std::int64_t i = 0; i < mine.count; ++i) out[i] = indexer_row(mine.best[i]);
    for (std::int64_t i = mine.count; i < args_.k; ++i) out[i] = -1;
  }

  CpuPool& pool_;
  const IndexerTopkArgs& args_;
  const IndexerCpuKernel kernel_ = indexer_cpu_kernels[static_cast<int>(cpu_isa())];
  Faults faults_;
};

}  // namespace

void indexer_topk_cpu(CpuPool& pool, DeviceStatus& status, const IndexerTopkArgs& args) {
  Indexer indexer(pool, args);
  indexer.run();
  indexer.publish(status);
}

const char* indexer_topk_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: indexer_topk_cpu, x86-64 baseline (no AVX2)", "cpu: indexer_topk_cpu, x86-64-v3 (AVX2)",
      "cpu: indexer_topk_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
