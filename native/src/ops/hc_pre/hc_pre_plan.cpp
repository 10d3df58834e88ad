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

bool aligned(const void* data, std::int64_t stride_bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride_bytes % 16 == 0;
}

bool aligned(const HcStreams& s) {
  return aligned(s.data, s.token_stride * 2) && s.stream_stride * 2 % 16 == 0;
}

HcKind kind_of(const HcPreArgs& args) {
  if (args.op == NVFP4J_OP_HC_HEAD) return HcKind::kHead;
  if (args.op == NVFP4J_OP_HC_PRE) return HcKind::kPre;
  return args.norm_weight != nullptr || args.quantize ? HcKind::kPostPreTail : HcKind::kPostPre;
}

// Why a call is not kSplit's, or nullptr.
const char* split_refusal(const CudaDeviceProperties& device, const HcPreArgs& args) {
  const HcShape& shape = args.shape;
  if (!hc_has_split(device)) return "kernels that share tokens need compute capability 9.0";
  if (shape.n != kHcStreams) return "n is not 4";
  if (shape.dtype != NVFP4J_DTYPE_BF16) return "x is F32";
  const int blocks = std::min(device.sm_count, kHcMaxBlocks);
  if (divide_up(shape.columns, max_slice(kind_of(args))) > blocks) return "D is too large";
  const bool post = args.op == NVFP4J_OP_HC_POST_PRE;
  if (!aligned(post ? args.before.x : args.x)) return "x is not 16-byte aligned";
  if (post && (!aligned(args.x) || !aligned(args.before.sub.data, args.before.sub.stride * 2)))
    return "out or sub is not 16-byte aligned";
  if (post && (!aligned(args.before.post.data, args.before.post.stride * 4) ||
               !aligned(args.before.comb.data, args.before.comb.stride * 4)))
    return "post or comb is not 16-byte aligned";
  if (args.collapsed.data != nullptr && !aligned(args.collapsed.data, args.collapsed.stride * 2))
    return "collapsed is not 16-byte aligned";
  if (args.norm_weight != nullptr && !aligned(args.norm_weight, 0))
    return "norm_weight is not 16-byte aligned";
  if (!aligned(args.module.fn, args.module.fn_stride * 4)) return "fn is not 16-byte aligned";
  return nullptr;
}

HcPrePlan generic_plan(const CudaDeviceProperties& device, const HcPreArgs& args,
                       const char* reason) {
  HcPrePlan plan{};
  plan.kernel = HcPreKernel::kGeneric;
  plan.reason = reason;
  plan.threads = kHcGenericThreads;
  // Few tokens spread over the multiprocessors; of many, several share a reading of fn.
  plan.tokens = args.shape.tokens >= 4 * std::int64_t{device.sm_count} ? 4 : 1;
  plan.grid = std::min<std::int64_t>(divide_up(args.shape.tokens, plan.tokens), 0x7fffffff);
  return plan;
}

}  // namespace

bool hc_has_split(const CudaDeviceProperties& device) {
  return device.major == 9 && device.minor == 0 && device.cooperative_launch != 0;
}

HcPrePlan plan_hc_pre(const CudaDeviceProperties& device, const HcPreArgs& args) {
  if (const char* reason = split_refusal(device, args); reason != nullptr)
    return generic_plan(device, args, reason);
  HcPrePlan plan{};
  plan.kernel = HcPreKernel::kSplit;
  plan.kind = kind_of(args);
  const std::int64_t columns = args.shape.columns;
  const std::int64_t blocks = std::min(device.sm_count, kHcMaxBlocks);
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
