// SPDX-License-Identifier: Apache-2.0
#include "ops/expert_combine/expert_combine_kernels.hpp"

#include <cstring>

#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "common/names.hpp"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/expert_combine/expert_combine_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/expert_combine/expert_combine_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/expert_combine/expert_combine_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

}  // namespace

const ExpertCombineKernel expert_combine_kernels[kCpuIsaCount] = {baseline::combine, v3::combine,
                                                                  v4::combine};

}  // namespace nvfp4j
