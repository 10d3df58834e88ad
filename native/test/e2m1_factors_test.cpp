// SPDX-License-Identifier: Apache-2.0
// Why BF16 needs no division for its codes: the argument at the top of device/e2m1.cuh, over every mantissa that the divisor d can
// have. (Every quantity scales with d's exponent.)
#include <cmath>
#include <cstdint>
#include <cstring>

#include "check.hpp"

namespace {

std::uint32_t bits_of(float x) {
  std::uint32_t b;
  std::memcpy(&b, &x, 4);
  return b;
}
float float_of(std::uint32_t b) {
  float x;
  std::memcpy(&x, &b, 4);
  return x;
}

// v rounded up to a float.
float round_up(double v) {
  const float f = static_cast<float>(v);
  return static_cast<double>(f) < v ? float_of(bits_of(f) + 1) : f;
}

// The thresholds in the order of the device's: > .25, >= .75, > 1.25, >= 1.75.
constexpr double kThreshold[4] = {0.25, 0.75, 1.25, 1.75};
// T + h where the comparison is strict, T - h where it is not; d times it has 49 bits, exact in a double.
constexpr double kMidpoint[4] = {0.25 + 0x1p-26, 0.75 - 0x1p-25, 1.25 + 0x1p-24, 1.75 - 0x1p-24};

struct Factors {
  bool larger;
  bool smaller;
  bool tied;
};

Factors factors_of(const float (&t)[4]) {
  bool none_below[2] = {true, true};  // of the strict, of the others
  bool none_above[2] = {true, true};
  for (int k = 0; k < 4; ++k) {
    const std::uint32_t low = bits_of(t[k]) & 0xFFFFu;
    if (((low - 1u) & 0xFFFFu) < 32u) none_below[k & 1] = false;
    if (((low + 31u) & 0xFFFFu) < 32u) none_above[k & 1] = false;
  }
  return {none_below[0] && none_below[1], none_above[0] && none_above[1],
          none_below[1] && none_above[0]};
}

}  // namespace

TEST(every_divisor_has_factors_that_decide_right) {
  constexpr float kUp = 1.0f + 0x1p-20f;
  constexpr float kDown = 1.0f - 0x1p-20f;
  long undecided = 0;
  long ties = 0;
  long wrong = 0;
  for (std::uint32_t mantissa = 0; mantissa < 1u << 23; ++mantissa) {
    const float d = float_of(127u << 23 | mantissa);
    float t[4];
    for (int k = 0; k < 4; ++k) t[k] = round_up(static_cast<double>(d) * kMidpoint[k]);
    const Factors f = factors_of(t);
    if (!f.larger && !f.smaller && !f.tied) ++undecided;
    if (!f.larger && !f.smaller) ++ties;
    const float exact = static_cast<float>(0x1p-14 / static_cast<double>(d));
    for (int ulp = -1; ulp <= 1; ++ulp) {  // what the hardware's reciprocal may be
      const float c = float_of(bits_of(exact) + static_cast<std::uint32_t>(ulp));
      const float low = f.larger ? c * kUp : c * kDown;
      const float high = f.larger || !f.smaller ? c * kUp : c * kDown;
      for (int k = 0; k < 4; ++k) {
        const float limit = static_cast<float>(kThreshold[k] * 0x1p-14);
        // The BF16 numbers on both sides of t: all others are further away.
        const std::uint32_t below = bits_of(t[k]) & 0xFFFF0000u;
        for (const std::uint32_t x : {below, below + 0x10000u}) {
          const bool first = float_of(x) * low >= limit;
          const bool second = float_of(x) * high >= limit;
          // Where they differ, the even code: the upper one at the thresholds that are not strict.
          const bool decided = first == second ? first : k % 2 == 1;
          if (decided != (float_of(x) >= t[k])) ++wrong;
        }
      }
    }
  }
  CHECK_EQ(undecided, 0L);
  CHECK_EQ(wrong, 0L);
  CHECK(ties > 0);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
