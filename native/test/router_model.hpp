// SPDX-License-Identifier: Apache-2.0
// The routers as nvfp4j/router.h defines them, slowly: logits in binary64 with what a device may be off by, and the
// choice bit for bit from given logits. Random problems for the tests of either device.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "common/math.hpp"
#include "nvfp4j/router.h"
#include "nvfp4j/tensor.h"

namespace router {

inline float from_bits(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
/// The upper half of what `x` is rounded to.
inline std::uint16_t bf16_of(float x) {
  const std::uint32_t b = bits_of(x);
  if (std::isnan(x)) return 0x7FC0;
  return static_cast<std::uint16_t>((b + 0x7FFF + (b >> 16 & 1)) >> 16);
}
inline float round_to(float x, std::int32_t dtype) {
  return dtype == NVFP4J_DTYPE_F32 ? x : from_bits(static_cast<std::uint32_t>(bf16_of(x)) << 16);
}
inline float e2m1_value(unsigned code) {
  constexpr float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  return code & 8 ? -values[code & 7] : values[code & 7];
}
/// A block scale; with its sign bit set it counts as NaN.
inline float block_scale_value(unsigned byte) {
  if (byte >= 0x7F) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = static_cast<int>(byte >> 3);
  const float mantissa = static_cast<float>(byte & 7);
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8.0f + mantissa, exponent - 10);
}

// ---- problems --------------------------------------------------------------------------------------------------------

enum class Data {
  kNormal,    // logits around 0, of a deviation of 2
  kPositive,  // every product is positive: errors of one sign show
  kWide,      // magnitudes over 2^24
  kLogits,    // x is 1 in front and W's first column the logit, from -60 to 60: not for NVFP4
  kLow,       // the same, from -130 to -85
  kEqual,     // all rows of W are alike
};

enum class Bias { kZero, kNormal, kLarge, kInfinite };

struct Shape {
  std::int64_t tokens;
  int experts;
  std::int64_t columns;
  int topk;
  std::int32_t x_dtype = NVFP4J_DTYPE_BF16;
  std::int32_t w_dtype = NVFP4J_DTYPE_BF16;  // NVFP4J_DTYPE_U8: NVFP4
  Data data = Data::kNormal;
  Bias bias = Bias::kNormal;

  bool nvfp4() const { return w_dtype == NVFP4J_DTYPE_U8; }
  std::string name() const {
    const auto dtype = [](std::int32_t d) {
      return d == NVFP4J_DTYPE_F32 ? "F32" : d == NVFP4J_DTYPE_U8 ? "NVFP4" : "BF16";
    };
    return "T " + std::to_string(tokens) + " E " + std::to_string(experts) + " D " +
           std::to_string(columns) + " k " + std::to_string(topk) + " x " + dtype(x_dtype) + " W " +
           dtype(w_dtype) + " data " + std::to_string(static_cast<int>(data)) + " bias " +
           std::to_string(static_cast<int>(bias));
  }
};

struct Problem {
  Shape shape;
  std::vector<float> x;  // [T, D], values of its type
  std::vector<float> w;  // [E, D]; of NVFP4 code * block scale
  float global_scale = 1.0f;
  std::vector<std::uint8_t> codes;   // of NVFP4
  std::vector<std::uint8_t> scales;  // of NVFP4
  std::vector<float> bias;
  float scale = 1.5f;

  /// Codes and block scales again to `w`.
  void decode() {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const unsigned byte = codes[i / 2];
      w[i] = e2m1_value(i % 2 == 0 ? byte & 15 : byte >> 4) * block_scale_value(scales[i / 16]);
    }
  }
};

template <class Generator>
float uniform(Generator& g) {
  return static_cast<float>(g() >> 8 & 0xFFFF) * 0x1p-16f;
}
template <class Generator>
float normal(Generator& g) {
  float s = 0;
  for (int i = 0; i < 4; ++i) s += uniform(g) - 0.5f;
  return s * 1.7f;
}
/// Of a long row a part repeats itself, so that large problems are made quickly; no two rows are alike.
template <class Generator, class Value>
void fill(Generator& g, std::vector<float>& values, const Value& value) {
  constexpr std::size_t kPeriod = 1048573;
  const std::size_t fresh = std::min(values.size(), kPeriod);
  for (std::size_t i = 0; i < fresh; ++i) values[i] = value(g);
  for (std::size_t i = fresh; i < values.size(); ++i) values[i] = values[i - kPeriod];
}

template <class Generator>
Problem make_problem(Generator& g, const Shape& s) {
  Problem p;
  p.shape = s;
  const auto columns = static_cast<std::size_t>(s.columns);
  p.x.resize(static_cast<std::size_t>(s.tokens) * columns);
  p.w.resize(static_cast<std::size_t>(s.experts) * columns);
  p.bias.resize(static_cast<std::size_t>(s.experts));
  p.scale = g() % 2 == 0 ? 1.5f : 2.5f;
  const auto value = [&](Generator& r) {
    switch (s.data) {
      case Data::kPositive:
        return 0.5f + uniform(r);
      case Data::kWide:
        return normal(r) * std::ldexp(1.0f, static_cast<int>(r() % 24) - 12);
      default:
        return normal(r);
    }
  };
  const float spread = 2.0f / std::sqrt(static_cast<float>(s.columns));
  fill(g, p.x, [&](Generator& r) { return round_to(value(r), s.x_dtype); });
  if (s.nvfp4()) {
    p.codes.resize(p.w.size() / 2);
    p.scales.resize(p.w.size() / 16);
    for (std::uint8_t& b : p.codes)
      b = static_cast<std::uint8_t>(s.data == Data::kPositive ? g() & 0x77 : g());
    for (std::uint8_t& b : p.scales)
      b = static_cast<std::uint8_t>(s.data == Data::kWide ? g() % 0x7F : 0x30 + g() % 16);
    p.global_scale = spread * (0.25f + 0.2f * uniform(g));
    p.decode();
  } else {
    fill(g, p.w, [&](Generator& r) { return round_to(value(r) * spread, s.w_dtype); });
  }
  if (s.data == Data::kLogits || s.data == Data::kLow) {
    std::fill(p.w.begin(), p.w.end(), 0.0f);
    for (std::size_t e = 0; e < p.bias.size(); ++e) {
      const float logit =
          s.data == Data::kLogits ? 120.0f * uniform(g) - 60.0f : -130.0f + 45.0f * uniform(g);
      p.w[e * columns] = round_to(logit, s.w_dtype);
    }
    for (std::int64_t t = 0; t < s.tokens; ++t) p.x[static_cast<std::size_t>(t) * columns] = 1.0f;
  }
  if (s.data == Data::kEqual) {
    for (std::size_t i = columns; i < p.w.size(); ++i) p.w[i] = p.w[i - columns];
    for (std::size_t i = columns / 2; s.nvfp4() && i < p.codes.size(); ++i)
      p.codes[i] = p.codes[i - columns / 2];
    for (std::size_t i = columns / 16; s.nvfp4() && i < p.scales.size(); ++i)
      p.scales[i] = p.scales[i - columns / 16];
  }
  for (float& b : p.bias) {
    const float infinity = std::numeric_limits<float>::infinity();
    const unsigned draw = static_cast<unsigned>(g() % 8);
    b = s.bias == Bias::kZero     ? 0.0f
        : s.bias == Bias::kNormal ? normal(g)
        : s.bias == Bias::kLarge  ? (draw % 2 == 0 ? 1e4f : -1e4f)
        : draw == 0               ? infinity
        : draw < 4                ? -infinity
                                  : normal(g);
  }
  return p;
}

// ---- logits ----------------------------------------------------------------------------------------------------------

struct Exact {
  double z;
  double magnitude;  // sum of |x * W|, with the global scale
};

inline Exact exact_logit(const Problem& p, std::int64_t token, int expert) {
  const float* x = &p.x[static_cast<std::size_t>(token * p.shape.columns)];
  const float* w = &p.w[static_cast<std::size_t>(expert * p.shape.columns)];
  // Eight sums side by side, which compilers make vectors of.
  double z[8] = {};
  double magnitude[8] = {};
  std::int64_t d = 0;
  for (; d + 8 <= p.shape.columns; d += 8) {
    for (int i = 0; i < 8; ++i) {
      const double product = static_cast<double>(x[d + i]) * static_cast<double>(w[d + i]);
      z[i] += product;
      magnitude[i] += std::fabs(product);
    }
  }
  for (; d < p.shape.columns; ++d) {
    const double product = static_cast<double>(x[d]) * static_cast<double>(w[d]);
    z[0] += product;
    magnitude[0] += std::fabs(product);
  }
  Exact sum = {0.0, 0.0};
  for (int i = 0; i < 8; ++i) {
    sum.z += z[i];
    sum.magnitude += magnitude[i];
  }
  const auto factor = static_cast<double>(p.global_scale);
  return {sum.z * factor, sum.magnitude * std::fabs(factor)};
}

/// The error of a logit in units of 2^-24 * sum of |x * W|; 0 where both are the same non-finite value.
inline double error_units(float z, const Exact& exact) {
  if (std::isnan(exact.z)) return std::isnan(z) ? 0.0 : HUGE_VAL;
  if (!std::isfinite(z) || !std::isfinite(exact.z))
    return static_cast<double>(z) == exact.z ? 0.0 : HUGE_VAL;
  const double error = std::fabs(static_cast<double>(z) - exact.z);
  // What is below the smallest number is no error of a sum.
  return error <= 0x1p-149 ? 0.0 : error / (0x1p-24 * exact.magnitude);
}
inline double error_bound(std::int64_t columns) { return static_cast<double>(columns) / 64 + 32; }

// ---- the choice ------------------------------------------------------------------------------------------------------

inline float canonical(float x) { return std::isnan(x) ? from_bits(0x7FC00000) : x; }

inline float score(float z) {
  return canonical(std::sqrt(z > 20.0f ? z : nvfp4j::math::log1p(nvfp4j::math::exp(z))));
}
inline double score(double z) { return std::sqrt(z > 20.0 ? z : std::log1p(std::exp(z))); }

/// The k experts of highest b, descending; of equal ones the lowest first; NaN behind all others.
inline void choose(const float* z, const float* bias, int experts, int topk,
                   std::int32_t* indices) {
  std::vector<float> b(static_cast<std::size_t>(experts));
  std::vector<std::int32_t> order(b.size());
  for (std::size_t e = 0; e < b.size(); ++e) b[e] = score(z[e]) + bias[e];
  std::iota(order.begin(), order.end(), 0);
  const auto before = [&](std::int32_t i, std::int32_t j) {
    const float p = b[static_cast<std::size_t>(i)];
    const float q = b[static_cast<std::size_t>(j)];
    if (std::isnan(p) || std::isnan(q)) return !std::isnan(p) && std::isnan(q);
    return p > q;
  };
  std::stable_sort(order.begin(), order.end(), before);
  std::copy_n(order.begin(), topk, indices);
}

/// Of the experts listed, in which -1 is none; z is one logit per expert.
inline void weigh(const float* z, const std::int32_t* indices, int topk, float scale,
                  float* weights) {
  float sum = 0.0f;
  for (int j = 0; j < topk; ++j) {
    if (indices[j] >= 0) sum = sum + score(z[indices[j]]);
  }
  for (int j = 0; j < topk; ++j)
    weights[j] = indices[j] < 0 ? 0.0f : canonical(score(z[indices[j]]) / (sum + 1e-20f) * scale);
}

/// How far weights may be from those in binary64 of exact logits: relative, of finite logits from -60 on.
inline double weight_bound(double largest_magnitude) {
  return 2e-6 + 0.5 * 0x1p-24 * largest_magnitude;
}

inline bool same_bits(float a, float b) { return bits_of(a) == bits_of(b); }

}  // namespace router
