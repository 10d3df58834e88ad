// SPDX-License-Identifier: Apache-2.0
// Products of activations and the gate's rows: what one warp adds up of a tile of tokens and experts.
#pragma once
#include <type_traits>

#include "common/math.hpp"
#include "device/e2m1.cuh"
#include "device/fp8.cuh"
#include "device/mma.cuh"
#include "device/ptx.cuh"
#include "device/status.cuh"
#include "ops/router_dense/router_dense_plan.hpp"
#include "ops/router_dense/router_target.cuh"

namespace nvfp4j::device {

// ---- tensor cores ------------------------------------------------------------------------------------------------------
// A lane's registers hold 8 columns in a row of one token or expert, 32 * unit + 8 * (lane % 4) onwards, as four words: the first two are those of one product of 16 columns, the others of the next. Which column a register stands for is the same on
// both sides, and so needs not be what the instruction calls it.

// BF16 rows; zeros where there is no row or column.
__device__ __forceinline__ uint4 router_packet(const void* data, std::int64_t stride,
                                               std::int64_t row, std::int64_t column, bool there) {
  if (!there) return make_uint4(0u, 0u, 0u, 0u);
  return load(
      reinterpret_cast<const uint4*>(static_cast<const char*>(data) + (row * stride + column) * 2));
}

// A block scale that is none, and counts as NaN.
__device__ __forceinline__ bool bad_block_scale(std::uint32_t scale) { return scale >= 0x7Fu; }
__device__ __forceinline__ float f32_from_block_scale(std::uint32_t scale) {
  return bad_block_scale(scale) ? __uint_as_float(0x7FC00000u) : f32_from_e4m3(scale);
}

// Reports a bad one; for what looks at scales apart from the products.
__device__ __forceinline__ void check_block_scale(const RouterTarget& t, std::int64_t expert,
                                                  std::int64_t column) {
  const std::int64_t block = column / 16;
  if (bad_block_scale(load(t.gate.scales + expert * (t.x.columns / 16) + block)))
    report_here(t.status, t.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, expert, block * 16);
}

// The factor of all logits: an NVFP4 weight's global scale.
__device__ __forceinline__ float scale_of_gate(const RouterTarget& t) {
  return t.gate.global_scale != nullptr ? load(t.gate.global_scale) : 1.0f;
}
// Reported where it is none.
__device__ __forceinline__ void report_bad_global_scale(const RouterTarget& t) {
  if (t.gate.global_scale == nullptr) return;
  const float gs = load(t.gate.global_scale);
  if (!(gs > 0.0f && math::is_finite(gs)))
    report_here(t.status, t.op, NVFP4J_CAUSE_BAD_GLOBAL_SCALE, -1, -1);
}

struct RouterCodes {
  std::uint32_t codes;  // of 8 columns
  std::uint32_t scale;  // of the block that they are in
};

__device__ __forceinline__ RouterCodes router_codes(const RouterGate& gate, std::int64_t columns,
                                                    std::int64_t row, std::int64_t column,
                                                    bool there) {
  if (!there) return {0u, 0u};
  return {load(reinterpret_cast<const std::uint32_t*>(static_cast<const char*>(gate.data) +
                                                      (row * columns + column) / 2)),
          load(gate.scales + row * (columns / 16) + column / 16)};
}

// Codes times scale: at most 6 significant bits, so exact.
__device__ __forceinline__ uint4 expand(RouterCodes c) {
  const float scale = f32_from_block_scale(c.scale);
  std::uint32_t w[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const std::uint32_t pair = c.codes >> 8 * i;
    w[i] = Bf16::pack(__fmul_rn(f32_from_e2m1(pair & 15u), scale),
                      __fmul_rn(f32_from_e2m1(pair >> 4 & 15u), scale));
  }
  return make_uint4(w[0], w[1], w[2], w[3]);
}

// A warp's operands of UNITS units, `first`, first + kRouterWarps, ..., of the gate's rows, on their way from memory.
template <RouterOperands O, int EXPERTS, int UNITS>
struct GateUnits {
  static constexpr int kOctets = EXPERTS / 8;
  using Packet = std::conditional_t<O == RouterOperands::kNvfp4, RouterCodes, uint4>;
  Packet w[UNITS][kOctets];

  __device__ __forceinline__ void fetch(const RouterTarget& t, int expert0, std::int64_t first,
                                        std::int64_t end, int i) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const std::int64_t unit = first + kRouterWarps * i;
    const std::int64_t column = unit * kRouterUnit + lane % 4 * 8;
    const bool there = (unit < end) & (column < t.x.columns);
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      const int expert = expert0 + 8 * o + lane / 4;
      const bool mine = there & (expert < t.gate.experts);
      if constexpr (O == RouterOperands::kNvfp4) {
        w[i][o] = router_codes(t.gate, t.x.columns, expert, column, mine);
      } else {
        w[i][o] = router_packet(t.gate.data, t.gate.stride, expert, column, mine);
      }
    }
  }

  // Unit i of octet o as BF16. `bad` becomes true with a bad block scale.
  __device__ __forceinline__ uint4 operand(int i, int o, bool& bad) const {
    if constexpr (O == RouterOperands::kNvfp4) {
      bad = bad | bad_block_scale(w[i][o].scale);
      return expand(w[i][o]);
    } else {
      return w[i][o];
    }
  }
};

// Of a lane that had a bad block scale: once more those of all its units, apart from the products, which have no registers for what a report takes.
template <int EXPERTS>
__device__ __forceinline__ void report_bad_block_scales(const RouterTarget& t, int expert0,
                                                        std::int64_t first, std::int64_t end) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll 1
  for (; first < end; first += kRouterWarps) {
    const std::int64_t column = first * kRouterUnit + lane % 4 * 8;
    if (column >= t.x.columns) return;
#pragma unroll 1
    for (int expert = expert0 + lane / 4; expert < expert0 + EXPERTS && expert < t.gate.experts;
         expert += 8)
      check_block_scale(t, expert, column);
  }
}

// The sums of tokens `token0 ..` and experts `expert0 ..` over the units begin + warp, begin + warp + kRouterWarps, ... before `end`, to sums[token][expert] of this warp. The tensor core adds up (and truncates) one unit (tensor_sums), or 16 columns of each of UNITS units (octet_sums); those sums are
// added in F32 rounded to nearest: chains are short.

// Of 8 tokens. The gate's rows are the first operand: a packet of 16 bytes is its row lane / 4 (words 0 and 2) and row 8 + lane / 4 (words 1 and 3), to be multiplied with words 0 and 2 of x, then with 1 and 3. So of the one product the rows below 8 are sums, and of the other one those from 8 on.
template <RouterOperands O, int EXPERTS, int UNITS>
__device__ __forceinline__ void octet_sums(const RouterTarget& t, std::int64_t token0, int expert0,
                                           std::int64_t begin, std::int64_t end, float* sums) {
  constexpr int kOctets = EXPERTS / 8;
  static_assert(UNITS <= 8, "a chain of 128 columns");
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t token = token0 + lane / 4;
  const bool mine = token < t.first_token + t.launch_tokens;
  float sum[kOctets][2] = {};
  bool bad = false;
  for (std::int64_t first = begin + threadIdx.x / 32; first < end; first += kRouterWarps * UNITS) {
    GateUnits<O, EXPERTS, UNITS> gate;
    uint4 x[UNITS];
#pragma unroll
    for (int i = 0; i < UNITS; ++i) {
      gate.fetch(t, expert0, first, end, i);
      const std::int64_t unit = first + kRouterWarps * i;
      const std::int64_t column = unit * kRouterUnit + lane % 4 * 8;
      x[i] = router_packet(t.x.data, t.x.stride, token, column,
                           mine & (unit < end) & (column < t.x.columns));
    }
    float low[kOctets][4] = {};
    float high[kOctets][4] = {};
#pragma unroll
    for (int i = 0; i < UNITS; ++i) {
#pragma unroll
      for (int o = 0; o < kOctets; ++o) {
        const uint4 w = gate.operand(i, o, bad);
        mma_16x8x16(low[o], w.x, w.y, w.z, w.w, x[i].x, x[i].z);
        mma_16x8x16(high[o], w.x, w.y, w.z, w.w, x[i].y, x[i].w);
      }
    }
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
#pragma unroll
      for (int j = 0; j < 2; ++j)
        sum[o][j] = __fadd_rn(sum[o][j], __fadd_rn(low[o][j], high[o][2 + j]));
    }
  }
  if (bad) report_bad_block_scales<EXPERTS>(t, expert0, begin + threadIdx.x / 32, end);
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
#pragma unroll
    for (int j = 0; j < 2; ++j) sums[(lane % 4 * 2 + j) * EXPERTS + 8 * o + lane / 4] = sum[o][j];
  }
}

// Of 16 tokens or more, which are the first operand.
template <RouterOperands O, int TOKENS, int EXPERTS, int UNITS>
__device__ __forceinline__ void tensor_sums(const RouterTarget& t, std::int64_t token0, int expert0,
                                            std::int64_t begin, std::int64_t end, float* sums) {
  constexpr int kHalves = TOKENS / 8;  // rows of 8 tokens
  constexpr int kTiles = TOKENS / 16;
  constexpr int kOctets = EXPERTS / 8;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int row = lane / 4;
  const std::int64_t last_token = t.first_token + t.launch_tokens;
  float sum[kTiles][kOctets][4] = {};
  bool bad = false;
  for (std::int64_t first = begin + warp; first < end; first += kRouterWarps * UNITS) {
    GateUnits<O, EXPERTS, UNITS> gate;
    uint4 x[UNITS][kHalves];
#pragma unroll
    for (int i = 0; i < UNITS; ++i) {
      gate.fetch(t, expert0, first, end, i);
      const std::int64_t unit = first + kRouterWarps * i;
      const std::int64_t column = unit * kRouterUnit + lane % 4 * 8;
      const bool there = (unit < end) & (column < t.x.columns);
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        const std::int64_t token = token0 + 8 * h + row;
        x[i][h] = router_packet(t.x.data, t.x.stride, token, column, there & (token < last_token));
      }
    }
#pragma unroll
    for (int i = 0; i < UNITS; ++i) {
      uint4 w[kOctets];
#pragma unroll
      for (int o = 0; o < kOctets; ++o) w[o] = gate.operand(i, o, bad);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        const uint4 a = x[i][2 * m];
        const uint4 b = x[i][2 * m + 1];
#pragma unroll
        for (int o = 0; o < kOctets; ++o) {
          float d[4] = {};
          mma_16x8x16(d, a.x, b.x, a.y, b.y, w[o].x, w[o].y);
          mma_16x8x16(d, a.z, b.z, a.w, b.w, w[o].z, w[o].w);
#pragma unroll
          for (int j = 0; j < 4; ++j) sum[m][o][j] = __fadd_rn(sum[m][o][j], d[j]);
        }
      }
    }
  }
  if (bad) report_bad_block_scales<EXPERTS>(t, expert0, begin + warp, end);
  const int column = lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      float* at = sums + (16 * m + row) * EXPERTS + 8 * o + column;
      *reinterpret_cast<float2*>(at) = make_float2(sum[m][o][0], sum[m][o][1]);
      *reinterpret_cast<float2*>(at + 8 * EXPERTS) = make_float2(sum[m][o][2], sum[m][o][3]);
    }
  }
}

// ---- any type, any alignment -------------------------------------------------------------------------------------------

__device__ __forceinline__ float element(const void* data, std::int32_t dtype, std::int64_t at) {
  if (dtype == NVFP4J_DTYPE_F32) return load(static_cast<const float*>(data) + at);
  return __uint_as_float(load(static_cast<const std::uint16_t*>(data) + at) << 16);
}

__device__ __forceinline__ float gate_element(const RouterTarget& t, std::int64_t row,
                                              std::int64_t column) {
  if (t.gate.scales == nullptr)
    return element(t.gate.data, t.gate.dtype, row * t.gate.stride + column);
  const std::int64_t at = row * t.x.columns + column;
  const std::uint32_t scale = load(t.gate.scales + at / 16);
  if (bad_block_scale(scale))
    report_here(t.status, t.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, row, column / 16 * 16);
  const std::uint32_t pair = load(static_cast<const std::uint8_t*>(t.gate.data) + at / 2);
  return __fmul_rn(f32_from_e2m1(column % 2 == 0 ? pair & 15u : pair >> 4),
                   f32_from_block_scale(scale));
}

// Of each lane's 64 numbers the sums over the warp: those of 2 * lane and 2 * lane + 1.
template <int COUNT, int STEP>
__device__ __forceinline__ void reduce_and_scatter(float (&v)[64], int lane) {
#pragma unroll
  for (int i = 0; i < COUNT / 2; ++i) {
    const bool upper = (lane & STEP) != 0;
    const float kept = upper ? v[i + COUNT / 2] : v[i];
    const float given = upper ? v[i] : v[i + COUNT / 2];
    v[i] = __fadd_rn(kept, __shfl_xor_sync(0xffffffffu, given, STEP));
  }
  if constexpr (STEP > 1) reduce_and_scatter<COUNT / 2, STEP / 2>(v, lane);
}

// As tensor_sums(), of 8 tokens and 8 experts: a column a lane.
__device__ __forceinline__ void single_sums(const RouterTarget& t, std::int64_t token0, int expert0,
                                            std::int64_t begin, std::int64_t end, float* sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t last_token = t.first_token + t.launch_tokens;
  float sum[64] = {};
  for (std::int64_t unit = begin + warp; unit < end; unit += kRouterWarps) {
    const std::int64_t column = unit * kRouterUnit + lane;
    const bool there = column < t.x.columns;
    float w[8];
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      w[i] = there & (expert0 + i < t.gate.experts) ? gate_element(t, expert0 + i, column) : 0.0f;
      x[i] = there & (token0 + i < last_token)
                 ? element(t.x.data, t.x.dtype, (token0 + i) * t.x.stride + column)
                 : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) sum[i] = __fmaf_rn(x[i / 8], w[i % 8], sum[i]);
  }
  reduce_and_scatter<64, 16>(sum, lane);
  *reinterpret_cast<float2*>(sums + 2 * lane) = make_float2(sum[0], sum[1]);
}

// Whichever it is. `sums` is this warp's part of the shared memory.
template <RouterOperands O, int TOKENS, int EXPERTS, int UNITS>
__device__ __forceinline__ void router_sums(const RouterTarget& t, std::int64_t token0, int expert0,
                                            std::int64_t begin, std::int64_t end, float* sums) {
  if constexpr (O == RouterOperands::kAny) {
    static_assert(TOKENS == 8 && EXPERTS == 8);
    single_sums(t, token0, expert0, begin, end, sums);
  } else if constexpr (TOKENS == 8) {
    octet_sums<O, EXPERTS, UNITS>(t, token0, expert0, begin, end, sums);
  } else {
    tensor_sums<O, TOKENS, EXPERTS, UNITS>(t, token0, expert0, begin, end, sums);
  }
}

}  // namespace nvfp4j::device
