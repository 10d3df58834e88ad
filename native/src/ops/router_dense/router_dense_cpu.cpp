// SPDX-License-Identifier: Apache-2.0
// Of many tokens a thread has its own; of few it has experts, so that W is read once.
#include "ops/router_dense/router_dense_cpu.hpp"

#include <algorithm>

#include "common/faults.hpp"
#include "common/math.hpp"
#include "nvfp4j/router.h"
#include "ops/router_dense/router_kernels.hpp"
#include "ops/router_dense/router_math.hpp"
#include "ops/router_dense/router_products.hpp"

namespace nvfp4j {
namespace {

constexpr int kMaxGroups = (NVFP4J_MAX_EXPERTS + kRouterRows - 1) / kRouterRows;

class RouterDense {
 public:
  RouterDense(CpuPool& pool, const RouterDenseArgs& args)
      : pool_(pool),
        args_(args),
        experts_(args.gate.experts),
        products_(args.x, args.gate, faults_),
        scores_(router_scores_kernels[static_cast<int>(cpu_isa())]) {}

  void run(DeviceStatus& status) {
    const std::int64_t tokens = args_.x.tokens;
    const std::int64_t columns = args_.x.columns;
    const std::int64_t token_grain =
        std::max<std::int64_t>(1, kRouterGrain / (experts_ * (columns + 64)));
    const int groups = (experts_ + kRouterRows - 1) / kRouterRows;
    const std::int64_t group_grain = std::max<std::int64_t>(
        1, kRouterGrain / (kRouterRows * columns * std::min<std::int64_t>(tokens, kRouterTokens)));
    const int parts = pool_.parts(groups, group_grain);
    const int in_part = (groups + parts - 1) / parts * kRouterRows;
    if (tokens <= kRouterTokens && parts > pool_.parts(tokens, token_grain) &&
        in_part * tokens <= kRouterSums) {
      run_experts(groups, group_grain, static_cast<int>(tokens));
    } else {
      run_tokens(token_grain);
    }
    faults_.publish(status, NVFP4J_OP_ROUTER_DENSE);
  }

 private:
  RouterScratch& scratch(int part) const {
    return *static_cast<RouterScratch*>(pool_.scratch(part));
  }

  void run_tokens(std::int64_t grain) {
    const std::int64_t most = std::min(kRouterTokens, kRouterSums / experts_);
    pool_.run(args_.x.tokens, grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
      RouterScratch& s = scratch(part);
      float z[NVFP4J_MAX_EXPERTS];
      for (std::int64_t first = begin; first < end; first += most) {
        const int count = static_cast<int>(std::min(most, end - first));
        products_.block(s, first, count, 0, experts_, s.sums, experts_);
        for (int t = 0; t < count; ++t) {
          const double* sums = s.sums + t * experts_;
          for (int e = 0; e < experts_; ++e) z[e] = products_.logit(sums[e]);
          choose(first + t, z);
        }
      }
    });
  }

  void run_experts(int groups, std::int64_t grain, int tokens) {
    // Of a group of experts: its sums, and how far apart those of two tokens are.
    const double* sums[kMaxGroups];
    int strides[kMaxGroups];
    pool_.run(groups, grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
      RouterScratch& s = scratch(part);
      const int first = static_cast<int>(begin) * kRouterRows;
      const int experts = std::min(experts_, static_cast<int>(end) * kRouterRows) - first;
      products_.block(s, 0, tokens, first, experts, s.sums, experts);
      for (std::int64_t g = begin; g < end; ++g) {
        sums[g] = s.sums + (g - begin) * kRouterRows;
        strides[g] = experts;
      }
    });
    float z[NVFP4J_MAX_EXPERTS];
    for (int t = 0; t < tokens; ++t) {
      for (int e = 0; e < experts_; ++e) {
        const int g = e / kRouterRows;
        z[e] = products_.logit(sums[g][t * strides[g] + e % kRouterRows]);
      }
      choose(t, z);
    }
  }

  void choose(std::int64_t token, const float* z) noexcept {
    for (int e = 0; e < experts_; ++e) {
      if (!math::is_finite(z[e])) [[unlikely]] {
        faults_.report(NVFP4J_CAUSE_NON_FINITE_RESULT, token, e);
        break;
      }
    }
    if (args_.logits != nullptr)
      std::copy_n(z, experts_, args_.logits + token * args_.logits_stride);
    float s[NVFP4J_MAX_EXPERTS];
    scores_(z, experts_, s);
    const RouterChoice& choice = args_.choice;
    // The highest keys so far, descending: most experts are below the last, and one that is not passes those below it.
    std::uint64_t best[NVFP4J_MAX_TOPK] = {};
    const int last = choice.topk - 1;
    for (int e = 0; e < experts_; ++e) {
      const std::uint64_t key = router_key(s[e] + args_.bias[e], e);
      if (key <= best[last]) continue;
      int j = last;
      for (; j > 0 && best[j - 1] < key; --j) best[j] = best[j - 1];
      best[j] = key;
    }
    std::int32_t* indices = choice.indices + token * choice.indices_stride;
    float* weights = choice.weights + token * choice.weights_stride;
    float sum = s[router_expert(best[0])];
    for (int j = 1; j <= last; ++j) sum = sum + s[router_expert(best[j])];
    for (int j = 0; j <= last; ++j) {
      indices[j] = router_expert(best[j]);
      weights[j] = router_weight(s[indices[j]], sum, choice.scale);
    }
  }

  CpuPool& pool_;
  const RouterDenseArgs& args_;
  const int experts_;
  Faults faults_;
  const RouterProducts products_;
  const RouterScoresKernel scores_;
};

}  // namespace

void router_dense_cpu(CpuPool& pool, DeviceStatus& status, const RouterDenseArgs& args) {
  RouterDense(pool, args).run(status);
}

const char* router_dense_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: router_dense_cpu, x86-64 baseline (no AVX2)", "cpu: router_dense_cpu, x86-64-v3 (AVX2)",
      "cpu: router_dense_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
