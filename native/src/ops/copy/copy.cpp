// SPDX-License-Identifier: Apache-2.0
#include "nvfp4j/copy.h"

#include "common/context.hpp"
#include "common/guard.hpp"
#include "common/names.hpp"
#include "ops/copy/copy_cpu.hpp"
#if NVFP4J_WITH_CUDA
#include "ops/copy/copy_cuda.hpp"
#endif

namespace nvfp4j {
namespace {

constexpr const char* kOp = "copy";
constexpr std::int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;

// A tensor as rows: itself at rank 2, one row at any other rank.
struct Rows {
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;
};

Rows rows_of(const char* name, const nvfp4j_tensor& tensor) {
  check_tensor(kOp, name, &tensor);
  if (tensor.rank == 2) {
    if (tensor.shape[1] > 1 && tensor.stride[1] != 1) [[unlikely]] {
      fail(kInvalid, "%s: %s has column stride %lld, expected 1", kOp, name,
           static_cast<long long>(tensor.stride[1]));
    }
    if (tensor.shape[0] > 1 && tensor.stride[0] < tensor.shape[1]) [[unlikely]] {
      fail(kInvalid, "%s: %s has row stride %lld, expected %lld or more", kOp, name,
           static_cast<long long>(tensor.stride[0]), static_cast<long long>(tensor.shape[1]));
    }
    return Rows{tensor.shape[0], tensor.shape[1],
                tensor.shape[0] > 1 ? tensor.stride[0] : tensor.shape[1]};
  }
  std::int64_t elements = 1;
  bool empty = false;
  for (std::int32_t i = 0; i < tensor.rank; ++i) empty = empty || tensor.shape[i] == 0;
  for (std::int32_t i = tensor.rank - 1; i >= 0 && !empty; --i) {
    if (tensor.shape[i] > 1 && tensor.stride[i] != elements) [[unlikely]] {
      fail(kInvalid,
           "%s: %s has stride %lld along dimension %d of %d, expected %lld: only rank 2 may be "
           "strided",
           kOp, name, static_cast<long long>(tensor.stride[i]), i, tensor.rank,
           static_cast<long long>(elements));
    }
    if (__builtin_mul_overflow(elements, tensor.shape[i], &elements)) [[unlikely]] {
      fail(kInvalid, "%s: %s does not fit the 64-bit address space", kOp, name);
    }
  }
  return Rows{1, empty ? 0 : elements, empty ? 0 : elements};
}

Matrix check_copied(const Place& place, const char* name, const nvfp4j_tensor* tensor) {
  check_struct(kOp, name, tensor);
  const Rows rows = rows_of(name, *tensor);
  // The rest is what check_matrix says of a matrix in memory that the context reaches: CUDA
  // reaches all of it here.
  nvfp4j_tensor matrix = *tensor;
  matrix.rank = 2;
  matrix.shape[0] = rows.rows;
  matrix.shape[1] = rows.columns;
  matrix.stride[0] = rows.stride;
  matrix.stride[1] = 1;
  if (place.device != NVFP4J_DEVICE_CPU) matrix.memory = NVFP4J_MEMORY_DEVICE;
  return check_matrix(place, name, &matrix, ~DtypeSet{0});
}

CopyArgs check_copy(const Place& place, const nvfp4j_tensor* source,
                    const nvfp4j_tensor* destination) {
  const Matrix from = check_copied(place, "source", source);
  const Matrix to = check_copied(place, "destination", destination);
  if (destination->dtype != source->dtype) [[unlikely]] {
    fail(kInvalid, "%s: destination has dtype %s, expected %s (the dtype of source)", kOp,
         dtype_name(destination->dtype), dtype_name(source->dtype));
  }
  if (destination->rank != source->rank) [[unlikely]] {
    fail(kInvalid, "%s: destination has rank %d, expected %d (the rank of source)", kOp,
         destination->rank, source->rank);
  }
  for (std::int32_t i = 0; i < source->rank; ++i) {
    if (destination->shape[i] != source->shape[i]) [[unlikely]] {
      fail(kInvalid, "%s: destination.shape[%d] is %lld, expected %lld (the shape of source)", kOp,
           i, static_cast<long long>(destination->shape[i]),
           static_cast<long long>(source->shape[i]));
    }
  }
  check_disjoint(kOp, to.buffer, from.buffer);
  const std::int64_t element = dtype_bytes(from.dtype);
  return CopyArgs{
      from.data,          to.data, from.rows, from.columns * element, from.stride * element,
      to.stride * element};
}

}  // namespace
}  // namespace nvfp4j

extern "C" int32_t nvfp4j_copy(nvfp4j_context* context, const nvfp4j_tensor* source,
                               const nvfp4j_tensor* destination, nvfp4j_error* error) {
  using namespace nvfp4j;
  return guard(error, kOp, [&] {
    const CopyArgs args = check_copy(place_of(kOp, context), source, destination);
    const Use use(*context, kOp);
    if (args.rows == 0 || args.row_bytes == 0) return;
#if NVFP4J_WITH_CUDA
    if (context->cuda != nullptr) {
      const bool wait =
          source->memory == NVFP4J_MEMORY_HOST || destination->memory == NVFP4J_MEMORY_HOST;
      if (wait) {
        context->cuda->refuse_capture(kOp, source->memory == NVFP4J_MEMORY_HOST
                                               ? "source is in pageable HOST memory"
                                               : "destination is in pageable HOST memory");
      }
      context->cuda->launch(
          NVFP4J_OP_COPY, args.rows, args.row_bytes,
          [&](const CudaLaunch& launch) { return copy_cuda(launch, args, wait); });
      return;
    }
#endif
    context->cpu->run(
        [args](CpuPool& pool, DeviceStatus& status) { copy_cpu(pool, status, args); });
  });
}
