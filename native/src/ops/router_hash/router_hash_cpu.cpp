// SPDX-License-Identifier: Apache-2.0
#include "ops/router_hash/router_hash_cpu.hpp"

#include <algorithm>

#include "common/faults.hpp"
#include "common/math.hpp"
#include "nvfp4j/router.h"
#include "ops/router_dense/router_math.hpp"
#include "ops/router_dense/router_products.hpp"

namespace nvfp4j {
namespace {

std::int64_t integer_at(const void* data, bool is_64_bit, std::int64_t i) {
  return is_64_bit ? static_cast<const std::int64_t*>(data)[i]
                   : static_cast<const std::int32_t*>(data)[i];
}

/// The token's experts as the table has them, -1 where there is none.
void look_up(const RouterHashArgs& args, std::int64_t token, Faults& faults,
             std::int32_t* experts) noexcept {
  const int topk = args.choice.topk;
  const std::int64_t id = integer_at(args.ids, args.ids_are_64_bit, token);
  if (id < 0 || id >= args.vocabulary) [[unlikely]] {
    faults.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, -1);
    std::fill_n(experts, topk, -1);
    return;
  }
  for (int j = 0; j < topk; ++j) {
    const std::int64_t e = integer_at(args.table, args.table_is_64_bit, id * topk + j);
    const bool good = e >= 0 && e < args.gate.experts;
    if (!good) [[unlikely]]
      faults.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, j);
    experts[j] = good ? static_cast<std::int32_t>(e) : -1;
  }
}

}  // namespace

void router_hash_cpu(CpuPool& pool, DeviceStatus& status, const RouterHashArgs& args) {
  const RouterChoice& choice = args.choice;
  const int topk = choice.topk;
  Faults faults;
  const RouterProducts products(args.x, args.gate, faults);
  const std::int64_t grain =
      std::max<std::int64_t>(1, kRouterGrain / (topk * (args.x.columns + 64)));
  pool.run(args.x.tokens, grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
    RouterScratch& scratch = *static_cast<RouterScratch*>(pool.scratch(part));
    for (std::int64_t token = begin; token < end; ++token) {
      std::int32_t* indices = choice.indices + token * choice.indices_stride;
      float* weights = choice.weights + token * choice.weights_stride;
      look_up(args, token, faults, indices);
      double sums[NVFP4J_MAX_TOPK];
      products.listed(scratch, token, indices, topk, sums);
      float sum = 0.0f;
      for (int j = 0; j < topk; ++j) {
        if (indices[j] < 0) continue;
        const float z = products.logit(sums[j]);
        if (!math::is_finite(z)) [[unlikely]]
          faults.report(NVFP4J_CAUSE_NON_FINITE_RESULT, token, indices[j]);
        weights[j] = router_score(z);
        sum = sum + weights[j];  // 0 + s is s
      }
      for (int j = 0; j < topk; ++j)
        weights[j] = indices[j] < 0 ? 0.0f : router_weight(weights[j], sum, choice.scale);
    }
  });
  faults.publish(status, NVFP4J_OP_ROUTER_HASH);
}

const char* router_hash_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: router_hash_cpu, x86-64 baseline (no AVX2)", "cpu: router_hash_cpu, x86-64-v3 (AVX2)",
      "cpu: router_hash_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
