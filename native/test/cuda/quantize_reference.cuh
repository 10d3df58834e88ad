// SPDX-License-Identifier: Apache-2.0
// Both recipes as scalar host code, straight from nvfp4j/quantize.h.
#pragma once
#include "gpu_test.cuh"
#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j::test {

struct Quantised {
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;  // in its layout, padding 0
  std::vector<float> global_scales;
  bool non_finite = false;
  bool bad_scale = false;
};

// `row(m, values)` gives the values of output row m.
inline Quantised quantise(std::int64_t rows, std::int64_t columns, const QuantizeRecipe& recipe,
                          int layout, int kind, const std::vector<float>& given,
                          const std::function<void(std::int64_t, float*)>& row) {
  const std::int64_t blocks = columns / 16;
  const bool te = recipe.recipe == NVFP4J_RECIPE_TE_EXACT;
  const bool dynamic = recipe.global_scale == NVFP4J_GLOBAL_SCALE_DYNAMIC;
  const bool per_row = kind == NVFP4J_GLOBAL_SCALE_ROW;
  Quantised q;
  q.codes.assign(static_cast<std::size_t>(rows * columns / 2), 0);
  q.scales.assign(static_cast<std::size_t>(scale_bytes(layout, rows, blocks)), 0);
  q.global_scales = given;
  q.global_scales.resize(static_cast<std::size_t>(per_row ? rows : 1));

  std::vector<float> row_max(static_cast<std::size_t>(rows), 0.0f);
  std::vector<char> row_bad(static_cast<std::size_t>(rows), 0);
  parallel(rows, [&](std::int64_t from, std::int64_t to) {
    std::vector<float> x(static_cast<std::size_t>(columns));
    for (std::int64_t m = from; m < to; ++m) {
      row(m, x.data());
      for (float v : x) {
        if (std::isfinite(v)) {
          row_max[m] = std::max(row_max[m], std::fabs(v));
        } else {
          row_bad[m] = 1;
        }
      }
    }
  });
  for (char b : row_bad) q.non_finite = q.non_finite || b;
  float tensor_max = 0;
  for (float v : row_max) tensor_max = std::max(tensor_max, v);

  const auto enc_of = [](float amax) {
    float e = amax == 0 ? 1.0f : std::min(2688.0f / amax, std::numeric_limits<float>::max());
    return e == 0 ? 1.0f : e;
  };
  if (dynamic) {
    for (std::size_t i = 0; i < q.global_scales.size(); ++i) {
      const float amax = per_row ? row_max[i] : tensor_max;
      float gs = te ? 1.0f / enc_of(amax) : amax / 2688.0f;
      if (!te && gs == 0) gs = 1;
      q.global_scales[i] = gs;
    }
  } else if (rows > 0) {
    for (float gs : q.global_scales) q.bad_scale = q.bad_scale || !(std::isfinite(gs) && gs > 0);
  }

  parallel(rows, [&](std::int64_t from, std::int64_t to) {
    std::vector<float> x(static_cast<std::size_t>(columns));
    for (std::int64_t m = from; m < to; ++m) {
      row(m, x.data());
      float gs = q.global_scales[per_row ? m : 0];
      if (!(std::isfinite(gs) && gs > 0)) gs = 1;
      const float enc = dynamic ? enc_of(per_row ? row_max[m] : tensor_max)
                                : std::min(1.0f / gs, std::numeric_limits<float>::max());
      for (std::int64_t s = 0; s < blocks; ++s) {
        const float* v = x.data() + s * 16;
        float ab = 0;
        for (int i = 0; i < 16; ++i) {
          if (std::isfinite(v[i])) ab = std::max(ab, std::fabs(v[i]));
        }
        std::uint32_t scale;
        float factor;  // EXACT: d. TE: c
        if (te) {
          const float sixth = 1.0f / 6.0f;
          const float encoded = enc * sixth;
          scale = e4m3(std::min(ab * encoded, std::numeric_limits<float>::max()));
          factor = std::min(1.0f / (e4m3_to_f32(scale) * gs), std::numeric_limits<float>::max());
        } else {
          const float g6 = 6.0f * gs;
          scale = e4m3(ab / g6);
          if (scale == 0 && ab > 0 && recipe.zero_scale == NVFP4J_ZERO_SCALE_MIN) scale = 1;
          factor = e4m3_to_f32(scale) * gs;
        }
        q.scales[scale_offset(layout, m, s, blocks)] = static_cast<std::uint8_t>(scale);
        for (int i = 0; i < 16; ++i) {
          std::uint32_t code;
          if (!std::isfinite(v[i])) {
            code = e2m1(v[i]);
          } else if (te) {
            code = e2m1(std::fma(v[i], factor, 0.0f));
          } else {
            code = factor > 0 ? e2m1(v[i] / factor) : (std::signbit(v[i]) ? 8u : 0u);
          }
          q.codes[(m * columns + s * 16 + i) / 2] |=
              static_cast<std::uint8_t>(code << (i & 1 ? 4 : 0));
        }
      }
    }
  });
  return q;
}

// What a launch left behind, against the expectation.
inline bool equal(const Quantised& expected, const Buffer& codes, const Buffer& scales,
                  const Buffer& gs, const std::string& what) {
  const auto c = codes.get("codes");
  const auto s = scales.get("scales");
  const auto g = gs.get("global scales");
  std::string why;
  if (std::memcmp(g.data(), expected.global_scales.data(), expected.global_scales.size() * 4) !=
      0) {
    const auto* f = reinterpret_cast<const float*>(g.data());
    for (std::size_t i = 0; i < expected.global_scales.size() && why.empty(); ++i) {
      if (bits_of(f[i]) != bits_of(expected.global_scales[i])) {
        char text[120];
        std::snprintf(text, sizeof text, ": global scale %zu is %a, expected %a", i, f[i],
                      expected.global_scales[i]);
        why = text;
      }
    }
  }
  const auto compare = [&](const char* name, const std::vector<std::uint8_t>& a,
                           const std::vector<std::uint8_t>& b) {
    if (!why.empty() || a == b) return;
    std::size_t n = 0;
    std::size_t at = a.size();
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] != b[i]) {
        ++n;
        at = std::min(at, i);
      }
    }
    char text[160];
    std::snprintf(text, sizeof text, ": %zu of %zu %s differ, first %zu is %02x, expected %02x", n,
                  a.size(), name, at, a[at], b[at]);
    why = text;
  };
  compare("scale bytes", s, expected.scales);
  compare("code bytes", c, expected.codes);
  check(why.empty(), what + why);
  return why.empty();
}

}  // namespace nvfp4j::test
