// SPDX-License-Identifier: Apache-2.0
// The matrix products on the GPU against exact sums on the host: in integers for NVFP4 A (bit for bit where gemm.h promises it), in
// binary64 for BF16 A. Every kind of A, layout of W and type of D, and each implementation that takes the shape; prepare_weights and
// pack_activations byte for byte on the way.
#include <atomic>
#include <set>

#include "common/math.hpp"
#include "gpu_test.cuh"
#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_cuda.hpp"
#include "ops/gemm/gemm_plan.hpp"
#include "ops/gemm/prepared_layout.hpp"
#include "ops/pack_activations/pack_activations_cuda.hpp"
#include "ops/prepare_weights/prepare_weights_cuda.hpp"

namespace nvfp4j::test {
namespace {

// f(begin, end) over [0, n), on as many cores as n items of that many steps are worth.
void share(std::int64_t n, std::int64_t steps,
           const std::function<void(std::int64_t, std::int64_t)>& f) {
  const std::int64_t parts = std::max<std::int64_t>(
      1, std::min<std::int64_t>({n, n * steps >> 18, std::thread::hardware_concurrency()}));
  parallel(16 * parts, [&](std::int64_t from, std::int64_t to) {
    f(n * from / (16 * parts), n * to / (16 * parts));
  });
}

constexpr const char* kPathNames[] = {"AUTO", "GENERIC", "DECODE", "WGMMA"};

// ---- operands --------------------------------------------------------------------------------------------------------

struct Problem {
  int op = NVFP4J_OP_GEMM;
  std::int64_t groups = 1;
  std::int64_t m = 1;
  std::int64_t n = 8;
  std::int64_t k = 16;
  bool bf16 = false;  // A; else NVFP4 and, unpacked from it, PACKED
  bool wide = false;  // all block scales, which no certificate covers; else one binade
  bool swiglu = false;
  float limit = 0.0f;
  bool weighted = false;
  bool scale_per_row = false;
  int w_kind = NVFP4J_GLOBAL_SCALE_TENSOR;
  std::int64_t pad = 0;       // between the rows of a BF16 A, and of D
  std::int64_t misalign = 0;  // elements of a BF16 A, and of D
  std::vector<std::int32_t> offsets;

  bool batched() const { return op == NVFP4J_OP_BATCHED_GEMM; }
  std::int64_t a_columns() const { return batched() ? groups * k : k; }
  std::int64_t a_stride() const { return a_columns() + pad; }
  // Results before SwiGLU, and columns of D.
  std::int64_t columns() const { return batched() ? groups * n : n; }
  std::int64_t d_columns() const { return swiglu ? n / 2 : columns(); }
  std::int64_t d_stride() const { return d_columns() + pad; }
  // The group of a row of A, -1 of one that belongs to none; of a batch the group is the column's.
  std::int64_t group_of(std::int64_t row, std::int64_t column) const {
    if (batched()) return column / n;
    if (op == NVFP4J_OP_GEMM) return 0;
    const auto end = std::upper_bound(offsets.begin(), offsets.end(), row);
    return end == offsets.begin() || end == offsets.end() ? -1 : end - offsets.begin() - 1;
  }

  std::string name() const {
    char text[240];
    std::snprintf(
        text, sizeof text,
        "op %d groups %d [%d, %d] x [%d, %d] %s%s%s limit %g%s%s w scale %d pad %d misalign %d", op,
        static_cast<int>(groups), static_cast<int>(m), static_cast<int>(k), static_cast<int>(n),
        static_cast<int>(k), bf16 ? "bf16" : "nvfp4", wide ? " wide" : "", swiglu ? " swiglu" : "",
        limit, weighted ? " weighted" : "", scale_per_row ? " a scale per row" : "", w_kind,
        static_cast<int>(pad), static_cast<int>(misalign));
    return text;
  }
};

std::vector<float> global_scales(std::mt19937& g, std::int64_t count) {
  std::vector<float> scales(static_cast<std::size_t>(count));
  for (float& s : scales) s = 0.25f + static_cast<float>(g() % 1000) * 0.0007f;
  return scales;
}

std::int64_t w_scale_count(const Problem& p) {
  return p.w_kind == NVFP4J_GLOBAL_SCALE_GROUP    ? p.groups
         : p.w_kind == NVFP4J_GLOBAL_SCALE_HALVES ? 2 * p.groups
                                                  : 1;
}

// A tensor of prepared weights, as prepared_layout.hpp has it, by element.
std::vector<std::uint8_t> prepare_on_host(const Problem& p, const std::vector<std::uint8_t>& codes,
                                          const std::vector<std::uint8_t>& scales) {
  const std::int64_t blocks = p.k / 16;
  const std::int64_t group = prepared::group_bytes(p.n, p.k);
  std::vector<std::uint8_t> to(static_cast<std::size_t>(p.groups * group));
  for (std::int64_t g = 0; g < p.groups; ++g) {
    std::uint8_t* out = &to[g * group];
    const std::uint8_t* c = &codes[g * p.n * blocks * 8];
    const std::uint8_t* s = &scales[g * p.n * blocks];
    if (!prepared::is_tiled(p.n, p.k)) {
      std::memcpy(out, c, static_cast<std::size_t>(p.n * blocks * 8));
      std::memcpy(out + p.n * blocks * 8, s, static_cast<std::size_t>(p.n * blocks));
      continue;
    }
    const auto prepare_row = [&](std::int64_t row) {
      for (std::int64_t unit = 0; unit < p.k / 64; ++unit) {
        std::uint8_t* chunk = out + (row / 16 * (p.k / 256) + unit / 4) * prepared::kChunkBytes;
        const std::int64_t pair = row % 16 / 2, half = row % 2;
        const std::uint8_t* scale = s + row * blocks + 4 * unit;
        for (std::int64_t t = 0; t < 4; ++t) {
          for (std::int64_t h = 0; h < 2; ++h) {
            std::uint32_t bytes = 0;
            for (std::int64_t j = 0; j < 4; ++j) {
              const std::int64_t at = 4 * (4 * h + j) + t;  // of the unit's 32
              if (scale[at / 8] != 0)
                bytes |= static_cast<std::uint32_t>(c[row * blocks * 8 + 32 * unit + at])
                         << (8 * j);
            }
            const std::uint32_t word = prepared::encode_codes(bytes);
            std::memcpy(chunk + unit % 4 * 512 + (4 * pair + t) * 16 + 8 * half + 4 * h, &word, 4);
          }
        }
        for (std::int64_t b = 0; b < 4; ++b) {
          std::uint32_t word;
          std::uint8_t* at = chunk + prepared::kChunkCodes + unit % 4 * 64 + pair * 8 + b / 2 * 4;
          std::memcpy(&word, at, 4);
          const std::uint32_t byte = prepared::encode_scale(scale[b]);
          const bool odd = b % 2 != 0;
          word |= prepared::pack_scales(half == 0 && !odd ? byte : 0, half == 1 && !odd ? byte : 0,
                                        half == 0 && odd ? byte : 0, half == 1 && odd ? byte : 0);
          std::memcpy(at, &word, 4);
        }
      }
    };
    // By tiles: two rows share a word.
    share(p.n / 16, 16 * p.k, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t row = 16 * from; row < 16 * to; ++row) prepare_row(row);
    });
  }
  return to;
}

class Operands {
 public:
  Operands(std::mt19937& g, const Problem& problem)
      : p(problem),
        a_codes(random(g, p.bf16 ? 0 : p.m * p.a_columns() / 2, 0, 255)),
        a_scales(random(g, p.bf16 ? 0 : p.m * p.a_columns() / 16, p.wide ? 0 : 0x38,
                        p.wide ? 0x7E : 0x3F)),
        a_gs(p.bf16 ? std::vector<float>() : global_scales(g, p.scale_per_row ? p.m : 1)),
        w_codes(random(g, p.groups * p.n * p.k / 2, 0, 255)),
        w_scales(random(g, p.groups * p.n * p.k / 16, p.wide ? 0 : 0x30, p.wide ? 0x7E : 0x37)),
        w_gs(global_scales(g, w_scale_count(p))),
        row_weight(static_cast<std::size_t>(p.m), 1.0f),
        a_codes_at(static_cast<std::int64_t>(a_codes.size())),
        a_scales_at(static_cast<std::int64_t>(a_scales.size())),
        a_gs_at(static_cast<std::int64_t>(4 * a_gs.size())),
        a_bf16_at(p.bf16 ? p.m * p.a_stride() * 2 : 0, static_cast<int>(2 * p.misalign)),
        packed_at(p.bf16 ? 0 : p.m * p.a_columns() * 2),
        packed_gs_at(static_cast<std::int64_t>(4 * a_gs.size())),
        w_codes_at(static_cast<std::int64_t>(w_codes.size())),
        w_scales_at(static_cast<std::int64_t>(w_scales.size())),
        w_gs_at(static_cast<std::int64_t>(4 * w_gs.size())),
        prepared_at(p.groups * prepared::group_bytes(p.n, p.k)),
        prepared_gs_at(static_cast<std::int64_t>(4 * w_gs.size())),
        row_weight_at(p.m * 4),
        offsets_at(static_cast<std::int64_t>(4 * p.offsets.size())),
        d_at((p.m + 2) * p.d_stride() * 4 + 4 * p.misalign) {
    if (p.bf16) {
      const std::vector<std::uint8_t> x =
          random_tensor(g, NVFP4J_DTYPE_BF16, p.m * p.a_stride(), kGauss);
      a_bf16.resize(x.size() / 2);
      std::memcpy(a_bf16.data(), x.data(), x.size());
    }
    if (p.wide) {
      for (std::uint8_t& s : w_scales) s = g() % 16 == 0 ? 0 : s;
    }
    if (p.weighted) {
      for (float& w : row_weight) w = random_value(g, kGauss);
    }
  }

  // Puts everything where the products read it; what is wrong in the data is reported here, too.
  void upload(Gpu& gpu) {
    const auto put = [](const Buffer& buffer, const auto& values) {
      if (!values.empty()) buffer.put(values.data(), buffer.bytes());
    };
    put(a_codes_at, a_codes);
    put(a_scales_at, a_scales);
    put(a_gs_at, a_gs);
    put(a_bf16_at, a_bf16);
    put(w_codes_at, w_codes);
    put(w_scales_at, w_scales);
    put(w_gs_at, w_gs);
    put(row_weight_at, row_weight);
    put(offsets_at, p.offsets);
    must(static_cast<cudaError_t>(prepare_weights_cuda(
             gpu.launch, {w_codes_at.data(), w_scales_at.data(), w_gs_at.as<float>(),
                          static_cast<std::int64_t>(w_gs.size()), p.groups, p.n, p.k,
                          prepared_at.data(), prepared_gs_at.as<float>()})),
         "prepare_weights_cuda");
    gpu.wait();
    check(prepared_at.get("prepared") == prepare_on_host(p, w_codes, w_scales),
          "prepare_weights " + p.name());
    check(prepared_gs_at.get("prepared scales") == w_gs_at.get("scales"),
          "global scales of prepare_weights " + p.name());
    check_scales(gpu, NVFP4J_OP_PREPARE_WEIGHTS, w_scales, p.k / 16);
    if (p.bf16) return;
    must(static_cast<cudaError_t>(pack_activations_cuda(
             gpu.launch, {a_codes_at.data(), a_scales_at.data(), a_gs_at.as<float>(),
                          static_cast<std::int64_t>(a_gs.size()), p.m, p.a_columns(),
                          packed_at.as<std::uint16_t>(), packed_gs_at.as<float>()})),
         "pack_activations_cuda");
    gpu.wait();
    const std::vector<std::uint8_t> packed = packed_at.get("packed");
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < p.m * p.a_columns(); ++i) {
      const std::uint32_t scale = a_scales[i / 16];
      std::uint8_t expected[2];
      store_element(expected, NVFP4J_DTYPE_BF16, 0,
                    scale >= 0x7F
                        ? std::numeric_limits<float>::quiet_NaN()
                        : e2m1_to_f32(a_codes[i / 2] >> (4 * (i % 2)) & 15) * e4m3_to_f32(scale));
      wrong += std::memcmp(expected, &packed[2 * i], 2) != 0;
    }
    check(wrong == 0, "pack_activations " + p.name() + ": " + std::to_string(wrong) + " differ");
    check(packed_gs_at.get("packed scales") == a_gs_at.get("scales"),
          "global scales of pack_activations " + p.name());
    check_scales(gpu, NVFP4J_OP_PACK_ACTIVATIONS, a_scales, p.a_columns() / 16);
  }

  const Problem p;
  std::vector<std::uint8_t> a_codes, a_scales;
  std::vector<float> a_gs;
  std::vector<std::uint16_t> a_bf16;
  std::vector<std::uint8_t> w_codes, w_scales;
  std::vector<float> w_gs;
  std::vector<float> row_weight;
  Buffer a_codes_at, a_scales_at, a_gs_at, a_bf16_at, packed_at, packed_gs_at;
  Buffer w_codes_at, w_scales_at, w_gs_at, prepared_at, prepared_gs_at;
  Buffer row_weight_at, offsets_at;
  mutable Buffer d_at;

 private:
  static std::vector<std::uint8_t> random(std::mt19937& g, std::int64_t count, int low, int high) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
    for (std::uint8_t& b : bytes)
      b = static_cast<std::uint8_t>(low +
                                    static_cast<int>(g() % static_cast<unsigned>(high - low + 1)));
    return bytes;
  }

  void check_scales(Gpu& gpu, int op, const std::vector<std::uint8_t>& scales,
                    std::int64_t blocks) const {
    const DeviceStatus s = gpu.take_status();
    const auto bad = [](std::uint8_t b) { return b >= 0x7F; };
    const bool any = std::any_of(scales.begin(), scales.end(), bad);
    bool right = s.causes[op] == (any ? 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE : 0ull) &&
                 (s.claimed != 0) == any;
    if (right && any) {
      right = s.first_op == op && s.first_column % 16 == 0 &&
              bad(scales[s.first_row * blocks + s.first_column / 16]);
    }
    check(right, "the report of op " + std::to_string(op) + ", " + p.name());
  }
};

// ---- exact results ---------------------------------------------------------------------------------------------------

// alpha * acc: the F32 that it must be, or where it must lie.
struct Exact {
  bool bits;
  float f32;
  double value;
  double bound;
};

float swiglu_reference(float g, float u, float limit, float weight) {
  if (limit > 0) {
    if (g > limit) g = limit;
    if (u > limit) u = limit;
    if (u < -limit) u = -limit;
  }
  const float e = math::exp(-g);
  const float d = 1.0f + e;
  const float q = g / d;
  const float h = q * u;
  return h * weight;
}

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
    if (e.bits && up.bits) return same(d, swiglu_reference(e.f32, up.f32, p_.limit, weight), dtype);
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

// ---- one call --------------------------------------------------------------------------------------------------------

struct Variant {
  int a_kind;
  int w_layout;
  int d_dtype;
  int path;
  bool batch_invariant;
};

// What the data makes a product report.
struct Fault {
  std::uint64_t causes = 0;
  int first_cause = 0;
  std::int64_t row = -1;
  std::int64_t column = -1;  // -2: any
};

int path_runs[4];
std::set<std::string> kernels;  // that were launched

GemmArgs arguments(const Operands& o, const Variant& v) {
  const Problem& p = o.p;
  GemmArgs args{};
  args.op = p.op;
  args.groups = p.groups;
  args.m = p.m;
  args.n = p.n;
  args.k = p.k;
  args.a.kind = v.a_kind;
  args.a.global_scale_per_row = p.scale_per_row && !p.bf16;
  if (v.a_kind == NVFP4J_GEMM_A_BF16) {
    args.a.data = o.a_bf16_at.data();
    args.a.stride = p.a_stride();
  } else {
    const bool packed = v.a_kind == NVFP4J_GEMM_A_PACKED;
    args.a.data = packed ? o.packed_at.data() : o.a_codes_at.data();
    args.a.scales = packed ? nullptr : o.a_scales_at.data();
    args.a.stride = p.a_columns();
    args.a.global_scales = packed ? o.packed_gs_at.as<float>() : o.a_gs_at.as<float>();
  }
  const bool is_prepared = v.w_layout == NVFP4J_SCALE_LAYOUT_PREPARED;
  args.w = {v.w_layout, is_prepared ? o.prepared_at.data() : o.w_codes_at.data(),
            is_prepared ? nullptr : o.w_scales_at.data(),
            is_prepared ? o.prepared_gs_at.as<float>() : o.w_gs_at.as<float>(), p.w_kind};
  const std::int64_t bytes = element_bytes(v.d_dtype);
  args.d = {o.d_at.data() + (p.d_stride() + p.misalign) * bytes, v.d_dtype, p.d_stride()};
  args.offsets = p.op == NVFP4J_OP_GROUPED_GEMM ? o.offsets_at.as<std::int32_t>() : nullptr;
  args.row_weight = p.weighted ? o.row_weight_at.as<float>() : nullptr;
  args.swiglu = p.swiglu;
  args.limit = p.limit;
  args.batch_invariant = v.batch_invariant;
  args.path = v.path;
  return args;
}

std::string kernel_name(const Gpu& gpu, const GemmArgs& args) {
  constexpr const char* kNames[] = {"generic", "decode", "wgmma"};
  const char* refusal = nullptr;
  const GemmPlan plan = plan_gemm(gpu.properties, args, &refusal);
  return std::string(kNames[static_cast<int>(plan.kernel)]) + " " + std::to_string(plan.config) +
         ", " + std::to_string(plan.token_tile) + " tokens" +
         (args.a.kind == NVFP4J_GEMM_A_NVFP4 ? ", nvfp4" : "") +
         (args.op == NVFP4J_OP_GROUPED_GEMM ? ", grouped" : "") + (args.swiglu ? ", swiglu" : "");
}

std::string name_of(const Operands& o, const Variant& v) {
  char text[100];
  std::snprintf(text, sizeof text, " A %d W %d D %d %s%s", v.a_kind, v.w_layout, v.d_dtype,
                kPathNames[v.path], v.batch_invariant ? " batch invariant" : "");
  return o.p.name() + text;
}

void check_report(Gpu& gpu, const Operands& o, const Fault& fault, const std::string& name) {
  const DeviceStatus s = gpu.take_status();
  bool right = s.causes[o.p.op] == fault.causes && (s.claimed != 0) == (fault.causes != 0);
  if (right && fault.causes != 0) {
    right = s.first_op == o.p.op && s.first_cause == fault.first_cause &&
            s.first_row == fault.row && (fault.column == -2 || s.first_column == fault.column);
  }
  char text[120];
  std::snprintf(text, sizeof text, ": report %llx cause %d row %lld column %lld, expected %llx",
                s.causes[o.p.op], s.first_cause, s.first_row, s.first_column,
                static_cast<unsigned long long>(fault.causes));
  check(right, name + text);
}

// D as it lies in memory after a call, with the guard rows around it. Empty where the implementation does not take the shape.
std::vector<std::uint8_t> launch(Gpu& gpu, const Operands& o, const Variant& v, const Fault& fault,
                                 bool replayed) {
  const GemmArgs args = arguments(o, v);
  if (gemm_cuda_path_refusal(gpu.properties, args) != nullptr) return {};
  const std::string name = name_of(o, v);
  o.d_at.poison();
  const auto call = [&] {
    must(static_cast<cudaError_t>(gemm_cuda(gpu.launch, args)), name.c_str());
  };
  if (replayed) {
    gpu.replay(call, 2);
  } else {
    call();
    gpu.wait();
  }
  ++path_runs[v.path];
  kernels.insert(kernel_name(gpu, args));
  check_report(gpu, o, fault, name);
  return o.d_at.get(name.c_str());
}

// Twice, to the same bits, all of which are expected ones; nothing beside D's elements is written. False: refused.
bool run(Gpu& gpu, const Operands& o, const Expected& expected, const Variant& v,
         const Fault& fault = {}, bool nothing_written = false) {
  std::vector<std::uint8_t> got = launch(gpu, o, v, fault, false);
  if (got.empty()) return false;
  const std::string name = name_of(o, v);
  static int calls = 0;
  check(got == launch(gpu, o, v, fault, ++calls % 3 == 0), "two runs of " + name);
  const Problem& p = o.p;
  const std::int64_t bytes = element_bytes(v.d_dtype);
  std::uint8_t* d = &got[static_cast<std::size_t>((p.d_stride() + p.misalign) * bytes)];
  std::atomic<std::int64_t> wrong{0};
  std::atomic<std::int64_t> where{-1};
  if (!nothing_written) {
    share(p.m * p.d_columns(), p.swiglu ? 256 : 64, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t i = from; i < to; ++i) {
        const std::int64_t m = i / p.d_columns(), c = i % p.d_columns();
        if (p.group_of(m, c) < 0) continue;
        std::uint8_t* at = d + (m * p.d_stride() + c) * bytes;
        if (!expected.allows(m, c, at, v.d_dtype)) {
          ++wrong;
          where = i;
        }
        std::memset(at, Buffer::kPoison, static_cast<std::size_t>(bytes));
      }
    });
  }
  check(wrong == 0, name + ": " + std::to_string(wrong) + " of " +
                        std::to_string(p.m * p.d_columns()) + " differ, one at row " +
                        std::to_string(where / p.d_columns()) + " column " +
                        std::to_string(where % p.d_columns()));
  const bool clean =
      std::all_of(got.begin(), got.end(), [](std::uint8_t b) { return b == Buffer::kPoison; });
  check(clean, name + ": bytes beside the elements of D were written");
  return true;
}

std::vector<int> a_kinds(const Problem& p) {
  if (p.bf16) return {NVFP4J_GEMM_A_BF16};
  return {NVFP4J_GEMM_A_NVFP4, NVFP4J_GEMM_A_PACKED};
}

// Every implementation, layout and type.
template <class Use>
void for_every_variant(const Problem& p, const Use& use) {
  for (const int a_kind : a_kinds(p)) {
    for (const int w_layout : {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_PREPARED}) {
      for (const int d_dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
        if (p.swiglu && d_dtype == NVFP4J_DTYPE_F32) continue;
        for (int path = 0; path < 4; ++path) use(Variant{a_kind, w_layout, d_dtype, path, false});
      }
    }
  }
}

void test_problem(Gpu& gpu, std::mt19937& g, const Problem& p) {
  Operands o(g, p);
  o.upload(gpu);
  const Expected expected(o);
  if (!p.bf16 && !p.wide && p.k <= 512 && p.op != NVFP4J_OP_GROUPED_GEMM)
    check(expected.certified() == p.m * p.columns(), "the certificate of " + p.name());
  for_every_variant(p, [&](const Variant& v) {
    const bool taken = run(gpu, o, expected, v);
    if (v.path <= NVFP4J_GEMM_PATH_GENERIC) check(taken, name_of(o, v) + " is refused");
  });
}

// ---- what is tested --------------------------------------------------------------------------------------------------

constexpr std::int64_t kRows[] = {1, 3, 8, 16, 17, 33, 64, 100, 129, 300};
constexpr std::int64_t kColumns[] = {8, 16, 24, 64, 208, 1024};
constexpr std::int64_t kInner[] = {16, 48, 64, 256, 512, 1536};

// The rest of a problem whose shape is given.
Problem varied(std::mt19937& g, Problem p) {
  p.bf16 = g() % 2 == 0;
  p.wide = g() % 3 == 0;
  p.scale_per_row = g() % 2 == 0;
  p.weighted = p.swiglu && g() % 2 == 0;
  p.limit = p.swiglu ? (g() % 2 == 0 ? 0.0f : 7.0f) : 0.0f;
  const std::int64_t pads[] = {0, 0, 8, 5};
  p.pad = pads[g() % 4];
  p.misalign = g() % 4 == 0 ? 1 : 0;
  int kinds[3] = {NVFP4J_GLOBAL_SCALE_TENSOR};
  int count = 1;
  if (p.op != NVFP4J_OP_GEMM) kinds[count++] = NVFP4J_GLOBAL_SCALE_GROUP;
  if (p.op != NVFP4J_OP_BATCHED_GEMM) kinds[count++] = NVFP4J_GLOBAL_SCALE_HALVES;
  p.w_kind = kinds[g() % static_cast<unsigned>(count)];
  return p;
}

Problem shaped(int op, std::int64_t groups, std::int64_t m, std::int64_t n, std::int64_t k,
               bool swiglu = false) {
  Problem p;
  p.op = op;
  p.groups = groups;
  p.m = m;
  p.n = n;
  p.k = k;
  p.swiglu = swiglu;
  return p;
}

void test_gemm(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t m : kRows) {
    for (const std::int64_t n : kColumns) {
      for (const std::int64_t k : kInner) {
        // Both kinds of A, and of the larger ones aligned rows for certain.
        Problem p = varied(g, shaped(NVFP4J_OP_GEMM, 1, m, n, k));
        for (const bool bf16 : {false, true}) {
          p.bf16 = bf16;
          test_problem(gpu, g, p);
          if (n < 64 || k < 256) break;
          p.pad = p.misalign = 0;
        }
      }
    }
  }
}

void test_swiglu(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t m : {1, 8, 17, 64, 129, 300}) {
    for (const std::int64_t n : {16, 64, 208, 224, 1024}) {
      for (const std::int64_t k : {48, 256, 1536}) {
        Problem p = varied(g, shaped(NVFP4J_OP_GEMM, 1, m, n, k, true));
        for (const bool bf16 : {false, true}) {
          p.bf16 = bf16;
          p.weighted = !p.weighted;
          test_problem(gpu, g, p);
          p.pad = p.misalign = 0;
        }
      }
    }
  }
}

// Offsets of `experts` in [0, m]: a random distribution with empty ones and rows outside, or all to one.
std::vector<std::int32_t> some_offsets(std::mt19937& g, std::int64_t experts, std::int64_t m,
                                       bool one) {
  std::vector<std::int32_t> offsets;
  const auto chosen = static_cast<std::int64_t>(g() % static_cast<unsigned>(experts));
  for (std::int64_t e = 0; e <= experts; ++e) {
    offsets.push_back(one ? (e <= chosen ? 0 : static_cast<std::int32_t>(m))
                          : static_cast<std::int32_t>(g() % static_cast<unsigned>(m + 1)));
  }
  std::sort(offsets.begin(), offsets.end());
  for (std::int64_t e = 1; !one && e <= experts; ++e) {
    if (g() % 3 == 0) offsets[e] = offsets[e - 1];
  }
  return offsets;
}

void test_grouped(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t experts : {1, 5, 40, 130}) {
    for (const std::int64_t m : {1, 16, 77, 300}) {
      for (const std::int64_t n : {24, 64, 208}) {
        for (const std::int64_t k : {48, 256, 1536}) {
          if (experts * n * k > 8 << 20) continue;
          for (const bool swiglu : {false, true}) {
            if (swiglu && n % 16 != 0) continue;
            Problem p = varied(g, shaped(NVFP4J_OP_GROUPED_GEMM, experts, m, n, k, swiglu));
            p.offsets = some_offsets(g, experts, m, g() % 4 == 0);
            test_problem(gpu, g, p);
          }
        }
      }
    }
  }
}

void test_batched(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t groups : {1, 3, 8}) {
    for (const std::int64_t m : {1, 16, 33, 129, 300}) {
      for (const std::int64_t n : {8, 64, 208}) {
        for (const std::int64_t k : {48, 256, 1536}) {
          Problem p = varied(g, shaped(NVFP4J_OP_BATCHED_GEMM, groups, m, n, k));
          test_problem(gpu, g, p);
        }
      }
    }
  }
}

void test_bad_offsets(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int32_t> all[] = {
      {0, 5, 4, 9}, {-1, 2, 3, 9}, {0, 2, 3, 10}, {3, 2, 2, 9}};
  for (const auto& offsets : all) {
    for (const bool swiglu : {false, true}) {
      Problem p = shaped(NVFP4J_OP_GROUPED_GEMM, 3, 9, 64, 512, swiglu);
      p.bf16 = g() % 2 == 0;
      p.offsets = offsets;
      Operands o(g, p);
      o.upload(gpu);
      // Nothing is compared: the sums are of an empty distribution.
      Problem none = p;
      none.offsets = {0, 0, 0, 0};
      const Operands empty(g, none);
      const Expected expected(empty);
      Fault fault;
      fault.causes = 1ull << NVFP4J_CAUSE_BAD_OFFSETS;
      fault.first_cause = NVFP4J_CAUSE_BAD_OFFSETS;
      for_every_variant(p, [&](const Variant& v) { run(gpu, o, expected, v, fault, true); });
      if (quick) return;
    }
  }
}

// Bad scales of W and of A, and an infinity in a BF16 A: where it is reported, and what D has.
void test_faults(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::uint64_t kBad = 1ull << NVFP4J_CAUSE_BAD_BLOCK_SCALE;
  constexpr std::uint64_t kNonFinite = 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT;
  const std::int64_t rows[] = {5, 70, 150};
  const std::uint8_t bytes[] = {0x7F, 0x80, 0xFF, 0xB8};
  for (const int op : {NVFP4J_OP_GEMM, NVFP4J_OP_GROUPED_GEMM, NVFP4J_OP_BATCHED_GEMM}) {
    for (const std::int64_t m : rows) {
      for (const std::int64_t k : {48, 768}) {
        for (int what = 0; what < 3; ++what) {
          const bool swiglu = op != NVFP4J_OP_BATCHED_GEMM && g() % 2 == 0;
          Problem p = shaped(op, op == NVFP4J_OP_GEMM ? 1 : 3, m, 64, k, swiglu);
          p.bf16 = what == 2;
          if (op == NVFP4J_OP_GROUPED_GEMM) {
            const auto end = static_cast<std::int32_t>(m);
            p.offsets = {0, 1, end - 1, end};
          }
          Operands o(g, p);
          // In the second group of three, and its rows.
          const std::int64_t group = p.groups / 2;
          const std::int64_t row =
              1 + static_cast<std::int64_t>(g() % static_cast<unsigned>(m - 2));
          const std::int64_t n = static_cast<std::int64_t>(g() % 64);
          const std::int64_t block = static_cast<std::int64_t>(g() % static_cast<unsigned>(k / 16));
          const std::int64_t a_column = (p.batched() ? group * k : 0) + 16 * block;
          Fault fault;
          fault.causes = kNonFinite | (what < 2 ? kBad : 0);
          fault.first_cause =
              what < 2 ? NVFP4J_CAUSE_BAD_BLOCK_SCALE : NVFP4J_CAUSE_NON_FINITE_RESULT;
          if (what == 0) {
            o.w_scales[(group * p.n + n) * (k / 16) + block] = bytes[g() % 4];
            fault.column = p.batched() ? group * p.n + n : swiglu ? n % 32 : n;
          } else if (what == 1) {
            o.a_scales[(row * p.a_columns() + a_column) / 16] = bytes[g() % 4];
            fault.row = row;
          } else {
            o.a_bf16[row * p.a_stride() + a_column + 3] = g() % 2 == 0 ? 0x7F80 : 0xFF80;
            fault.row = row;
            fault.column = -2;
          }
          o.upload(gpu);
          const Expected expected(o);
          for_every_variant(p, [&](const Variant& v) {
            Fault f = fault;
            if (what == 1 && v.a_kind == NVFP4J_GEMM_A_PACKED) {
              f.causes = kNonFinite;  // its scales are gone
              f.first_cause = NVFP4J_CAUSE_NON_FINITE_RESULT;
              f.column = -2;
            }
            run(gpu, o, expected, v, f);
          });
          if (quick && what == 2) return;
        }
      }
    }
  }
}

// The elements of row m of D.
std::vector<std::uint8_t> row_of(const Problem& p, const std::vector<std::uint8_t>& d, int dtype,
                                 std::int64_t m) {
  const std::int64_t bytes = element_bytes(dtype);
  const auto from = d.begin() + ((m + 1) * p.d_stride() + p.misalign) * bytes;
  return {from, from + p.d_columns() * bytes};
}

// The bits of a row, in products of as many rows as there are and of fewer, where the order of the sum shows.
void test_batch_invariance(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const std::int64_t n : {64, 1024}) {
    for (const std::int64_t k : {256, 1536, 48}) {
      for (int what = 0; what < 4; ++what) {  // BF16, NVFP4, SwiGLU of BF16, experts
        Problem p = shaped(what == 3 ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, what == 3 ? 3 : 1,
                           300, n, k, what == 2);
        p.bf16 = what != 1;
        p.wide = what == 1;
        p.limit = 10.0f;
        if (what == 3) p.offsets = {0, 7, 299, 300};
        Operands all(g, p);
        all.upload(gpu);
        for (const int a_kind : a_kinds(p)) {
          for (const int w_layout : {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_PREPARED}) {
            const int d_dtype = p.swiglu ? NVFP4J_DTYPE_BF16 : NVFP4J_DTYPE_F32;
            const Variant v = {a_kind, w_layout, d_dtype, NVFP4J_GEMM_PATH_AUTO, true};
            const std::vector<std::uint8_t> d = launch(gpu, all, v, {}, false);
            for (const std::int64_t m : kRows) {
              // Rows 7 to 7 + m - 1, by themselves or among fewer experts' rows.
              if (m == 300) continue;
              Problem few = p;
              few.m = m;
              if (what == 3)
                few.offsets = {0, 0, static_cast<std::int32_t>(m), static_cast<std::int32_t>(m)};
              Operands some(g, few);
              some.w_codes = all.w_codes;
              some.w_scales = all.w_scales;
              some.w_gs = all.w_gs;
              some.a_gs = all.a_gs;
              const std::int64_t width = p.a_columns();
              const auto take = [&](auto& to, const auto& from, std::int64_t row) {
                if (!from.empty()) std::copy_n(from.begin() + 7 * row, m * row, to.begin());
              };
              take(some.a_codes, all.a_codes, width / 2);
              take(some.a_scales, all.a_scales, width / 16);
              take(some.a_bf16, all.a_bf16, p.a_stride());
              some.upload(gpu);
              const std::vector<std::uint8_t> mine = launch(gpu, some, v, {}, false);
              std::int64_t wrong = d.empty() || mine.empty() ? m : 0;
              for (std::int64_t i = 0; wrong == 0 && i < m; ++i)
                wrong += row_of(p, d, d_dtype, 7 + i) != row_of(few, mine, d_dtype, i);
              check(wrong == 0, name_of(some, v) + ": rows are not those of 300 rows");
              if (quick) break;
            }
          }
        }
        if (quick && what == 0) return;
      }
    }
  }
}

// Each kernel of the plan: the shape that gets it on 132 SMs.
struct Target {
  int path;
  int config;
  std::int64_t m, n, k;
  bool nvfp4;    // known to NVFP4 A
  bool grouped;  // and to groups
};
constexpr Target kTargets[] = {{NVFP4J_GEMM_PATH_DECODE, 0, 3, 64, 2048, true, false},
                               {NVFP4J_GEMM_PATH_DECODE, 1, 3, 64, 1024, true, false},
                               {NVFP4J_GEMM_PATH_DECODE, 2, 8, 4352, 1024, true, true},
                               {NVFP4J_GEMM_PATH_DECODE, 3, 8, 64, 512, true, true},
                               {NVFP4J_GEMM_PATH_DECODE, 4, 12, 64, 1024, true, true},
                               {NVFP4J_GEMM_PATH_DECODE, 5, 12, 4352, 1024, true, true},
                               {NVFP4J_GEMM_PATH_DECODE, 6, 12, 64, 512, true, true},
                               {NVFP4J_GEMM_PATH_WGMMA, 0, 17, 64, 256, true, true},
                               {NVFP4J_GEMM_PATH_WGMMA, 1, 64, 64, 256, true, true},
                               {NVFP4J_GEMM_PATH_WGMMA, 2, 100, 64, 256, true, true},
                               {NVFP4J_GEMM_PATH_WGMMA, 3, 300, 64, 256, true, true},
                               {NVFP4J_GEMM_PATH_WGMMA, 4, 8, 4352, 512, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 5, 17, 64, 512, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 6, 17, 4352, 8192, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 7, 64, 4352, 512, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 8, 64, 64, 512, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 9, 64, 4352, 6144, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 10, 100, 64, 512, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 11, 129, 4352, 512, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 12, 129, 64, 512, false, false},
                               {NVFP4J_GEMM_PATH_WGMMA, 13, 129, 8480, 512, false, false}};

void test_kernels(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const Target& t : kTargets) {
    if (quick && t.n * t.k > 16 << 20) continue;  // the two largest weights
    for (int how = 0; how < 8; ++how) {
      const bool swiglu = (how & 1) != 0, grouped = (how & 2) != 0, nvfp4 = (how & 4) != 0;
      if ((grouped && !t.grouped) || (nvfp4 && !t.nvfp4)) continue;
      // A thread block with one tile of W has no place for gate and up.
      if (swiglu && t.path == NVFP4J_GEMM_PATH_DECODE && t.config == 0) continue;
      Problem p =
          shaped(grouped ? NVFP4J_OP_GROUPED_GEMM : NVFP4J_OP_GEMM, 1, t.m, t.n, t.k, swiglu);
      p.bf16 = !nvfp4;
      p.scale_per_row = true;
      if (grouped) p.offsets = {1, static_cast<std::int32_t>(t.m)};
      const Variant v = {nvfp4 ? NVFP4J_GEMM_A_NVFP4 : NVFP4J_GEMM_A_BF16,
                         NVFP4J_SCALE_LAYOUT_PREPARED, NVFP4J_DTYPE_BF16, t.path, false};
      Operands o(g, p);
      const GemmArgs args = arguments(o, v);
      const char* refusal = nullptr;
      const GemmPlan plan = plan_gemm(gpu.properties, args, &refusal);
      if (refusal != nullptr) continue;
      if (gpu.properties.sm_count == 132)
        check(plan.config == t.config, name_of(o, v) + " gets " + kernel_name(gpu, args));
      o.upload(gpu);
      run(gpu, o, Expected(o), v);
    }
  }
}

// Few calls that reach each implementation with every kind of operand.
void test_quickly(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t m : kRows) {
    const bool even = m % 2 == 0;
    Problem p = shaped(NVFP4J_OP_GEMM, 1, m, even ? 208 : 64, 512);
    p.bf16 = even;
    test_problem(gpu, g, p);
    p.bf16 = !even;
    p.swiglu = true;
    p.weighted = true;
    p.limit = 7.0f;
    test_problem(gpu, g, p);
  }
  test_problem(gpu, g, shaped(NVFP4J_OP_GEMM, 1, 3, 24, 48));
  for (const bool swiglu : {false, true}) {
    for (const std::int64_t m : {12, 200}) {
      Problem p = shaped(NVFP4J_OP_GROUPED_GEMM, 5, m, 64, 256, swiglu);
      p.offsets = some_offsets(g, 5, m, false);
      for (const bool bf16 : {false, true}) {
        p.bf16 = bf16;
        test_problem(gpu, g, p);
      }
    }
  }
  for (const std::int64_t m : {4, 70})
    test_problem(gpu, g, varied(g, shaped(NVFP4J_OP_BATCHED_GEMM, 2, m, 64, 256)));
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  must(static_cast<cudaError_t>(nvfp4j::gemm_cuda_warm_up(gpu.properties)), "gemm_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::prepare_weights_cuda_warm_up(gpu.properties)),
       "prepare_weights_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::pack_activations_cuda_warm_up(gpu.properties)),
       "pack_activations_cuda_warm_up");
  std::mt19937 g(20261124);
  if (quick) {
    test_quickly(gpu, g);
  } else {
    test_gemm(gpu, g);
    test_swiglu(gpu, g);
    test_grouped(gpu, g);
    test_batched(gpu, g);
  }
  test_kernels(gpu, g, quick);
  test_bad_offsets(gpu, g, quick);
  test_faults(gpu, g, quick);
  test_batch_invariance(gpu, g, quick);
  std::printf("calls: AUTO %d, GENERIC %d, DECODE %d, WGMMA %d\n", path_runs[0], path_runs[1],
              path_runs[2], path_runs[3]);
  if (gpu.properties.major == 9 && gpu.properties.minor == 0)
    check(path_runs[NVFP4J_GEMM_PATH_DECODE] > 0 && path_runs[NVFP4J_GEMM_PATH_WGMMA] > 0,
          "DECODE and WGMMA were reached");
  for (const std::string& kernel : kernels) std::printf("  %s\n", kernel.c_str());
  return finish();
}
