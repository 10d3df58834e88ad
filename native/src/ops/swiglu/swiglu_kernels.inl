// SPDX-License-Identifier: Apache-2.0
// Included by swiglu_kernels.cpp once per instruction set, inside a namespace of its own. The
// comparisons are written so that NaN stays NaN.

constexpr int kTile = 512;

inline void widen(const void* x, int dtype, std::int64_t from, int n, float* __restrict out) {
  if (dtype == NVFP4J_DTYPE_F32) {
    std::memcpy(out, static_cast<const float*>(x) + from, static_cast<std::size_t>(n) * 4);
  } else {
    const std::uint16_t* in = static_cast<const std::uint16_t*>(x) + from;
    for (int i = 0; i < n; ++i) out[i] = bf16_to_f32(in[i]);
  }
}

void swiglu(const SwigluInput& input, std::int64_t row, std::int64_t from, std::int64_t n,
            void* out, bool as_f32) {
  alignas(64) float both[2 * kTile];
  alignas(64) float gate[kTile];
  alignas(64) float up[kTile];
  const std::int64_t element = input.dtype == NVFP4J_DTYPE_F32 ? 4 : 2;
  const void* x = static_cast<const std::uint8_t*>(input.gate_up) + row * input.stride * element;
  // Without a limit nothing is above it. 1 as a weight changes no bit of a result that is not
  // NaN, and NaN is canonical in the end.
  const float limit = input.limit > 0.0f ? input.limit : float_of(kInfinity);
  const float weight = input.weight != nullptr ? input.weight[row] : 1.0f;

  for (std::int64_t at = 0; at < n; at += kTile) {
    const int count = static_cast<int>(n - at < kTile ? n - at : kTile);
    const std::int64_t column = from + at;
    if (input.layout == NVFP4J_SWIGLU_HALVES) {
      widen(x, input.dtype, column, count, gate);
      widen(x, input.dtype, input.columns + column, count, up);
    } else {
      widen(x, input.dtype, 2 * column, 2 * count, both);
      for (int i = 0; i < count; ++i) {
        gate[i] = both[2 * i];
        up[i] = both[2 * i + 1];
      }
    }
    for (int i = 0; i < count; ++i) {
      const float g = gate[i] > limit ? limit : gate[i];
      float u = up[i] > limit ? limit : up[i];
      u = u < -limit ? -limit : u;
      const float e = math::exp(-g);
      const float h = (g / (1.0f + e)) * u;
      gate[i] = math::canonical_nan(h * weight);
    }
    if (input.dtype == NVFP4J_DTYPE_F32) {
      std::memcpy(static_cast<float*>(out) + at, gate, static_cast<std::size_t>(count) * 4);
    } else if (as_f32) {
      float* y = static_cast<float*>(out) + at;
      for (int i = 0; i < count; ++i) y[i] = bf16_to_f32(f32_to_bf16(gate[i]));
    } else {
      std::uint16_t* y = static_cast<std::uint16_t*>(out) + at;
      for (int i = 0; i < count; ++i) y[i] = f32_to_bf16(gate[i]);
    }
  }
}
