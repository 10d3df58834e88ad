// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

/// The constants of `nvfp4j.h` as compile-time constants, named without their `NVFP4J_` prefix; the
/// header says what each means. (jextract makes methods of them, which no `switch` can use.) A test
/// holds them equal to the header's.
public final class Nvfp4jConstants {
  // --- ABI, status codes, ops and devices (base.h)
  /// `NVFP4J_ABI_VERSION`.
  public static final int ABI_VERSION = 2;

  /// `NVFP4J_OK`.
  public static final int OK = 0;

  /// `NVFP4J_ERROR_INVALID_ARGUMENT`.
  public static final int ERROR_INVALID_ARGUMENT = 1;

  /// `NVFP4J_ERROR_INVALID_STATE`.
  public static final int ERROR_INVALID_STATE = 2;

  /// `NVFP4J_ERROR_NOT_SUPPORTED`.
  public static final int ERROR_NOT_SUPPORTED = 3;

  /// `NVFP4J_ERROR_OUT_OF_MEMORY`.
  public static final int ERROR_OUT_OF_MEMORY = 4;

  /// `NVFP4J_ERROR_CUDA`.
  public static final int ERROR_CUDA = 5;

  /// `NVFP4J_ERROR_DEVICE_FAILED`.
  public static final int ERROR_DEVICE_FAILED = 6;

  /// `NVFP4J_ERROR_REPORTED`.
  public static final int ERROR_REPORTED = 7;

  /// `NVFP4J_ERROR_INTERNAL`.
  public static final int ERROR_INTERNAL = 8;

  /// `NVFP4J_ERROR_MESSAGE_BYTES`.
  public static final int ERROR_MESSAGE_BYTES = 496;

  /// `NVFP4J_OP_QUANTIZE`.
  public static final int OP_QUANTIZE = 0;

  /// `NVFP4J_OP_DEQUANTIZE`.
  public static final int OP_DEQUANTIZE = 1;

  /// `NVFP4J_OP_SWIZZLE`.
  public static final int OP_SWIZZLE = 2;

  /// `NVFP4J_OP_UNSWIZZLE`.
  public static final int OP_UNSWIZZLE = 3;

  /// `NVFP4J_OP_SWIGLU`.
  public static final int OP_SWIGLU = 4;

  /// `NVFP4J_OP_SWIGLU_QUANTIZE`.
  public static final int OP_SWIGLU_QUANTIZE = 5;

  /// `NVFP4J_OP_COPY`.
  public static final int OP_COPY = 6;

  /// `NVFP4J_OP_GEMM`.
  public static final int OP_GEMM = 7;

  /// `NVFP4J_OP_GROUPED_GEMM`.
  public static final int OP_GROUPED_GEMM = 8;

  /// `NVFP4J_OP_BATCHED_GEMM`.
  public static final int OP_BATCHED_GEMM = 9;

  /// `NVFP4J_OP_PREPARE_WEIGHTS`.
  public static final int OP_PREPARE_WEIGHTS = 10;

  /// `NVFP4J_OP_PACK_ACTIVATIONS`.
  public static final int OP_PACK_ACTIVATIONS = 11;

  /// `NVFP4J_OP_SINKHORN`.
  public static final int OP_SINKHORN = 12;

  /// `NVFP4J_OP_HC_PRE`.
  public static final int OP_HC_PRE = 13;

  /// `NVFP4J_OP_HC_POST`.
  public static final int OP_HC_POST = 14;

  /// `NVFP4J_OP_HC_HEAD`.
  public static final int OP_HC_HEAD = 15;

  /// `NVFP4J_OP_HC_POST_PRE`.
  public static final int OP_HC_POST_PRE = 16;

  /// `NVFP4J_OP_ROUTER_DENSE`.
  public static final int OP_ROUTER_DENSE = 17;

  /// `NVFP4J_OP_ROUTER_HASH`.
  public static final int OP_ROUTER_HASH = 18;

  /// `NVFP4J_OP_EXPERT_DISPATCH`.
  public static final int OP_EXPERT_DISPATCH = 19;

  /// `NVFP4J_OP_EXPERT_COMBINE`.
  public static final int OP_EXPERT_COMBINE = 20;

  /// `NVFP4J_OP_INDEXER_TOPK`.
  public static final int OP_INDEXER_TOPK = 21;

  /// `NVFP4J_OP_CACHE_APPEND_WINDOW`.
  public static final int OP_CACHE_APPEND_WINDOW = 22;

  /// `NVFP4J_OP_CACHE_APPEND`.
  public static final int OP_CACHE_APPEND = 23;

  /// `NVFP4J_OP_SAMPLE`.
  public static final int OP_SAMPLE = 24;

  /// `NVFP4J_OP_COUNT`.
  public static final int OP_COUNT = 25;

  /// `NVFP4J_DEVICE_CPU`.
  public static final int DEVICE_CPU = -1;

  // --- Element types, memory kinds, layouts (tensor.h)
  /// `NVFP4J_DTYPE_F32`.
  public static final int DTYPE_F32 = 0;

  /// `NVFP4J_DTYPE_BF16`.
  public static final int DTYPE_BF16 = 1;

  /// `NVFP4J_DTYPE_F16`.
  public static final int DTYPE_F16 = 2;

  /// `NVFP4J_DTYPE_U8`.
  public static final int DTYPE_U8 = 3;

  /// `NVFP4J_DTYPE_I32`.
  public static final int DTYPE_I32 = 4;

  /// `NVFP4J_DTYPE_I64`.
  public static final int DTYPE_I64 = 5;

  /// `NVFP4J_MEMORY_HOST`.
  public static final int MEMORY_HOST = 0;

  /// `NVFP4J_MEMORY_PINNED`.
  public static final int MEMORY_PINNED = 1;

  /// `NVFP4J_MEMORY_DEVICE`.
  public static final int MEMORY_DEVICE = 2;

  /// `NVFP4J_MAX_RANK`.
  public static final int MAX_RANK = 4;

  /// `NVFP4J_SCALE_LAYOUT_LINEAR`.
  public static final int SCALE_LAYOUT_LINEAR = 0;

  /// `NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4`.
  public static final int SCALE_LAYOUT_SWIZZLED_128X4 = 1;

  /// `NVFP4J_SCALE_LAYOUT_PREPARED`.
  public static final int SCALE_LAYOUT_PREPARED = 2;

  /// `NVFP4J_SCALE_LAYOUT_PACKED`.
  public static final int SCALE_LAYOUT_PACKED = 3;

  /// `NVFP4J_GLOBAL_SCALE_TENSOR`.
  public static final int GLOBAL_SCALE_TENSOR = 0;

  /// `NVFP4J_GLOBAL_SCALE_ROW`.
  public static final int GLOBAL_SCALE_ROW = 1;

  /// `NVFP4J_GLOBAL_SCALE_GROUP`.
  public static final int GLOBAL_SCALE_GROUP = 2;

  /// `NVFP4J_GLOBAL_SCALE_HALVES`.
  public static final int GLOBAL_SCALE_HALVES = 3;

  // --- Quantisation (quantize.h)
  /// `NVFP4J_GLOBAL_SCALE_DYNAMIC`.
  public static final int GLOBAL_SCALE_DYNAMIC = 0;

  /// `NVFP4J_GLOBAL_SCALE_GIVEN`.
  public static final int GLOBAL_SCALE_GIVEN = 1;

  /// `NVFP4J_RECIPE_EXACT`.
  public static final int RECIPE_EXACT = 0;

  /// `NVFP4J_RECIPE_TE_EXACT`.
  public static final int RECIPE_TE_EXACT = 1;

  /// `NVFP4J_ZERO_SCALE_MIN`.
  public static final int ZERO_SCALE_MIN = 0;

  /// `NVFP4J_ZERO_SCALE_FLUSH`.
  public static final int ZERO_SCALE_FLUSH = 1;

  // --- Sinkhorn, hyper-connections (sinkhorn.h)
  /// `NVFP4J_MAX_STREAMS`.
  public static final int MAX_STREAMS = 16;

  /// `NVFP4J_MAX_EXPERTS`.
  public static final int MAX_EXPERTS = 1024;

  /// `NVFP4J_MAX_TOPK`.
  public static final int MAX_TOPK = 16;

  /// `NVFP4J_MAX_INDEXER_TOPK`.
  public static final int MAX_INDEXER_TOPK = 2048;

  /// `NVFP4J_MAX_INDEXER_HEADS`.
  public static final int MAX_INDEXER_HEADS = 128;

  /// `NVFP4J_MAX_INDEXER_COLUMNS`.
  public static final int MAX_INDEXER_COLUMNS = 256;

  // --- SwiGLU (swiglu.h)
  /// `NVFP4J_SWIGLU_HALVES`.
  public static final int SWIGLU_HALVES = 0;

  /// `NVFP4J_SWIGLU_INTERLEAVED`.
  public static final int SWIGLU_INTERLEAVED = 1;

  // --- Matrix products (gemm.h)
  /// `NVFP4J_GEMM_PATH_AUTO`.
  public static final int GEMM_PATH_AUTO = 0;

  /// `NVFP4J_GEMM_PATH_GENERIC`.
  public static final int GEMM_PATH_GENERIC = 1;

  /// `NVFP4J_GEMM_PATH_DECODE`.
  public static final int GEMM_PATH_DECODE = 2;

  /// `NVFP4J_GEMM_PATH_WGMMA`.
  public static final int GEMM_PATH_WGMMA = 3;

  /// `NVFP4J_GEMM_A_BF16`.
  public static final int GEMM_A_BF16 = 0;

  /// `NVFP4J_GEMM_A_NVFP4`.
  public static final int GEMM_A_NVFP4 = 1;

  /// `NVFP4J_GEMM_A_PACKED`.
  public static final int GEMM_A_PACKED = 2;

  // --- Causes that a kernel can report: bit numbers (context.h)
  /// `NVFP4J_CAUSE_NON_FINITE_INPUT`.
  public static final int CAUSE_NON_FINITE_INPUT = 0;

  /// `NVFP4J_CAUSE_BAD_GLOBAL_SCALE`.
  public static final int CAUSE_BAD_GLOBAL_SCALE = 1;

  /// `NVFP4J_CAUSE_INDEX_OUT_OF_RANGE`.
  public static final int CAUSE_INDEX_OUT_OF_RANGE = 2;

  /// `NVFP4J_CAUSE_BAD_BLOCK_SCALE`.
  public static final int CAUSE_BAD_BLOCK_SCALE = 3;

  /// `NVFP4J_CAUSE_NON_FINITE_RESULT`.
  public static final int CAUSE_NON_FINITE_RESULT = 4;

  /// `NVFP4J_CAUSE_BAD_OFFSETS`.
  public static final int CAUSE_BAD_OFFSETS = 5;

  /// `NVFP4J_CAUSE_CACHE_OVERFLOW`.
  public static final int CAUSE_CACHE_OVERFLOW = 6;

  /// `NVFP4J_CAUSE_BAD_NOISE`.
  public static final int CAUSE_BAD_NOISE = 7;

  /// `NVFP4J_STATUS_WORDS`.
  public static final int STATUS_WORDS = 64;

  private Nvfp4jConstants() {}
}
