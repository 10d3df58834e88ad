// SPDX-License-Identifier: Apache-2.0
// How router_hash's CUDA launches are shaped: plans are a function of device and shape.
#include "ops/router_hash/router_hash_plan.hpp"
#include "check.hpp"

using namespace nvfp4j;

namespace {

CudaDeviceProperties hopper() { return {0, 9, 0, 132, 227 * 1024, 228 * 1024, 50 << 20, 1, 1}; }

RouterHashArgs call(std::int64_t tokens, int experts, std::int64_t columns, int topk,
                    bool nvfp4 = false) {
  // Nothing is read; 16-byte aligned.
  const void* somewhere = reinterpret_cast<const void*>(std::uintptr_t{4096});
  RouterHashArgs a{};
  a.x = {somewhere, columns, tokens, columns, NVFP4J_DTYPE_BF16};
  a.gate = {somewhere, columns, nullptr, nullptr, NVFP4J_DTYPE_BF16, experts, false};
  if (nvfp4) {
    a.gate.scales = static_cast<const std::uint8_t*>(somewhere);
    a.gate.dtype = NVFP4J_DTYPE_U8;
  }
  a.choice.topk = topk;
  return a;
}

RouterHashKernel kernel(const CudaDeviceProperties& device, const RouterHashArgs& args) {
  return plan_router_hash(device, args).kernel;
}

/// Whatever the shape, a plan by tiles fits the card and the workspace that is asked for.
TEST(tiles_fit_the_card_and_the_workspace) {
  const CudaDeviceProperties device = hopper();
  int with_rounds = 0;
  int with_two_slices = 0;
  for (const std::int64_t tokens : {397, 400, 1311, 4681, 4682, 8192, 9362, 9363, 20011, 270000}) {
    for (const std::int64_t columns : {8, 256, 264, 4112, 7168, 25600, 33792}) {
      for (const int experts : {1, 256, 384, 404}) {
        for (const int topk : {1, 6, 7, 8, 9, 16}) {
          const RouterHashPlan p = plan_router_hash(device, call(tokens, experts, columns, topk));
          if (p.kernel != RouterHashKernel::kTiles) continue;
          CHECK(p.slices * kRouterHashSlice >= columns);
          CHECK((p.slices - 1) * kRouterHashSlice < columns);
          CHECK(p.grid >= p.slices && p.grid <= device.sm_count);
          // Where filling counts for nothing, no thread block has parts of two slices.
          CHECK(p.fill > 0 || p.grid % p.slices == 0);
          with_two_slices += p.fill > 0 ? 1 : 0;
          CHECK(p.shared_bytes <= device.shared_memory_per_block_optin);
          CHECK(2 * p.pairs >= topk);
          CHECK(p.round_tokens >= 1 && p.round_tokens <= tokens);
          const std::int64_t of_token = 4 * (p.pairs == 8 ? 16 : 8) * std::int64_t{p.slices};
          CHECK(p.round_tokens * of_token <= kRouterScratchBytes / 2);
          // The first half, and what the second round writes from the middle on.
          const std::int64_t more = std::min(p.round_tokens, tokens - p.round_tokens);
          const std::int64_t sums =
              more == 0 ? p.round_tokens * of_token : kRouterScratchBytes / 2 + more * of_token;
          with_rounds += more > 0 ? 1 : 0;
          CHECK(kWorkspaceExchangeBytes + sums <=
                router_hash_workspace_bytes(device, tokens, columns));
        }
      }
    }
  }
  CHECK(with_rounds > 0);
  CHECK(with_two_slices > 0);
}

TEST(few_tokens_go_row_by_row_and_need_no_workspace) {
  const CudaDeviceProperties device = hopper();
  for (const std::int64_t tokens : {1, 64, 264, 265, 396}) {
    const RouterHashPlan p = plan_router_hash(device, call(tokens, 384, 7168, 6));
    CHECK(p.kernel == RouterHashKernel::kRows);
    CHECK_EQ(p.grid, tokens);
    CHECK_EQ(p.early, tokens <= 264);
    CHECK_EQ(router_hash_workspace_bytes(device, tokens, 7168), 0);
  }
  CHECK(kernel(device, call(397, 384, 7168, 6)) == RouterHashKernel::kTiles);
}

TEST(what_tiles_cannot_take_goes_row_by_row) {
  const CudaDeviceProperties device = hopper();
  CHECK(kernel(device, call(8192, 384, 7168, 6)) == RouterHashKernel::kTiles);
  CHECK(kernel(device, call(8192, 384, 7168, 6, true)) == RouterHashKernel::kTiles);
  CHECK(kernel(device, call(8192, 1024, 7168, 6)) == RouterHashKernel::kRows);  // shared memory
  CHECK(kernel(device, call(8192, 384, 33800, 6)) == RouterHashKernel::kRows);  // 133 slices
  CHECK(kernel(device, call(8192, 384, 7167, 6)) == RouterHashKernel::kRows);   // columns
  RouterHashArgs f32 = call(8192, 384, 7168, 6);
  f32.x.dtype = NVFP4J_DTYPE_F32;
  CHECK(kernel(device, f32) == RouterHashKernel::kRows);
  CudaDeviceProperties alone = device;
  alone.cooperative_launch = 0;
  CHECK(kernel(alone, call(8192, 384, 7168, 6)) == RouterHashKernel::kRows);
}

}  // namespace

int main(int count, char** arguments) { return check::main(count, arguments); }
