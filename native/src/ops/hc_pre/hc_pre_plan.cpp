// SPDX-License-Identifier: Apache-2.0
#include "ops/hc_pre/hc_pre_plan.hpp"

#include <algorithm>

#include "nvfp4j/base.h"
#include "nvfp4j/tensor.h"

namespace nvfp4j {
namespace {

constexpr int kWarps = kHcSplitThreads / 32;
// Beside them a thread block has the service warp, at least one gatherer, and tailers.
constexpr int max_slice(HcKind kind) { return 16 * (kWarps - 2 - hc_tailers(kind)); }
constexpr int kSlicesOfGatherer = 36;  // whose words one warp asks for at once

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

HcKind kind_of(const HcPreArgs& args) {
  if (args.op == NVFP4J_OP_HC_HEAD) return HcKind::kHead;
  if (args.op == NVFP4J_OP_HC_PRE) return HcKind::kPre;
  return args.norm_weight != nullptr || args.quantize ? HcKind::kPostPreTail : HcKind::kPostPre;
}

// Whether the streams, what is made of them and fn can be read and written 16 bytes at a time.
bool rows_aligned(const HcPreArgs& args) {
  const int bytes = args.shape.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const HcPostArgs& before = args.before;
  return hc_aligned(args.x, bytes) && aligned16(args.module.fn, args.module.fn_stride * 4) &&
         aligned16(args.collapsed.data, args.collapsed.stride * bytes) &&
         (args.op != NVFP4J_OP_HC_POST_PRE ||
          (hc_aligned(before.x, bytes) && aligned16(before.sub.data, before.sub.stride * bytes)));
}

bool weights_aligned(const HcPreArgs& args) {
  const HcPostArgs& before = args.before;
  return aligned16(args.norm_weight, 0) && aligned16(before.post.data, before.post.stride * 4) &&
         aligned16(before.comb.data, before.comb.stride * 4);
}

std::int64_t most_blocks(const CudaDeviceProperties& device) {
  return std::min(device.sm_count, kHcMaxBlocks);
}

bool fits_split(const CudaDeviceProperties& device, const HcPreArgs& args) {
  const HcShape& shape = args.shape;
  return hc_has_split(device) && shape.n == kHcStreams && shape.dtype == NVFP4J_DTYPE_BF16 &&
         divide_up(shape.columns, max_slice(kind_of(args))) <= most_blocks(device) &&
         rows_aligned(args) && weights_aligned(args);
}

HcPrePlan generic_plan(const CudaDeviceProperties& device, const HcPreArgs& args) {
  HcPrePlan plan{};
  plan.kernel = HcPreKernel::kGeneric;
  plan.threads = kHcGenericThreads;
  plan.aligned = rows_aligned(args);
  // Few tokens spread over the multiprocessors; of many, several share a reading of fn.
  plan.tokens =
      args.shape.tokens >= std::int64_t{kHcGenericTokens} * device.sm_count ? kHcGenericTokens : 1;
  plan.grid = std::min<std::int64_t>(divide_up(args.shape.tokens, plan.tokens), 0x7fffffff);
  return plan;
}

}  // namespace

bool hc_has_split(const CudaDeviceProperties& device) {
  return device.major == 9 && device.minor == 0 && device.cooperative_launch != 0;
}

HcPrePlan plan_hc_pre(const CudaDeviceProperties& device, const HcPreArgs& args) {
  if (!fits_split(device, args)) return generic_plan(device, args);
  HcPrePlan plan{};
  plan.kernel = HcPreKernel::kSplit;
  plan.kind = kind_of(args);
  const std::int64_t columns = args.shape.columns;
  const std::int64_t blocks = most_blocks(device);
  // Few tokens take narrow slices, so that many multiprocessors read fn; many tokens take the widest, so that few share a token.
  const std::int64_t tiles = divide_up(args.shape.tokens, kHcTile);
  const std::int64_t groups = std::min(tiles, blocks / divide_up(columns, max_slice(plan.kind)));
  plan.slice = static_cast<int>(divide_up(divide_up(columns, blocks / groups), 16) * 16);
  plan.slices = static_cast<int>(divide_up(columns, plan.slice));
  plan.groups = static_cast<int>(groups);
  plan.workers = plan.slice / 16;
  const int others = 1 + hc_tailers(plan.kind);
  plan.gatherers = std::min(kWarps - others - plan.workers,
                            (plan.slices + kSlicesOfGatherer - 1) / kSlicesOfGatherer);
  plan.threads = 32 * (plan.workers + others + plan.gatherers);
  plan.layout = HcSplitLayout::of(plan.kind, plan.slice, plan.workers, plan.gatherers);
  plan.shared_bytes = plan.layout.total;
  plan.grid = std::int64_t{plan.slices} * plan.groups;
  return plan;
}

}  // namespace nvfp4j
