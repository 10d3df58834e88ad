// SPDX-License-Identifier: Apache-2.0
// Included by dequantize_cpu.cpp once per instruction set, inside a namespace of its own.

void decode(const std::uint8_t* codes, const float* factors, std::int64_t blocks, void* out,
            int dtype) {
  constexpr int kTileBlocks = 32;
  alignas(64) float value[16 * kTileBlocks];
  for (std::int64_t from = 0; from < blocks; from += kTileBlocks) {
    const int count = static_cast<int>(blocks - from < kTileBlocks ? blocks - from : kTileBlocks);
    const std::uint8_t* in = codes + 8 * from;
    for (int i = 0; i < 8 * count; ++i) {
      const std::uint32_t byte = in[i];
      value[2 * i] = e2m1_to_f32(byte & 15);
      value[2 * i + 1] = e2m1_to_f32(byte >> 4);
    }
    for (int b = 0; b < count; ++b) {
      const float d = factors[from + b];
      for (int i = 16 * b; i < 16 * b + 16; ++i) value[i] = math::canonical_nan(value[i] * d);
    }
    const std::int64_t start = 16 * from;
    if (dtype == NVFP4J_DTYPE_F32) {
      std::memcpy(static_cast<float*>(out) + start, value, static_cast<std::size_t>(count) * 64);
    } else if (dtype == NVFP4J_DTYPE_BF16) {
      std::uint16_t* y = static_cast<std::uint16_t*>(out) + start;
      for (int i = 0; i < 16 * count; ++i) y[i] = f32_to_bf16(value[i]);
    } else {
      std::uint16_t* y = static_cast<std::uint16_t*>(out) + start;
      for (int i = 0; i < 16 * count; ++i) y[i] = f32_to_f16(value[i]);
    }
  }
}
