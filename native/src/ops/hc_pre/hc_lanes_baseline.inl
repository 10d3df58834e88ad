// SPDX-License-Identifier: Apache-2.0
// Eight F64 lanes for any x86-64, as plain loops; see hc_lanes_v4.inl.

struct Plain {
  double v[8];
  NVFP4J_INLINE static Plain zero() { return Plain{}; }
  NVFP4J_INLINE static Plain load(const float* x) {
    Plain a;
    for (int i = 0; i < 8; ++i) a.v[i] = static_cast<double>(x[i]);
    return a;
  }
  NVFP4J_INLINE static Plain load(const double* x) {
    Plain a;
    for (int i = 0; i < 8; ++i) a.v[i] = x[i];
    return a;
  }
};

NVFP4J_INLINE Plain plus(Plain a, Plain b) {
  for (int i = 0; i < 8; ++i) a.v[i] += b.v[i];
  return a;
}
NVFP4J_INLINE Plain plus_product(Plain sum, Plain a, Plain b) {
  for (int i = 0; i < 8; ++i) sum.v[i] += a.v[i] * b.v[i];
  return sum;
}

NVFP4J_INLINE double sum(Plain a) {
  for (int half = 4; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  }
  return a.v[0];
}
