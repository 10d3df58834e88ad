// SPDX-License-Identifier: Apache-2.0
// What a matrix product must give: exact sums on the host, in integers for NVFP4 A (bit for bit where gemm.h promises it), in binary64 for BF16 A.
#pragma once
#include <atomic>

#include "gemm_problems.cuh"
#include "reference.hpp"

namespace nvfp4j::test {

// alpha * acc: the F32 that it must be, or where it must lie.
struct Exact {
  bool bits;
  float f32;
  double value;
  double bound;
};

class Expected {
 public:
  explicit Expected(const Operands& o) : o_(o), p_(o.p) {
    exact_.resize(static_cast<std::size_t>(p_.m * p_.columns()));
    const std::int64_t blocks = p_.k / 16;
    const Integers w(o.w_codes, o.w_scales);
    const Integers a(o.a_codes, o.a_scales);
    // By elements, those of a row of W together: it is read once.
    share(p_.columns() * p_.m, p_.k, [&](std::int64_t from, std::int64_t to) {
      std::int64_t certified_here = 0;
      std::vector<double> wide(static_cast<std::size_t>(p_.bf16 ? p_.k : 0));
      std::int64_t wide_row = -1;
      for (std::int64_t i = from; i < to; ++i) {
        const std::int64_t c = i / p_.m, m = i % p_.m;
        const std::int64_t g = p_.group_of(m, c);
        if (g < 0) continue;
        const std::int64_t n = p_.batched() ? c % p_.n : c;
        const std::int64_t row = g * p_.n + n;
        const std::int64_t a0 = p_.batched() ? g * p_.k : 0;
        const float alpha = alpha_of(m, g, n);
        Exact& e = exact_[m * p_.columns() + c];
        const Row wr = look(o.w_scales, row * blocks, blocks);
        double acc, absolute;
        bool certified = false;
        bool bad = wr.bad;
        if (p_.bf16) {
          if (row != wide_row) w.widen(row * blocks, blocks, wide.data());
          wide_row = row;
          multiply(&o.a_bf16[m * p_.a_stride() + a0], wide.data(), p_.k, &acc, &absolute);
        } else {
          const std::int64_t a_block = (m * p_.a_columns() + a0) / 16;
          const Row ar = look(o.a_scales, a_block, blocks);
          bad = bad || ar.bad;
          multiply(a, a_block, w, row * blocks, blocks, &acc, &absolute);
          certified = absolute < 0x1p24 * 0.25 * ar.unit * wr.unit;
        }
        e.value = bad ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(alpha) * acc;
        e.bits = certified || !std::isfinite(e.value);
        e.f32 = certified && !bad ? alpha * static_cast<float>(acc) : static_cast<float>(e.value);
        e.bound = static_cast<double>(blocks) * 10.5 * 0x1p-24 *
                  std::fabs(static_cast<double>(alpha)) * absolute;
        certified_here += certified ? 1 : 0;
      }
      certified_ += certified_here;
    });
  }

  // Whether an element of D may be what stands at `d`.
  bool allows(std::int64_t m, std::int64_t c, const std::uint8_t* d, int dtype) const {
    const Exact& e = exact_[m * p_.columns() + c];
    const double half_unit = dtype == NVFP4J_DTYPE_F32 ? 0x1p-24 : 0x1p-8;
    const double actual = static_cast<double>(load_element(d, dtype, 0));
    if (!p_.swiglu) {
      if (e.bits) return same(d, e.f32, dtype);
      return std::fabs(actual - e.value) <=
             e.bound + half_unit * (std::fabs(e.value) + e.bound) + 0x1p-140;
    }
    const Exact& up = exact_[m * p_.columns() + c + p_.n / 2];
    const float weight = o_.row_weight[m];
    if (e.bits && up.bits)
      return same(d, reference::swiglu(e.f32, up.f32, true, weight, p_.limit), dtype);
    if (!std::isfinite(e.value) || !std::isfinite(up.value)) return true;
    double g = e.value, u = up.value;
    const double g_bound = e.bound + 0x1p-24 * std::fabs(g),
                 u_bound = up.bound + 0x1p-24 * std::fabs(u);
    if (p_.limit > 0) {
      g = std::min(g, static_cast<double>(p_.limit));
      u = std::max(-static_cast<double>(p_.limit), std::min(u, static_cast<double>(p_.limit)));
    }
    // |silu'| is below 1.1, and each of the five F32 operations is off by 2^-22 at most.
    const double silu = g / (1.0 + std::exp(-g));
    const double value = silu * u * weight;
    const double bound = (1.1 * g_bound * (std::fabs(u) + u_bound) + std::fabs(silu) * u_bound) *
                             std::fabs(static_cast<double>(weight)) +
                         0x1p-20 * std::fabs(value);
    return std::fabs(actual - value) <= bound + half_unit * (std::fabs(value) + bound) + 0x1p-120;
  }

  std::int64_t certified() const { return certified_; }

 private:
  struct Row {
    bool bad;
    double unit;  // ulp of the smallest block scale that is not 0
  };
  static Row look(const std::vector<std::uint8_t>& scales, std::int64_t from, std::int64_t count) {
    int smallest = 0x7E;
    bool bad = false;
    for (std::int64_t i = from; i < from + count; ++i) {
      const int s = scales[i];
      bad = bad || s >= 0x7F;
      if (s != 0 && s < smallest) smallest = s;
    }
    return {bad, std::ldexp(1.0, std::max(-9, (smallest >> 3) - 10))};
  }
  // NVFP4 as integers: codes in units of 2^-1, scales of 2^-9, those of bad ones 0.
  struct Integers {
    Integers(const std::vector<std::uint8_t>& code_bytes,
             const std::vector<std::uint8_t>& scale_bytes)
        : codes(2 * code_bytes.size()), scales(scale_bytes.size()) {
      std::int16_t code[16];
      for (unsigned c = 0; c < 16; ++c) code[c] = static_cast<std::int16_t>(2.0f * e2m1_to_f32(c));
      std::int32_t scale[256];
      for (unsigned s = 0; s < 256; ++s)
        scale[s] = s >= 0x7F ? 0 : static_cast<std::int32_t>(512.0f * e4m3_to_f32(s));
      share(static_cast<std::int64_t>(scales.size()), 16, [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t i = from; i < to; ++i) scales[i] = scale[scale_bytes[i]];
        for (std::int64_t i = 8 * from; i < 8 * to; ++i) {
          codes[2 * i] = code[code_bytes[i] & 15];
          codes[2 * i + 1] = code[code_bytes[i] >> 4];
        }
      });
    }
    void widen(std::int64_t block, std::int64_t count, double* to) const {
      for (std::int64_t b = 0; b < count; ++b) {
        const double scale = 0x1p-10 * scales[block + b];
        for (int i = 0; i < 16; ++i) to[16 * b + i] = codes[16 * (block + b) + i] * scale;
      }
    }

    std::vector<std::int16_t> codes;
    std::vector<std::int32_t> scales;
  };

  // The exact sum of the products, and of their magnitudes: below 2^12 in a block, times 2^36.
  static void multiply(const Integers& a, std::int64_t a_block, const Integers& w,
                       std::int64_t w_block, std::int64_t blocks, double* acc, double* absolute) {
    std::int64_t sum = 0, magnitude = 0;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int16_t* ac = &a.codes[16 * (a_block + b)];
      const std::int16_t* wc = &w.codes[16 * (w_block + b)];
      std::int32_t s = 0, t = 0;
      for (int i = 0; i < 16; ++i) {
        const auto term = static_cast<std::int16_t>(ac[i] * wc[i]);
        s += term;
        t += term < 0 ? -term : term;
      }
      const std::int64_t scale =
          static_cast<std::int64_t>(a.scales[a_block + b]) * w.scales[w_block + b];
      sum += s * scale;
      magnitude += t * scale;
    }
    *acc = std::ldexp(static_cast<double>(sum), -20);
    *absolute = std::ldexp(static_cast<double>(magnitude), -20);
  }
  // The same of BF16 and exact products, in binary64 and 16 sums side by side.
  static void multiply(const std::uint16_t* a, const double* w, std::int64_t k, double* acc,
                       double* absolute) {
    double sum[16] = {}, magnitude[16] = {};
    for (std::int64_t at = 0; at < k; at += 16) {
      for (int i = 0; i < 16; ++i) {
        const double term = static_cast<double>(bf16_to_f32(a[at + i])) * w[at + i];
        sum[i] += term;
        magnitude[i] += std::fabs(term);
      }
    }
    *acc = *absolute = 0.0;
    for (int i = 0; i < 16; ++i) {
      *acc += sum[i];
      *absolute += magnitude[i];
    }
  }
  float alpha_of(std::int64_t m, std::int64_t g, std::int64_t n) const {
    const std::int64_t index = p_.w_kind == NVFP4J_GLOBAL_SCALE_GROUP ? g
                               : p_.w_kind == NVFP4J_GLOBAL_SCALE_HALVES
                                   ? 2 * g + (n >= p_.n / 2 ? 1 : 0)
                                   : 0;
    const float a = p_.bf16 ? 1.0f : o_.a_gs[p_.scale_per_row ? m : 0];
    return a * o_.w_gs[index];
  }
  static bool same(const std::uint8_t* d, float expected, int dtype) {
    std::uint8_t bytes[4];
    store_element(bytes, dtype, 0, expected);
    return std::memcmp(d, bytes, static_cast<std::size_t>(element_bytes(dtype))) == 0;
  }

  const Operands& o_;
  const Problem& p_;
  std::vector<Exact> exact_;
  std::atomic<std::int64_t> certified_{0};
};

}  // namespace nvfp4j::test
