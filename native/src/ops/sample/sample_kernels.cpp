// SPDX-License-Identifier: Apache-2.0
#include "ops/sample/sample_kernels.hpp"

#include <cstring>

#include "common/float_formats.hpp"
#include "nvfp4j/tensor.h"
#include "ops/sample/sample_math.hpp"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/sample/sample_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/sample/sample_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/sample/sample_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

}  // namespace

const SampleKernels sample_kernels[kCpuIsaCount] = {
    {baseline::widen, baseline::given, baseline::drawn},
    {v3::widen, v3::given, v3::drawn},
    {v4::widen, v4::given, v4::drawn}};

}  // namespace nvfp4j
