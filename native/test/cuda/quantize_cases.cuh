// SPDX-License-Identifier: Apache-2.0
// What the tests of the quantising ops share: how cases are chosen, and what must be true after one.
#pragma once
#include <set>

#include "quantize_kernel_cases.hpp"
#include "quantize_reference.cuh"

namespace nvfp4j::test {

struct QuantizeCase {
  int dtype;
  std::int64_t rows;
  std::int64_t columns;  // of the output
  std::int64_t pad;      // elements between two rows of the input
  int misalign;          // elements before the input's first
  Data data;
  QuantizeRecipe recipe;
  int layout;
  int kind;

  bool dynamic() const { return recipe.global_scale == NVFP4J_GLOBAL_SCALE_DYNAMIC; }
  std::int64_t scales_count() const { return kind == NVFP4J_GLOBAL_SCALE_ROW ? rows : 1; }
  std::string name() const {
    char text[200];
    std::snprintf(text, sizeof text,
                  "dtype %d [%lld, %lld] pad %lld misalign %d data %d %s recipe %d zero %d layout "
                  "%d kind %d",
                  dtype, static_cast<long long>(rows), static_cast<long long>(columns),
                  static_cast<long long>(pad), misalign, data, dynamic() ? "dynamic" : "given",
                  recipe.recipe, recipe.zero_scale, layout, kind);
    return text;
  }
};

inline QuantizeCase random_case(std::mt19937& g, std::int64_t rows, std::int64_t columns,
                                const std::vector<int>& dtypes) {
  QuantizeCase c;
  c.dtype = dtypes[g() % dtypes.size()];
  c.rows = rows;
  c.columns = columns;
  c.pad = g() % 3 == 0 ? static_cast<std::int64_t>(g() % 40) : 0;
  c.misalign = g() % 4 == 0 ? static_cast<int>(g() % 8) : 0;
  c.data = static_cast<Data>(g() % kDataKinds);
  c.recipe = {g() % 3 != 0 ? NVFP4J_GLOBAL_SCALE_DYNAMIC : NVFP4J_GLOBAL_SCALE_GIVEN,
              g() % 4 == 0 ? NVFP4J_RECIPE_TE_EXACT : NVFP4J_RECIPE_EXACT,
              static_cast<int>(g() % 2)};
  c.layout = static_cast<int>(g() % 2);
  c.kind = static_cast<int>(g() % 2);
  return c;
}

struct Shape {
  std::int64_t rows;
  std::int64_t columns;
};

// `count` cases, the shapes in turn and the rest at random; none of more than `largest` elements.
inline void for_random_cases(std::mt19937& g, const std::vector<Shape>& shapes, int count,
                             std::int64_t largest, const std::vector<int>& dtypes,
                             const std::function<void(const QuantizeCase&)>& run) {
  for (int i = 0; i < count; ++i) {
    const Shape& shape = shapes[static_cast<std::size_t>(i) % shapes.size()];
    if (shape.rows * shape.columns > largest) continue;
    run(random_case(g, shape.rows, shape.columns, dtypes));
  }
}

// Every kernel that the op has on this device, in 16-bit and in 32-bit elements. Fails when one was not reached.
inline void for_every_kernel(Gpu& gpu, bool computed,
                             const std::function<void(const QuantizeCase&)>& run) {
  const int multiprocessors = gpu.properties.sm_count;
  gpu.properties.sm_count = kFewMultiprocessors;
  for (const int dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    std::set<QuantizeKernel> reached;
    for (const QuantizeKernelCase& k : kQuantizeKernelCases) {
      const QuantizeRecipe recipe = {
          k.dynamic ? NVFP4J_GLOBAL_SCALE_DYNAMIC : NVFP4J_GLOBAL_SCALE_GIVEN,
          dtype == NVFP4J_DTYPE_BF16 ? NVFP4J_RECIPE_EXACT : NVFP4J_RECIPE_TE_EXACT,
          NVFP4J_ZERO_SCALE_MIN};
      run({dtype, k.rows, k.columns, k.pad, 0, k.rows == 6 ? kNonFinite : kGauss, recipe,
           static_cast<int>(k.rows % 2),
           k.per_row ? NVFP4J_GLOBAL_SCALE_ROW : NVFP4J_GLOBAL_SCALE_TENSOR});
      reached.insert(
          plan_quantize(gpu.properties, problem_of(k, element_bytes(dtype), computed)).kernel);
    }
    for (int i = 0; kernel_name(static_cast<QuantizeKernel>(i)) != nullptr; ++i) {
      const auto kernel = static_cast<QuantizeKernel>(i);
      check(reached.count(kernel) != 0 || !has_kernel(gpu.properties, kernel, computed),
            std::string("no case reaches the kernel '") + kernel_name(kernel) + "'");
    }
  }
  gpu.properties.sm_count = multiprocessors;
}

// The scales of a case whose global scales are given, none otherwise; now and then unusable ones.
inline std::vector<float> given_scales(std::mt19937& g, const QuantizeCase& c) {
  std::vector<float> given;
  if (c.dynamic()) return given;
  const float unusable[] = {0.0f,
                            -1.0f,
                            std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity(),
                            1e-42f,
                            3e38f};
  const bool bad = g() % 4 == 0;
  for (std::int64_t i = 0; i < c.scales_count(); ++i) {
    given.push_back(bad && g() % 3 == 0 ? unusable[g() % 6]
                                        : std::ldexp(1.0f + static_cast<float>(g() >> 8) * 0x1p-24f,
                                                     static_cast<int>(g() % 30) - 20));
  }
  return given;
}

// Launches twice, and three times from a graph; each time every byte of the output must be what is
// expected. Then the causes: those of the expectation, and `other`. `launch` gets the output.
inline void check_quantised(Gpu& gpu, const QuantizeCase& c, const Quantised& expected,
                            const std::vector<float>& given, int op, std::uint64_t other,
                            const std::string& name,
                            const std::function<int(const QuantizeOutput&)>& launch) {
  Buffer codes(c.rows * c.columns / 2);
  Buffer scales(scale_bytes(c.layout, c.rows, c.columns / 16));
  Buffer gs(c.scales_count() * 4);
  const QuantizeOutput output = {codes.data(), scales.data(), gs.as<float>(), c.layout, c.kind};
  const auto start = [&] { must(static_cast<cudaError_t>(launch(output)), name.c_str()); };
  for (int run = 0; run < 3; ++run) {
    codes.poison();
    scales.poison();
    gs.poison();
    if (!given.empty()) gs.put(given.data(), c.scales_count() * 4);
    if (run < 2) {
      start();
      gpu.wait();
    } else {
      gpu.replay(start, 3);
    }
    if (!equal(expected, codes, scales, gs, name)) break;
  }
  const std::uint64_t causes = gpu.take_status().causes[op];
  const std::uint64_t wanted = other |
                               (expected.non_finite ? 1ull << NVFP4J_CAUSE_NON_FINITE_INPUT : 0) |
                               (expected.bad_scale ? 1ull << NVFP4J_CAUSE_BAD_GLOBAL_SCALE : 0);
  check(causes == wanted,
        name + ": causes " + std::to_string(causes) + ", expected " + std::to_string(wanted));
}

}  // namespace nvfp4j::test
