// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/swizzle.h"

#include "common/context.hpp"
#include "common/guard.hpp"
#include "ops/swizzle/swizzle_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/swizzle/swizzle_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

SwizzleArgs check_swizzle(const Place& place, const nvfp4j_tensor* linear,
                          const nvfp4j_tensor* swizzled, bool to_linear) {
  constexpr DtypeSet bytes = dtype_set({NVFP4J_DTYPE_U8});
  const Matrix rows = check_matrix(place, "linear", linear, bytes);
  const Vector tiles = check_vector(place, "swizzled", swizzled, bytes);
  std::int64_t size;
  // columns = 16 * blocks would overflow before the size does; a row of blocks is in memory,
  // so it cannot be that long.
  if (rows.columns > INT64_MAX / 16 ||
      !scale_bytes(rows.rows, 16 * rows.columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, &size))
      [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: linear with shape [%lld, %lld] does not fit the 64-bit address space when swizzled",
         place.op, static_cast<long long>(rows.rows), static_cast<long long>(rows.columns));
  }
  if (tiles.count != size) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT,
         "%s: swizzled has %lld bytes, expected %lld (linear is [%lld, %lld]: tiles of 128 x 4)",
         place.op, static_cast<long long>(tiles.count), static_cast<long long>(size),
         static_cast<long long>(rows.rows), static_cast<long long>(rows.columns));
  }
  check_alignment(place.op, "swizzled", tiles.data, 16);
  if (to_linear) {
    check_disjoint(place.op, rows.buffer, tiles.buffer);
  } else {
    check_disjoint(place.op, tiles.buffer, rows.buffer);
  }
  return SwizzleArgs{static_cast<std::uint8_t*>(rows.data), static_cast<std::uint8_t*>(tiles.data),
                     rows.rows, rows.columns, rows.stride};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_swizzle(nvfp4j_context* context, const nvfp4j_tensor* linear,
                                  const nvfp4j_tensor* swizzled, nvfp4j_error* error) {
  using namespace nvfp4j;
  constexpr const char* op = "swizzle";
  return guard(error, op, [&] {
    const SwizzleArgs args = check_swizzle(place_of(op, context), linear, swizzled, false);
    const Use use(*context, op);
    if (args.rows == 0 || args.blocks == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_SWIZZLE, args.rows, args.blocks,
                            [&](const CudaLaunch& launch) { return swizzle_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { swizzle_cpu(pool, status, args); });
  });
}

extern "C" int32_t nvfp4j_unswizzle(nvfp4j_context* context, const nvfp4j_tensor* swizzled,
                                    const nvfp4j_tensor* linear, nvfp4j_error* error) {
  using namespace nvfp4j;
  constexpr const char* op = "unswizzle";
  return guard(error, op, [&] {
    const SwizzleArgs args = check_swizzle(place_of(op, context), linear, swizzled, true);
    const Use use(*context, op);
    if (args.rows == 0 || args.blocks == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      context->cuda->launch(NVFP4J_OP_UNSWIZZLE, args.rows, args.blocks,
                            [&](const CudaLaunch& launch) { return unswizzle_cuda(launch, args); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { unswizzle_cpu(pool, status, args); });
  });
}
