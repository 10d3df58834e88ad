// SPDX-License-Identifier: Apache-2.0
// swiglu and swiglu_quantize on the CPU against their definitions, bit for bit.
#include "common/float_formats.hpp"
#include "fixture.hpp"
#include "ops/swiglu/swiglu_kernels.hpp"
#include "reference.hpp"

using namespace fixture;

namespace {

struct GateUp {
  GateUp(int32_t dtype, int64_t rows, int64_t columns, int64_t stride)
      : bytes(rows * stride * element_bytes(dtype)),
        descriptor(matrix(bytes.data(), dtype, rows, 2 * columns, stride)) {}
  void set(int64_t m, int64_t k, float value) {
    const int64_t i = m * descriptor.stride[0] + k;
    if (descriptor.dtype == NVFP4J_DTYPE_F32) {
      reinterpret_cast<float*>(bytes.data())[i] = value;
    } else {
      reinterpret_cast<std::uint16_t*>(bytes.data())[i] =
          reference::round16(value, descriptor.dtype);
    }
  }
  float get(int64_t m, int64_t k) const {
    return reference::element(bytes.data(), descriptor.dtype, m * descriptor.stride[0] + k);
  }

  Bytes bytes;
  nvfp4j_tensor descriptor;
};

constexpr float kSpecial[] = {0.0f,     -0.0f,     10.0f,   -10.0f, 10.5f,   -10.5f, 88.8f,
                              -88.8f,   104.0f,    -104.0f, 1e-40f, -1e-40f, 3e38f,  -3e38f,
                              INFINITY, -INFINITY, NAN,     1.0f,   -1.0f,   0.5f};

void fill(GateUp& x, bool special) {
  std::normal_distribution<float> normal(0.0f, 4.0f);
  for (int64_t m = 0; m < x.descriptor.shape[0]; ++m) {
    for (int64_t k = 0; k < x.descriptor.shape[1]; ++k) {
      x.set(m, k,
            special && generator()() % 3 == 0 ? kSpecial[generator()() % 20] : normal(generator()));
    }
  }
}

// F32 value of the result, rounded to the input's dtype.
float expected(const GateUp& x, int64_t m, int64_t i, const float* weight,
               const nvfp4j_swiglu_options& options) {
  const int64_t columns = x.descriptor.shape[1] / 2;
  const bool halves = options.columns == NVFP4J_SWIGLU_HALVES;
  const float gate = x.get(m, halves ? i : 2 * i);
  const float up = x.get(m, halves ? columns + i : 2 * i + 1);
  const float y = reference::swiglu(gate, up, weight != nullptr,
                                    weight != nullptr ? weight[m] : 0.0f, options.limit);
  if (x.descriptor.dtype == NVFP4J_DTYPE_F32) return y;
  return reference::from_bits(static_cast<std::uint32_t>(reference::round16(y, NVFP4J_DTYPE_BF16))
                              << 16);
}

}  // namespace

TEST(swiglu_equals_the_definition) {
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
      for (const int32_t layout : {NVFP4J_SWIGLU_HALVES, NVFP4J_SWIGLU_INTERLEAVED}) {
        for (const float limit : {10.0f, 0.0f, 7.5f, 1e-3f}) {
          for (const bool weighted : {false, true}) {
            for (const auto& [rows, columns] :
                 {std::pair<int64_t, int64_t>{1, 1}, {9, 517}, {40, 1024}, {2, 4099}}) {
              GateUp x(dtype, rows, columns, 2 * columns + 3);
              fill(x, true);
              std::vector<float> weight;
              for (int64_t m = 0; m < rows; ++m)
                weight.push_back(m == 1 ? INFINITY : 0.3f * static_cast<float>(m) - 0.5f);
              const nvfp4j_tensor w = tensor(weight.data(), NVFP4J_DTYPE_F32, {rows});
              GateUp y(dtype, rows, (columns + 2) / 2, columns + 1);  // only its bytes are used
              const nvfp4j_tensor output =
                  matrix(y.bytes.data(), dtype, rows, columns, columns + 1);
              const nvfp4j_swiglu_options options = swiglu_options(layout, limit);
              CHECK_OK(nvfp4j_swiglu(context, &x.descriptor, weighted ? &w : nullptr, &options,
                                     &output, error));
              int64_t wrong = 0;
              for (int64_t m = 0; m < rows; ++m) {
                for (int64_t i = 0; i < columns; ++i) {
                  const float actual =
                      reference::element(y.bytes.data(), dtype, m * (columns + 1) + i);
                  wrong += reference::to_bits(actual) !=
                           reference::to_bits(
                               expected(x, m, i, weighted ? weight.data() : nullptr, options));
                }
              }
              CHECK_EQ(wrong, 0);
            }
          }
        }
      }
    }
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));  // swiglu reports nothing
  }
}

TEST(swiglu_examples) {
  const Context context;
  // silu(1) * 2; gate clamped above only; up clamped on both sides; silu(-inf) is NaN; NaN
  // stays NaN.
  float x[2][12] = {{1, 50, -50, 0, -INFINITY, NAN, 2, 3, 4, -50, 1, 1}, {}};
  float y[6];
  const nvfp4j_tensor input = tensor(x, NVFP4J_DTYPE_F32, {1, 12});
  const nvfp4j_tensor output = tensor(y, NVFP4J_DTYPE_F32, {1, 6});
  const nvfp4j_swiglu_options options = swiglu_options();
  CHECK_OK(nvfp4j_swiglu(context, &input, nullptr, &options, &output, error));
  CHECK(std::fabs(y[0] - 2.0f / (1.0f + std::exp(-1.0f))) < 1e-6f);
  CHECK(std::fabs(y[1] - 3.0f * 10.0f / (1.0f + std::exp(-10.0f))) < 1e-5f);
  CHECK(std::fabs(y[2] - 4.0f * -50.0f / (1.0f + std::exp(50.0f))) < 1e-25f);
  CHECK_EQ(reference::to_bits(y[3]), 0x80000000u);  // 0 * -10
  CHECK_EQ(reference::to_bits(y[4]), 0x7FC00000u);
  CHECK_EQ(reference::to_bits(y[5]), 0x7FC00000u);
}

TEST(swiglu_quantize_is_swiglu_then_quantize) {
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
      for (const int32_t columns_layout : {NVFP4J_SWIGLU_HALVES, NVFP4J_SWIGLU_INTERLEAVED}) {
        for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
          for (const int32_t source : {NVFP4J_GLOBAL_SCALE_DYNAMIC, NVFP4J_GLOBAL_SCALE_GIVEN}) {
            for (const auto& [rows, columns] :
                 {std::pair<int64_t, int64_t>{1, 16}, {33, 272}, {3, 4128}}) {
              for (const bool special : {false, true}) {
                GateUp x(dtype, rows, columns, 2 * columns + 7);
                fill(x, special);
                std::vector<float> weight;
                for (int64_t m = 0; m < rows; ++m)
                  weight.push_back(0.1f * static_cast<float>(m) + 0.05f);
                const nvfp4j_tensor w = tensor(weight.data(), NVFP4J_DTYPE_F32, {rows});
                const nvfp4j_swiglu_options swiglu = swiglu_options(columns_layout);
                const nvfp4j_quantize_options quantize = quantize_options(source);
                Nvfp4 fused(rows, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, kind);
                Nvfp4 apart(rows, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, kind);
                for (int64_t g = 0; g < fused.descriptor.global_scales_count; ++g)
                  fused.gs()[g] = apart.gs()[g] = 0.01f * static_cast<float>(g + 1);
                CHECK_OK(nvfp4j_swiglu_quantize(context, &x.descriptor, &w, &swiglu, &quantize,
                                                &fused.descriptor, error));
                nvfp4j_status_record fused_record = status_record();
                const int32_t fused_status =
                    nvfp4j_context_synchronize(context, &fused_record, nullptr);

                Bytes between(rows * columns * element_bytes(dtype));
                const nvfp4j_tensor y = tensor(between.data(), dtype, {rows, columns});
                CHECK_OK(nvfp4j_swiglu(context, &x.descriptor, &w, &swiglu, &y, error));
                CHECK_OK(
                    nvfp4j_quantize(context, &y, nullptr, &quantize, &apart.descriptor, error));
                nvfp4j_status_record apart_record = status_record();
                const int32_t apart_status =
                    nvfp4j_context_synchronize(context, &apart_record, nullptr);
                CHECK(fused == apart);
                CHECK_EQ(fused_status, apart_status);
                CHECK_EQ(fused_record.first_row, apart_record.first_row);
                CHECK_EQ(fused_record.first_column, apart_record.first_column);
                CHECK_EQ(fused_record.causes[NVFP4J_OP_SWIGLU_QUANTIZE],
                         apart_record.causes[NVFP4J_OP_QUANTIZE]);
                if (fused_status != NVFP4J_OK)
                  CHECK_EQ(fused_record.first_op, NVFP4J_OP_SWIGLU_QUANTIZE);
              }
            }
          }
        }
      }
    }
  }
}

TEST(every_instruction_set_gives_the_same_bits) {
  using namespace nvfp4j;
  const int64_t columns = 2051;
  for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
    GateUp x(dtype, 1, columns, 2 * columns);
    // Any pattern at all.
    for (int64_t i = 0; i < x.bytes.size(); ++i)
      x.bytes[i] = static_cast<std::uint8_t>(generator()());
    for (const int32_t layout : {NVFP4J_SWIGLU_HALVES, NVFP4J_SWIGLU_INTERLEAVED}) {
      for (const float limit : {0.0f, 10.0f}) {
        const float weight = 1.7f;
        const SwigluInput input{x.bytes.data(), dtype,   2 * columns, 1,
                                columns,        &weight, layout,      limit};
        Bytes first(columns * element_bytes(dtype));
        swiglu_kernels[0](input, 0, 0, columns, first.data(), false);
        for (int isa = 1; isa <= static_cast<int>(cpu_isa()); ++isa) {
          Bytes other(first.size());
          swiglu_kernels[isa](input, 0, 0, columns, other.data(), false);
          CHECK(first == other);
        }
      }
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
