// SPDX-License-Identifier: Apache-2.0
#include "ops/hc_pre/hc_pre_plan.hpp"

#include <algorithm>

#include "nvfp4j/base.h"
#include "nvfp4j/tensor.h"

namespace nvfp4j {
namespace {

constexpr int kWarps = kHcSplitThreads / 32;
// Beside workers a thread block has others, and at least one gatherer.
constexpr int max_slice(HcKind kind) { return 16 * (kWarps - 1 - hc_split_others(kind)); }
constexpr std::int64_t kMapStride = std::int64_t{1} << 40;  // bytes
constexpr int kSlicesOfGatherer = 36;                       // whose words one warp asks for at once

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

// Whether thread blocks can share tokens.
bool fits_slices(const CudaDeviceProperties& device, const HcPreArgs& args) {
  const HcShape& shape = args.shape;
  return hc_has_sm90(device) && shape.n == kHcStreams && shape.dtype == NVFP4J_DTYPE_BF16 &&
         rows_aligned(args) && weights_aligned(args);
}

// The columns, dealt out to groups of at most `blocks` thread blocks in all, as many groups as have tiles of tokens. False: too many columns for slices of `most`.
bool deal_out(HcPrePlan& plan, const HcPreArgs& args, int tile, int granule, int most,
              std::int64_t blocks) {
  const std::int64_t columns = args.shape.columns;
  if (divide_up(columns, most) > blocks) return false;
  // Few tokens take narrow slices, so that many multiprocessors read fn; many tokens take the widest, so that few share a token.
  const std::int64_t groups =
      std::min(divide_up(args.shape.tokens, tile), blocks / divide_up(columns, most));
  plan.slice = static_cast<int>(divide_up(divide_up(columns, blocks / groups), granule) * granule);
  plan.slices = static_cast<int>(divide_up(columns, plan.slice));
  plan.groups = static_cast<int>(groups);
  plan.grid = std::int64_t{plan.slices} * plan.groups;
  return true;
}

bool plan_split(const CudaDeviceProperties& device, const HcPreArgs& args, HcPrePlan& plan) {
  plan.kernel = HcPreKernel::kSplit;
  plan.kind = kind_of(args);
  if (!deal_out(plan, args, kHcTile, 16, max_slice(plan.kind),
                std::min(device.sm_count, kHcMaxBlocks)))
    return false;
  plan.workers = plan.slice / 16;
  const int others = hc_split_others(plan.kind);
  plan.gatherers = std::min(kWarps - others - plan.workers,
                            (plan.slices + kSlicesOfGatherer - 1) / kSlicesOfGatherer);
  plan.threads = 32 * (plan.workers + others + plan.gatherers);
  plan.layout = HcSplitLayout::of(plan.kind, plan.slice, plan.workers, plan.gatherers);
  plan.shared_bytes = plan.layout.total;
  return true;
}

// What a tensor map can say: strides in 40 bits, sizes and coordinates in 31.
bool has_map(const HcStreams& s) {
  return s.token_stride < kMapStride / 2 && s.stream_stride < kMapStride / 2;
}
bool has_maps(const HcPreArgs& args) {
  if (args.shape.tokens > 0x7fffffff) return false;
  if (args.op != NVFP4J_OP_HC_POST_PRE) return has_map(args.x);
  return has_map(args.before.x) && args.before.sub.stride < kMapStride / 2;
}

bool plan_wgmma(const CudaDeviceProperties& device, const HcPreArgs& args, HcPrePlan& plan) {
  plan.kernel = HcPreKernel::kWgmma;
  plan.kind = kind_of(args);
  if (plan.kind == HcKind::kHead || !has_maps(args)) return false;
  if (!deal_out(plan, args, kHcWgmmaTile, kHcGranule, kHcWgmmaMaxSlice,
                std::min(device.sm_count, kHcWgmmaMaxBlocks)))
    return false;
  plan.threads = hc_wgmma_threads(plan.kind);
  plan.wgmma = HcWgmmaLayout::of(plan.kind, plan.slice, device.shared_memory_per_block_optin);
  plan.shared_bytes = plan.wgmma.total;
  return plan.wgmma.slots > 0;
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

bool hc_has_sm90(const CudaDeviceProperties& device) {
  return runs_sm90a(device) && device.cooperative_launch != 0;
}

HcPrePlan plan_hc_pre(const CudaDeviceProperties& device, const HcPreArgs& args) {
  if (!fits_slices(device, args)) return generic_plan(device, args);
  HcPrePlan plan{};
  const std::int64_t many =
      std::max(kHcWgmmaTokens, divide_up(kHcWgmmaElements * device.sm_count, args.shape.columns));
  if (args.shape.tokens >= many && plan_wgmma(device, args, plan)) return plan;
  plan = {};
  return plan_split(device, args, plan) ? plan : generic_plan(device, args);
}

}  // namespace nvfp4j
