// SPDX-License-Identifier: Apache-2.0
#if NVFP4J_WITH_CUDA
#include <cstdint>

#include "nvfp4j/gemm.h"
#include "ops/gemm/gemm_tensor_map.hpp"

namespace nvfp4j {
namespace {

struct Box {
  cuuint32_t columns, rows;
  CUtensorMapSwizzle swizzle;
  CUtensorMapL2promotion promotion;
};

// Boxes of [planes][rows][columns], whose rows and planes are that many bytes apart.
bool map_boxes(CUtensorMapDataType type, const void* data, std::int64_t columns, std::int64_t rows,
               std::int64_t planes, std::int64_t row_bytes, std::int64_t plane_bytes,
               const Box& box, CUtensorMap* map) {
  return make_tensor_map(
      {type,
       data,
       plane_bytes == 0 ? 2u : 3u,
       {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows),
        static_cast<cuuint64_t>(planes)},
       {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(plane_bytes)},
       {box.columns, box.rows, 1},
       box.swizzle,
       box.promotion},
      map);
}

// (The stride of a single row means nothing.)
std::int64_t stride_of(const GemmArgs& args) {
  return args.m > 1 ? args.a.stride : a_columns(args);
}

}  // namespace

bool map_tokens(const GemmArgs& args, int box_rows, CUtensorMap* map) {
  return map_boxes(CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, args.a.data, a_columns(args), args.m, 1,
                   2 * stride_of(args), 0,
                   {64, static_cast<cuuint32_t>(box_rows), CU_TENSOR_MAP_SWIZZLE_128B,
                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B},
                   map);
}

bool map_linear_weights(const GemmArgs& args, int box_rows, CUtensorMap* codes,
                        CUtensorMap* scales) {
  const auto rows = static_cast<cuuint32_t>(box_rows);
  return map_boxes(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.w.codes, args.k / 2, args.n, args.groups,
                   args.k / 2, args.n * (args.k / 2),
                   {128, rows, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B},
                   codes) &&
         map_boxes(CU_TENSOR_MAP_DATA_TYPE_UINT8, args.w.scales, args.k / 16, args.n, args.groups,
                   args.k / 16, args.n * (args.k / 16),
                   {16, rows, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_L2_128B},
                   scales);
}

}  // namespace nvfp4j
#endif
