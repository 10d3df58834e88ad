// SPDX-License-Identifier: Apache-2.0
// Between the .cu files of gemm.
#pragma once
#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_cuda.hpp"
#include "ops/gemm/gemm_plan.hpp"

namespace nvfp4j {

/// What a product asks of a kernel besides its configuration.
struct GemmVariant {
  bool grouped;
  bool swiglu;
  bool nvfp4;   // tokens, of decode
  bool linear;  // weights
};
inline GemmVariant variant_of(const GemmArgs& args) {
  return {args.op == NVFP4J_OP_GROUPED_GEMM, args.swiglu, args.a.kind == NVFP4J_GEMM_A_NVFP4,
          args.w.layout == NVFP4J_SCALE_LAYOUT_LINEAR};
}

int gemm_decode_sm90(const CudaLaunch& launch, const GemmArgs& args, const GemmPlan& plan);
int gemm_decode_sm90_warm_up();

/// A kernel of gemm_decode.cuh, whichever file it is compiled in. NULL: there is none.
struct DecodeKernel {
  const void* kernel;
  int threads;
  int (*shared_bytes)(int rows, bool grouped);
};
DecodeKernel decode_kernel(int config, const GemmVariant& variant);  // prepared weights
DecodeKernel decode_kernel_linear(int config, const GemmVariant& variant);

int gemm_wgmma_sm90(const CudaLaunch& launch, const GemmArgs& args, const GemmPlan& plan);
int gemm_wgmma_sm90_warm_up();

/// A kernel of gemm_wgmma.cuh, whichever file it is compiled in.
struct WgmmaKernel {
  const void* kernel;
  int threads;
  int shared_bytes;
};
WgmmaKernel wgmma_kernel(int config);
WgmmaKernel wgmma_kernel_swiglu(int config);
WgmmaKernel wgmma_kernel_grouped(int config, bool swiglu);  // the basic configurations
// The configurations of wgmma_takes_linear(), of groups the basic ones.
WgmmaKernel wgmma_kernel_linear(int config, bool grouped, bool swiglu);

/// Decodes `rows` rows of NVFP4 A from row `first` on to BF16, [rows][all columns] at `packed`. Reports nothing: what bad scales do to results is reported with those.
int gemm_pack_tokens(const CudaLaunch& launch, const GemmArgs& args, std::int64_t first,
                     std::int64_t rows, void* packed);
int gemm_pack_tokens_warm_up();

}  // namespace nvfp4j
