// SPDX-License-Identifier: Apache-2.0
// quantize on the CPU against the definition, bit for bit.
#include "common/cpu_isa.hpp"
#include "common/float_formats.hpp"
#include "ops/quantize/quantize_kernels.hpp"
#include "quantize_input.hpp"

using namespace fixture;

TEST(every_combination_equals_the_definition) {
  for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    for (const int32_t layout : {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4}) {
      for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
        for (const int32_t recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
          for (const int32_t zero_scale : {NVFP4J_ZERO_SCALE_MIN, NVFP4J_ZERO_SCALE_FLUSH}) {
            for (const bool gather : {false, true}) {
              for (const auto& [rows, columns, stride] :
                   {std::tuple<int64_t, int64_t, int64_t>{1, 16, 16},
                    {5, 80, 83},
                    {130, 272, 272}}) {
                const Case c{dtype,
                             rows,
                             columns,
                             stride,
                             layout,
                             kind,
                             quantize_options(NVFP4J_GLOBAL_SCALE_DYNAMIC, recipe, zero_scale),
                             gather,
                             1};
                run_case(c, awkward);
              }
            }
          }
        }
      }
    }
  }
}

TEST(given_global_scales) {
  for (const int32_t recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
    const nvfp4j_quantize_options options = quantize_options(NVFP4J_GLOBAL_SCALE_GIVEN, recipe);
    // From ordinary to where 6 * gs overflows, gs * S overflows, gs is subnormal, d underflows.
    for (const float gs : {1e-3f, 1.0f, 0.0372f, 3e38f, 1e37f, 1e-38f, 1e-44f, 1.4e-45f}) {
      run_case({NVFP4J_DTYPE_BF16, 20, 144, 150, 0, NVFP4J_GLOBAL_SCALE_TENSOR, options, false, 1},
               awkward, {gs});
      run_case({NVFP4J_DTYPE_F32, 20, 144, 144, 1, NVFP4J_GLOBAL_SCALE_TENSOR, options, false, 1},
               awkward, {gs});
    }
    std::vector<float> per_row;
    for (int i = 0; i < 20; ++i) per_row.push_back(std::exp(normal() * 10));
    run_case({NVFP4J_DTYPE_F16, 20, 144, 144, 1, NVFP4J_GLOBAL_SCALE_ROW, options, false, 1},
             awkward, per_row);
  }
}

TEST(extreme_tensors) {
  const std::function<float(int64_t, int64_t)> tensors[] = {
      [](int64_t, int64_t) { return 0.0f; },
      [](int64_t, int64_t) { return -0.0f; },
      [](int64_t, int64_t k) { return k == 7 ? 1e-45f : 0.0f; },
      [](int64_t, int64_t k) { return std::ldexp(static_cast<float>(k % 9), -149); },
      [](int64_t, int64_t k) { return k % 2 == 0 ? FLT_MAX : -FLT_MAX; },
      [](int64_t m, int64_t k) { return m == 0 && k == 0 ? 3e4f : 1e-5f; },
      [](int64_t, int64_t) { return FLT_MIN; },
  };
  for (const auto& value : tensors) {
    for (const int32_t recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
      for (const int32_t zero_scale : {NVFP4J_ZERO_SCALE_MIN, NVFP4J_ZERO_SCALE_FLUSH}) {
        for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
          run_case({NVFP4J_DTYPE_F32, 3, 64, 64, 0, kind,
                    quantize_options(NVFP4J_GLOBAL_SCALE_DYNAMIC, recipe, zero_scale), false, 1},
                   value);
        }
      }
    }
  }
}

// The value passed to e2m1 by construction: gs = 1 and S = 1 where a block's maximum is 6, so
// that x is what is rounded.
TEST(every_bf16_pattern_as_an_element) {
  const Context context;
  const nvfp4j_quantize_options options = quantize_options(NVFP4J_GLOBAL_SCALE_GIVEN);
  std::vector<std::uint16_t> x;
  for (std::uint32_t b = 0; b < 0x10000; ++b) {
    const float value = reference::from_bits(b << 16);
    if (!(std::fabs(value) <= 6.0f)) continue;
    if (x.size() % 16 == 0) x.push_back(0x40C0);  // 6
    x.push_back(static_cast<std::uint16_t>(b));
  }
  while (x.size() % 16 != 0) x.push_back(0);
  const int64_t columns = static_cast<int64_t>(x.size());
  const nvfp4j_tensor input = tensor(x.data(), NVFP4J_DTYPE_BF16, {1, columns});
  Nvfp4 output(1, columns);
  output.gs()[0] = 1.0f;
  CHECK_OK(nvfp4j_quantize(context, &input, nullptr, &options, &output.descriptor, error));
  for (int64_t k = 0; k < columns; ++k) {
    const int code = output.codes[k / 2] >> (k % 2 * 4) & 15;
    CHECK_EQ(code, reference::e2m1(reference::from_bits(
                       static_cast<std::uint32_t>(x[static_cast<std::size_t>(k)]) << 16)));
    CHECK_EQ(output.scales[k / 16], std::uint8_t{0x38});
  }
}

TEST(long_rows_cross_segments) {
  const nvfp4j_quantize_options options = quantize_options();
  for (const int64_t columns : {nvfp4j::kQuantizeSegment - 16, nvfp4j::kQuantizeSegment,
                                nvfp4j::kQuantizeSegment + 16, 3 * nvfp4j::kQuantizeSegment + 48}) {
    for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
      for (const int32_t threads : {1, 3}) {
        run_case({NVFP4J_DTYPE_BF16, 7, columns, columns + 1, 1, kind, options, false, threads},
                 awkward);
      }
    }
  }
}

TEST(threads_do_not_change_a_bit) {
  const int64_t rows = 301;
  const int64_t columns = 1040;
  const Input input(NVFP4J_DTYPE_BF16, rows, columns, columns, awkward);
  for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
    const nvfp4j_quantize_options options = quantize_options();
    Nvfp4 one(rows, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, kind);
    CHECK_OK(
        nvfp4j_quantize(Context(1), &input.descriptor, nullptr, &options, &one.descriptor, error));
    for (const int32_t threads : {2, 3, 5, 16}) {
      Nvfp4 many(rows, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, kind);
      CHECK_OK(nvfp4j_quantize(Context(threads), &input.descriptor, nullptr, &options,
                               &many.descriptor, error));
      CHECK(one == many);
    }
  }
}

TEST(every_instruction_set_gives_the_same_bits) {
  using namespace nvfp4j;
  const int64_t columns = 4096;
  for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    Input input(dtype, 1, columns, columns, awkward);
    if (dtype == NVFP4J_DTYPE_F32) {
      // Any pattern at all.
      for (int64_t i = 0; i < columns; ++i)
        reinterpret_cast<std::uint32_t*>(input.bytes.data())[i] =
            static_cast<std::uint32_t>(generator()());
    }
    for (const int32_t recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
      for (const float gs : {1.0f, 1e-3f, 1e30f, 1e-40f}) {
        const BlockScaling scaling =
            block_scaling({NVFP4J_GLOBAL_SCALE_GIVEN, recipe, NVFP4J_ZERO_SCALE_MIN}, gs, false, 0);
        const QuantizeKernels& base = quantize_kernels[0];
        Bytes codes(columns / 2);
        Bytes scales(columns / 16);
        const bool bad =
            base.encode(input.bytes.data(), dtype, columns, scaling, codes.data(), scales.data());
        const Maximum maximum = base.maximum(input.bytes.data(), dtype, columns);
        for (int isa = 1; isa <= static_cast<int>(cpu_isa()); ++isa) {
          Bytes other_codes(columns / 2);
          Bytes other_scales(columns / 16);
          CHECK_EQ(quantize_kernels[isa].encode(input.bytes.data(), dtype, columns, scaling,
                                                other_codes.data(), other_scales.data()),
                   bad);
          CHECK(codes == other_codes);
          CHECK(scales == other_scales);
          const Maximum other = quantize_kernels[isa].maximum(input.bytes.data(), dtype, columns);
          CHECK_EQ(other.finite, maximum.finite);
          CHECK_EQ(other.any, maximum.any);
        }
      }
    }
  }
}

TEST(codes_are_idempotent) {
  // encode(decode(q)) == q for the same scales: a property that does not use the reference.
  const Context context;
  const Input input(NVFP4J_DTYPE_F32, 64, 256, 256, [](int64_t, int64_t) { return normal(); });
  Nvfp4 first(64, 256);
  nvfp4j_quantize_options options = quantize_options();
  CHECK_OK(
      nvfp4j_quantize(context, &input.descriptor, nullptr, &options, &first.descriptor, error));
  std::vector<float> decoded(64 * 256);
  const nvfp4j_tensor dq = tensor(decoded.data(), NVFP4J_DTYPE_F32, {64, 256});
  CHECK_OK(nvfp4j_dequantize(context, &first.descriptor, &dq, error));
  Nvfp4 second(64, 256);
  second.gs()[0] = first.gs()[0];
  options.global_scale = NVFP4J_GLOBAL_SCALE_GIVEN;
  CHECK_OK(nvfp4j_quantize(context, &dq, nullptr, &options, &second.descriptor, error));
  int64_t changed = 0;
  for (int64_t block = 0; block < 64 * 16; ++block) {
    if (first.scales[block] != second.scales[block])
      continue;  // a block's largest code need not be 6
    for (int64_t i = 8 * block; i < 8 * block + 8; ++i)
      changed += first.codes[i] != second.codes[i];
  }
  CHECK_EQ(changed, 0);
  // The signal-to-noise ratio of Gaussian data is known: 20.43 dB.
  double signal = 0;
  double noise = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    const double x = reinterpret_cast<const float*>(input.bytes.data())[i];
    signal += x * x;
    noise += (x - decoded[i]) * (x - decoded[i]);
  }
  const double snr = 10 * std::log10(signal / noise);
  CHECK(snr > 20.1 && snr < 20.75);
}

TEST(flush_to_zero_in_the_callers_thread_changes_nothing) {
  const Input input(NVFP4J_DTYPE_F32, 4, 64, 64, [](int64_t m, int64_t k) {
    return std::ldexp(static_cast<float>(k + m), -145);
  });
  const nvfp4j_quantize_options options = quantize_options();
  Nvfp4 expected(4, 64);
  const Context context;
  CHECK_OK(
      nvfp4j_quantize(context, &input.descriptor, nullptr, &options, &expected.descriptor, error));
  const unsigned saved = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(saved | 0x8040 | 0x6000);  // FTZ, DAZ, round toward zero
  Nvfp4 actual(4, 64);
  nvfp4j_error error{};
  error.struct_size = sizeof error;
  const int32_t status =
      nvfp4j_quantize(context, &input.descriptor, nullptr, &options, &actual.descriptor, &error);
  const unsigned after = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(saved);
  CHECK_EQ(status, NVFP4J_OK);
  CHECK(actual == expected);
  CHECK_EQ(after & 0xFFC0, (saved | 0x8040 | 0x6000) & 0xFFC0);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
