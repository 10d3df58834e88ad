// SPDX-License-Identifier: Apache-2.0
// The definitions of nvfp4j/quantize.h and nvfp4j/swiglu.h, one element at a time, for tests.
// Written apart from the library on purpose: rounding is by comparison of distances in double,
// not by bit operations.
#pragma once
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/math.hpp"
#include "nvfp4j/nvfp4j.h"

namespace reference {

inline float from_bits(std::uint32_t b) { return std::bit_cast<float>(b); }
inline std::uint32_t to_bits(float x) { return std::bit_cast<std::uint32_t>(x); }

inline float e2m1_value(int code) {
  constexpr float magnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return code >= 8 ? -magnitudes[code - 8] : magnitudes[code];
}

// The comparison form of the specification.
inline int e2m1(float x) {
  if (std::isnan(x)) return 7;
  const float a = std::fabs(x);
  const int magnitude = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                        (a >= 3.5f) + (a > 5.0f);
  return magnitude | (std::signbit(x) ? 8 : 0);
}

inline double e4m3_value(int code) {
  const int exponent = code >> 3 & 15;
  const int mantissa = code & 7;
  if ((code & 0x7F) == 0x7F) return NAN;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code >= 0x80 ? -magnitude : magnitude;
}

// The nearest of the 127 magnitudes, ties to the even code; x >= 0.
inline int e4m3(float x) {
  if (x >= 448.0f) return 0x7E;
  int low = 0;
  while (e4m3_value(low + 1) <= static_cast<double>(x)) ++low;
  const double below = static_cast<double>(x) - e4m3_value(low);
  const double above = e4m3_value(low + 1) - static_cast<double>(x);
  if (below != above) return below < above ? low : low + 1;
  return low % 2 == 0 ? low : low + 1;
}

inline double value16(std::uint16_t x, int32_t dtype) {
  if (dtype == NVFP4J_DTYPE_BF16)
    return static_cast<double>(from_bits(static_cast<std::uint32_t>(x) << 16));
  const int exponent = x >> 10 & 31;
  const int mantissa = x & 1023;
  double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) magnitude = mantissa == 0 ? INFINITY : NAN;
  return x >= 0x8000 ? -magnitude : magnitude;
}

// Nearest even to a 16-bit format by bisection over its magnitudes; NaN is 0x7FC0 or 0x7E00.
inline std::uint16_t round16(float x, int32_t dtype) {
  const bool bf16 = dtype == NVFP4J_DTYPE_BF16;
  if (std::isnan(x)) return bf16 ? 0x7FC0 : 0x7E00;
  const int infinity = bf16 ? 0x7F80 : 0x7C00;
  const double a = std::fabs(static_cast<double>(x));
  const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isinf(x)) return static_cast<std::uint16_t>(sign | infinity);
  int low = 0;
  int high = infinity - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (value16(static_cast<std::uint16_t>(middle), dtype) <= a) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  // The value behind the largest, as if the exponent went on, is where infinity begins to be
  // nearer.
  const double next = low + 1 == infinity ? std::ldexp(1.0, bf16 ? 128 : 16)
                                          : value16(static_cast<std::uint16_t>(low + 1), dtype);
  const double below = a - value16(static_cast<std::uint16_t>(low), dtype);
  const double above = next - a;
  const bool up = below > above || (below == above && low % 2 != 0);
  return static_cast<std::uint16_t>(sign | (low + (up ? 1 : 0)));
}

inline float element(const void* data, int32_t dtype, std::int64_t index) {
  if (dtype == NVFP4J_DTYPE_F32) return static_cast<const float*>(data)[index];
  const std::uint16_t x = static_cast<const std::uint16_t*>(data)[index];
  return dtype == NVFP4J_DTYPE_BF16 ? from_bits(static_cast<std::uint32_t>(x) << 16)
                                    : static_cast<float>(value16(x, dtype));
}

// An NVFP4 tensor, one code a byte and linear scales.
struct Quantized {
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;
  std::vector<float> global_scales;
};

// x: [rows, columns] as F32. Rows that are absent are all zero here, which is what the
// definition gives for them. `given`: empty, or the global scales.
inline Quantized quantize(const std::vector<float>& x, std::int64_t rows, std::int64_t columns,
                          const nvfp4j_quantize_options& options, int32_t kind,
                          const std::vector<float>& given) {
  const bool te = options.recipe == NVFP4J_RECIPE_TE_EXACT;
  const bool per_row = kind == NVFP4J_GLOBAL_SCALE_ROW;
  const std::int64_t count = per_row ? rows : 1;
  Quantized result;
  std::vector<float> encode(static_cast<std::size_t>(count));  // E of TE_EXACT
  for (std::int64_t g = 0; g < count; ++g) {
    float gs;
    float e;
    if (given.empty()) {
      float a = 0.0f;
      const std::int64_t from = per_row ? g * columns : 0;
      const std::int64_t to = per_row ? from + columns : rows * columns;
      for (std::int64_t i = from; i < to; ++i) {
        const float magnitude = std::fabs(x[static_cast<std::size_t>(i)]);
        if (std::isfinite(magnitude) && magnitude > a) a = magnitude;
      }
      e = a == 0.0f ? 1.0f : std::fmin(2688.0f / a, FLT_MAX);
      if (e == 0.0f) e = 1.0f;
      gs = a / 2688.0f;
      if (gs == 0.0f) gs = 1.0f;
      if (te) gs = 1.0f / e;
    } else {
      gs = given[static_cast<std::size_t>(g)];
      if (!(gs > 0.0f) || !std::isfinite(gs)) gs = 1.0f;
      e = std::fmin(1.0f / gs, FLT_MAX);
    }
    result.global_scales.push_back(gs);
    encode[static_cast<std::size_t>(g)] = e;
  }
  for (std::int64_t block = 0; block < rows * columns / 16; ++block) {
    const std::size_t g = per_row ? static_cast<std::size_t>(block * 16 / columns) : 0;
    const float gs = result.global_scales[g];
    const float* v = &x[static_cast<std::size_t>(block * 16)];
    float ab = 0.0f;
    for (int i = 0; i < 16; ++i) {
      const float magnitude = std::fabs(v[i]);
      if (std::isfinite(magnitude) && magnitude > ab) ab = magnitude;
    }
    int s;
    float d = 0.0f;
    float c = 0.0f;
    if (te) {
      s = e4m3(std::fmin(ab * (encode[g] * (1.0f / 6.0f)), FLT_MAX));
      c = std::fmin(1.0f / (static_cast<float>(e4m3_value(s)) * gs), FLT_MAX);
    } else {
      const float g6 = 6.0f * gs;
      s = e4m3(ab / g6);
      if (s == 0 && ab > 0.0f && options.zero_scale == NVFP4J_ZERO_SCALE_MIN) s = 1;
      d = static_cast<float>(e4m3_value(s)) * gs;
    }
    result.scales.push_back(static_cast<std::uint8_t>(s));
    for (int i = 0; i < 16; ++i) {
      int q;
      if (!std::isfinite(v[i])) {
        q = e2m1(v[i]);
      } else if (te) {
        q = e2m1(std::fma(v[i], c, 0.0f));
      } else {
        q = d > 0.0f ? e2m1(v[i] / d) : (std::signbit(v[i]) ? 8 : 0);
      }
      result.codes.push_back(static_cast<std::uint8_t>(q));
    }
  }
  return result;
}

// Offset of a scale, from the text of tensor.h.
inline std::int64_t scale_offset(int32_t layout, std::int64_t columns, std::int64_t m,
                                 std::int64_t s) {
  if (layout == NVFP4J_SCALE_LAYOUT_LINEAR) return m * (columns / 16) + s;
  const std::int64_t kp = (columns + 63) / 64;
  return ((m / 128) * kp + s / 4) * 512 + (m % 32) * 16 + ((m % 128) / 32) * 4 + s % 4;
}

inline float canonical(float x) { return std::isnan(x) ? from_bits(0x7FC00000) : x; }

inline float swiglu(float gate, float up, bool weighted, float weight, float limit) {
  float g = gate;
  float u = up;
  if (limit > 0.0f) {
    if (g > limit) g = limit;
    if (u > limit) u = limit;
    if (u < -limit) u = -limit;
  }
  const float e = nvfp4j::math::exp(-g);
  float h = (g / (1.0f + e)) * u;
  if (weighted) h = h * weight;
  return canonical(h);
}

}  // namespace reference
