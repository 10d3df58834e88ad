// SPDX-License-Identifier: Apache-2.0
// Included by sinkhorn_kernels.cpp once per instruction set, inside a namespace of its own.

using Lanes = float[kSinkhornLanes];

/// The sum of n values, a tree over the next power of two; `v` is overwritten.
inline void tree_sum(Lanes* v, int n, float* sum) {
  int padded = 1;
  while (padded < n) padded *= 2;
  for (int i = n; i < padded; ++i) {
    for (int l = 0; l < kSinkhornLanes; ++l) v[i][l] = 0.0f;
  }
  for (int h = padded / 2; h > 0; h /= 2) {
    for (int i = 0; i < h; ++i) {
      for (int l = 0; l < kSinkhornLanes; ++l) v[i][l] = v[i][l] + v[i + h][l];
    }
  }
  for (int l = 0; l < kSinkhornLanes; ++l) sum[l] = v[0][l];
}

/// Divides the n elements `first`, `first + step`, ... by their sum + eps.
inline void normalise(Lanes* c, int n, int first, int step, float eps) {
  alignas(64) Lanes v[NVFP4J_MAX_STREAMS];
  alignas(64) Lanes sum;
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kSinkhornLanes; ++l) v[i][l] = c[first + i * step][l];
  }
  tree_sum(v, n, sum);
  for (int l = 0; l < kSinkhornLanes; ++l) sum[l] = 1.0f / (sum[l] + eps);
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kSinkhornLanes; ++l)
      c[first + i * step][l] = c[first + i * step][l] * sum[l];
  }
}

void sinkhorn(Lanes* c, int n, int iterations, float eps) {
  alignas(64) Lanes v[NVFP4J_MAX_STREAMS];
  alignas(64) Lanes other;
  for (int j = 0; j < n; ++j) {
    Lanes* row = c + j * n;
    for (int l = 0; l < kSinkhornLanes; ++l) other[l] = row[0][l];
    for (int k = 1; k < n; ++k) {
      for (int l = 0; l < kSinkhornLanes; ++l)
        other[l] = other[l] > row[k][l] ? other[l] : row[k][l];
    }
    for (int k = 0; k < n; ++k) {
      for (int l = 0; l < kSinkhornLanes; ++l) row[k][l] = math::exp(row[k][l] - other[l]);
      for (int l = 0; l < kSinkhornLanes; ++l) v[k][l] = row[k][l];
    }
    tree_sum(v, n, other);
    for (int l = 0; l < kSinkhornLanes; ++l) other[l] = 1.0f / other[l];
    for (int k = 0; k < n; ++k) {
      for (int l = 0; l < kSinkhornLanes; ++l) row[k][l] = __builtin_fmaf(row[k][l], other[l], eps);
    }
  }
  for (int k = 0; k < n; ++k) normalise(c, n, k, n, eps);
  for (int i = 1; i < iterations; ++i) {
    for (int j = 0; j < n; ++j) normalise(c, n, j * n, 1, eps);
    for (int k = 0; k < n; ++k) normalise(c, n, k, n, eps);
  }
}
