// SPDX-License-Identifier: Apache-2.0
// quantize on the CPU with faults in its data: what is written, and what is reported.
#include "quantize_input.hpp"

using namespace fixture;

TEST(non_finite_elements_are_coded_and_reported) {
  for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
    for (const int32_t recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
      const Context context(2);
      const auto value = [](int64_t m, int64_t k) {
        if (m == 3 && k == 17) return INFINITY;
        if (m == 3 && k == 18) return -INFINITY;
        if (m == 5 && k == 2) return reference::from_bits(0xFFC00000);
        if (m == 6 && k >= 16 && k < 32) return INFINITY;  // a block without a finite element
        return static_cast<float>((m * 31 + k * 7) % 13) - 6.0f;
      };
      const Input input(dtype, 8, 48, 50, value);
      std::vector<float> x;
      for (int64_t m = 0; m < 8; ++m) {
        const std::vector<float> row = input.row(m);
        x.insert(x.end(), row.begin(), row.end());
      }
      const nvfp4j_quantize_options options = quantize_options(NVFP4J_GLOBAL_SCALE_DYNAMIC, recipe);
      Nvfp4 output(8, 48);
      CHECK_OK(nvfp4j_quantize(context, &input.descriptor, nullptr, &options, &output.descriptor,
                               error));
      compare(output, reference::quantize(x, 8, 48, options, NVFP4J_GLOBAL_SCALE_TENSOR, {}),
              false);
      CHECK_EQ(output.scales[6 * 3 + 1], std::uint8_t{0});
      for (int i = 0; i < 8; ++i) CHECK_EQ(output.codes[6 * 24 + 8 + i], std::uint8_t{0x77});
      nvfp4j_status_record record = status_record();
      CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED,
                  "quantize: NON_FINITE_INPUT: an input element is NaN or infinite, first seen at "
                  "row 3, column 17");
      CHECK_EQ(record.first_op, NVFP4J_OP_QUANTIZE);
      CHECK_EQ(record.first_cause, NVFP4J_CAUSE_NON_FINITE_INPUT);
      CHECK_EQ(record.first_row, 3);
      CHECK_EQ(record.first_column, 17);
      CHECK_EQ(record.causes[NVFP4J_OP_QUANTIZE], std::uint64_t{1});
      CHECK_EQ(record.causes[NVFP4J_OP_SWIGLU_QUANTIZE], std::uint64_t{0});
      // Reported once.
      record = status_record();
      CHECK_OK(nvfp4j_context_synchronize(context, &record, error));
      CHECK_EQ(record.first_op, -1);
      CHECK_EQ(record.first_row, -1);
      CHECK_EQ(record.causes[NVFP4J_OP_QUANTIZE], std::uint64_t{0});
    }
  }
}

TEST(bad_given_scales_are_reported_and_1_is_used) {
  for (const float bad : {0.0f, -0.0f, -1.0f, INFINITY, -INFINITY, reference::from_bits(0x7FC00000),
                          reference::from_bits(0xFFC00000)}) {
    const Context context;
    const Input input(NVFP4J_DTYPE_F32, 4, 32, 32, awkward);
    std::vector<float> x;
    for (int64_t m = 0; m < 4; ++m) {
      const std::vector<float> row = input.row(m);
      x.insert(x.end(), row.begin(), row.end());
    }
    const nvfp4j_quantize_options options = quantize_options(NVFP4J_GLOBAL_SCALE_GIVEN);
    Nvfp4 whole(4, 32);
    whole.gs()[0] = bad;
    CHECK_OK(
        nvfp4j_quantize(context, &input.descriptor, nullptr, &options, &whole.descriptor, error));
    compare(whole, reference::quantize(x, 4, 32, options, NVFP4J_GLOBAL_SCALE_TENSOR, {1.0f}),
            true);
    CHECK_EQ(reference::to_bits(whole.gs()[0]), reference::to_bits(bad));  // only read
    CHECK_FAILS(
        nvfp4j_context_synchronize(context, nullptr, error), NVFP4J_ERROR_REPORTED,
        "quantize: BAD_GLOBAL_SCALE: a supplied global scale is not finite or not positive");
    Nvfp4 rows(4, 32, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW);
    const std::vector<float> given = {0.5f, 0.25f, bad, 2.0f};
    for (std::size_t i = 0; i < 4; ++i) rows.gs()[i] = given[i];
    CHECK_OK(
        nvfp4j_quantize(context, &input.descriptor, nullptr, &options, &rows.descriptor, error));
    compare(rows, reference::quantize(x, 4, 32, options, NVFP4J_GLOBAL_SCALE_ROW, given), true);
    CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), NVFP4J_ERROR_REPORTED,
                "quantize: BAD_GLOBAL_SCALE: a supplied global scale is not finite or not "
                "positive, first seen at row 2");
  }
}

TEST(ids_out_of_range_give_zero_rows) {
  const Context context;
  const Input input(NVFP4J_DTYPE_BF16, 4, 64, 64,
                    [](int64_t m, int64_t k) { return static_cast<float>(m * 64 + k + 1); });
  std::vector<int32_t> ids = {2, -1, 0, 4, INT32_MIN, INT32_MAX, 1};
  const nvfp4j_tensor rows = tensor(ids.data(), NVFP4J_DTYPE_I32, {7});
  for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
    std::vector<float> x;
    for (const int32_t id : ids) {
      const std::vector<float> row =
          id >= 0 && id < 4 ? input.row(id) : std::vector<float>(64, 0.0f);
      x.insert(x.end(), row.begin(), row.end());
    }
    Nvfp4 output(7, 64, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, kind);
    const nvfp4j_quantize_options options = quantize_options();
    CHECK_OK(
        nvfp4j_quantize(context, &input.descriptor, &rows, &options, &output.descriptor, error));
    compare(output, reference::quantize(x, 7, 64, options, kind, {}), false);
    CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), NVFP4J_ERROR_REPORTED,
                "quantize: INDEX_OUT_OF_RANGE: an index is out of range, first seen at row 1");
  }
  // No row at all to gather from.
  const Input none(NVFP4J_DTYPE_BF16, 0, 64, 64, [](int64_t, int64_t) { return 0.0f; });
  Nvfp4 output(7, 64);
  const nvfp4j_quantize_options options = quantize_options();
  CHECK_OK(nvfp4j_quantize(context, &none.descriptor, &rows, &options, &output.descriptor, error));
  for (int64_t i = 0; i < output.codes.size(); ++i) CHECK_EQ(output.codes[i], std::uint8_t{0});
  CHECK_EQ(output.gs()[0], 1.0f);
  CHECK_EQ(fixture::outcome([&](nvfp4j_error* error) {
             return nvfp4j_context_synchronize(context, nullptr, error);
           }).status,
           NVFP4J_ERROR_REPORTED);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
