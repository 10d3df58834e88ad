// SPDX-License-Identifier: Apache-2.0
// Sixteen F32 lanes for any x86-64, as plain loops; see gemm_lanes_v4.inl.

struct Lanes {
  float v[16];
};
struct Words {
  std::uint32_t v[16];
};

NVFP4J_INLINE Lanes zero() { return Lanes{}; }
NVFP4J_INLINE Lanes load(const float* x) {
  Lanes a;
  std::memcpy(a.v, x, sizeof a.v);
  return a;
}
NVFP4J_INLINE void store(float* x, Lanes a) { std::memcpy(x, a.v, sizeof a.v); }
NVFP4J_INLINE Lanes times(Lanes a, Lanes b) {
  for (int i = 0; i < 16; ++i) a.v[i] *= b.v[i];
  return a;
}
NVFP4J_INLINE Lanes plus_product(Lanes sum, Lanes a, Lanes b) {
  for (int i = 0; i < 16; ++i) sum.v[i] += a.v[i] * b.v[i];
  return sum;
}
NVFP4J_INLINE Words load_codes(const std::uint8_t* codes) {
  Words words;
  std::memcpy(words.v, codes, sizeof words.v);
  return words;
}

template <int I>
NVFP4J_INLINE Lanes value(Words codes) {
  Lanes a;
  for (int i = 0; i < 16; ++i) a.v[i] = kSmaller * e2m1_to_f32(codes.v[i] >> (4 * I) & 15);
  return a;
}

NVFP4J_INLINE Lanes load_scales(const std::uint8_t* scales) {
  Lanes a;
  for (int i = 0; i < 16; ++i) a.v[i] = e4m3_magnitude_to_f32(scales[i / 2]) / kSmaller;
  return a;
}

NVFP4J_INLINE float sum(Lanes a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  }
  return a.v[0];
}
