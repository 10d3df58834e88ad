// SPDX-License-Identifier: Apache-2.0
// How router_dense's CUDA launches are shaped: plans are a function of device and shape.
#include "ops/router_dense/router_dense_plan.hpp"
#include "check.hpp"

using namespace nvfp4j;

namespace {

constexpr CudaDeviceProperties kH200 = {0, 9, 0, 132, 232448, 233472, 52428800, 1, 1};
constexpr CudaDeviceProperties kAda = {0, 8, 9, 128, 101376, 102400, 75497472, 1, 1};
constexpr CudaDeviceProperties kB200 = {0, 10, 0, 148, 232448, 233472, 132644864, 1, 1};

alignas(16) char memory[64];  // nothing is read

// A call on aligned, contiguous tensors.
RouterDenseArgs call(std::int64_t tokens, int experts, std::int64_t columns, bool nvfp4) {
  RouterDenseArgs a{};
  a.x = {memory, columns, tokens, columns, NVFP4J_DTYPE_BF16};
  a.gate = {memory, columns, nullptr, nullptr, NVFP4J_DTYPE_BF16, experts, false};
  if (nvfp4) {
    a.gate.scales = reinterpret_cast<const std::uint8_t*>(memory);
    a.gate.global_scale = reinterpret_cast<const float*>(memory);
    a.gate.dtype = NVFP4J_DTYPE_U8;
  }
  return a;
}

RouterKernel kernel(const CudaDeviceProperties& device, const RouterDenseArgs& args) {
  return plan_router_dense(device, args).kernel;
}

/// Both kinds of gate get the same tiles, of which there are kernels, and which hold all experts.
TEST(wgmma_takes_bf16_and_nvfp4_gates_in_the_same_tiles) {
  for (const std::int64_t tokens : {65, 1024, 1792, 1793, 3584, 3585, 4224, 4225, 8192, 270000}) {
    for (const int experts : {1, 64, 255, 256, 257, 384, 385, 512}) {
      for (const std::int64_t columns : {16, 48, 64, 176, 4096, 7168}) {
        const RouterPlan p = plan_router_dense(kH200, call(tokens, experts, columns, false));
        const RouterPlan q = plan_router_dense(kH200, call(tokens, experts, columns, true));
        CHECK(p.kernel == RouterKernel::kWgmma);
        CHECK(q.kernel == RouterKernel::kWgmma);
        CHECK(p.operands == RouterOperands::kBf16);
        CHECK(q.operands == RouterOperands::kNvfp4);
        CHECK_EQ(p.tokens, q.tokens);
        CHECK_EQ(p.experts, q.experts);
        CHECK_EQ(p.groups, q.groups);
        CHECK(q.tokens == 64 || q.tokens == 128);
        CHECK(q.groups == 2
                  ? q.experts == 128 || q.experts == 192
                  : q.groups == 4 && (q.experts == 64 || q.experts == 96 || q.experts == 128));
        CHECK(q.groups * q.experts >= experts);
        CHECK_EQ(q.launch_tokens, tokens);
      }
    }
  }
}

TEST(the_more_tokens_the_wider_the_tiles) {
  const auto shape = [](std::int64_t tokens, int experts) {
    const RouterPlan p = plan_router_dense(kH200, call(tokens, experts, 7168, true));
    return 1000 * p.groups + p.tokens;
  };
  CHECK_EQ(shape(1792, 384), 4064);
  CHECK_EQ(shape(1793, 384), 4128);
  CHECK_EQ(shape(3584, 384), 4128);
  CHECK_EQ(shape(3585, 384), 2064);
  CHECK_EQ(shape(4224, 384), 2064);
  CHECK_EQ(shape(4225, 384), 2128);
  CHECK_EQ(shape(8192, 385), 4128);
}

TEST(few_tokens_are_split_and_other_cards_have_tiles) {
  for (const bool nvfp4 : {false, true}) {
    CHECK(kernel(kH200, call(64, 384, 7168, nvfp4)) == RouterKernel::kSplit);
    CHECK(kernel(kAda, call(64, 384, 7168, nvfp4)) == RouterKernel::kSplit);
    CHECK(kernel(kAda, call(65, 384, 7168, nvfp4)) == RouterKernel::kTiles);
    CHECK(kernel(kB200, call(8192, 384, 7168, nvfp4)) == RouterKernel::kTiles);
    CHECK(kernel(kH200, call(8192, 513, 7168, nvfp4)) == RouterKernel::kTiles);
  }
}

TEST(what_tensor_maps_cannot_say_is_tiled) {
  for (const bool nvfp4 : {false, true}) {
    RouterDenseArgs a = call(8192, 384, 7168, nvfp4);
    a.x.dtype = NVFP4J_DTYPE_F32;
    CHECK(kernel(kH200, a) == RouterKernel::kTiles);
    a = call(8192, 384, 7168, nvfp4);
    a.x.data = memory + 2;
    CHECK(kernel(kH200, a) == RouterKernel::kTiles);
    a = call(8192, 384, 7168, nvfp4);
    a.x.stride += 4;
    CHECK(kernel(kH200, a) == RouterKernel::kTiles);
    a.x.stride += 4;
    CHECK(kernel(kH200, a) == RouterKernel::kWgmma);
  }
  RouterDenseArgs a = call(8192, 384, 7168, false);
  a.gate.dtype = NVFP4J_DTYPE_F32;
  CHECK(kernel(kH200, a) == RouterKernel::kTiles);
  a = call(8192, 384, 7168, false);
  a.gate.data = memory + 8;
  CHECK(kernel(kH200, a) == RouterKernel::kTiles);
}

}  // namespace

int main(int count, char** arguments) { return check::main(count, arguments); }
