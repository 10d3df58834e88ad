// SPDX-License-Identifier: Apache-2.0
// hc_post_pre: the norm and the codes of collapsed columns.
#pragma once
#include "device/packet.cuh"
#include "ops/hc_pre/hc_pre_target.cuh"

namespace nvfp4j::device {

// Eight columns of a collapsed row, normalised.
__device__ __forceinline__ uint4 normalise_packet(uint4 c, const float (&g)[8], float norm) {
  float v[8];
  unpack<Bf16>(c, v);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = __fmul_rn(__fmul_rn(g[i], v[i]), norm);
  return pack<Bf16>(v);
}

// A block of a row whose largest finite magnitude, before it is rounded to BF16, is `largest`.
__device__ __forceinline__ void quantise_block(const HcPreTarget& a, std::int64_t token,
                                               std::uint32_t block, const Block<Bf16>& y,
                                               float largest) {
  const float magnitude = Bf16::to_f32(Bf16::pack(largest, 0.0f) & 0xFFFFu);
  const std::uint64_t at =
      static_cast<std::uint64_t>(token) * a.quantized.row_blocks.divisor + block;
  const auto place = [&] { return BlockPlace{token, block}; };
  float gs;
  if (a.recipe == NVFP4J_RECIPE_EXACT) {
    const GlobalScale g = dynamic_global_scale<NVFP4J_RECIPE_EXACT>(magnitude);
    encode_and_store<Bf16, NVFP4J_RECIPE_EXACT>(y, g, a.quantized, at, place);
    gs = g.gs;
  } else {
    const GlobalScale g = dynamic_global_scale<NVFP4J_RECIPE_TE_EXACT>(magnitude);
    encode_and_store<Bf16, NVFP4J_RECIPE_TE_EXACT>(y, g, a.quantized, at, place);
    gs = g.gs;
  }
  if (block == 0) a.quantized.global_scales[token] = gs;
}

}  // namespace nvfp4j::device
