/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NVFP4J_H
#define NVFP4J_H
/**
 * @file nvfp4j.h
 * @brief NVFP4 and DeepSeek-V4 kernels behind a plain C ABI. Includes every header of the library.
 */
#include "nvfp4j/base.h"
#include "nvfp4j/cache.h"
#include "nvfp4j/context.h"
#include "nvfp4j/copy.h"
#include "nvfp4j/device.h"
#include "nvfp4j/experts.h"
#include "nvfp4j/gemm.h"
#include "nvfp4j/hyper_connections.h"
#include "nvfp4j/indexer.h"
#include "nvfp4j/quantize.h"
#include "nvfp4j/router.h"
#include "nvfp4j/sample.h"
#include "nvfp4j/sinkhorn.h"
#include "nvfp4j/swiglu.h"
#include "nvfp4j/swizzle.h"
#include "nvfp4j/tensor.h"

#endif
