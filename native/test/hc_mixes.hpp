// SPDX-License-Identifier: Apache-2.0
// The bound on hc_pre's mixes, on whatever data: post shows them, magnified by a scale whose base
// takes them back to where a sigmoid is steepest.
#pragma once
#include "hc_cases.hpp"

namespace hc {

enum class Mixes {
  kRandom,
  kCoherent,    // all positive
  kConstant,    // every product is the same
  kCancelling,  // two products, each half of the time, whose sum is nearly zero
  kOneHot,      // one column alone
};

inline void run_mixes(Machine& machine, std::mt19937_64& g, Mixes kind, int n, std::int64_t columns,
                      std::int32_t dtype) {
  const bool bf16 = dtype == NVFP4J_DTYPE_BF16;
  const std::int64_t all = n * columns;
  Case c = {Op::kPre, 1, n, columns, dtype};
  c.coherent = kind == Mixes::kCoherent;
  Inputs in = inputs(g, c);
  std::uniform_real_distribution<float> factor(1.0f, 2.0f);
  const float a = rounded(factor(g), bf16);
  const float b = rounded(factor(g), bf16);
  const std::int64_t hot = static_cast<std::int64_t>(g() % static_cast<std::uint64_t>(all));
  for (std::int64_t i = 0; i < all; ++i) {
    float& x = in.x[static_cast<std::size_t>(i)];
    if (kind == Mixes::kConstant) x = a;
    if (kind == Mixes::kCancelling) x = i % 16 < 8 ? a : -b;
    if (kind == Mixes::kOneHot) x = i == hot ? x : 0.0f;
  }
  if (kind == Mixes::kConstant || kind == Mixes::kCancelling) {
    for (std::size_t row = 0; row < in.module.base.size(); ++row) {
      const float f = factor(g);
      for (std::int64_t i = 0; i < all; ++i) {
        in.module.fn[row * static_cast<std::size_t>(all) + static_cast<std::size_t>(i)] =
            kind == Mixes::kCancelling && i % 16 >= 8 ? f * (a / b) : f;
      }
    }
  }
  constexpr float kScale = 4096.0f;
  in.module.scale = {kScale, kScale, 1.0f};
  long double squares = 0.0L;
  for (const float x : in.x) squares += static_cast<long double>(x) * static_cast<long double>(x);
  const long double r = 1.0L / std::sqrt(squares / static_cast<long double>(all) +
                                         static_cast<long double>(in.module.rms_eps));
  std::vector<long double> logits;
  std::vector<long double> allowed;
  for (int i = n; i < 2 * n; ++i) {
    const float* fn = in.module.fn.data() + i * all;
    long double sum = 0.0L;
    long double magnitudes = 0.0L;
    for (std::int64_t k = 0; k < all; ++k) {
      const long double p = static_cast<long double>(fn[k]) *
                            static_cast<long double>(in.x[static_cast<std::size_t>(k)]);
      sum += p;
      magnitudes += std::fabs(p);
    }
    const long double m = sum * r;
    float& base = in.module.base[static_cast<std::size_t>(i)];
    base = static_cast<float>(-m * static_cast<long double>(kScale));
    logits.push_back(m * static_cast<long double>(kScale) + static_cast<long double>(base));
    // And what a sigmoid in F32 may be off by there.
    allowed.push_back(static_cast<long double>(kScale) *
                          (5e-8L * magnitudes * r + 0x1p-22L * std::fabs(m)) +
                      1e-6L);
  }
  const Written w = call(machine, c, in);
  CHECK_EQ(w.status, NVFP4J_OK);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const long double s = static_cast<long double>(w.post[i]) / 2.0L;
    const long double z = std::log(s / (1.0L - s));
    if (!(std::fabs(z - logits[i]) <= allowed[i])) {
      check::failed(__FILE__, __LINE__,
                    name(c) + ": mixes of kind " + std::to_string(static_cast<int>(kind)) +
                        " are off by " +
                        std::to_string(static_cast<double>(std::fabs(z - logits[i]) / allowed[i])) +
                        " bounds");
    }
  }
}

inline void run_all_mixes(Machine& machine, std::mt19937_64& g, int n, std::int64_t columns) {
  for (const std::int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
    for (const Mixes kind :
         {Mixes::kRandom, Mixes::kCoherent, Mixes::kConstant, Mixes::kCancelling, Mixes::kOneHot})
      run_mixes(machine, g, kind, n, columns, dtype);
  }
}

}  // namespace hc
