// SPDX-License-Identifier: Apache-2.0
// Which kernel a matrix product gets on a CUDA device: a function of device, shape and alignment, so no GPU is needed.
#include "ops/gemm/gemm_plan.hpp"

#include <set>
#include <utility>

#include "check.hpp"
#include "nvfp4j/gemm.h"
#include "ops/gemm/prepared_layout.hpp"

using namespace nvfp4j;

namespace {

constexpr CudaDeviceProperties kH100 = {0, 9, 0, 132, 232448, 233472, 52428800, 1, 0};
constexpr CudaDeviceProperties kH100Pcie = {0, 9, 0, 114, 232448, 233472, 52428800, 1, 0};
constexpr CudaDeviceProperties kA100 = {0, 8, 0, 108, 166912, 167936, 41943040, 1, 0};
constexpr CudaDeviceProperties kB200 = {0, 10, 0, 148, 232448, 233472, 132644864, 1, 0};
constexpr CudaDeviceProperties kThor = {0, 9, 1, 20, 232448, 233472, 33554432, 1, 0};

// Addresses that nobody may follow: they are not mapped.
template <class T>
T* address(std::uintptr_t value) {
  return reinterpret_cast<T*>(value);
}

GemmArgs product(std::int64_t m, std::int64_t n, std::int64_t k, int op = NVFP4J_OP_GEMM,
                 std::int64_t groups = 1) {
  const bool batched = op == NVFP4J_OP_BATCHED_GEMM;
  GemmArgs args{};
  args.op = op;
  args.groups = groups;
  args.m = m;
  args.n = n;
  args.k = k;
  args.a.kind = NVFP4J_GEMM_A_BF16;
  args.a.data = address<void>(0x100);
  args.a.stride = batched ? groups * k : k;
  args.w = {NVFP4J_SCALE_LAYOUT_PREPARED, address<std::uint8_t>(0x200), nullptr,
            address<float>(0x300), NVFP4J_GLOBAL_SCALE_TENSOR};
  args.d = {address<void>(0x400), NVFP4J_DTYPE_BF16, batched ? groups * n : n};
  if (op == NVFP4J_OP_GROUPED_GEMM) args.offsets = address<std::int32_t>(0x500);
  return args;
}

bool contains(const char* text, const char* part) {
  return text != nullptr && std::strstr(text, part) != nullptr;
}

GemmPlan plan(const GemmArgs& args, const CudaDeviceProperties& device = kH100) {
  const GemmPlan p = plan_gemm(device, gemm_shape(args));
  CHECK(p.refusal == nullptr);
  return p;
}

const char* refusal_of(GemmArgs args, int path, const CudaDeviceProperties& device = kH100) {
  args.path = path;
  return plan_gemm(device, gemm_shape(args)).refusal;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// What every plan must keep, whatever it chose. The jobs are those of the launchers (gemm_decode_sm90.cu, gemm_wgmma_sm90.cu).
void check_plan(const CudaDeviceProperties& device, const GemmArgs& args, const GemmPlan& p) {
  const bool grouped = args.op == NVFP4J_OP_GROUPED_GEMM;
  const bool nvfp4 = args.a.kind == NVFP4J_GEMM_A_NVFP4;
  const std::int64_t chunks = args.k / prepared::kTiledColumns;
  CHECK(p.reason != nullptr);
  if (p.kernel == GemmKernel::kGeneric) {
    CHECK(contains(p.reason, "generic: gemm_generic"));
    CHECK(p.token_tile == 8 || p.token_tile == 32);
    return;
  }
  CHECK(runs_sm90a(device));
  const bool linear = args.w.layout == NVFP4J_SCALE_LAYOUT_LINEAR;
  CHECK(prepared::is_tiled(args.n, args.k));
  CHECK(p.config >= 0);
  std::int64_t row_blocks;
  std::int64_t step;  // what the thread blocks' loops add to the number of a job
  if (p.kernel == GemmKernel::kDecode) {
    CHECK(contains(p.reason, "decode: gemm_decode_sm90"));
    CHECK(!args.batch_invariant);
    CHECK(p.config < kDecodeConfigs);
    if (p.config < 0 || p.config >= kDecodeConfigs) return;
    const DecodeShape& s = kDecodeShapes[p.config];
    CHECK_EQ(p.token_tile, 8 * s.nt);
    // The rings of all warps are full at first, or they would wait for each other.
    CHECK(s.ck * s.wk * s.stages <= chunks);
    // Gate and up come in pairs of tiles; groups have kernels of their own.
    CHECK(s.wn % 2 == 0 || !args.swiglu);
    CHECK(!grouped || takes_groups(s));
    CHECK(s.ck == 1 || args.m <= p.token_tile);
    row_blocks = ceil_div(args.n / (args.swiglu ? 32 : 16), s.wn / (args.swiglu ? 2 : 1)) * s.ck;
    step = 2 * device.sm_count;
  } else {
    CHECK(contains(p.reason, "wgmma: gemm_wgmma_sm90"));
    CHECK(p.config < kWgmmaConfigs);
    if (p.config < 0 || p.config >= kWgmmaConfigs) return;
    const WgmmaShape& s = kWgmmaShapes[p.config];
    CHECK_EQ(p.token_tile, s.bm);
    CHECK(s.ck <= chunks);
    if (linear) CHECK(wgmma_takes_linear(p.config));
    // Parts of all rows, in the workspace; whole tiles, so that what they add up does not depend on the cut.
    const std::int64_t columns = args.k * (args.op == NVFP4J_OP_BATCHED_GEMM ? args.groups : 1);
    CHECK_EQ(p.packed_rows > 0, nvfp4 && args.m > 0);
    CHECK(2 * p.packed_rows * columns <= kPackedTokenBytes);
    CHECK(p.packed_rows <= args.m || p.packed_rows % 256 == 0);
    if (p.packed_rows > 0 && p.packed_rows < args.m && columns <= kPackedTokenBytes / 512)
      CHECK_EQ(p.packed_rows % 256, 0);
    if (grouped) CHECK(p.config < kWgmmaBasicConfigs);
    if (args.batch_invariant || grouped) {
      CHECK_EQ(s.wgk, 1);
      CHECK_EQ(s.ck, 1);
    }
    row_blocks = ceil_div(args.n, 64 * s.wgn);
    step = device.sm_count;
    if (s.ck > 1) {
      // As many clusters as jobs, whatever that makes.
      const std::int64_t rows = p.packed_rows > 0 ? p.packed_rows : args.m;
      const std::int64_t jobs = row_blocks * ceil_div(rows, s.bm) * args.groups;
      CHECK(jobs * s.ck <= INT32_MAX);
    }
  }
  const std::int64_t tiles = ceil_div(args.m, p.token_tile);
  const std::int64_t listed = grouped ? args.groups + tiles : tiles * args.groups;
  if (grouped) CHECK(listed <= 1024);
  CHECK(row_blocks * listed + step <= INT32_MAX);
}

// Decode's and wgmma's configurations share numbers.
std::pair<int, int> chosen(const GemmPlan& p) { return {static_cast<int>(p.kernel), p.config}; }

}  // namespace

TEST(gemm_kernels_by_shape) {
  constexpr std::int64_t kM[] = {1, 8, 9, 16, 33, 64, 65, 128, 129, 256, 512, 1024, 8192};
  struct Row {
    std::int64_t n, k;
    int config[13];  // the first four of decode, the others of wgmma
  };
  constexpr Row kRows[] = {
      {6144, 7168, {0, 6, 9, 9, 8, 8, 9, 9, 13, 13, 4, 2, 3}},
      {7168, 3072, {1, 7, 10, 10, 5, 5, 9, 9, 2, 2, 3, 3, 3}},
      {1536, 7168, {3, 3, 12, 12, 7, 7, 11, 11, 10, 10, 9, 13, 3}},
      {65536, 1536, {4, 4, 11, 11, 1, 1, 2, 2, 3, 3, 3, 3, 3}},
      {7168, 16384, {7, 7, 10, 10, 8, 8, 12, 12, 2, 2, 3, 3, 3}},
      {4096, 4096, {5, 2, 13, 13, 6, 6, 10, 10, 9, 9, 2, 3, 3}},
  };
  for (const Row& row : kRows) {
    for (int i = 0; i < 13; ++i) {
      const GemmArgs args = product(kM[i], row.n, row.k);
      const GemmPlan p = plan(args);
      check_plan(kH100, args, p);
      const std::string name =
          std::to_string(kM[i]) + " x " + std::to_string(row.n) + " x " + std::to_string(row.k);
      check::equal(__FILE__, __LINE__, ("kernel of " + name).c_str(), static_cast<int>(p.kernel),
                   static_cast<int>(kM[i] <= 16 ? GemmKernel::kDecode : GemmKernel::kWgmma));
      check::equal(__FILE__, __LINE__, ("configuration of " + name).c_str(), p.config,
                   row.config[i]);
      // PACKED is BF16 with a global scale, to all kernels.
      GemmArgs packed = args;
      packed.a.kind = NVFP4J_GEMM_A_PACKED;
      CHECK(chosen(plan(packed)) == chosen(p));
    }
  }
  // Up to 32 tokens.
  CHECK(chosen(plan(product(32, 6144, 7168))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 14));
  CHECK(chosen(plan(product(32, 7168, 3072))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 15));
  CHECK(chosen(plan(product(17, 4096, 4096))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 16));
  CHECK(chosen(plan(product(17, 1536, 7168))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 17));
  // K that cannot be cut, a batch, and rows of one expert on average.
  CHECK(chosen(plan(product(1, 4096, 256))) == std::pair(static_cast<int>(GemmKernel::kWgmma), 15));
  CHECK(chosen(plan(product(300, 4096, 256))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 2));
  CHECK(chosen(plan(product(64, 512, 1024, NVFP4J_OP_BATCHED_GEMM, 128))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 1));
  // Experts with few rows: many jobs go to warps that wait for no other, few are cut so that all multiprocessors have some.
  struct Experts {
    std::int64_t m, n, k, config;
  };
  constexpr Experts kExperts[] = {{6, 6144, 7168, 0},    {6, 7168, 3072, 5},   {6, 4096, 4096, 0},
                                  {96, 6144, 7168, 16},  {96, 7168, 3072, 16}, {96, 4096, 4096, 16},
                                  {600, 6144, 7168, 14}, {600, 4096, 4096, 14}};
  for (const Experts& e : kExperts) {
    const GemmPlan p = plan(product(e.m, e.n, e.k, NVFP4J_OP_GROUPED_GEMM, 64));
    CHECK_EQ(static_cast<int>(p.kernel), static_cast<int>(GemmKernel::kDecode));
    CHECK_EQ(p.config, e.config);
  }
  CHECK(plan(product(1024, 4096, 512, NVFP4J_OP_GROUPED_GEMM, 256)).kernel == GemmKernel::kDecode);
  CHECK(chosen(plan(product(24 * 256, 4096, 1536, NVFP4J_OP_GROUPED_GEMM, 256))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 0));
  CHECK(chosen(plan(product(8192, 4096, 1536, NVFP4J_OP_GROUPED_GEMM, 256))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 1));
  CHECK(chosen(plan(product(8192, 4096, 1536, NVFP4J_OP_GROUPED_GEMM, 64))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 2));
}

TEST(gemm_generic_takes_the_rest) {
  // `always`: for every M, so that a batch-invariant product may have it too.
  const auto is_generic = [](const GemmArgs& args, const char* why, bool always = true,
                             const CudaDeviceProperties& device = kH100) {
    for (const bool batch_invariant : {false, true}) {
      GemmArgs call = args;
      call.batch_invariant = batch_invariant;
      if (batch_invariant && !always) {
        CHECK(contains(refusal_of(call, NVFP4J_GEMM_PATH_AUTO, device), "batch_invariant is 1"));
        CHECK(refusal_of(call, NVFP4J_GEMM_PATH_GENERIC, device) == nullptr);
        continue;
      }
      const GemmPlan p = plan(call, device);
      CHECK_EQ(static_cast<int>(p.kernel), static_cast<int>(GemmKernel::kGeneric));
      CHECK(contains(p.reason, why));
      // What AUTO does not take cannot be forced either.
      CHECK(contains(refusal_of(call, NVFP4J_GEMM_PATH_DECODE, device), "path is DECODE"));
      CHECK(contains(refusal_of(call, NVFP4J_GEMM_PATH_WGMMA, device), "path is WGMMA"));
      CHECK(refusal_of(call, NVFP4J_GEMM_PATH_GENERIC, device) == nullptr);
    }
  };
  for (const std::int64_t m : {1, 16, 17, 64, 128, 1024}) {
    for (const CudaDeviceProperties& device : {kA100, kB200, kThor})
      is_generic(product(m, 4096, 4096), "not compute capability 9.0", true, device);
    GemmArgs args = product(m, 4096, 4096);
    for (const int layout : {NVFP4J_SCALE_LAYOUT_PREPARED, NVFP4J_SCALE_LAYOUT_LINEAR}) {
      args = product(m, 4104, 4096);
      args.w.layout = layout;
      is_generic(args, "n is no multiple of 16");
      args = product(m, 4096, 4096 + 128);
      args.w.layout = layout;
      is_generic(args, "k none of 256");
      args = product(m, 4096 + 16, 4096);
      args.w.layout = layout;
      args.swiglu = true;
      is_generic(args, "with swiglu: of 32");
      args = product(m, 4096, 4096);
      args.w.layout = layout;
      args.a.stride = 4100;  // of a single row it means nothing
      if (m > 1) is_generic(args, "multiples of 16 bytes", false);
    }
    args = product(m, 4096, 4096);
    args.a.data = address<void>(0x108);
    is_generic(args, "multiples of 16 bytes", false);
    args.a.kind = NVFP4J_GEMM_A_PACKED;
    is_generic(args, "multiples of 16 bytes", false);
    args.a.kind = NVFP4J_GEMM_A_NVFP4;  // whose rows are checked elsewhere
    CHECK(plan(args).kernel != GemmKernel::kGeneric);
    args = product(m, 4096, 4096);
    args.a.stride = 4100;
    if (m > 1) is_generic(args, "multiples of 16 bytes", false);
    args.a.stride = 4104;
    CHECK(plan(args).kernel != GemmKernel::kGeneric);
    args = product(m, 4096 + 16, 4096);
    CHECK(plan(args).kernel != GemmKernel::kGeneric);
    args.swiglu = true;
    is_generic(args, "with swiglu: of 32");
  }
  // Groups and their tiles end at 1024; more rows take larger tiles, up to 256.
  const auto groups = [](std::int64_t m, std::int64_t count) {
    return product(m, 4096, 4096, NVFP4J_OP_GROUPED_GEMM, count);
  };
  CHECK(chosen(plan(groups(24 * 512, 512))) == std::pair(static_cast<int>(GemmKernel::kWgmma), 0));
  CHECK(chosen(plan(groups(24 * 512 + 1, 512))) ==
        std::pair(static_cast<int>(GemmKernel::kWgmma), 1));
  CHECK(chosen(plan(groups(4000, 900))) == std::pair(static_cast<int>(GemmKernel::kWgmma), 1));
  CHECK(chosen(plan(groups(16000, 900))) == std::pair(static_cast<int>(GemmKernel::kWgmma), 3));
  is_generic(groups(256 * 512 + 1, 512), "more tiles of rows", false);
  CHECK(plan(groups(8 * 512, 512)).kernel == GemmKernel::kDecode);
  CHECK(plan(groups(8 * 512 + 1, 512)).kernel == GemmKernel::kWgmma);
  is_generic(groups(1, 1024), "more tiles of rows", false);
  // 2^31 tiles of tokens and W, and of groups times W.
  is_generic(product(std::int64_t{1} << 38, 1 << 15, 256), "more tiles of rows", false);
  is_generic(product(32 * 1000, std::int64_t{1} << 27, 256, NVFP4J_OP_GROUPED_GEMM, 1),
             "more tiles of rows", false);
  // Few rows to a group take the small tile.
  GemmArgs args = product(8, 4104, 4096);
  CHECK_EQ(plan(args).token_tile, 8);
  args.m = 9;
  CHECK_EQ(plan(args).token_tile, 32);
  args = product(800, 4104, 4096, NVFP4J_OP_GROUPED_GEMM, 100);
  CHECK_EQ(plan(args).token_tile, 8);
}

// No rows are no reason to refuse what few would be given.
TEST(gemm_plan_cache_of_no_rows) {
  for (const int op : {NVFP4J_OP_GEMM, NVFP4J_OP_GROUPED_GEMM, NVFP4J_OP_BATCHED_GEMM}) {
    for (const int kind : {NVFP4J_GEMM_A_BF16, NVFP4J_GEMM_A_NVFP4, NVFP4J_GEMM_A_PACKED}) {
      for (const bool batch_invariant : {false, true}) {
        for (const int path :
             {NVFP4J_GEMM_PATH_AUTO, NVFP4J_GEMM_PATH_GENERIC, NVFP4J_GEMM_PATH_WGMMA}) {
          GemmArgs args = product(0, 4096, 4096, op, op == NVFP4J_OP_GEMM ? 1 : 3);
          args.a.kind = kind;
          args.batch_invariant = batch_invariant;
          args.path = path;
          CHECK(plan_gemm(kH100, gemm_shape(args)).refusal == nullptr);
        }
      }
    }
  }
}

// NVFP4 rows too wide to be decoded in the workspace go where every shape can.
TEST(gemm_rows_of_more_than_the_workspace) {
  GemmArgs args = product(100, 64, (1 << 24) + 256);
  CHECK(plan(args).kernel == GemmKernel::kWgmma);
  args.a.kind = NVFP4J_GEMM_A_NVFP4;
  CHECK(contains(plan(args).reason, "NVFP4 rows of a of more than 2^24 columns"));
  CHECK(contains(refusal_of(args, NVFP4J_GEMM_PATH_WGMMA), "NVFP4: of up to 2^24 columns"));
  args.batch_invariant = true;
  CHECK(contains(refusal_of(args, NVFP4J_GEMM_PATH_AUTO), "NVFP4 rows of a of up to 2^24"));
}

TEST(gemm_packed_rows_share_the_workspace) {
  CHECK_EQ(packed_rows(1, 256), 1);
  CHECK_EQ(packed_rows(2340, 7168), 2340);
  CHECK_EQ(packed_rows(2341, 7168), 1280);  // two parts of 1171, in whole tiles
  CHECK_EQ(packed_rows(8192, 7168), 2048);  // four
  CHECK_EQ(packed_rows(8192, 65536), 256);
  CHECK_EQ(packed_rows(8192, 65536 + 256), 255);
  CHECK_EQ(packed_rows(3, 1 << 24), 1);
  CHECK_EQ(packed_rows(3, (1 << 24) + 256), 0);
  for (std::int64_t m = 1; m < 1 << 20; m += 1 + m / 3) {
    for (std::int64_t columns = 256; columns < 1 << 25; columns += 256 * (1 + columns / 500)) {
      const std::int64_t rows = packed_rows(m, columns);
      CHECK(2 * rows * columns <= kPackedTokenBytes);
      CHECK(rows > 0 || columns > 1 << 24);
      // A workspace for as many rows has room for fewer.
      const std::int64_t bytes = packed_token_bytes(m, columns);
      CHECK(2 * rows * columns <= bytes && bytes <= kPackedTokenBytes);
      CHECK(packed_token_bytes(m - 1, columns) <= bytes);
    }
  }
}

// Linear weights are read as they are, by fewer configurations.
TEST(gemm_kernels_of_linear_weights) {
  const auto linear = [](std::int64_t m, std::int64_t n, std::int64_t k, int op = NVFP4J_OP_GEMM,
                         std::int64_t count = 1) {
    GemmArgs args = product(m, n, k, op, count);
    args.w = {NVFP4J_SCALE_LAYOUT_LINEAR, address<std::uint8_t>(0x200),
              address<std::uint8_t>(0x600), address<float>(0x300), NVFP4J_GLOBAL_SCALE_TENSOR};
    return args;
  };
  struct Row {
    std::int64_t m, n, k;
    int config;
  };
  constexpr Row kRows[] = {{17, 6144, 7168, 14},  {64, 6144, 7168, 8}, {128, 6144, 7168, 9},
                           {129, 6144, 7168, 2},  {64, 1536, 7168, 7}, {1024, 6144, 7168, 2},
                           {8192, 6144, 7168, 3}, {17, 6144, 256, 15}, {64, 65536, 1536, 1}};
  for (const Row& row : kRows) {
    GemmArgs args = linear(row.m, row.n, row.k);
    const GemmPlan p = plan(args);
    check_plan(kH100, args, p);
    const std::string name = std::to_string(row.m) + " x " + std::to_string(row.k);
    check::equal(__FILE__, __LINE__, ("configuration of " + name).c_str(), p.config, row.config);
    CHECK_EQ(static_cast<int>(p.kernel), static_cast<int>(GemmKernel::kWgmma));
    CHECK(refusal_of(args, NVFP4J_GEMM_PATH_WGMMA) == nullptr);
    CHECK(refusal_of(args, NVFP4J_GEMM_PATH_GENERIC) == nullptr);
    for (const CudaDeviceProperties& device : {kA100, kB200, kThor})
      CHECK(plan(args, device).kernel == GemmKernel::kGeneric);
    // Which kernel it is depends on neither M nor alignment that a tensor has by itself.
    args.batch_invariant = true;
    args.w.codes = address<std::uint8_t>(0x210);
    args.w.scales = address<std::uint8_t>(0x620);
    const GemmPlan invariant = plan(args);
    check_plan(kH100, args, invariant);
    CHECK_EQ(static_cast<int>(invariant.kernel), static_cast<int>(GemmKernel::kWgmma));
    args.w.layout = NVFP4J_SCALE_LAYOUT_PREPARED;
    CHECK_EQ(static_cast<int>(plan(args).kernel), static_cast<int>(GemmKernel::kWgmma));
    args.w.layout = NVFP4J_SCALE_LAYOUT_LINEAR;
  }
  // Few rows go to decode, as with prepared weights.
  for (const std::int64_t m : {1, 8, 16}) {
    const GemmArgs args = linear(m, 6144, 7168);
    const GemmPlan p = plan(args);
    check_plan(kH100, args, p);
    CHECK(chosen(p) == chosen(plan(product(m, 6144, 7168))));
  }
  CHECK(plan(linear(64, 4096, 1536, NVFP4J_OP_GROUPED_GEMM, 8)).kernel == GemmKernel::kDecode);
  CHECK(plan(linear(200, 4096, 1536, NVFP4J_OP_GROUPED_GEMM, 8)).config < kWgmmaBasicConfigs);
  CHECK(plan(linear(100, 1024, 4096, NVFP4J_OP_BATCHED_GEMM, 8)).kernel == GemmKernel::kWgmma);
  // Strides of a tensor map end below 2^40 bytes.
  CHECK(plan(linear(100, std::int64_t{1} << 23, std::int64_t{1} << 17)).kernel ==
        GemmKernel::kWgmma);
  CHECK(plan(linear(100, std::int64_t{1} << 24, std::int64_t{1} << 17)).kernel ==
        GemmKernel::kGeneric);
}

// What M decides may not take a batch-invariant product to the generic kernel, whose sums have another order.
TEST(gemm_batch_invariance_of_groups_is_one_order_or_a_refusal) {
  for (const std::int64_t count : {1, 8, 256, 384, 1000, 1023, 1024}) {
    bool refused = false;
    for (std::int64_t m = 1; m <= 1 << 20; m += 1 + m / 5) {
      for (const bool nvfp4 : {false, true}) {
        GemmArgs args = product(m, 4096, 7168, NVFP4J_OP_GROUPED_GEMM, count);
        args.batch_invariant = true;
        if (nvfp4) args.a.kind = NVFP4J_GEMM_A_NVFP4;
        const GemmPlan p = plan_gemm(kH100, gemm_shape(args));
        const bool fits = count + ceil_div(m, 256) <= 1024;
        CHECK_EQ(p.refusal == nullptr, fits);
        refused = refused || !fits;
        if (p.refusal != nullptr) continue;
        check_plan(kH100, args, p);
        CHECK_EQ(static_cast<int>(p.kernel), static_cast<int>(GemmKernel::kWgmma));
      }
    }
    CHECK(refused);
  }
}

TEST(gemm_batch_invariance_is_one_order_for_every_m) {
  for (std::int64_t m = 1; m <= 1 << 20; m += 1 + m / 3) {
    for (const std::int64_t n : {16, 64, 1536, 7168, 65536}) {
      for (const std::int64_t k : {256, 512, 7168, 16384}) {
        GemmArgs args = product(m, n, k);
        args.batch_invariant = true;
        const GemmPlan p = plan(args);
        check_plan(kH100, args, p);
        CHECK_EQ(static_cast<int>(p.kernel), static_cast<int>(GemmKernel::kWgmma));
        CHECK(contains(p.reason, "batch_invariant"));
        const char* refusal = refusal_of(args, NVFP4J_GEMM_PATH_DECODE);
        CHECK(contains(refusal, "path is DECODE"));
        if (k >= 512 && m < 1000) CHECK(contains(refusal, "batch_invariant is 1"));
        args.path = NVFP4J_GEMM_PATH_WGMMA;
        CHECK(chosen(plan(args)) == chosen(p));
      }
    }
  }
}

// What is true of every good choice for one matrix or a batch of them.
TEST(gemm_wgmma_choices_are_sensible) {
  for (std::int64_t m = 33; m <= 1 << 17; m += 1 + m / 7) {
    for (const std::int64_t n : {512, 1024, 1536, 2112, 4096, 6144, 7168, 24576, 65536, 129280}) {
      for (const std::int64_t k : {256, 512, 1536, 4096, 7168, 18432}) {
        for (const std::int64_t groups : {1, 8, 16}) {
          GemmArgs args =
              product(m, n, k, groups > 1 ? NVFP4J_OP_BATCHED_GEMM : NVFP4J_OP_GEMM, groups);
          args.path = NVFP4J_GEMM_PATH_WGMMA;
          const GemmPlan p = plan(args);
          check_plan(kH100, args, p);
          const WgmmaShape& s = kWgmmaShapes[p.config];
          // No more tokens than there are, but for the last tile.
          CHECK(m > 128 || s.bm <= 128);
          // Thread blocks that would idle take part, where K is worth cutting.
          const std::int64_t blocks = ceil_div(n, 64 * s.wgn) * ceil_div(m, s.bm) * groups * s.ck;
          if (k >= 4096 && n * groups >= 1024) CHECK(blocks >= 132 / 3);
          // Many waves take the largest tiles, which pay least for what a job costs.
          if (ceil_div(n, 128) * (m / 256) * groups >= 16 * 132) CHECK(s.bm * s.wgn >= 256);
          // NVFP4 tokens have the same, of the rows that are multiplied at a time.
          GemmArgs nvfp4 = args;
          nvfp4.a.kind = NVFP4J_GEMM_A_NVFP4;
          const GemmPlan decoded = plan(nvfp4);
          check_plan(kH100, nvfp4, decoded);
          if (decoded.packed_rows == m) CHECK(chosen(decoded) == chosen(p));
          // SwiGLU has the same kernels.
          GemmArgs swiglu = args;
          swiglu.swiglu = groups == 1;
          CHECK(chosen(plan(swiglu)) == chosen(p));
        }
      }
    }
  }
}

// Over a sweep of calls; and none of the configurations is there for nothing.
TEST(gemm_plan_cache_hold_for_many_calls_and_reach_every_configuration) {
  std::set<std::pair<int, int>> reached;
  constexpr std::int64_t kM[] = {1,   2,    4,    5,    8,     9,       16,      17,
                                 32,  33,   64,   65,   128,   129,     256,     257,
                                 512, 1000, 4096, 8192, 65536, 1 << 20, 1 << 28, 1ll << 33};
  constexpr std::int64_t kN[] = {16,   32,   48,    64,    512,    1536,    2112,    2128,   4224,
                                 4240, 6144, 16384, 65536, 129280, 1 << 20, 1 << 24, 1 << 27};
  constexpr std::int64_t kK[] = {256, 512, 768, 1024, 1280, 2048, 2304, 6144, 7168, 8192, 16384};
  struct Kind {
    int op;
    std::int64_t groups;
  };
  constexpr Kind kKinds[] = {{NVFP4J_OP_GEMM, 1},
                             {NVFP4J_OP_GROUPED_GEMM, 1},
                             {NVFP4J_OP_GROUPED_GEMM, 256},
                             {NVFP4J_OP_BATCHED_GEMM, 3},
                             {NVFP4J_OP_BATCHED_GEMM, 128}};
  for (const CudaDeviceProperties& device : {kH100, kH100Pcie, kA100}) {
    for (const Kind& kind : kKinds) {
      for (const std::int64_t m : kM) {
        for (const std::int64_t n : kN) {
          for (const std::int64_t k : kK) {
            for (int mask = 0; mask < 16; ++mask) {
              GemmArgs args = product(m, n, k, kind.op, kind.groups);
              args.swiglu = (mask & 1) != 0;
              if (args.swiglu && kind.op == NVFP4J_OP_BATCHED_GEMM) continue;
              if ((mask & 2) != 0) args.a.kind = NVFP4J_GEMM_A_NVFP4;
              args.batch_invariant = (mask & 4) != 0;
              if ((mask & 8) != 0) args.w.layout = NVFP4J_SCALE_LAYOUT_LINEAR;
              for (int path = 0; path < 4; ++path) {
                args.path = path;
                const GemmPlan p = plan_gemm(device, gemm_shape(args));
                if (p.refusal == nullptr) {
                  check_plan(device, args, p);
                  if (device.sm_count == kH100.sm_count && path == 0) reached.insert(chosen(p));
                } else {
                  CHECK(path >= NVFP4J_GEMM_PATH_DECODE ||
                        (path == NVFP4J_GEMM_PATH_AUTO && args.batch_invariant));
                }
              }
            }
          }
        }
      }
    }
  }
  for (int config = 0; config < kDecodeConfigs; ++config)
    check::equal(__FILE__, __LINE__, ("reach of decode " + std::to_string(config)).c_str(),
                 reached.count({static_cast<int>(GemmKernel::kDecode), config}) != 0, true);
  for (int config = 0; config < kWgmmaConfigs; ++config)
    check::equal(__FILE__, __LINE__, ("reach of wgmma " + std::to_string(config)).c_str(),
                 reached.count({static_cast<int>(GemmKernel::kWgmma), config}) != 0, true);
}

TEST(gemm_forced_paths) {
  GemmArgs args = product(4096, 4096, 4096);
  args.path = NVFP4J_GEMM_PATH_DECODE;
  CHECK(contains(plan(args).reason, "decode: gemm_decode_sm90, as options.path asks"));
  args = product(1, 4096, 4096);
  args.path = NVFP4J_GEMM_PATH_WGMMA;
  CHECK(contains(plan(args).reason, "wgmma: gemm_wgmma_sm90, as options.path asks"));
  args.path = NVFP4J_GEMM_PATH_GENERIC;
  CHECK(contains(plan(args).reason, "generic: gemm_generic, as options.path asks"));
  args.w.layout = NVFP4J_SCALE_LAYOUT_LINEAR;
  CHECK(contains(plan(args).reason, "generic: gemm_generic, as options.path asks"));
  // One chunk of K is too short for decode alone.
  CHECK(contains(refusal_of(product(1, 4096, 256), NVFP4J_GEMM_PATH_DECODE), "from 512 on"));
  CHECK(refusal_of(product(1, 4096, 256), NVFP4J_GEMM_PATH_WGMMA) == nullptr);
  CHECK(refusal_of(product(1, 4096, 512), NVFP4J_GEMM_PATH_DECODE) == nullptr);
  for (const int path : {NVFP4J_GEMM_PATH_DECODE, NVFP4J_GEMM_PATH_WGMMA}) {
    for (const char* part :
         {"compute capability 9.0", "n a multiple of 16", "swiglu of 32", "k of 256",
          "multiples of 16 bytes", "2^40 bytes", "1024 groups and tiles", "2^31"})
      CHECK(contains(refusal_of(product(1, 8, 16), path), part));
  }
}

TEST(gemm_plan_cache_read_nothing_but_the_call) {
  for (const std::int64_t m : {1, 40, 1024}) {
    for (const int op : {NVFP4J_OP_GEMM, NVFP4J_OP_GROUPED_GEMM}) {
      const GemmArgs args = product(m, 4096, 4096, op, op == NVFP4J_OP_GEMM ? 1 : 8);
      GemmArgs other = args;  // pointers, and what only the epilogue sees
      other.a.data = address<void>(~std::uintptr_t{15});
      other.a.scales = address<std::uint8_t>(0x11);
      other.a.global_scales = address<float>(0x13);
      other.a.global_scale_per_row = true;
      other.w.codes = nullptr;
      other.w.scales = address<std::uint8_t>(0x17);
      other.w.global_scales = nullptr;
      other.d = {address<void>(0x19), NVFP4J_DTYPE_F32, 5000};
      other.offsets = address<std::int32_t>(0x1B);
      other.row_weight = address<float>(0x1D);
      other.limit = 7.0f;
      const GemmPlan one = plan(args), two = plan(other);
      CHECK(chosen(one) == chosen(two));
      CHECK_EQ(one.token_tile, two.token_tile);
      CHECK(one.reason == two.reason);
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
