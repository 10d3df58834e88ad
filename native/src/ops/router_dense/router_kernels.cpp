// SPDX-License-Identifier: Apache-2.0
#include "ops/router_dense/router_kernels.hpp"

#include "ops/router_dense/router_math.hpp"

namespace nvfp4j {
namespace {

namespace baseline {
#include "ops/router_dense/router_kernels.inl"
}  // namespace baseline

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
#include "ops/router_dense/router_kernels.inl"
}  // namespace v3
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
namespace v4 {
#include "ops/router_dense/router_kernels.inl"
}  // namespace v4
#pragma GCC pop_options

}  // namespace

const RouterScoresKernel router_scores_kernels[kCpuIsaCount] = {baseline::scores, v3::scores,
                                                                v4::scores};

}  // namespace nvfp4j
