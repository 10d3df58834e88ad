// SPDX-License-Identifier: Apache-2.0
// The matrix products for any shape, on any card from compute capability 8.0 on.
// Bound by the loads' latency: correct everywhere, fast nowhere in particular (on Hopper it takes what gemm_decode_sm90 and gemm_wgmma_sm90 leave).
//
// A thread block has 16 rows of W (16 of each half with SwiGLU) and 8 NT tokens; its four warps deal out K in units of 64 columns, round robin, and their sums are added in the order of the warps: the bits of a result do not
// depend on how many tokens there are. Both operands go from memory to the registers of mma.m16n8k16 without shared memory. Which columns a lane's registers are does not matter as long as it is the same for both:
//   natural (prepared tiles of W): pair c of a unit is columns 8c + 2t, 8c + 2t + 1; otherwise a lane has the 16 columns 16t to 16t + 15, one scale block.
#pragma once
#include "device/fp8.cuh"
#include "ops/gemm/gemm_operands.cuh"
#include "ops/gemm/gemm_tiles.cuh"

namespace nvfp4j {

inline constexpr int kGenericWarps = 4;
inline constexpr int kGenericThreads = 32 * kGenericWarps;

namespace device {

// Of one row of A: what a lane needs of it in the units of K.
struct GenericRow {
  const char* data;
  const std::uint8_t* scales;
};

// Pairs of a unit in the order of the steps; pair 2s + h is the h-th half of step s.
template <bool NVFP4, bool NATURAL>
__device__ __forceinline__ void load_tokens(const GemmProblem& p, const GenericRow& row, int unit,
                                            int t, bool aligned, std::uint32_t (&b)[8]) {
  if constexpr (NVFP4 && NATURAL) {
    // The byte of pair c is byte 4c + t.
    std::uint32_t words[2] = {0u, 0u};
    const std::uint8_t* q = reinterpret_cast<const std::uint8_t*>(row.data) + 32 * unit + t;
#pragma unroll
    for (int c = 0; c < 8; ++c) words[c >> 2] |= load(q + 4 * c) << (8 * (c & 3));
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      std::uint32_t r[4];
      expand_codes(words[h], r);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const std::uint32_t s = load(row.scales + 4 * unit + 2 * h + (j >> 1));
        b[4 * h + j] = multiply_pairs(r[j], scale_pair(s, s));
      }
    }
  } else if constexpr (NVFP4) {
    const auto* q = reinterpret_cast<const std::uint32_t*>(row.data + 32 * unit + 8 * t);
    const std::uint32_t s = load(row.scales + 4 * unit + t);
    const std::uint32_t scale = scale_pair(s, s);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      std::uint32_t r[4];
      expand_codes(load(q + h), r);
#pragma unroll
      for (int j = 0; j < 4; ++j) b[4 * h + j] = multiply_pairs(r[j], scale);
    }
  } else if constexpr (NATURAL) {
    const char* q = row.data + 128 * unit + 4 * t;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      if (aligned) {
        b[c] = load(reinterpret_cast<const std::uint32_t*>(q + 16 * c));
      } else {
        const auto* e = reinterpret_cast<const std::uint16_t*>(q + 16 * c);
        b[c] = load(e) | load(e + 1) << 16;
      }
    }
  } else {
    const char* q = row.data + 128 * unit + 32 * t;
    if (aligned) {
      const uint4 x = load(reinterpret_cast<const uint4*>(q));
      const uint4 y = load(reinterpret_cast<const uint4*>(q) + 1);
      b[0] = x.x, b[1] = x.y, b[2] = x.z, b[3] = x.w, b[4] = y.x, b[5] = y.y, b[6] = y.z,
      b[7] = y.w;
    } else {
      const auto* e = reinterpret_cast<const std::uint16_t*>(q);
#pragma unroll
      for (int i = 0; i < 8; ++i) b[i] = load(e + 2 * i) | load(e + 2 * i + 1) << 16;
    }
  }
}

// 16 rows of W from row n on (rows beyond N are zero), of columns that a lane has, to the registers of four steps.
template <bool TILED>
__device__ __forceinline__ void load_weights(const GemmProblem& p, const std::uint8_t* w,
                                             const std::uint8_t* scales, int n, int rows, int unit,
                                             int g, int t, std::uint32_t (&a)[16]) {
  if constexpr (TILED) {
    // With SwiGLU n may be in the middle of a tile.
    if (2 * g >= rows) return;
    const int row = n + 2 * g, r = row % 16 / 2;
    const std::uint8_t* chunk =
        w + (static_cast<std::int64_t>(row / 16) * (p.k / 128) + unit / 2) * prepared::kChunkBytes;
    const uint4 codes =
        load(reinterpret_cast<const uint4*>(chunk + (unit & 1) * 512 + (4 * r + t) * 16));
    const auto* s = reinterpret_cast<const std::uint32_t*>(chunk + prepared::kChunkCodes +
                                                           (unit & 1) * 64 + r * 8);
    expand_unit(codes, make_uint2(load(s), load(s + 1)), a);
  } else {
    std::uint32_t words[4] = {0u, 0u, 0u, 0u};
    std::uint32_t s[2] = {0u, 0u};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (2 * g + h < rows) {
        const std::int64_t row = n + 2 * g + h;
        const auto* q =
            reinterpret_cast<const std::uint32_t*>(w + row * (p.k / 2) + 32 * unit + 8 * t);
        words[2 * h] = load(q);
        words[2 * h + 1] = load(q + 1);
        s[h] = load(scales + row * (p.k / 16) + 4 * unit + t);
      }
    }
    const std::uint32_t pair = scale_pair(s[0], s[1]);
    const std::uint32_t low = low_twice(pair), high = high_twice(pair);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      std::uint32_t x[4], y[4];
      expand_codes(words[2 * h], x);
      expand_codes(words[2 * h + 1], y);
      const std::uint32_t scale = h == 0 ? low : high;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        // Step s has pairs 2s and 2s + 1 of the row's eight.
        a[4 * (j >> 1) + h + 2 * (j & 1)] = multiply_pairs(x[j], scale);
        a[8 + 4 * (j >> 1) + h + 2 * (j & 1)] = multiply_pairs(y[j], scale);
      }
    }
  }
}

// One job: a tile of rows of W and a tile of tokens.
template <int NT, bool NVFP4, bool TILED, bool SWIGLU>
__device__ __forceinline__ void generic_job(const GemmProblem& p, int row_tile,
                                            const TokenTile& tile, float* sums) {
  constexpr int kHalves = SWIGLU ? 2 : 1;
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int warp = static_cast<int>(threadIdx.x) >> 5;
  const int g = lane >> 2, t = lane & 3;
  const int columns = SWIGLU ? p.n / 2 : p.n;  // of D
  const int n0 = row_tile * 16;
  const int rows = min(16, columns - n0);
  const bool in_codes = p.w_layout == NVFP4J_SCALE_LAYOUT_PREPARED;
  const std::uint8_t* w =
      p.w + static_cast<std::int64_t>(tile.group) * p.n * (in_codes ? p.k / 16 * 9 : p.k / 2);
  const std::uint8_t* w_scales =
      in_codes ? w + static_cast<std::int64_t>(p.n) * (p.k / 2)
               : p.w_scales + static_cast<std::int64_t>(tile.group) * p.n * (p.k / 16);
  const std::int64_t a_column = column_of_a(p, tile.group);
  const bool aligned =
      TILED ? reinterpret_cast<std::uintptr_t>(p.a) % 4 == 0 && p.a_stride % 4 == 0
            : reinterpret_cast<std::uintptr_t>(p.a) % 16 == 0 && p.a_stride % 16 == 0;
  GenericRow row[NT];
#pragma unroll
  for (int j = 0; j < NT; ++j) {
    const std::int64_t m = tile.first + min(8 * j + g, tile.count - 1);
    row[j].data = p.a + m * p.a_stride + (NVFP4 ? a_column / 2 : a_column * 2);
    row[j].scales = NVFP4 ? p.a_scales + m * (p.a_stride / 8) + a_column / 16 : nullptr;
  }

  float acc[kHalves][NT][4] = {};
  const int units = (p.k + 63) / 64;
  for (int unit = warp; unit < units; unit += kGenericWarps) {
    const bool inside = TILED || 64 * unit + 16 * t < p.k;
    std::uint32_t a[kHalves][16] = {};
    if (inside) {
#pragma unroll
      for (int h = 0; h < kHalves; ++h)
        load_weights<TILED>(p, w, w_scales, h * columns + n0, rows, unit, g, t, a[h]);
    }
#pragma unroll
    for (int j = 0; j < NT; ++j) {
      std::uint32_t b[8] = {};
      if (inside) load_tokens<NVFP4, TILED>(p, row[j], unit, t, aligned, b);
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
#pragma unroll
        for (int s = 0; s < 4; ++s)
          mma_16x8x16(acc[h][j], a[h][4 * s], a[h][4 * s + 1], a[h][4 * s + 2], a[h][4 * s + 3],
                      b[2 * s], b[2 * s + 1]);
      }
    }
  }

  // [half][warp][token][row], a row more to spread the banks.
  constexpr int kPitch = 17;
  constexpr int kTokens = 8 * NT;
  __syncthreads();
#pragma unroll
  for (int h = 0; h < kHalves; ++h) {
#pragma unroll
    for (int j = 0; j < NT; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int token = 8 * j + 2 * t + (i & 1);
        sums[((h * kGenericWarps + warp) * kTokens + token) * kPitch + 2 * g + (i >> 1)] =
            acc[h][j][i];
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < 16 * kTokens; i += kGenericThreads) {
    const int token = i >> 4, r = i & 15;
    if (token >= tile.count || r >= rows) continue;
    float v[kHalves];
    const std::int64_t m = tile.first + token;
    const std::int64_t column = n0 + r + column_of_d(p, tile.group);
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      float sum = sums[(h * kGenericWarps * kTokens + token) * kPitch + r];
#pragma unroll
      for (int k = 1; k < kGenericWarps; ++k)
        sum = __fadd_rn(sum, sums[((h * kGenericWarps + k) * kTokens + token) * kPitch + r]);
      sum = __fmul_rn(sum, NVFP4 ? kOperandScale * kOperandScale : kOperandScale);
      const int n = h * columns + n0 + r;
      v[h] = __fmul_rn(alpha_of(p, tile.group, m, n), sum);
      if (!is_finite(v[h])) report_result(p, tile.group, m, n, column);
    }
    if constexpr (SWIGLU) {
      v[0] = swiglu_result(v[0], v[1], p.limit,
                           p.row_weight != nullptr ? load(p.row_weight + m) : 1.0f);
      if (!is_finite(v[0])) report(p.status, p.op, NVFP4J_CAUSE_NON_FINITE_RESULT, m, column);
    }
    store_result(p, m, column, v[0]);
  }
}

template <int NT, bool NVFP4, bool TILED, bool SWIGLU>
__global__ void __launch_bounds__(kGenericThreads)
    gemm_generic_kernel(const __grid_constant__ GemmProblem p, int row_tiles,
                        std::int64_t token_tiles) {
  await_predecessor();
  __shared__ float sums[(SWIGLU ? 2 : 1) * kGenericWarps * 8 * NT * 17];
  __shared__ std::int64_t place[kLocateWords];
  const std::int64_t jobs = token_tiles * row_tiles * (p.batched ? p.groups : 1);
  for (std::int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    const int row_tile = static_cast<int>(job % row_tiles);
    const std::int64_t rest = job / row_tiles;
    const TokenTile tile =
        p.offsets != nullptr
            ? locate_grouped_tile(p, rest, 8 * NT, place)
            : plain_tile(p, static_cast<int>(rest / token_tiles), rest % token_tiles, 8 * NT);
    if (tile.group < 0)
      break;  // the last tiles of a grouped product are the ones that there are not
    generic_job<NT, NVFP4, TILED, SWIGLU>(p, row_tile, tile, sums);
  }
}

}  // namespace device
}  // namespace nvfp4j
