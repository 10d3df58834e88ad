// SPDX-License-Identifier: Apache-2.0
// Problems of the matrix products for the GPU's test: their shapes, random operands on the host, and both on the device.
#pragma once
#include "gpu_test.cuh"
#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_args.hpp"
#include "ops/gemm/prepared_layout.hpp"
#include "ops/pack_activations/pack_activations_cuda.hpp"
#include "ops/prepare_weights/prepare_weights_cuda.hpp"

namespace nvfp4j::test {

// f(begin, end) over [0, n), on as many cores as n items of that many steps are worth.
inline void share(std::int64_t n, std::int64_t steps,
                  const std::function<void(std::int64_t, std::int64_t)>& f) {
  const std::int64_t parts = std::max<std::int64_t>(
      1, std::min<std::int64_t>({n, n * steps >> 18, std::thread::hardware_concurrency()}));
  parallel(16 * parts, [&](std::int64_t from, std::int64_t to) {
    f(n * from / (16 * parts), n * to / (16 * parts));
  });
}

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

inline Problem shaped(int op, std::int64_t groups, std::int64_t m, std::int64_t n, std::int64_t k,
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

inline std::vector<float> global_scales(std::mt19937& g, std::int64_t count) {
  std::vector<float> scales(static_cast<std::size_t>(count));
  for (float& s : scales) s = 0.25f + static_cast<float>(g() % 1000) * 0.0007f;
  return scales;
}

inline std::int64_t w_scale_count(const Problem& p) {
  return p.w_kind == NVFP4J_GLOBAL_SCALE_GROUP    ? p.groups
         : p.w_kind == NVFP4J_GLOBAL_SCALE_HALVES ? 2 * p.groups
                                                  : 1;
}

// A tensor of prepared weights, as prepared_layout.hpp has it, by element.
inline std::vector<std::uint8_t> prepare_on_host(const Problem& p,
                                                 const std::vector<std::uint8_t>& codes,
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
        std::uint8_t* chunk = out + (row / 16 * (p.k / 128) + unit / 2) * prepared::kChunkBytes;
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
            std::memcpy(chunk + unit % 2 * 512 + (4 * pair + t) * 16 + 8 * half + 4 * h, &word, 4);
          }
        }
        for (std::int64_t b = 0; b < 4; ++b) {
          std::uint32_t word;
          std::uint8_t* at = chunk + prepared::kChunkCodes + unit % 2 * 64 + pair * 8 + b / 2 * 4;
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

}  // namespace nvfp4j::test
