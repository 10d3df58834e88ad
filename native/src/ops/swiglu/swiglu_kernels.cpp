// SPDX-License-Identifier: Apache-2.0
#include "ops/swiglu/swiglu_kernels.hpp"

#include <cstring>

#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "nvfp4j/swiglu.h"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/swiglu/swiglu_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/swiglu/swiglu_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/swiglu/swiglu_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

}  // namespace

const SwigluKernel swiglu_kernels[kCpuIsaCount] = {baseline::swiglu, v3::swiglu, v4::swiglu};

}  // namespace nvfp4j
