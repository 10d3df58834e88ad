// SPDX-License-Identifier: Apache-2.0
// Included by hc_kernels.cpp once per instruction set, inside a namespace of its own, behind its
// lanes.

struct Bf16 {
  using Element = std::uint16_t;
  NVFP4J_INLINE static float widen(std::uint16_t x) { return bf16_to_f32(x); }
  NVFP4J_INLINE static std::uint16_t narrow(float x) { return f32_to_bf16(x); }
};
struct F32 {
  using Element = float;
  NVFP4J_INLINE static float widen(float x) { return x; }
  NVFP4J_INLINE static float narrow(float x) { return math::canonical_nan(x); }
};

template <class T>
void widen_as(const void* x, int count, float* __restrict out) {
  const auto* in = static_cast<const typename T::Element*>(x);
  for (int i = 0; i < count; ++i) out[i] = T::widen(in[i]);
}

void widen(const void* x, int dtype, int count, float* out) {
  dtype == NVFP4J_DTYPE_F32 ? widen_as<F32>(x, count, out) : widen_as<Bf16>(x, count, out);
}

template <class T>
void narrow_as(const float* __restrict x, int count, void* out) {
  auto* y = static_cast<typename T::Element*>(out);
  for (int i = 0; i < count; ++i) y[i] = T::narrow(x[i]);
}

void narrow(const float* x, int dtype, int count, void* out) {
  dtype == NVFP4J_DTYPE_F32 ? narrow_as<F32>(x, count, out) : narrow_as<Bf16>(x, count, out);
}

// All streams of a column at a time. In place a column is read before it is written: ivdep is right.
template <class T, int N>
void post_fixed(const HcPostRun& run) {
  using Element = typename T::Element;
  const Element* x[N];
  Element* out[N];
  float post[N];
  float comb[N][N];
  for (int k = 0; k < N; ++k) {
    x[k] = static_cast<const Element*>(run.x) + k * run.x_stride;
    out[k] = static_cast<Element*>(run.out) + k * run.out_stride;
    post[k] = run.post[k];
    for (int j = 0; j < N; ++j) comb[j][k] = run.comb[j * N + k];
  }
  const auto* sub = static_cast<const Element*>(run.sub);
#pragma GCC ivdep
  for (int i = 0; i < run.count; ++i) {
    const float s = T::widen(sub[i]);
    float streams[N];
    for (int j = 0; j < N; ++j) streams[j] = T::widen(x[j][i]);
    float y[N];
    for (int k = 0; k < N; ++k) {
      y[k] = post[k] * s;
      for (int j = 0; j < N; ++j) y[k] = __builtin_fmaf(comb[j][k], streams[j], y[k]);
    }
    for (int k = 0; k < N; ++k) out[k][i] = T::narrow(y[k]);
  }
}

template <class T>
void post_as(const HcPostRun& run) {
  using Element = typename T::Element;
  if (run.n == 4) return post_fixed<T, 4>(run);
  alignas(64) float x[NVFP4J_MAX_STREAMS][kHcSegment];
  alignas(64) float sub[kHcSegment];
  alignas(64) float y[kHcSegment];
  for (int j = 0; j < run.n; ++j)
    widen_as<T>(static_cast<const Element*>(run.x) + j * run.x_stride, run.count, x[j]);
  widen_as<T>(run.sub, run.count, sub);
  for (int k = 0; k < run.n; ++k) {
    const float post = run.post[k];
    for (int i = 0; i < run.count; ++i) y[i] = post * sub[i];
    for (int j = 0; j < run.n; ++j) {
      const float comb = run.comb[j * run.n + k];
      for (int i = 0; i < run.count; ++i) y[i] = __builtin_fmaf(comb, x[j][i], y[i]);
    }
    narrow_as<T>(y, run.count, static_cast<Element*>(run.out) + k * run.out_stride);
  }
}

void post(const HcPostRun& run) {
  run.dtype == NVFP4J_DTYPE_F32 ? post_as<F32>(run) : post_as<Bf16>(run);
}

double squares(const float* x, int count) {
  // Four sums, so that none waits for the addition before.
  using L = Lanes<1>;
  L a[4] = {L::zero(), L::zero(), L::zero(), L::zero()};
  int i = 0;
  for (; i + 32 <= count; i += 32) {
    for (int k = 0; k < 4; ++k) {
      const L v = L::load(x + i + 8 * k);
      a[k] = plus_product(a[k], v, v);
    }
  }
  for (; i < count; i += 8) {
    const L v = L::load(x + i);
    a[0] = plus_product(a[0], v, v);
  }
  return sum(plus(plus(a[0], a[1]), plus(a[2], a[3])));
}

template <class T, int ROWS, int TOKENS>
void tile(const float (*x)[kHcSegment], const T* fn, std::int64_t fn_stride, int count,
          double* sums, std::int64_t sums_stride) {
  using L = Lanes<TOKENS>;
  L a[TOKENS][ROWS];
  for (int t = 0; t < TOKENS; ++t) {
    for (int r = 0; r < ROWS; ++r) a[t][r] = L::zero();
  }
  for (int i = 0; i < count; i += 8) {
    L row[ROWS];
    for (int r = 0; r < ROWS; ++r) row[r] = L::load(fn + r * fn_stride + i);
    for (int t = 0; t < TOKENS; ++t) {
      const L v = L::load(x[t] + i);
      for (int r = 0; r < ROWS; ++r) a[t][r] = plus_product(a[t][r], row[r], v);
    }
  }
  for (int t = 0; t < TOKENS; ++t) {
    for (int r = 0; r < ROWS; ++r) sums[t * sums_stride + r] += sum(a[t][r]);
  }
}

template <class T>
using Tile = void (*)(const float (*)[kHcSegment], const T*, std::int64_t, int, double*,
                      std::int64_t);

// The tile for what is left of rows and tokens.
template <class T, int ROWS, int TOKENS>
Tile<T> tile_of(int rows, int tokens) {
  if constexpr (ROWS > 1) {
    if (rows < ROWS) return tile_of<T, ROWS - 1, TOKENS>(rows, tokens);
  }
  if constexpr (TOKENS > 1) {
    if (tokens < TOKENS) return tile_of<T, ROWS, TOKENS - 1>(rows, tokens);
  }
  return tile<T, ROWS, TOKENS>;
}

template <class T>
void add_products(const float (*x)[kHcSegment], int tokens, const T* fn, std::int64_t fn_stride,
                  int rows, int count, double* sums, std::int64_t sums_stride) {
  for (int t = 0; t < tokens; t += kTileTokens) {
    tile_of<T, kTileRows, kTileTokens>(rows, tokens - t)(x + t, fn, fn_stride, count,
                                                         sums + t * sums_stride, sums_stride);
  }
}

void products(const float (*x)[kHcSegment], int tokens, const float* fn, std::int64_t fn_stride,
              int rows, int count, double* sums, std::int64_t sums_stride) {
  // Some rows of fn stay in the first-level cache while all tokens pass.
  alignas(64) double wide[kTileRows][kHcSegment];
  // With small tiles they are converted once.
  const bool widen_rows = kWidenRows && tokens > 2 * kTileTokens;
  for (int r = 0; r < rows; r += kTileRows) {
    const int some = rows - r < kTileRows ? rows - r : kTileRows;
    if (widen_rows) {
      for (int k = 0; k < some; ++k) {
        const float* row = fn + (r + k) * fn_stride;
        for (int i = 0; i < count; ++i) wide[k][i] = static_cast<double>(row[i]);
      }
      add_products(x, tokens, wide[0], kHcSegment, some, count, sums + r, sums_stride);
    } else {
      add_products(x, tokens, fn + r * fn_stride, fn_stride, some, count, sums + r, sums_stride);
    }
  }
}

template <class T>
void collapse_as(const void* x, std::int64_t x_stride, int n, const float* pre, int count,
                 void* out, bool as_f32) {
  using Element = typename T::Element;
  const auto* in = static_cast<const Element*>(x);
  alignas(64) float y[kHcSegment];
  if (n == 4) {
    const float p[4] = {pre[0], pre[1], pre[2], pre[3]};
    for (int i = 0; i < count; ++i) {
      float v = p[0] * T::widen(in[i]);
      for (int j = 1; j < 4; ++j) v = __builtin_fmaf(p[j], T::widen(in[j * x_stride + i]), v);
      y[i] = v;
    }
  } else {
    for (int i = 0; i < count; ++i) y[i] = pre[0] * T::widen(in[i]);
    for (int j = 1; j < n; ++j) {
      const float p = pre[j];
      const Element* stream = in + j * x_stride;
      for (int i = 0; i < count; ++i) y[i] = __builtin_fmaf(p, T::widen(stream[i]), y[i]);
    }
  }
  if (as_f32) {
    auto* to = static_cast<float*>(out);
    for (int i = 0; i < count; ++i) to[i] = T::widen(T::narrow(y[i]));
  } else {
    narrow_as<T>(y, count, out);
  }
}

void collapse(const void* x, std::int64_t x_stride, int n, int dtype, const float* pre, int count,
              void* out, bool as_f32) {
  dtype == NVFP4J_DTYPE_F32 ? collapse_as<F32>(x, x_stride, n, pre, count, out, as_f32)
                            : collapse_as<Bf16>(x, x_stride, n, pre, count, out, as_f32);
}

void normalise(const void* weight, int weight_dtype, float norm, int count, int dtype,
               float* __restrict x) {
  alignas(64) float w[kHcSegment];
  widen(weight, weight_dtype, count, w);
  if (dtype == NVFP4J_DTYPE_F32) {
    for (int i = 0; i < count; ++i) x[i] = F32::narrow((w[i] * x[i]) * norm);
  } else {
    for (int i = 0; i < count; ++i) x[i] = Bf16::widen(Bf16::narrow((w[i] * x[i]) * norm));
  }
}

void sigmoid(float* z, int count) {
  for (int i = 0; i < count; ++i) {
    const float e = math::exp(-z[i]);
    z[i] = 1.0f / (1.0f + e);
  }
}

constexpr HcKernels kernels = {widen,    narrow,   post,      squares,
                               products, collapse, normalise, sigmoid};
