// SPDX-License-Identifier: Apache-2.0
// What the matrix products and the ops around them report, which cause comes first and where, and what
// they write then.
#include "gemm_fixture.hpp"

using namespace fixture;

TEST(bad_offsets_write_nothing) {
  const Context context(2);
  const Nvfp4 a(8, 32);
  const Nvfp4 w(8, 32, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_GROUP, 2);
  fill_nvfp4(a, 0x38, 0x38);
  fill_nvfp4(w, 0x38, 0x38);
  const nvfp4j_gemm_options options = gemm_options();
  for (const auto& bad : {std::vector<int32_t>{-1, 2, 8}, {0, 5, 4}, {0, 4, 9}, {3, 2, 8}}) {
    std::vector<float> d(64, -77.0f);
    const nvfp4j_tensor o = tensor(const_cast<int32_t*>(bad.data()), NVFP4J_DTYPE_I32, {3});
    const nvfp4j_tensor output = tensor(d.data(), NVFP4J_DTYPE_F32, {8, 8});
    CHECK_OK(nvfp4j_grouped_gemm(context, nullptr, &a.descriptor, &w.descriptor, &o, nullptr,
                                 &options, &output, error));
    for (const float value : d) CHECK_EQ(value, -77.0f);
    nvfp4j_status_record record = status_record();
    CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED,
                "grouped_gemm: BAD_OFFSETS: the offsets of the groups do not ascend from 0 or more "
                "to the number of rows or less");
    CHECK_EQ(record.first_row, -1);
  }
}

TEST(bad_block_scales_come_first) {
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    const Nvfp4 a(40, 64);
    const Nvfp4 w(104, 64);
    fill_nvfp4(a, 0x38, 0x38);
    fill_nvfp4(w, 0x38, 0x38);
    a.scales[35 * 4 + 2] = 0x7F;
    a.scales[37 * 4] = 0x80;
    std::vector<float> d = gemm(context, nullptr, &a.descriptor, w.descriptor, 40, 104);
    CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), NVFP4J_ERROR_REPORTED,
                "gemm: BAD_BLOCK_SCALE: a block scale byte is NaN or has its sign bit set, first "
                "seen at row 35; also gemm: NON_FINITE_RESULT");
    w.scales[90 * 4 + 3] = 0xC0;
    w.scales[91 * 4] = 0xFF;
    d = gemm(context, nullptr, &a.descriptor, w.descriptor, 40, 104);
    nvfp4j_status_record record = status_record();
    CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED,
                "gemm: BAD_BLOCK_SCALE: a block scale byte is NaN or has its sign bit set, first "
                "seen at column 90; also gemm: NON_FINITE_RESULT");
    CHECK_EQ(record.first_row, -1);
    CHECK_EQ(record.first_column, 90);
    for (int64_t i = 0; i < 40 * 104; ++i) {
      const bool bad = i / 104 == 35 || i / 104 == 37 || i % 104 == 90 || i % 104 == 91;
      const std::uint32_t bits = reference::to_bits(d[static_cast<std::size_t>(i)]);
      CHECK(bad ? bits == 0x7FC00000 : (bits & 0x7F800000) != 0x7F800000);
    }
    // SwiGLU: gate and up have the same column of D.
    std::vector<std::uint16_t> h(40 * 48);
    const Nvfp4 both(96, 64);
    fill_nvfp4(both, 0x38, 0x38);
    both.scales[(48 + 5) * 4] = 0x7F;
    const nvfp4j_tensor output = tensor(h.data(), NVFP4J_DTYPE_BF16, {40, 48});
    const nvfp4j_gemm_options options = gemm_options(true);
    CHECK_OK(nvfp4j_gemm(context, nullptr, &a.descriptor, &both.descriptor, nullptr, &options,
                         &output, error));
    CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), NVFP4J_ERROR_REPORTED);
    CHECK_EQ(record.first_column, 5);
    CHECK_EQ(h[5], 0x7FC0);
  }
}

TEST(results_that_are_not_finite_are_reported) {
  const Context context(2);
  const Nvfp4 w(48, 32);
  fill_nvfp4(w, 0x38, 0x38);
  w.gs()[0] = 1.0f;
  std::memset(w.codes.data(), 0x22, static_cast<std::size_t>(w.codes.size()));
  for (const std::uint16_t value : {0x7FC1, 0x7F80, 0xFF80, 0x7F7F}) {
    std::vector<std::uint16_t> x(40 * 32, 0x3F80);
    for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(33 * 32 + i)] = value;
    const nvfp4j_tensor a = tensor(x.data(), NVFP4J_DTYPE_BF16, {40, 32});
    const std::vector<float> d = gemm(context, &a, nullptr, w.descriptor, 40, 48);
    nvfp4j_status_record record = status_record();
    CHECK_FAILS(
        nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED,
        "gemm: NON_FINITE_RESULT: a result is NaN or infinite in F32, first seen at row 33, "
        "column 0");
    const std::uint32_t expected = value == 0x7FC1   ? 0x7FC00000
                                   : value == 0xFF80 ? 0xFF800000
                                                     : 0x7F800000;
    CHECK_EQ(reference::to_bits(d[33 * 48 + 47]), expected);
    CHECK_EQ(d[32 * 48 + 47], 32.0f);
    // The clamp makes an infinite gate finite: it is reported nevertheless.
    std::vector<std::uint16_t> h(40 * 24);
    const nvfp4j_tensor output = tensor(h.data(), NVFP4J_DTYPE_BF16, {40, 24});
    const nvfp4j_gemm_options options = gemm_options(true);
    CHECK_OK(nvfp4j_gemm(context, &a, nullptr, &w.descriptor, nullptr, &options, &output, error));
    CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), NVFP4J_ERROR_REPORTED);
    CHECK_EQ(record.first_row, 33);
    CHECK_EQ(record.first_column, 0);
  }
}

TEST(preparing_and_packing_report_bad_scales) {
  const Context context(2);
  const Nvfp4 w(8, 64, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_GROUP, 2);
  fill_nvfp4(w, 0x38, 0x38);
  w.scales[(8 + 3) * 4 + 2] = 0x90;
  const Nvfp4 p = prepared(context, w);
  nvfp4j_status_record record = status_record();
  CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), NVFP4J_ERROR_REPORTED);
  CHECK_EQ(record.first_op, NVFP4J_OP_PREPARE_WEIGHTS);
  CHECK_EQ(record.first_row, 11);
  CHECK_EQ(record.first_column, 32);
  CHECK(p.global_scales == w.global_scales);
  const Nvfp4 a(3, 32, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW);
  fill_nvfp4(a, 0x38, 0x38);
  a.scales[3] = 0x7F;
  const Nvfp4 packed(3, 32, NVFP4J_SCALE_LAYOUT_PACKED, NVFP4J_GLOBAL_SCALE_ROW);
  CHECK_OK(nvfp4j_pack_activations(context, &a.descriptor, &packed.descriptor, error));
  CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), NVFP4J_ERROR_REPORTED);
  CHECK_EQ(record.first_op, NVFP4J_OP_PACK_ACTIVATIONS);
  CHECK_EQ(record.first_row, 1);
  CHECK_EQ(record.first_column, 16);
  CHECK(packed.global_scales == a.global_scales);
  const std::uint16_t* x = reinterpret_cast<const std::uint16_t*>(packed.codes.data());
  for (int64_t i = 0; i < 96; ++i) {
    const float exact = static_cast<float>(product_of(a, i / 32, i % 32));
    CHECK_EQ(x[i], i / 16 == 3 ? 0x7FC0 : reference::round16(exact, NVFP4J_DTYPE_BF16));
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
