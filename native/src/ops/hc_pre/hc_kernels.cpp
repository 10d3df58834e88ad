// SPDX-License-Identifier: Apache-2.0
#include "ops/hc_pre/hc_kernels.hpp"

#include <immintrin.h>

#include <type_traits>

#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "nvfp4j/sinkhorn.h"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/hc_pre/hc_lanes_baseline.inl"
template <int TOKENS>
using Lanes = Plain;
constexpr int kTileRows = 2;
constexpr int kTileTokens = 1;
constexpr bool kWidenRows = true;
// Behind the lanes that it is written in.
#include "ops/hc_pre/hc_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/hc_pre/hc_lanes_v3.inl"
template <int TOKENS>
using Lanes = Halves;
constexpr int kTileRows = 3;
constexpr int kTileTokens = 2;
constexpr bool kWidenRows = true;
// Behind the lanes that it is written in.
#include "ops/hc_pre/hc_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

// The intrinsics of g++ 12 leave registers undefined on purpose (https://gcc.gnu.org/PR105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/hc_pre/hc_lanes_v3.inl"
#include "ops/hc_pre/hc_lanes_v4.inl"
// With few tokens conversions take longer than products, and Zen 4 does the shorter ones faster.
template <int TOKENS>
using Lanes = std::conditional_t<TOKENS <= 3, Halves, Whole>;
constexpr int kTileRows = 4;
constexpr int kTileTokens = 6;
constexpr bool kWidenRows = false;
// Behind the lanes that it is written in.
#include "ops/hc_pre/hc_kernels.inl"
}  // namespace v4
#pragma GCC pop_options
#pragma GCC diagnostic pop

}  // namespace

const HcKernels hc_kernels[kCpuIsaCount] = {baseline::kernels, v3::kernels, v4::kernels};

}  // namespace nvfp4j
