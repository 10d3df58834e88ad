// SPDX-License-Identifier: Apache-2.0
// Which kernels and grids sinkhorn and the hyper-connection ops choose: functions of device and call, so no GPU is needed.
#include "check.hpp"
#include "nvfp4j/base.h"
#include "nvfp4j/tensor.h"
#include "ops/hc_post/hc_post_plan.hpp"
#include "ops/hc_pre/hc_pre_plan.hpp"
#include "ops/sinkhorn/sinkhorn_plan.hpp"

using namespace nvfp4j;

namespace {

constexpr CudaDeviceProperties kH100 = {0, 9, 0, 132, 232448, 233472, 52428800, 1, 0};
constexpr CudaDeviceProperties kAda = {0, 8, 9, 128, 101376, 102400, 75497472, 1, 0};
constexpr CudaDeviceProperties kB200 = {0, 10, 0, 148, 232448, 233472, 132644864, 1, 0};

alignas(16) char memory[64];  // nothing is read

// A call on aligned, contiguous tensors.
HcPreArgs call(int op, std::int64_t tokens, std::int64_t columns, int n = 4,
               int dtype = NVFP4J_DTYPE_BF16) {
  HcPreArgs a{};
  a.op = op;
  a.shape = {tokens, n, columns, dtype};
  a.x = {memory, n * columns, columns};
  a.module.fn = reinterpret_cast<const float*>(memory);
  a.module.fn_stride = n * columns;
  a.collapsed = {memory, columns};
  auto* const weights = reinterpret_cast<float*>(memory);
  if (op == NVFP4J_OP_HC_POST_PRE)
    a.before = {a.shape, a.x, {memory, columns}, {weights, n}, {weights, std::int64_t{n} * n}, a.x};
  return a;
}

void check_plan(const CudaDeviceProperties& device, const HcPreArgs& a) {
  const HcPrePlan p = plan_hc_pre(device, a);
  CHECK(p.grid >= 1);
  CHECK(p.grid <= 0x7fffffff);
  CHECK_EQ(p.threads % 32, 0);
  if (p.kernel == HcPreKernel::kGeneric) {
    CHECK_EQ(p.threads, kHcGenericThreads);
    // A full grid goes round.
    CHECK(p.grid == 0x7fffffff || p.grid * p.tokens >= a.shape.tokens);
    CHECK(p.grid == 1 || (p.grid - 1) * p.tokens < a.shape.tokens);
    return;
  }
  // It is cooperative, one thread block a multiprocessor, and the exchange has room for no more.
  CHECK(p.grid <= device.sm_count);
  CHECK(p.grid <= kHcMaxBlocks);
  CHECK_EQ(p.grid, std::int64_t{p.slices} * p.groups);
  const int tile = p.kernel == HcPreKernel::kSplit ? kHcTile : kHcWgmmaTile;
  CHECK_EQ(p.slice % 16, 0);
  CHECK(std::int64_t{p.slice} * p.slices >= a.shape.columns);
  CHECK(std::int64_t{p.slice} * (p.slices - 1) < a.shape.columns);  // each has columns
  CHECK(p.groups <= (a.shape.tokens + tile - 1) / tile);            // each has tokens
  CHECK(p.shared_bytes <= device.shared_memory_per_block_optin);
  if (p.kernel == HcPreKernel::kWgmma) {
    CHECK(a.shape.tokens >= kHcWgmmaTokens);
    CHECK(p.grid <= kHcWgmmaMaxBlocks);
    CHECK(p.slice <= kHcWgmmaMaxSlice);
    CHECK_EQ(p.slice % kHcGranule, 0);
    CHECK_EQ(p.threads, hc_wgmma_threads(p.kind));
    // A tile and more, and fewer tiles than have words; of hc_pre one.
    CHECK(p.wgmma.slots < hc_wgmma_slots_of_tile(p.kind) * hc_wgmma_ring(p.kind));
    if (p.kind == HcKind::kPre)
      CHECK_EQ(p.wgmma.slots, hc_wgmma_slots_of_tile(p.kind));
    else
      CHECK(p.wgmma.slots > hc_wgmma_slots_of_tile(p.kind));
    // Boxes of the 128-byte swizzle.
    CHECK_EQ(p.wgmma.ring % 1024, 0);
    CHECK_EQ(p.wgmma.rows % 1024, 0);
    CHECK(p.wgmma.slots <= kHcWgmmaMaxSlots);
    return;
  }
  CHECK(p.threads <= kHcSplitThreads);
  CHECK(p.gatherers >= 1);
  CHECK_EQ(p.threads, 32 * (p.workers + p.gatherers + hc_split_others(p.kind)));
  CHECK_EQ(p.workers * 16, p.slice);
}

}  // namespace

TEST(plans_of_hc_pre_fit_their_device) {
  for (CudaDeviceProperties device : {kH100, kAda, kB200}) {
    for (const int multiprocessors : {1, 2, 66, 78, 114, 132, 200}) {
      device.sm_count = multiprocessors;
      for (const int op : {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_HEAD, NVFP4J_OP_HC_POST_PRE}) {
        for (std::int64_t columns = 8; columns <= 40000; columns += columns < 700 ? 8 : 328) {
          for (const std::int64_t tokens : {1, 16, 17, 65, 1000, 100000}) {
            HcPreArgs a = call(op, tokens, columns);
            check_plan(device, a);
            a.quantize = op == NVFP4J_OP_HC_POST_PRE;
            check_plan(device, a);
          }
        }
      }
    }
  }
  check_plan(kH100, call(NVFP4J_OP_HC_PRE, std::int64_t{1} << 40, 8, 3));
}

TEST(thread_blocks_share_tokens_where_all_is_as_their_kernel_needs_it) {
  const auto split = [](const HcPreArgs& a, const CudaDeviceProperties& device = kH100) {
    return plan_hc_pre(device, a).kernel != HcPreKernel::kGeneric;
  };
  for (const int op : {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_HEAD, NVFP4J_OP_HC_POST_PRE}) {
    CHECK(split(call(op, 1, 7168)));
    CHECK(split(call(op, 8192, 4096)));
    CHECK(!split(call(op, 1, 7168, 3)));
    CHECK(!split(call(op, 1, 7168, 4, NVFP4J_DTYPE_F32)));
    CHECK(!split(call(op, 1, 7168), kAda));
    CHECK(!split(call(op, 1, 7168), kB200));
    CHECK(!split(call(op, 1, std::int64_t{1} << 20)));
    CudaDeviceProperties device = kH100;
    device.cooperative_launch = 0;
    CHECK(!split(call(op, 1, 7168), device));
    HcPreArgs a = call(op, 2, 64);
    a.x.data = memory + 2;
    CHECK(!split(a));
    CHECK(!plan_hc_pre(kH100, a).aligned);
    a = call(op, 2, 64);
    a.x.stream_stride += 4;
    CHECK(!split(a));
    a = call(op, 2, 64);
    a.module.fn_stride += 1;
    CHECK(!split(a));
    a = call(op, 2, 64);
    a.collapsed.stride += 1;
    CHECK(!split(a));
  }
  HcPreArgs a = call(NVFP4J_OP_HC_POST_PRE, 2, 64);
  a.before.comb.stride += 1;
  CHECK(!split(a));
  CHECK(plan_hc_pre(kH100, a).aligned);  // of rows
  a = call(NVFP4J_OP_HC_POST_PRE, 2, 64);
  a.before.sub.data = memory + 4;
  CHECK(!split(a));
  CHECK(!plan_hc_pre(kH100, a).aligned);
  a = call(NVFP4J_OP_HC_POST_PRE, 2, 64);
  a.norm_weight = memory + 2;
  CHECK(!split(a));
}

TEST(many_tokens_are_multiplied_by_warpgroups) {
  const auto kernel = [](int op, std::int64_t tokens, std::int64_t columns) {
    return plan_hc_pre(kH100, call(op, tokens, columns)).kernel;
  };
  for (const int op : {NVFP4J_OP_HC_PRE, NVFP4J_OP_HC_POST_PRE}) {
    for (const std::int64_t columns : {4096, 4104, 7168, 16384, 132 * 128}) {
      CHECK(kernel(op, kHcWgmmaTokens - 1, columns) == HcPreKernel::kSplit);
      CHECK(kernel(op, kHcWgmmaTokens, columns) == HcPreKernel::kWgmma);
    }
    CHECK(kernel(op, 8192, 132 * 128 + 8) != HcPreKernel::kWgmma);  // slices have at most 128
    // Few columns take more tokens.
    CHECK(kernel(op, 2045, 128) == HcPreKernel::kSplit);
    CHECK(kernel(op, 2048, 128) == HcPreKernel::kWgmma);
  }
  // Strides that a tensor map cannot say.
  HcPreArgs far = call(NVFP4J_OP_HC_PRE, 8192, 7168);
  far.x.token_stride = std::int64_t{1} << 39;
  CHECK(plan_hc_pre(kH100, far).kernel == HcPreKernel::kSplit);
  far = call(NVFP4J_OP_HC_POST_PRE, 8192, 7168);
  far.before.sub.stride = std::int64_t{1} << 39;
  CHECK(plan_hc_pre(kH100, far).kernel == HcPreKernel::kSplit);
  CHECK(kernel(NVFP4J_OP_HC_HEAD, 8192, 7168) == HcPreKernel::kSplit);
  const HcPrePlan p = plan_hc_pre(kH100, call(NVFP4J_OP_HC_PRE, 8192, 7168));
  CHECK_EQ(p.slice, 128);
  CHECK_EQ(p.groups, 2);
  CHECK_EQ(p.wgmma.slots, hc_wgmma_slots_of_tile(p.kind));
}

TEST(few_tokens_have_a_thread_block_each) {
  CHECK_EQ(plan_hc_pre(kH100, call(NVFP4J_OP_HC_PRE, 100, 512, 3)).tokens, 1);
  CHECK_EQ(plan_hc_pre(kH100, call(NVFP4J_OP_HC_PRE, 5000, 512, 3)).tokens, kHcGenericTokens);
}

TEST(plans_of_sinkhorn_and_hc_post) {
  for (int n = 1; n <= 16; ++n) {
    for (const std::int64_t tokens :
         {std::int64_t{1}, std::int64_t{16384}, std::int64_t{16385}, std::int64_t{1} << 40}) {
      const SinkhornPlan s = plan_sinkhorn(tokens, n);
      CHECK(s.padded >= n);
      CHECK(s.grid >= 1);
      CHECK(s.grid <= 0x7fffffff);
      CHECK((s.kernel == SinkhornKernel::kPairs) == (n == 4 && tokens <= 16384));
      CHECK((s.kernel == SinkhornKernel::kRows) == (n > 4));
      for (const std::int64_t columns :
           {std::int64_t{8}, std::int64_t{7168}, std::int64_t{1} << 24}) {
        const HcPostPlan p = plan_hc_post(tokens, n, columns, 2);
        CHECK(p.padded >= n);
        CHECK(p.padded != 4 || n == 4);
        CHECK_EQ(p.packets * 8, columns);
        CHECK(p.chunks * std::int64_t{kHcPostThreads} >= p.packets);
        CHECK(p.grid >= 1);
        CHECK(p.grid <= 0x7fffffff);
        CHECK_EQ(p.grid % p.chunks, 0);
      }
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
