// SPDX-License-Identifier: Apache-2.0
// Included by quantize_kernels.cpp once per instruction set, inside a namespace of its own.
// Plain functions only: a template would be instantiated with the options of the end of the
// file. Every loop has a fixed shape that g++ vectorises; each pass stays in the L1 cache.

constexpr int kTile = 512;  // elements
constexpr int kTileBlocks = kTile / 16;

// binary32 bit patterns of n <= kTile elements.
inline void widen(const void* x, int dtype, std::int64_t from, int n,
                  std::uint32_t* __restrict out) {
  if (dtype == NVFP4J_DTYPE_F32) {
    std::memcpy(out, static_cast<const float*>(x) + from, static_cast<std::size_t>(n) * 4);
    return;
  }
  const std::uint16_t* in = static_cast<const std::uint16_t*>(x) + from;
  if (dtype == NVFP4J_DTYPE_BF16) {
    for (int i = 0; i < n; ++i) out[i] = static_cast<std::uint32_t>(in[i]) << 16;
  } else {
    for (int i = 0; i < n; ++i) out[i] = bits_of(f16_to_f32(in[i]));
  }
}

Maximum maximum(const void* x, int dtype, std::int64_t n) {
  alignas(64) std::uint32_t bits[kTile];
  Maximum result;
  for (std::int64_t from = 0; from < n; from += kTile) {
    const int count = static_cast<int>(n - from < kTile ? n - from : kTile);
    std::uint32_t any = 0;
    if (dtype == NVFP4J_DTYPE_BF16) {
      // Sixteen bits order as the whole pattern does.
      const std::uint16_t* in = static_cast<const std::uint16_t*>(x) + from;
      std::uint16_t high = 0;
      for (int i = 0; i < count; ++i) {
        const std::uint16_t a = in[i] & 0x7FFF;
        high = a > high ? a : high;
      }
      any = static_cast<std::uint32_t>(high) << 16;
    } else {
      widen(x, dtype, from, count, bits);
      for (int i = 0; i < count; ++i) {
        const std::uint32_t a = bits[i] & kMagnitude;
        any = a > any ? a : any;
      }
    }
    std::uint32_t finite = any;
    if (any >= kInfinity) [[unlikely]] {
      widen(x, dtype, from, count, bits);
      finite = 0;
      for (int i = 0; i < count; ++i) {
        const std::uint32_t a = bits[i] & kMagnitude;
        if (a < kInfinity && a > finite) finite = a;
      }
    }
    result.finite = finite > result.finite ? finite : result.finite;
    result.any = any > result.any ? any : result.any;
  }
  return result;
}

bool encode(const void* x, int dtype, std::int64_t n, const BlockScaling& scaling,
            std::uint8_t* codes, std::uint8_t* scales) {
  alignas(64) std::uint32_t bits[kTile];
  alignas(64) std::uint32_t code[kTile];
  alignas(64) std::uint32_t block_max[kTileBlocks];
  alignas(64) std::uint32_t scale[kTileBlocks];
  alignas(64) float factor[kTileBlocks];  // d, or c of TE_EXACT
  alignas(64) std::uint32_t
      keep[kTileBlocks];  // EXACT: 7, or 0 where d is 0; TE_EXACT: 8, or 0 where c is 0
  const float global_scale = scaling.global_scale;
  const float block_factor = scaling.block_factor;
  const std::uint32_t minimum = scaling.minimum;
  bool non_finite = false;

  for (std::int64_t from = 0; from < n; from += kTile) {
    const int count = static_cast<int>(n - from < kTile ? n - from : kTile);
    const int blocks = count / 16;
    widen(x, dtype, from, count, bits);

    std::uint32_t tile_max = 0;
    for (int b = 0; b < blocks; ++b) {
      std::uint32_t max = 0;
      for (int i = 0; i < 16; ++i) {
        const std::uint32_t a = bits[16 * b + i] & kMagnitude;
        max = a > max ? a : max;
      }
      block_max[b] = max;
      tile_max = max > tile_max ? max : tile_max;
    }
    if (tile_max >= kInfinity) [[unlikely]] {
      non_finite = true;
      for (int b = 0; b < blocks; ++b) {
        std::uint32_t max = 0;
        for (int i = 0; i < 16; ++i) {
          const std::uint32_t a = bits[16 * b + i] & kMagnitude;
          if (a < kInfinity && a > max) max = a;
        }
        block_max[b] = max;
      }
    }

    if (!scaling.te_exact) {
      for (int b = 0; b < blocks; ++b) {
        const std::uint32_t rounded = e4m3_of_non_negative(float_of(block_max[b]) / block_factor);
        const std::uint32_t lifted = block_max[b] != 0 ? minimum : 0;
        scale[b] = rounded > lifted ? rounded : lifted;
      }
      for (int b = 0; b < blocks; ++b) {
        const float d = e4m3_magnitude_to_f32(scale[b]) * global_scale;
        factor[b] = d;
        keep[b] = d > 0.0f ? 7 : 0;
      }
      for (int b = 0; b < blocks; ++b) {
        const float d = factor[b];
        const std::uint32_t mask = keep[b];
        for (int i = 16 * b; i < 16 * b + 16; ++i) {
          code[i] = (e2m1_magnitude(float_of(bits[i]) / d) & mask) | (bits[i] >> 28 & 8);
        }
      }
    } else {
      constexpr float kLargest = 3.402823466e38f;
      for (int b = 0; b < blocks; ++b) {
        const float product = float_of(block_max[b]) * block_factor;
        scale[b] = e4m3_of_non_negative(product < kLargest ? product : kLargest);
      }
      for (int b = 0; b < blocks; ++b) {
        const float inverse = 1.0f / (e4m3_magnitude_to_f32(scale[b]) * global_scale);
        const float c = inverse < kLargest ? inverse : kLargest;
        factor[b] = c;
        keep[b] = c > 0.0f ? 8 : 0;
      }
      for (int b = 0; b < blocks; ++b) {
        const float c = factor[b];
        const std::uint32_t mask = keep[b];
        for (int i = 16 * b; i < 16 * b + 16; ++i) {
          // fma(x, c, +0) is x * c, but +0 where the exact product is zero.
          const std::uint32_t sign = bits[i] >> 28 & mask;
          code[i] =
              e2m1_magnitude(float_of(bits[i]) * c) | ((bits[i] & kMagnitude) != 0 ? sign : 0);
        }
      }
    }
    if (tile_max >= kInfinity) [[unlikely]] {
      for (int i = 0; i < count; ++i) {
        if ((bits[i] & kMagnitude) >= kInfinity) code[i] = e2m1(float_of(bits[i]));
      }
    }

    std::uint8_t* out = codes + from / 2;
    for (int i = 0; i < count / 2; ++i)
      out[i] = static_cast<std::uint8_t>(code[2 * i] | code[2 * i + 1] << 4);
    std::uint8_t* out_scales = scales + from / 16;
    for (int b = 0; b < blocks; ++b) out_scales[b] = static_cast<std::uint8_t>(scale[b]);
  }
  return non_finite;
}
