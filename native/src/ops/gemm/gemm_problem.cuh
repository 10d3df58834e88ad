// SPDX-License-Identifier: Apache-2.0
// What every kernel of the matrix products shares: their arguments, where a tile of tokens lies, and what becomes of a sum.
#pragma once
#include <cmath>
#include <cstdint>

#include "common/math.hpp"
#include "device/ptx.cuh"
#include "device/status.cuh"
#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_args.hpp"
#include "ops/gemm/prepared_layout.hpp"
#include "ops/swiglu/swiglu_math.cuh"

namespace nvfp4j {

struct GemmProblem {
  const char* a;
  const std::uint8_t* a_scales;
  const float* a_global_scales;
  std::int64_t a_stride;  // bytes
  const std::uint8_t* w;
  const std::uint8_t* w_scales;
  const float* w_global_scales;
  char* d;
  std::int64_t d_stride;  // bytes
  const std::int32_t* offsets;
  const float* row_weight;
  DeviceStatus* status;
  std::int64_t m;
  int n;
  int k;
  int groups;
  int a_kind;
  int w_layout;
  int w_global_scale_kind;
  int op;
  float limit;  // of SwiGLU; infinity: none
  bool a_global_scale_per_row;
  bool d_is_bf16;
  bool d_pairs_aligned;   // two neighbours of D from an even column on can be written at once
  bool d_eights_aligned;  // D is BF16, and so can eight from a multiple of 8 on
  bool swiglu;
  bool batched;

  static GemmProblem of(const GemmArgs& args, DeviceStatus* status) {
    GemmProblem p = {};
    p.a = static_cast<const char*>(args.a.data);
    p.a_scales = args.a.scales;
    p.a_global_scales = args.a.global_scales;
    p.a_stride = args.a.kind == NVFP4J_GEMM_A_NVFP4 ? args.a.stride / 2 : args.a.stride * 2;
    p.w = args.w.codes;
    p.w_scales = args.w.scales;
    p.w_global_scales = args.w.global_scales;
    p.d = static_cast<char*>(args.d.data);
    p.d_stride = args.d.stride * (args.d.dtype == NVFP4J_DTYPE_BF16 ? 2 : 4);
    p.offsets = args.offsets;
    p.row_weight = args.row_weight;
    p.status = status;
    p.m = args.m;
    p.n = static_cast<int>(args.n);
    p.k = static_cast<int>(args.k);
    p.groups = static_cast<int>(args.groups);
    p.a_kind = args.a.kind;
    p.w_layout = args.w.layout;
    p.w_global_scale_kind = args.w.global_scale_kind;
    p.op = args.op;
    p.limit = args.limit > 0.0f ? args.limit : INFINITY;
    p.a_global_scale_per_row = args.a.global_scale_per_row;
    p.d_is_bf16 = args.d.dtype == NVFP4J_DTYPE_BF16;
    const std::uintptr_t pair = p.d_is_bf16 ? 4 : 8;
    p.d_pairs_aligned = reinterpret_cast<std::uintptr_t>(p.d) % pair == 0 &&
                        p.d_stride % static_cast<std::int64_t>(pair) == 0;
    p.d_eights_aligned =
        p.d_is_bf16 && reinterpret_cast<std::uintptr_t>(p.d) % 16 == 0 && p.d_stride % 16 == 0;
    p.swiglu = args.swiglu;
    p.batched = args.op == NVFP4J_OP_BATCHED_GEMM;
    return p;
  }
};

namespace device {

// Where in a row of A and of D what is numbered within a group is: a batch has its groups side by side.
__device__ __forceinline__ std::int64_t column_of_a(const GemmProblem& p, int group) {
  return p.batched ? static_cast<std::int64_t>(group) * p.k : 0;
}
__device__ __forceinline__ std::int64_t column_of_d(const GemmProblem& p, int group) {
  return p.batched ? static_cast<std::int64_t>(group) * p.n : 0;
}

__device__ __forceinline__ float w_scale_of(const GemmProblem& p, int group, int n) {
  return load(p.w_global_scales + global_scale_index(p.w_global_scale_kind, group, n, p.n));
}

__device__ __forceinline__ float a_scale_of(const GemmProblem& p, std::int64_t m) {
  return p.a_global_scales == nullptr
             ? 1.0f
             : load(p.a_global_scales + (p.a_global_scale_per_row ? m : 0));
}

__device__ __forceinline__ float alpha_of(const GemmProblem& p, int group, std::int64_t m, int n) {
  return __fmul_rn(a_scale_of(p, m), w_scale_of(p, group, n));
}

// Reads the scales again to find out whose fault a result is that is not finite. Cold, but inline: see report_here().
__device__ __forceinline__ void report_result(const GemmProblem& p, int group, std::int64_t m,
                                              int n, std::int64_t column) {
  const int blocks = p.k / 16;
  const bool in_codes = p.w_layout == NVFP4J_SCALE_LAYOUT_PREPARED;
  const std::uint8_t* w = in_codes ? p.w + group * prepared::group_bytes(p.n, p.k) : nullptr;
  const bool tiled = in_codes && prepared::is_tiled(p.n, p.k);
  bool bad = false;
  for (int b = 0; b < blocks && !bad; ++b) {
    if (tiled) {
      const std::uint8_t* chunk =
          w + (static_cast<std::int64_t>(n / 16) * (p.k / 128) + b / 8) * prepared::kChunkBytes;
      const std::uint32_t word = load(reinterpret_cast<const std::uint32_t*>(
          chunk + prepared::kChunkCodes + ((b % 8) / 4) * 64 + (n % 16 / 2) * 8 + (b & 2) * 2));
      bad = prepared::unpack_scale(word, n & 1, b & 1) == prepared::kBadScale;
    } else {
      const std::uint8_t* scales =
          in_codes ? w + static_cast<std::int64_t>(p.n) * (p.k / 2)
                   : p.w_scales + static_cast<std::int64_t>(group) * p.n * blocks;
      bad = load(scales + static_cast<std::int64_t>(n) * blocks + b) >= 0x7Fu;
    }
  }
  if (bad) report_here(p.status, p.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, -1, column);
  if (p.a_kind == NVFP4J_GEMM_A_NVFP4) {
    const std::uint8_t* scales =
        p.a_scales + m * (p.a_stride / 8) + (p.batched ? group * blocks : 0);
    bad = false;
    for (int b = 0; b < blocks && !bad; ++b) bad = load(scales + b) >= 0x7Fu;
    if (bad) report_here(p.status, p.op, NVFP4J_CAUSE_BAD_BLOCK_SCALE, m, -1);
  }
  report_here(p.status, p.op, NVFP4J_CAUSE_NON_FINITE_RESULT, m, column);
}

using math::is_finite;

__device__ __forceinline__ std::uint32_t bf16_bits(float v) {
  return v != v ? 0x7FC0u : Bf16::pack(v, 0.0f) & 0xFFFFu;
}

__device__ __forceinline__ void store_result(const GemmProblem& p, std::int64_t m,
                                             std::int64_t column, float v) {
  char* row = p.d + m * p.d_stride;
  if (p.d_is_bf16) {
    reinterpret_cast<std::uint16_t*>(row)[column] = static_cast<std::uint16_t>(bf16_bits(v));
  } else {
    reinterpret_cast<float*>(row)[column] = math::canonical_nan(v);
  }
}

// Two neighbours of a row of D, the first at an even column.
__device__ __forceinline__ void store_pair(const GemmProblem& p, std::int64_t m,
                                           std::int64_t column, float low, float high) {
  char* row = p.d + m * p.d_stride;
  if (!p.d_pairs_aligned) {
    store_result(p, m, column, low);
    store_result(p, m, column + 1, high);
  } else if (p.d_is_bf16) {
    *reinterpret_cast<std::uint32_t*>(row + 2 * column) = bf16_bits(low) | bf16_bits(high) << 16;
  } else {
    *reinterpret_cast<float2*>(row + 4 * column) =
        make_float2(math::canonical_nan(low), math::canonical_nan(high));
  }
}

// SwiGLU of two F32 results, in the operations of swiglu.h. Inline, without a call: what is live around it must not go to memory.
__device__ __forceinline__ float swiglu_result(float gate, float up, float limit, float weight) {
  const float g = min_nan(gate, limit);
  const float u = max_nan(min_nan(up, limit), -limit);
  return __fmul_rn(__fmul_rn(__fdiv_rn(g, __fadd_rn(1.0f, math::exp(-g))), u), weight);
}

}  // namespace device
}  // namespace nvfp4j
