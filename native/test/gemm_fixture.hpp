// SPDX-License-Identifier: Apache-2.0
// Matrix products for tests, and their exact results: in integers, in units of 2^-20 (NVFP4 A), or in
// binary64 (BF16 A).
#pragma once
#include <cmath>
#include <functional>

#include "fixture.hpp"
#include "reference.hpp"

namespace fixture {

/// Global scales that are not powers of 2, so that alpha rounds.
inline float some_global_scale(int64_t i) { return 0.3f + 0.07f * static_cast<float>(i % 11); }

/// Random codes, and scales from the bytes [low, high].
inline void fill_nvfp4(const Nvfp4& x, int low, int high) {
  for (int64_t i = 0; i < x.codes.size(); ++i)
    x.codes[i] = static_cast<std::uint8_t>(generator()());
  for (int64_t i = 0; i < x.scales.size(); ++i) {
    x.scales[i] = static_cast<std::uint8_t>(
        low + static_cast<int>(generator()() % static_cast<unsigned>(high - low + 1)));
  }
  for (int64_t i = 0; i < x.descriptor.global_scales_count; ++i) x.gs()[i] = some_global_scale(i);
}

/// code * block scale of element (row, k) of a linear tensor; row counts through the groups.
inline double product_of(const Nvfp4& x, int64_t row, int64_t k) {
  const int64_t columns = x.descriptor.columns;
  const int byte = x.codes[row * columns / 2 + k / 2];
  return static_cast<double>(reference::e2m1_value(k % 2 == 0 ? byte & 15 : byte >> 4)) *
         reference::e4m3_value(x.scales[row * columns / 16 + k / 16]);
}

/// The unit of the smallest block scale of a row that is not 0: 2^(e - 10), at least 2^-9.
inline double scale_unit(const Nvfp4& x, int64_t row, int64_t from, int64_t count) {
  int smallest = 0x7F;
  for (int64_t s = from / 16; s < (from + count) / 16; ++s) {
    const int scale = x.scales[row * x.descriptor.columns / 16 + s];
    if (scale != 0 && scale < smallest) smallest = scale;
  }
  return std::ldexp(1.0, std::max(-9, (smallest >> 3) - 10));
}

/// A product of one op: its operands, where D lies, and which rows of A meet which rows of W.
struct Product {
  int32_t op = NVFP4J_OP_GEMM;
  const Nvfp4* a = nullptr;               // linear, or
  const std::uint16_t* a_bf16 = nullptr;  // of a row stride of
  int64_t a_stride = 0;
  const Nvfp4* w = nullptr;
  const int32_t* offsets = nullptr;
  int64_t m = 0;
};

/// The sum over k of one element of D, the sum of magnitudes, and whether every order is exact.
struct Exact {
  double acc;
  double absolute;
  bool certified;
};

inline Exact exact_sum(const Product& p, int64_t group, int64_t m, int64_t n) {
  const int64_t k = p.w->descriptor.columns;
  const int64_t from = p.op == NVFP4J_OP_BATCHED_GEMM ? group * k : 0;
  const int64_t row = group * p.w->descriptor.rows + n;
  if (p.a != nullptr) {
    __int128 acc = 0;
    __int128 absolute = 0;
    for (int64_t i = 0; i < k; ++i) {
      // Each is a multiple of 2^-10.
      const int64_t a = static_cast<int64_t>(std::ldexp(product_of(*p.a, m, from + i), 10));
      const int64_t w = static_cast<int64_t>(std::ldexp(product_of(*p.w, row, i), 10));
      acc += a * w;
      absolute += std::abs(a * w);
    }
    const double unit = 0.25 * scale_unit(*p.a, m, from, k) * scale_unit(*p.w, row, 0, k);
    const double total = std::ldexp(static_cast<double>(absolute), -20);
    return {std::ldexp(static_cast<double>(acc), -20), total, total < 0x1p24 * unit};
  }
  double acc = 0.0;
  double absolute = 0.0;
  for (int64_t i = 0; i < k; ++i) {
    const double a =
        reference::from_bits(static_cast<std::uint32_t>(p.a_bf16[m * p.a_stride + from + i]) << 16);
    const double term = a * product_of(*p.w, row, i);
    acc += term;
    absolute += std::fabs(term);
  }
  return {acc, absolute, false};
}

inline float alpha_of(const Product& p, int64_t group, int64_t m, int64_t n) {
  const nvfp4j_nvfp4_tensor& w = p.w->descriptor;
  const int64_t index = w.global_scale_kind == NVFP4J_GLOBAL_SCALE_GROUP ? group
                        : w.global_scale_kind == NVFP4J_GLOBAL_SCALE_HALVES
                            ? 2 * group + (n >= w.rows / 2 ? 1 : 0)
                            : 0;
  float a = 1.0f;
  if (p.a != nullptr)
    a = p.a->gs()[p.a->descriptor.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW ? m : 0];
  return a * p.w->gs()[index];
}

/// Calls visit(group, m) for every row of A that belongs to a group.
inline void each_row(const Product& p, const std::function<void(int64_t, int64_t)>& visit) {
  for (int64_t g = 0; g < p.w->descriptor.groups; ++g) {
    const bool grouped = p.op == NVFP4J_OP_GROUPED_GEMM;
    for (int64_t m = grouped ? p.offsets[g] : 0; m < (grouped ? p.offsets[g + 1] : p.m); ++m)
      visit(g, m);
  }
}

/// Compares an F32 D with the exact product: equal where that is certified, else within the bound of
/// gemm.h. Returns how many elements were certified.
inline int64_t check_product(const Product& p, const float* d, int64_t stride) {
  const int64_t n = p.w->descriptor.rows;
  const double gamma = static_cast<double>(p.w->descriptor.columns) * 0x1p-24;
  int64_t certified = 0;
  int64_t wrong = 0;
  each_row(p, [&](int64_t g, int64_t m) {
    for (int64_t j = 0; j < n; ++j) {
      const Exact exact = exact_sum(p, g, m, j);
      const float alpha = alpha_of(p, g, m, j);
      const int64_t column = p.op == NVFP4J_OP_BATCHED_GEMM ? g * n + j : j;
      const float actual = d[m * stride + column];
      const double value = static_cast<double>(alpha) * exact.acc;
      const double bound = gamma * std::fabs(static_cast<double>(alpha)) * exact.absolute +
                           0x1p-24 * std::fabs(value) + 0x1p-150;
      certified += exact.certified;
      wrong += exact.certified ? reference::to_bits(actual) !=
                                     reference::to_bits(alpha * static_cast<float>(exact.acc))
                               : !(std::fabs(static_cast<double>(actual) - value) <= bound);
    }
  });
  CHECK_EQ(wrong, 0);
  return certified;
}

/// gemm with an F32 D of a stride of its own.
inline std::vector<float> gemm(const Context& context, const nvfp4j_tensor* a,
                               const nvfp4j_nvfp4_tensor* a_nvfp4, const nvfp4j_nvfp4_tensor& w,
                               int64_t m, int64_t stride) {
  std::vector<float> d(static_cast<std::size_t>(m * stride), -77.0f);
  const nvfp4j_tensor output = matrix(d.data(), NVFP4J_DTYPE_F32, m, w.rows, stride);
  const nvfp4j_gemm_options options = gemm_options();
  CHECK_OK(nvfp4j_gemm(context, a, a_nvfp4, &w, nullptr, &options, &output, error));
  return d;
}

/// The same weights, prepared.
inline Nvfp4 prepared(const Context& context, const Nvfp4& w) {
  const nvfp4j_nvfp4_tensor& t = w.descriptor;
  Nvfp4 p(t.rows, t.columns, NVFP4J_SCALE_LAYOUT_PREPARED, t.global_scale_kind, t.groups);
  CHECK_OK(nvfp4j_prepare_weights(context, &t, &p.descriptor, error));
  return p;
}

inline std::vector<std::uint16_t> random_bf16(int64_t count) {
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<std::uint16_t> x(static_cast<std::size_t>(count));
  for (std::uint16_t& value : x) value = reference::round16(normal(generator()), NVFP4J_DTYPE_BF16);
  return x;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

}  // namespace fixture
