// SPDX-License-Identifier: Apache-2.0
// The cache of plans: what it returns is what would be planned, and a model's shapes stay in it.
#include "ops/gemm/gemm_plan_cache.hpp"

#include <initializer_list>
#include <random>
#include <set>

#include "check.hpp"
#include "nvfp4j/gemm.h"

using namespace nvfp4j;

namespace {

constexpr CudaDeviceProperties kH100 = {0, 9, 0, 132, 232448, 233472, 52428800, 1, 0};

bool same(const GemmPlan& a, const GemmPlan& b) {
  if (a.refusal != nullptr || b.refusal != nullptr) return a.refusal == b.refusal;
  return a.kernel == b.kernel && a.config == b.config && a.token_tile == b.token_tile &&
         a.reason == b.reason && a.packed_rows == b.packed_rows;
}

}  // namespace

// Shapes that share a place or differ in one field only, over and over: each gets its own plan.
TEST(remembered_gemm_plan_cache_are_those_of_the_shape) {
  std::mt19937 g(20261130);
  GemmPlanCache cache(kH100);
  const auto any = [&](std::initializer_list<std::int64_t> values) {
    return values.begin()[g() % values.size()];
  };
  GemmShape shape{};
  std::set<int> changed;
  for (int i = 0; i < 200'000; ++i) {
    const int field = shape.groups == 0 ? 0 : static_cast<int>(g() % 11);
    const GemmShape before = shape;
    if (i % 50 == 0) {
      shape = {any({1, 3, 256}),
               0,
               0,
               0,
               NVFP4J_OP_GEMM,
               0,
               NVFP4J_SCALE_LAYOUT_PREPARED,
               0,
               true,
               false,
               false};
      shape.m = any({0, 1, 8, 16, 17, 128, 4096});
      shape.n = any({1536, 4096, 7168});
      shape.k = any({512, 4096, 7168});
    }
    switch (field) {
      case 0:
        shape.groups = any({1, 2, 3, 64, 256});
        break;
      case 1:
        shape.m = any({0, 1, 7, 8, 9, 16, 17, 64, 100, 1024, 8192, 1 << 20});
        break;
      case 2:
        shape.n = any({16, 40, 64, 1536, 2048, 7168, 24576});
        break;
      case 3:
        shape.k = any({16, 256, 512, 1536, 7168, 16384});
        break;
      case 4:
        shape.op =
            static_cast<int>(any({NVFP4J_OP_GEMM, NVFP4J_OP_GROUPED_GEMM, NVFP4J_OP_BATCHED_GEMM}));
        break;
      case 5:
        shape.a_kind = static_cast<int>(g() % 3);
        break;
      case 6:
        shape.w_layout =
            static_cast<int>(any({NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_PREPARED}));
        break;
      case 7:
        shape.path = static_cast<int>(g() % 4);
        break;
      case 8:
        shape.aligned = !shape.aligned;
        break;
      case 9:
        shape.swiglu = !shape.swiglu;
        break;
      default:
        shape.batch_invariant = !shape.batch_invariant;
    }
    const GemmPlan want = plan_gemm(kH100, shape);
    for (int again = 0; again < 2; ++again) {
      const GemmPlan& got = cache.of(shape);
      CHECK(same(got, want));
    }
    // The shape before may have lost its place, and comes back right.
    if (before.groups != 0) {
      const GemmPlan last = plan_gemm(kH100, before);
      CHECK(same(cache.of(before), last));
      if (!same(last, want) && i % 50 != 0) changed.insert(field);
    }
  }
  // Each field has made a difference.
  CHECK_EQ(changed.size(), std::size_t{11});
}

// What a model calls in one step, whatever the number of tokens: the products of its layers, and the experts'.
TEST(a_model_finds_its_gemm_plan_cache_again) {
  struct Extent {
    std::int64_t groups, n, k;
    int op;
    bool swiglu;
  };
  constexpr int kOne = NVFP4J_OP_GEMM, kGrouped = NVFP4J_OP_GROUPED_GEMM,
                kBatched = NVFP4J_OP_BATCHED_GEMM;
  for (const std::int64_t hidden : {4096, 7168}) {
    const std::int64_t experts = hidden == 7168 ? 384 : 256;
    const std::int64_t inner = hidden == 7168 ? 3072 : 2048;
    const Extent extents[] = {{1, 1536, hidden, kOne, false},
                              {1, 1024, hidden, kOne, false},
                              {1, 512, hidden, kOne, false},
                              {1, 65536, 1536, kOne, false},
                              {1, 8192, 1536, kOne, false},
                              {16, 1024, 4096, kBatched, false},
                              {1, hidden, 16384, kOne, false},
                              {1, 2 * inner, hidden, kOne, true},
                              {1, hidden, inner, kOne, false},
                              {experts, 2 * inner, hidden, kGrouped, true},
                              {experts, hidden, inner, kGrouped, false},
                              {1, 129280, hidden, kOne, false}};
    for (std::int64_t m = 1; m <= 8192; m *= 2) {
      GemmPlanCache cache(kH100);
      const auto shape_of = [&](const Extent& e) {
        const std::int64_t rows = e.op == kGrouped ? 6 * m : m;
        return GemmShape{e.groups,
                         rows,
                         e.n,
                         e.k,
                         e.op,
                         NVFP4J_GEMM_A_BF16,
                         NVFP4J_SCALE_LAYOUT_PREPARED,
                         NVFP4J_GEMM_PATH_AUTO,
                         true,
                         e.swiglu,
                         false};
      };
      for (const Extent& e : extents) {
        CHECK(!cache.contains(shape_of(e)));
        cache.of(shape_of(e));
      }
      for (const Extent& e : extents) CHECK(cache.contains(shape_of(e)));
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
