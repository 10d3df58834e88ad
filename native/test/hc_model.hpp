// SPDX-License-Identifier: Apache-2.0
// Sinkhorn and hyper-connections straight from the headers' formulas: bit for bit where those define bits, in binary64 elsewhere.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/float_formats.hpp"
#include "common/math.hpp"

namespace hc {

/// A type's nearest value, with the one NaN of results.
inline float rounded(float x, bool bf16) {
  if (std::isnan(x)) return nvfp4j::float_of(nvfp4j::kNan);
  return bf16 ? nvfp4j::bf16_to_f32(nvfp4j::f32_to_bf16(x)) : x;
}

inline float tree_sum(std::vector<float> v) {
  std::size_t padded = 1;
  while (padded < v.size()) padded *= 2;
  v.resize(padded, 0.0f);
  for (std::size_t h = padded / 2; h > 0; h /= 2) {
    for (std::size_t i = 0; i < h; ++i) v[i] = v[i] + v[i + h];
  }
  return v[0];
}

inline void normalise(std::vector<float>& c, int n, int first, int step, float eps) {
  std::vector<float> v;
  for (int i = 0; i < n; ++i) v.push_back(c[static_cast<std::size_t>(first + i * step)]);
  const float r = 1.0f / (tree_sum(v) + eps);
  for (int i = 0; i < n; ++i) {
    float& x = c[static_cast<std::size_t>(first + i * step)];
    x = x * r;
  }
}

/// One token, finite logits.
inline std::vector<float> sinkhorn(std::vector<float> c, int n, int iterations, float eps) {
  for (int j = 0; j < n; ++j) {
    const auto row = c.begin() + j * n;
    const float largest = *std::max_element(row, row + n);
    for (int k = 0; k < n; ++k) row[k] = nvfp4j::math::exp(row[k] - largest);
    const float r = 1.0f / tree_sum(std::vector<float>(row, row + n));
    for (int k = 0; k < n; ++k) row[k] = std::fma(row[k], r, eps);
  }
  for (int i = 0; i < iterations; ++i) {
    for (int j = 0; j < n && i > 0; ++j) normalise(c, n, j * n, 1, eps);
    for (int k = 0; k < n; ++k) normalise(c, n, k, n, eps);
  }
  return c;
}

/// The same in binary64, in the order of the formula.
inline std::vector<double> sinkhorn64(std::vector<double> c, int n, int iterations, double eps) {
  const auto divide = [&](int first, int step) {
    double sum = eps;
    for (int i = 0; i < n; ++i) sum += c[static_cast<std::size_t>(first + i * step)];
    for (int i = 0; i < n; ++i) c[static_cast<std::size_t>(first + i * step)] /= sum;
  };
  for (int j = 0; j < n; ++j) {
    const auto row = c.begin() + j * n;
    const double largest = *std::max_element(row, row + n);
    double sum = 0.0;
    for (int k = 0; k < n; ++k) sum += row[k] = std::exp(row[k] - largest);
    for (int k = 0; k < n; ++k) row[k] = row[k] / sum + eps;
  }
  for (int i = 0; i < iterations; ++i) {
    for (int j = 0; j < n && i > 0; ++j) divide(j * n, 1);
    for (int k = 0; k < n; ++k) divide(k, n);
  }
  return c;
}

/// One token's new residual [n, columns].
inline std::vector<float> post(const float* x, const float* sub, const float* post,
                               const float* comb, int n, std::int64_t columns, bool bf16) {
  std::vector<float> out(static_cast<std::size_t>(n * columns));
  for (int k = 0; k < n; ++k) {
    for (std::int64_t d = 0; d < columns; ++d) {
      float y = post[k] * sub[d];
      for (int j = 0; j < n; ++j) y = std::fma(comb[j * n + k], x[j * columns + d], y);
      out[static_cast<std::size_t>(k * columns + d)] = rounded(y, bf16);
    }
  }
  return out;
}

/// A module's parameters; the head's where there are n rows.
struct Module {
  std::vector<float> fn;    // [rows, n * columns]
  std::vector<float> base;  // [rows]
  std::vector<float> scale;
  int iterations = 20;
  float hc_eps = 1e-6f;
  float rms_eps = 1e-6f;
};

/// What a token gets, and how far from it a device may be.
struct Mixed {
  std::vector<double> pre;
  std::vector<double> post, post_bound;
  std::vector<double> comb, comb_bound;
  double r = 0.0;
};

inline Mixed mix(const float* x, const Module& m, int n, std::int64_t columns) {
  const std::int64_t all = n * columns;
  const int rows = static_cast<int>(m.base.size());
  double squares = 0.0;
  for (std::int64_t c = 0; c < all; ++c)
    squares += static_cast<double>(x[c]) * static_cast<double>(x[c]);
  Mixed result;
  result.r = 1.0 / std::sqrt(squares / static_cast<double>(all) + static_cast<double>(m.rms_eps));
  std::vector<double> logits;
  double comb_bound = 0.0;
  for (int i = 0; i < rows; ++i) {
    const float* fn = m.fn.data() + i * all;
    double sum = 0.0;
    double magnitudes = 0.0;
    for (std::int64_t c = 0; c < all; ++c) {
      const double p = static_cast<double>(fn[c]) * static_cast<double>(x[c]);
      sum += p;
      magnitudes += std::fabs(p);
    }
    const double mixed = sum * result.r;
    const double bound = 5e-8 * magnitudes * result.r + 0x1p-22 * std::fabs(mixed);
    const double scale = static_cast<double>(m.scale[i < n ? 0 : i < 2 * n ? 1 : 2]);
    const double z = mixed * scale + static_cast<double>(m.base[static_cast<std::size_t>(i)]);
    const double ulp = std::fabs(z) * 0x1p-23;
    // A sigmoid's slope is at most 1/4 and twice that of post 1/2; that of comb is below 1/2 a logit.
    const double allowed = 2e-6 + std::fabs(scale) / 2 * bound + ulp;
    const double sigmoid = 1.0 / (1.0 + std::exp(-z));
    if (i < n) {
      result.pre.push_back(sigmoid + static_cast<double>(m.hc_eps));
    } else if (i < 2 * n) {
      result.post.push_back(2.0 * sigmoid);
      result.post_bound.push_back(allowed);
    } else {
      logits.push_back(z);
      comb_bound = std::max(comb_bound, allowed);
    }
  }
  if (!logits.empty()) {
    result.comb = sinkhorn64(logits, n, m.iterations, static_cast<double>(m.hc_eps));
    result.comb_bound.assign(result.comb.size(), comb_bound);
  }
  return result;
}

/// Half of the distance between numbers of a type around y.
inline double half_ulp(double y, bool bf16) {
  if (y == 0.0) return bf16 ? 0x1p-134 : 0x1p-150;
  const int exponent = std::max(std::ilogb(y), -126);
  return std::ldexp(1.0, exponent - (bf16 ? 8 : 24));
}

}  // namespace hc
