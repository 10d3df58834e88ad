// SPDX-License-Identifier: Apache-2.0
// Inputs of quantize on the CPU, and the comparison of its outputs with the definition.
#pragma once
#include <functional>

#include "fixture.hpp"
#include "reference.hpp"

namespace fixture {

// A strided input matrix of any dtype, made from floats.
struct Input {
  Input(int32_t dtype, int64_t rows, int64_t columns, int64_t stride,
        const std::function<float(int64_t, int64_t)>& value)
      : bytes(rows * stride * element_bytes(dtype)),
        descriptor(matrix(bytes.data(), dtype, rows, columns, stride)) {
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t k = 0; k < stride; ++k) {
        // What lies between rows would be seen in every maximum.
        const float x = k < columns ? value(m, k) : 3.0e38f;
        const int64_t i = m * stride + k;
        if (dtype == NVFP4J_DTYPE_F32) {
          reinterpret_cast<float*>(bytes.data())[i] = x;
        } else {
          reinterpret_cast<std::uint16_t*>(bytes.data())[i] = reference::round16(x, dtype);
        }
      }
    }
  }
  std::vector<float> row(int64_t m) const {
    std::vector<float> values;
    for (int64_t k = 0; k < descriptor.shape[1]; ++k) {
      values.push_back(
          reference::element(bytes.data(), descriptor.dtype, m * descriptor.stride[0] + k));
    }
    return values;
  }

  Bytes bytes;
  nvfp4j_tensor descriptor;
};

// Compares every byte of an output, padding included, with the reference.
inline void compare(const Nvfp4& actual, const reference::Quantized& expected, bool given) {
  const nvfp4j_nvfp4_tensor& d = actual.descriptor;
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(d.scales_bytes), 0);
  int64_t wrong_codes = 0;
  for (int64_t m = 0; m < d.rows; ++m) {
    for (int64_t k = 0; k < d.columns; ++k) {
      const std::uint8_t byte = actual.codes[(m * d.columns + k) / 2];
      wrong_codes += (k % 2 == 0 ? byte & 15 : byte >> 4) !=
                     expected.codes[static_cast<std::size_t>(m * d.columns + k)];
    }
    for (int64_t s = 0; s < d.columns / 16; ++s) {
      scales[static_cast<std::size_t>(reference::scale_offset(d.scale_layout, d.columns, m, s))] =
          expected.scales[static_cast<std::size_t>(m * (d.columns / 16) + s)];
    }
  }
  CHECK_EQ(wrong_codes, 0);
  int64_t wrong_scales = 0;
  for (int64_t i = 0; i < d.scales_bytes; ++i)
    wrong_scales += actual.scales[i] != scales[static_cast<std::size_t>(i)];
  CHECK_EQ(wrong_scales, 0);
  if (given) return;
  for (int64_t g = 0; g < d.global_scales_count; ++g) {
    CHECK_EQ(reference::to_bits(actual.gs()[g]),
             reference::to_bits(expected.global_scales[static_cast<std::size_t>(g)]));
  }
}

struct Case {
  int32_t dtype;
  int64_t rows;
  int64_t columns;
  int64_t stride;
  int32_t layout;
  int32_t kind;
  nvfp4j_quantize_options options;
  bool gather;
  int32_t threads;
};

inline void run_case(const Case& c, const std::function<float(int64_t, int64_t)>& value,
                     const std::vector<float>& given = {}) {
  const Context context(c.threads);
  const Input input(c.dtype, c.rows, c.columns, c.stride, value);
  std::vector<int32_t> ids;
  for (int64_t m = 0; m < c.rows; ++m) ids.push_back(static_cast<int32_t>(m));
  if (c.gather) {
    // Every other row, backwards, and the first one three times.
    ids.clear();
    for (int64_t m = c.rows - 1; m >= 0; m -= 2) ids.push_back(static_cast<int32_t>(m));
    ids.insert(ids.end(), 3, 0);
  }
  const int64_t rows = static_cast<int64_t>(ids.size());
  std::vector<float> x;
  for (const int32_t id : ids) {
    const std::vector<float> row = input.row(id);
    x.insert(x.end(), row.begin(), row.end());
  }
  Nvfp4 output(rows, c.columns, c.layout, c.kind);
  for (std::size_t g = 0; g < given.size(); ++g) output.gs()[g] = given[g];
  const nvfp4j_tensor ids_tensor = tensor(ids.data(), NVFP4J_DTYPE_I32, {rows});
  CHECK_OK(nvfp4j_quantize(context, &input.descriptor, c.gather ? &ids_tensor : nullptr, &c.options,
                           &output.descriptor, error));
  compare(output, reference::quantize(x, rows, c.columns, c.options, c.kind, given),
          !given.empty());
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

inline float normal() {
  static std::normal_distribution<float> distribution;
  return distribution(generator());
}

// Values whose quotients fall on ties, zeros of both signs, subnormals, wide ranges.
inline float awkward(int64_t m, int64_t k) {
  switch ((m * 7 + k / 16) % 8) {
    case 0:
      return normal();
    case 1:
      return std::ldexp(std::round(normal() * 8) / 8, static_cast<int>(m % 5) - 2);
    case 2:
      return k % 3 == 0 ? -0.0f : 0.0f;
    case 3:
      return normal() * 1e-30f;
    case 4:
      return k % 16 == 5 ? 6.0f : static_cast<float>(k % 16) * 0.25f - 2.0f;
    case 5:
      return normal() * 1e-41f;
    case 6:
      return k % 16 == 0 ? 448.0f * 6 : (k % 2 == 0 ? 1e-3f : -1e-3f);
    default:
      return std::fmax(-6.0e4f,
                       std::fmin(normal() * std::exp(normal() * 3), 6.0e4f));  // finite as F16
  }
}

}  // namespace fixture
