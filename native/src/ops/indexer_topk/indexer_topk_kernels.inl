// SPDX-License-Identifier: Apache-2.0
// Included by indexer_topk_kernels.cpp once per instruction set, inside a namespace of its own.

float indexer_row_score(const float* q, const float* weights, const float* key, int heads,
                        int columns) {
  // As many sums as the widest registers hold, so that they are the same for every instruction set.
  constexpr int kSums = 16;
  double wide[NVFP4J_MAX_INDEXER_COLUMNS];
  for (int i = 0; i < columns; ++i) wide[i] = static_cast<double>(key[i]);
  double score = 0.0;
  for (int h = 0; h < heads; ++h, q += columns) {
    double sums[kSums] = {};
    for (int i = 0; i < columns; i += kSums) {
      // (Products of two F32 are exact, so that a fused multiply-add would be the same.)
      for (int l = 0; l < kSums; ++l) sums[l] += static_cast<double>(q[i + l]) * wide[i + l];
    }
    for (int half = kSums / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) sums[l] += sums[l + half];
    }
    // A NaN stays one.
    const double positive = sums[0] < 0.0 ? 0.0 : sums[0];
    score += static_cast<double>(weights[h]) * positive;
  }
  return static_cast<float>(score);
}
