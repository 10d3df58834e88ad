// SPDX-License-Identifier: Apache-2.0
// Validation of the hyper-connection ops.
#pragma once
#include "common/tensor_checks.hpp"
#include "nvfp4j/hyper_connections.h"
#include "ops/hc_pre/hc_args.hpp"

namespace nvfp4j {

/// Behind a module: the inputs and the output of hc_post.
struct HcPostTensors {
  const nvfp4j_tensor* x;
  const nvfp4j_tensor* sub;
  const nvfp4j_tensor* post;
  const nvfp4j_tensor* comb;
  const nvfp4j_tensor* out;
};

/// Of a module or the head.
struct HcModuleTensors {
  const nvfp4j_tensor* fn;
  const nvfp4j_tensor* base;
  const nvfp4j_tensor* scale;
  const nvfp4j_hc_options* options;
};

HcPostArgs check_hc_post(const Place& place, const HcPostTensors& tensors);

HcPreArgs check_hc_pre(const Place& place, const nvfp4j_tensor* x, const HcModuleTensors& module,
                       const nvfp4j_tensor* collapsed, const nvfp4j_tensor* post,
                       const nvfp4j_tensor* comb);

HcPreArgs check_hc_head(const Place& place, const nvfp4j_tensor* x, const HcModuleTensors& module,
                        const nvfp4j_tensor* collapsed);

HcPreArgs check_hc_post_pre(const Place& place, const HcPostTensors& before,
                            const HcModuleTensors& module, const nvfp4j_tensor* norm_weight,
                            const nvfp4j_quantize_options* quantize_options,
                            const nvfp4j_tensor* collapsed, const nvfp4j_tensor* next_post,
                            const nvfp4j_tensor* next_comb, const nvfp4j_nvfp4_tensor* quantized);

}  // namespace nvfp4j
