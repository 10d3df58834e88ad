// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm/gemm_kernels.hpp"

#include <immintrin.h>

#include <cstring>
#include <utility>

#include "common/float_formats.hpp"
#include "ops/gemm/prepared_layout.hpp"

namespace nvfp4j {
namespace {

// By which code values are smaller and block scales larger, so that the sum of a block overflows
// only where the sum of its products does: 8 * 6 * |a| would, for the largest a.
constexpr float kSmaller = 0x1p-7f;

// prepared::decode_scale of every byte.
struct DecodedScales {
  std::uint8_t byte[256];
};
constexpr DecodedScales decoded_scales = [] {
  DecodedScales table{};
  for (std::uint32_t i = 0; i < 256; ++i)
    table.byte[i] = static_cast<std::uint8_t>(prepared::decode_scale(i));
  return table;
}();

namespace baseline {
#include "ops/gemm/gemm_lanes_baseline.inl"
// Behind the lanes that it is written in.
#include "ops/gemm/gemm_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/gemm/gemm_lanes_v3.inl"
// Behind the lanes that it is written in.
#include "ops/gemm/gemm_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

// The intrinsics of g++ 12 leave registers undefined on purpose (https://gcc.gnu.org/PR105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/gemm/gemm_lanes_v4.inl"
// Behind the lanes that it is written in.
#include "ops/gemm/gemm_kernels.inl"
// And what only these have the instructions for.
#include "ops/gemm/gemm_prepared_v4.inl"
}  // namespace v4
#pragma GCC pop_options
#pragma GCC diagnostic pop

}  // namespace

const GemmKernels gemm_kernels[kCpuIsaCount] = {
    {baseline::decode_a, baseline::unpack_a, baseline::stream, baseline::unprepare, nullptr,
     nullptr, baseline::bad_scale},
    {v3::decode_a, v3::unpack_a, v3::stream, v3::unprepare, nullptr, nullptr, v3::bad_scale},
    {v4::decode_a, v4::unpack_a, v4::stream, v4::unprepare, v4::stream_prepared, v4::order_a,
     v4::bad_scale}};

}  // namespace nvfp4j
