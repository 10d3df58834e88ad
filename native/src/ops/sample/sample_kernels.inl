// SPDX-License-Identifier: Apache-2.0
// Included by sample_kernels.cpp once per instruction set, inside a namespace of its own.

void widen(const void* logits, std::int32_t dtype, int count, float* v) {
  if (dtype == NVFP4J_DTYPE_F32) {
    std::memcpy(v, logits, static_cast<std::size_t>(count) * sizeof *v);
    return;
  }
  const auto* narrow = static_cast<const std::uint16_t*>(logits);
  for (int i = 0; i < count; ++i) v[i] = bf16_to_f32(narrow[i]);
}

void given(float* v, const float* noise, float temperature, int count) {
  for (int i = 0; i < count; ++i) v[i] = v[i] / temperature - math::log(noise[i]);
}

void drawn(float* v, PhiloxWords counter, PhiloxKey key, float temperature, int count) {
  // Word by word, so that neighbouring counters lie side by side.
  constexpr int kCounters = kSampleChunk / 4;
  std::uint32_t words[4][kCounters];
  const int counters = (count + 3) / 4;
  for (int i = 0; i < counters; ++i) {
    const PhiloxWords r =
        philox({counter.x + static_cast<std::uint32_t>(i), counter.y, counter.z, counter.w}, key);
    words[0][i] = r.x;
    words[1][i] = r.y;
    words[2][i] = r.z;
    words[3][i] = r.w;
  }
  float noise[kSampleChunk];
  for (int i = 0; i < counters; ++i) {
    for (int word = 0; word < 4; ++word) noise[4 * i + word] = log_exponential(words[word][i]);
  }
  for (int i = 0; i < count; ++i) v[i] = v[i] / temperature - noise[i];
}
