// SPDX-License-Identifier: Apache-2.0
// Sinkhorn and hyper-connections as scalar host code, straight from nvfp4j/sinkhorn.h and nvfp4j/hyper_connections.h: bit for bit
// where those define bits, in binary64 elsewhere, with what a device may be off by.
#pragma once
#include "common/math.hpp"
#include "gpu_test.cuh"
#include "nvfp4j/sinkhorn.h"

namespace nvfp4j::test {

inline constexpr int kMaxStreams = NVFP4J_MAX_STREAMS;
inline constexpr std::uint32_t kNanBits = 0x7FC00000u;

// ---- sinkhorn --------------------------------------------------------------------------------------------------------

inline float exponential(float x) { return math::exp(x); }
inline double exponential(double x) { return std::exp(x); }

// Of n numbers, `step` apart.
template <typename T>
T tree_sum(const T* from, int n, int step) {
  T v[kMaxStreams] = {};
  int padded = 1;
  while (padded < n) padded *= 2;
  for (int i = 0; i < n; ++i) v[i] = from[i * step];
  for (int h = padded / 2; h > 0; h /= 2) {
    for (int i = 0; i < h; ++i) v[i] = v[i] + v[i + h];
  }
  return v[0];
}

template <typename T>
void normalise(T* from, int n, int step, T eps) {
  const T reciprocal = T{1} / (tree_sum(from, n, step) + eps);
  for (int i = 0; i < n; ++i) from[i * step] = from[i * step] * reciprocal;
}

// c: finite logits, then the result. In binary32 these are the bits of every device.
template <typename T>
void sinkhorn(T* c, int n, int iterations, T eps) {
  for (int j = 0; j < n; ++j) {
    T* const row = c + j * n;
    const T largest = *std::max_element(row, row + n);
    for (int k = 0; k < n; ++k) row[k] = exponential(row[k] - largest);
    const T reciprocal = T{1} / tree_sum(row, n, 1);
    for (int k = 0; k < n; ++k) row[k] = std::fma(row[k], reciprocal, eps);
  }
  for (int i = 0; i < iterations; ++i) {
    for (int j = 0; j < n && i > 0; ++j) normalise(c + j * n, n, 1, eps);
    for (int k = 0; k < n; ++k) normalise(c + k, n, n, eps);
  }
}

// The same of any logits. Whether all were finite.
inline bool sinkhorn_token(float* c, int n, int iterations, float eps) {
  const bool finite = std::all_of(c, c + n * n, [](float x) { return std::isfinite(x); });
  if (finite) {
    sinkhorn(c, n, iterations, eps);
  } else {
    std::fill_n(c, n * n, float_of(kNanBits));
  }
  return finite;
}

// ---- hc_post ---------------------------------------------------------------------------------------------------------

// One token, out [n, columns], before it is rounded to the residual's type.
inline void hc_post_token(const float* x, const float* sub, const float* post, const float* comb,
                          int n, std::int64_t columns, float* out) {
  for (int k = 0; k < n; ++k) {
    float* const y = out + k * columns;
    for (std::int64_t d = 0; d < columns; ++d) y[d] = post[k] * sub[d];
    for (int j = 0; j < n; ++j) {
      for (std::int64_t d = 0; d < columns; ++d)
        y[d] = std::fma(comb[j * n + k], x[j * columns + d], y[d]);
    }
  }
}

// ---- hc_pre ----------------------------------------------------------------------------------------------------------

// Exact products, added in binary64.
struct Sums {
  double sum = 0;
  double magnitudes = 0;
};
inline Sums sum_products(const float* a, const float* b, std::int64_t count) {
  double sum[8] = {};  // independent, so that they are quick
  double magnitudes[8] = {};
  for (std::int64_t i = 0; i < count; i += 8) {
    for (int k = 0; k < 8; ++k) {
      const double product = static_cast<double>(a[i + k]) * static_cast<double>(b[i + k]);
      sum[k] += product;
      magnitudes[k] += std::fabs(product);
    }
  }
  Sums all;
  for (int k = 0; k < 8; ++k) {
    all.sum += sum[k];
    all.magnitudes += magnitudes[k];
  }
  return all;
}

// A module's parameters, or, with n rows, the head's.
struct Module {
  int n;
  std::int64_t width;       // n * D
  std::vector<float> fn;    // [rows, width]
  std::vector<float> base;  // [rows]
  std::vector<float> scale;
  int iterations;
  float hc_eps;
  float rms_eps;

  int rows() const { return static_cast<int>(base.size()); }
  float scale_of(int row) const { return scale[row < n ? 0 : row < 2 * n ? 1 : 2]; }
};

// A mix of a token, and how far from it a device's may be.
struct Mix {
  double m;
  double bound;
};
inline Mix mix_of(const Module& module, int row, const float* x, double r) {
  const Sums s = sum_products(&module.fn[row * module.width], x, module.width);
  const double m = s.sum * r;
  return {m, 5e-8 * r * s.magnitudes + 0x1p-22 * std::fabs(m)};
}
inline double reciprocal_root(const Module& module, const float* x) {
  return 1.0 / std::sqrt(sum_products(x, x, module.width).sum / static_cast<double>(module.width) +
                         static_cast<double>(module.rms_eps));
}

// A token's mixing weights. A sigmoid's slope is at most 1/4: so is that of `pre`; that of `post` and of a softmax is 1/2.
struct Mixed {
  double pre[kMaxStreams];
  double pre_moved[kMaxStreams];  // by as much as its mix may be off
  double post[kMaxStreams];
  double post_bound[kMaxStreams];
  double comb[kMaxStreams * kMaxStreams];
  double comb_bound;
};
inline Mixed mix_token(const Module& module, const float* x) {
  const int n = module.n;
  const double r = reciprocal_root(module, x);
  Mixed result{};
  for (int row = 0; row < module.rows(); ++row) {
    const Mix mix = mix_of(module, row, x, r);
    const double scale = static_cast<double>(module.scale_of(row));
    const double z = mix.m * scale + static_cast<double>(module.base[row]);
    const double sigmoid = 1.0 / (1.0 + std::exp(-z));
    const double moved = std::fabs(scale) * mix.bound;
    const double bound =
        2e-6 + moved / 2 + std::fabs(z) * 0x1p-23;  // the last: an ulp of the logit
    if (row < n) {
      result.pre[row] = sigmoid + static_cast<double>(module.hc_eps);
      result.pre_moved[row] = moved / 4;
    } else if (row < 2 * n) {
      result.post[row - n] = 2 * sigmoid;
      result.post_bound[row - n] = bound;
    } else {
      result.comb[row - 2 * n] = z;
      result.comb_bound = std::max(result.comb_bound, bound);
    }
  }
  if (module.rows() > n)
    sinkhorn(result.comb, n, module.iterations, static_cast<double>(module.hc_eps));
  return result;
}

// Half of the distance between two numbers of a type at y.
inline double half_ulp(double y, int dtype) {
  const int exponent = y == 0 ? -126 : std::max(std::ilogb(y), -126);
  return std::ldexp(1.0, exponent - (dtype == NVFP4J_DTYPE_BF16 ? 8 : 24));
}

}  // namespace nvfp4j::test
