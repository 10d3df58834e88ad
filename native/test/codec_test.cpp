// SPDX-License-Identifier: Apache-2.0
// The conversions between formats against their definitions, on every input where that is
// affordable.
#include "common/float_formats.hpp"

#include "check.hpp"
#include "reference.hpp"

using namespace nvfp4j;
using reference::from_bits;

namespace {

// Mismatches of the conversion of magnitudes to E4M3: the reference walks up the midpoints, and
// a tie belongs to the lower code where that is even. Every magnitude from 2^-11 to 480, and a
// sample of the rest, where the code is 0 or 0x7E.
std::uint64_t e4m3_mismatches() {
  std::uint64_t mismatches = 0;
  int expected = 0;
  for (std::uint32_t b = 0; b <= kInfinity; b += b >= 0x3A000000 && b < 0x43F00000 ? 1 : 97) {
    const double x = static_cast<double>(from_bits(b));
    while (expected < 0x7E) {
      const double middle =
          (reference::e4m3_value(expected) + reference::e4m3_value(expected + 1)) / 2;
      if (x < middle || (x == middle && expected % 2 == 0)) break;
      ++expected;
    }
    mismatches += e4m3_of_non_negative(from_bits(b)) != static_cast<std::uint32_t>(expected);
  }
  return mismatches;
}

}  // namespace

// Every binary32 with a magnitude from 2^-5 to 16, and a sample of the rest, where the code's
// magnitude is 0 or 7.
TEST(e2m1_of_every_binary32) {
  std::uint64_t mismatches = 0;
  for (std::uint64_t b = 0; b < std::uint64_t{1} << 32;) {
    const std::uint32_t bits = static_cast<std::uint32_t>(b);
    const float x = from_bits(bits);
    mismatches += e2m1(x) != static_cast<std::uint32_t>(reference::e2m1(x));
    const std::uint32_t a = bits & kMagnitude;
    b += a >= 0x3D000000 && a < 0x41800000 ? 1 : 61;
  }
  CHECK_EQ(mismatches, 0u);
}

TEST(e2m1_of_every_bf16_and_around_every_boundary) {
  for (std::uint32_t b = 0; b < 0x10000; ++b) {
    const float x = from_bits(b << 16);
    CHECK_EQ(e2m1(x), static_cast<std::uint32_t>(reference::e2m1(x)));
  }
  for (const float boundary :
       {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f, 6.0f, 0.5f, 1.0f, 2.0f, 4.0f}) {
    for (int step = -3; step <= 3; ++step) {
      for (const std::uint32_t sign : {0u, 0x80000000u}) {
        const float x =
            from_bits((reference::to_bits(boundary) + static_cast<std::uint32_t>(step)) | sign);
        CHECK_EQ(e2m1(x), static_cast<std::uint32_t>(reference::e2m1(x)));
      }
    }
  }
}

TEST(e2m1_ties_go_to_even_codes) {
  const struct {
    float tie;
    std::uint32_t code;
  } ties[] = {{0.25f, 0}, {0.75f, 2}, {1.25f, 2}, {1.75f, 4}, {2.5f, 4}, {3.5f, 6}, {5.0f, 6}};
  for (const auto& [tie, code] : ties) {
    CHECK_EQ(e2m1(tie), code);
    CHECK_EQ(e2m1(-tie), code | 8);
  }
  CHECK_EQ(e2m1(0.0f), 0u);
  CHECK_EQ(e2m1(-0.0f), 8u);
  CHECK_EQ(e2m1(INFINITY), 7u);
  CHECK_EQ(e2m1(-INFINITY), 15u);
  CHECK_EQ(e2m1(from_bits(0x7FC00000)), 7u);
  CHECK_EQ(e2m1(from_bits(0xFFC00001)), 7u);
}

TEST(e2m1_decodes) {
  for (std::uint32_t code = 0; code < 16; ++code) {
    CHECK_EQ(bits_of(e2m1_to_f32(code)),
             reference::to_bits(reference::e2m1_value(static_cast<int>(code))));
    CHECK_EQ(e2m1(e2m1_to_f32(code)), code);
  }
}

TEST(e4m3_of_every_magnitude) {
  CHECK_EQ(e4m3_mismatches(), 0u);
  CHECK_EQ(e4m3_of_non_negative(from_bits(kInfinity)), 0x7Eu);
}

TEST(e4m3_examples) {
  CHECK_EQ(e4m3_of_non_negative(0x1p-10f), 0u);
  CHECK_EQ(e4m3_of_non_negative(std::nextafter(0x1p-10f, 1.0f)), 1u);
  CHECK_EQ(e4m3_of_non_negative(1.5f * 0x1p-9f), 2u);
  CHECK_EQ(e4m3_of_non_negative(464.0f), 0x7Eu);
  CHECK_EQ(e4m3_of_non_negative(465.0f), 0x7Eu);
  CHECK_EQ(e4m3_of_non_negative(INFINITY), 0x7Eu);
  CHECK_EQ(e4m3_of_non_negative(1.0f), 0x38u);
}

TEST(e4m3_decodes_every_byte) {
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const double expected = reference::e4m3_value(static_cast<int>(byte));
    const float decoded = e4m3_to_f32(byte);
    if (std::isnan(expected)) {
      CHECK_EQ(bits_of(decoded), kNan);
    } else {
      CHECK_EQ(bits_of(decoded), reference::to_bits(static_cast<float>(expected)));
      if (byte < 0x7F) CHECK_EQ(e4m3_of_non_negative(decoded), byte);
      if (byte < 0x7F) CHECK_EQ(bits_of(e4m3_magnitude_to_f32(byte)), bits_of(decoded));
    }
  }
}

TEST(halves_to_f32_and_back) {
  for (std::uint32_t b = 0; b < 0x10000; ++b) {
    const std::uint16_t x = static_cast<std::uint16_t>(b);
    const double half = reference::value16(x, NVFP4J_DTYPE_F16);
    if (std::isnan(half)) {
      CHECK(std::isnan(f16_to_f32(x)));
      CHECK_EQ(f32_to_f16(f16_to_f32(x)), std::uint16_t{0x7E00});
    } else {
      CHECK_EQ(bits_of(f16_to_f32(x)), reference::to_bits(static_cast<float>(half)));
      CHECK_EQ(f32_to_f16(f16_to_f32(x)), x);
    }
    CHECK_EQ(bits_of(bf16_to_f32(x)), b << 16);
    const bool nan = (x & 0x7FFF) > 0x7F80;
    CHECK_EQ(f32_to_bf16(bf16_to_f32(x)), nan ? std::uint16_t{0x7FC0} : x);
  }
}

TEST(f32_to_16_bits_rounds_to_nearest_even) {
  const auto both = [](std::uint32_t b) {
    const float x = from_bits(b);
    CHECK_EQ(f32_to_bf16(x), reference::round16(x, NVFP4J_DTYPE_BF16));
    CHECK_EQ(f32_to_f16(x), reference::round16(x, NVFP4J_DTYPE_F16));
  };
  for (std::uint64_t b = 0; b < std::uint64_t{1} << 32; b += 4093)
    both(static_cast<std::uint32_t>(b));
  // Ties and their neighbours: half-way patterns of both formats.
  for (std::uint32_t high = 0; high < 0x10000; high += 7) {
    for (std::uint32_t low : {0x0000u, 0x0001u, 0x0FFFu, 0x1000u, 0x1001u, 0x2FFFu, 0x3000u,
                              0x3001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      both(high << 16 | low);
    }
  }
  for (std::uint32_t b :
       {0x477FEFFFu, 0x477FF000u, 0x477FF001u, 0x33000000u, 0x33000001u, 0x387FE000u, 0x387FF000u,
        0x7F7F7FFFu, 0x7F7F8000u, 0x7F7FFFFFu, 0x7F800000u, 0xFF800000u, 0x7F800001u}) {
    both(b);
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
