// SPDX-License-Identifier: Apache-2.0
#include "ops/sinkhorn/sinkhorn_kernels.hpp"

#include "common/math.hpp"
#include "nvfp4j/sinkhorn.h"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/sinkhorn/sinkhorn_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/sinkhorn/sinkhorn_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/sinkhorn/sinkhorn_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

}  // namespace

const SinkhornCpuKernel sinkhorn_cpu_kernels[kCpuIsaCount] = {baseline::sinkhorn, v3::sinkhorn,
                                                              v4::sinkhorn};

}  // namespace nvfp4j
