// SPDX-License-Identifier: Apache-2.0
// Included by expert_combine_kernels.cpp once per instruction set, inside a namespace of its own.

constexpr int kTile = 512;

/// n elements of a row of [., columns], from `column` on.
inline void widen(const void* x, std::int32_t dtype, std::int64_t row, std::int64_t stride,
                  std::int64_t column, int n, float* __restrict out) {
  const std::int64_t at = row * stride + column;
  if (dtype == NVFP4J_DTYPE_F32) {
    std::memcpy(out, static_cast<const float*>(x) + at, static_cast<std::size_t>(n) * 4);
  } else {
    const std::uint16_t* in = static_cast<const std::uint16_t*>(x) + at;
    for (int i = 0; i < n; ++i) out[i] = bf16_to_f32(in[i]);
  }
}

void combine(const ExpertCombineArgs& args, std::int64_t token, std::int64_t from, std::int64_t n) {
  alignas(64) float sum[kTile];
  alignas(64) float term[kTile];
  const std::int32_t* positions = args.positions + token * args.positions_stride;
  for (std::int64_t done = 0; done < n; done += kTile) {
    const int count = static_cast<int>(n - done < kTile ? n - done : kTile);
    const std::int64_t column = from + done;
    for (int i = 0; i < count; ++i) sum[i] = 0.0f;
    for (int j = 0; j < args.k; ++j) {
      if (positions[j] < 0 || positions[j] >= args.rows) continue;
      widen(args.y, args.dtype, positions[j], args.y_stride, column, count, term);
      if (args.weights != nullptr) {
        const float weight = args.weights[token * args.weights_stride + j];
        for (int i = 0; i < count; ++i) sum[i] = __builtin_fmaf(weight, term[i], sum[i]);
      } else {
        for (int i = 0; i < count; ++i) sum[i] = sum[i] + term[i];
      }
    }
    if (args.shared != nullptr) {
      widen(args.shared, args.dtype, token, args.shared_stride, column, count, term);
      for (int i = 0; i < count; ++i) sum[i] = sum[i] + term[i];
    }
    const std::int64_t at = token * args.out_stride + column;
    if (args.out_dtype == NVFP4J_DTYPE_F32) {
      float* out = static_cast<float*>(args.out) + at;
      for (int i = 0; i < count; ++i) out[i] = math::canonical_nan(sum[i]);
    } else {
      std::uint16_t* out = static_cast<std::uint16_t*>(args.out) + at;
      for (int i = 0; i < count; ++i) out[i] = f32_to_bf16(sum[i]);
    }
  }
}
