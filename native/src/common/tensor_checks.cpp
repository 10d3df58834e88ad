// SPDX-License-Identifier: Apache-2.0
#include "common/tensor_checks.hpp"

#include <cstdio>

#include "common/names.hpp"

namespace nvfp4j {
namespace {

constexpr std::int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;

// Texts for sentences: made on failure only.
struct Text {
  char chars[128];
};

[[gnu::cold]] Text shape_text(const nvfp4j_tensor& tensor) {
  Text text;
  int at = std::snprintf(text.chars, sizeof text.chars, "[");
  for (std::int32_t i = 0; i < tensor.rank; ++i) {
    at += std::snprintf(text.chars + at, sizeof text.chars - static_cast<std::size_t>(at), "%s%lld",
                        i == 0 ? "" : ", ", static_cast<long long>(tensor.shape[i]));
  }
  std::snprintf(text.chars + at, sizeof text.chars - static_cast<std::size_t>(at), "]");
  return text;
}

// "F32", "F32 or BF16", "F32, BF16 or F16"
[[gnu::cold]] Text dtypes_text(DtypeSet dtypes) {
  Text text;
  text.chars[0] = '\0';
  int at = 0;
  for (std::int32_t dtype = 0; dtype < kDtypeCount; ++dtype) {
    const DtypeSet bit = DtypeSet{1} << dtype;
    if ((dtypes & bit) == 0) continue;
    const bool first = (dtypes & (bit - 1)) == 0;
    const bool last = (dtypes >> dtype) == 1;
    at += std::snprintf(text.chars + at, sizeof text.chars - static_cast<std::size_t>(at), "%s%s",
                        first ? "" : (last ? " or " : ", "), dtype_name(dtype));
  }
  return text;
}

[[gnu::cold]] Text device_text(std::int32_t device) {
  Text text;
  if (device == NVFP4J_DEVICE_CPU) {
    std::snprintf(text.chars, sizeof text.chars, "cpu");
  } else {
    std::snprintf(text.chars, sizeof text.chars, "cuda:%d", device);
  }
  return text;
}

void check_rank(const char* op, const char* name, const nvfp4j_tensor& tensor, std::int32_t rank) {
  if (tensor.rank != rank) [[unlikely]] {
    fail(kInvalid, "%s: %s has rank %d (shape %s), expected rank %d", op, name, tensor.rank,
         shape_text(tensor).chars, rank);
  }
}

void check_dtype(const char* op, const char* name, const nvfp4j_tensor& tensor, DtypeSet dtypes) {
  if ((dtypes >> tensor.dtype & 1) == 0) [[unlikely]] {
    fail(kInvalid, "%s: %s has dtype %s, expected %s", op, name, dtype_name(tensor.dtype),
         dtypes_text(dtypes).chars);
  }
}

[[noreturn, gnu::cold]] void fail_too_large(const char* op, const char* name,
                                            const nvfp4j_tensor& tensor) {
  fail(kInvalid, "%s: %s with shape %s and dtype %s does not fit the 64-bit address space", op,
       name, shape_text(tensor).chars, dtype_name(tensor.dtype));
}

/// Whether all that explain_fields() asks holds, without branches between: a call checks many tensors, and is to be cheap. NULL and struct_size have been asked before.
template <int RANK>
bool has_fields(const Place& place, const nvfp4j_tensor& tensor, DtypeSet dtypes) {
  const std::uint32_t memories = place.device == NVFP4J_DEVICE_CPU
                                     ? 1u << NVFP4J_MEMORY_HOST | 1u << NVFP4J_MEMORY_PINNED
                                     : 1u << NVFP4J_MEMORY_DEVICE;
  const auto dtype = static_cast<std::uint32_t>(tensor.dtype);
  const auto memory = static_cast<std::uint32_t>(tensor.memory);
  std::int64_t signs = 0;
  for (int i = 0; i < RANK; ++i) signs |= tensor.shape[i];
  return (dtype < kDtypeCount) & (dtypes >> (dtype & 31u) & 1u) & (memory <= NVFP4J_MEMORY_DEVICE) &
         (memories >> (memory & 31u) & 1u) & (tensor.rank == RANK) & (signs >= 0);
}

/// Throws the sentence of the first of these that does not hold.
[[noreturn, gnu::cold, gnu::noinline]] void explain_fields(const Place& place, const char* name,
                                                           const nvfp4j_tensor* tensor,
                                                           DtypeSet dtypes, std::int32_t rank) {
  check_tensor(place.op, name, tensor);
  check_dtype(place.op, name, *tensor, dtypes);
  check_rank(place.op, name, *tensor, rank);
  check_memory(place, name, tensor->memory);
  fail(NVFP4J_ERROR_INTERNAL, "%s: %s was refused, and nothing is wrong with it", place.op, name);
}

template <int RANK>
void check_fields(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                  DtypeSet dtypes) {
  // Behind struct_size nothing is read of a structure that is shorter than ours.
  if (tensor == nullptr || tensor->struct_size != static_cast<std::int32_t>(sizeof *tensor) ||
      !has_fields<RANK>(place, *tensor, dtypes)) [[unlikely]]
    explain_fields(place, name, tensor, dtypes, RANK);
}

}  // namespace

void check_alignment(const char* op, const char* name, const void* data, std::uint64_t alignment) {
  if ((reinterpret_cast<std::uintptr_t>(data) & (alignment - 1)) != 0) [[unlikely]] {
    fail(kInvalid, "%s: %s is at address %p, expected a multiple of %llu bytes", op, name, data,
         static_cast<unsigned long long>(alignment));
  }
}

Buffer make_buffer(const char* op, const char* name, const void* data, std::uint64_t bytes,
                   std::uint64_t pitch, std::uint64_t width, std::uint64_t alignment) {
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(data);
  if (bytes != 0 && data == nullptr) [[unlikely]] {
    fail(kInvalid, "%s: %s has no memory (data is NULL), expected %llu bytes", op, name,
         static_cast<unsigned long long>(bytes));
  }
  check_alignment(op, name, data, alignment);
  std::uintptr_t end;
  if (__builtin_add_overflow(begin, bytes, &end)) [[unlikely]] {
    fail(kInvalid, "%s: %s at %p with %llu bytes reaches past the end of the address space", op,
         name, data, static_cast<unsigned long long>(bytes));
  }
  return Buffer{name, begin, bytes, pitch, width};
}

void check_tensor(const char* op, const char* name, const nvfp4j_tensor* tensor) {
  check_struct(op, name, tensor);
  if (static_cast<std::uint32_t>(tensor->dtype) >= kDtypeCount) [[unlikely]] {
    fail(kInvalid, "%s: %s.dtype is %d, expected 0 to %d (F32, BF16, F16, U8, I32, I64)", op, name,
         tensor->dtype, kDtypeCount - 1);
  }
  if (static_cast<std::uint32_t>(tensor->memory) > NVFP4J_MEMORY_DEVICE) [[unlikely]] {
    fail(kInvalid, "%s: %s.memory is %d, expected 0 to 2 (HOST, PINNED, DEVICE)", op, name,
         tensor->memory);
  }
  if (static_cast<std::uint32_t>(tensor->rank) > NVFP4J_MAX_RANK) [[unlikely]] {
    fail(kInvalid, "%s: %s.rank is %d, expected 0 to %d", op, name, tensor->rank, NVFP4J_MAX_RANK);
  }
  for (std::int32_t i = 0; i < tensor->rank; ++i) {
    if (tensor->shape[i] < 0) [[unlikely]] {
      fail(kInvalid, "%s: %s.shape[%d] is %lld, expected 0 or more", op, name, i,
           static_cast<long long>(tensor->shape[i]));
    }
  }
}

void check_memory(const Place& place, const char* name, std::int32_t memory) {
  const bool reachable = place.device == NVFP4J_DEVICE_CPU ? memory != NVFP4J_MEMORY_DEVICE
                                                           : memory == NVFP4J_MEMORY_DEVICE;
  if (!reachable) [[unlikely]] {
    fail(kInvalid, "%s: %s is in %s memory, expected %s (the context's device is %s)", place.op,
         name, memory_name(memory), place.device == NVFP4J_DEVICE_CPU ? "HOST or PINNED" : "DEVICE",
         device_text(place.device).chars);
  }
}

Matrix check_matrix(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                    DtypeSet dtypes) {
  const char* op = place.op;
  check_fields<2>(place, name, tensor, dtypes);
  const std::int64_t rows = tensor->shape[0];
  const std::int64_t columns = tensor->shape[1];
  if (columns > 1 && tensor->stride[1] != 1) [[unlikely]] {
    fail(kInvalid, "%s: %s has column stride %lld (shape %s), expected 1", op, name,
         static_cast<long long>(tensor->stride[1]), shape_text(*tensor).chars);
  }
  // With at most one row there is no next row, and its distance means nothing.
  std::int64_t stride = columns;
  if (rows > 1) {
    stride = tensor->stride[0];
    if (stride < columns) [[unlikely]] {
      fail(kInvalid, "%s: %s has row stride %lld (shape %s), expected %lld or more", op, name,
           static_cast<long long>(stride), shape_text(*tensor).chars,
           static_cast<long long>(columns));
    }
  }
  const std::int64_t element = dtype_bytes(tensor->dtype);
  std::int64_t last_row;
  std::int64_t elements;
  std::int64_t bytes = 0;
  if (rows > 0 && columns > 0) {
    if (__builtin_mul_overflow(rows - 1, stride, &last_row) ||
        __builtin_add_overflow(last_row, columns, &elements) ||
        __builtin_mul_overflow(elements, element, &bytes)) [[unlikely]] {
      fail_too_large(op, name, *tensor);
    }
  }
  // (Made where it stays: a structure that has just been written field by field is copied in wider pieces, which wait for the fields. That takes as long as all checks.)
  return Matrix{
      tensor->data,
      tensor->dtype,
      rows,
      columns,
      stride,
      make_buffer(op, name, tensor->data, static_cast<std::uint64_t>(bytes),
                  static_cast<std::uint64_t>(stride) * static_cast<std::uint64_t>(element),
                  static_cast<std::uint64_t>(columns) * static_cast<std::uint64_t>(element),
                  static_cast<std::uint64_t>(element))};
}

Tokens check_tokens(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                    DtypeSet dtypes) {
  const char* op = place.op;
  check_fields<3>(place, name, tensor, dtypes);
  const std::int64_t tokens = tensor->shape[0];
  const std::int64_t streams = tensor->shape[1];
  const std::int64_t columns = tensor->shape[2];
  if (columns > 1 && tensor->stride[2] != 1) [[unlikely]] {
    fail(kInvalid, "%s: %s has column stride %lld (shape %s), expected 1", op, name,
         static_cast<long long>(tensor->stride[2]), shape_text(*tensor).chars);
  }
  std::int64_t stream_stride = columns;
  if (streams > 1) {
    stream_stride = tensor->stride[1];
    if (stream_stride < columns) [[unlikely]] {
      fail(kInvalid, "%s: %s has stream stride %lld (shape %s), expected %lld or more", op, name,
           static_cast<long long>(stream_stride), shape_text(*tensor).chars,
           static_cast<long long>(columns));
    }
  }
  const std::int64_t element = dtype_bytes(tensor->dtype);
  std::int64_t token = 0;  // elements from a token's first to behind its last
  std::int64_t token_stride = 0;
  std::int64_t bytes = 0;
  if (streams > 0 && columns > 0) {
    std::int64_t token_bytes;
    if (__builtin_mul_overflow(streams - 1, stream_stride, &token) ||
        __builtin_add_overflow(token, columns, &token) ||
        __builtin_mul_overflow(token, element, &token_bytes)) [[unlikely]] {
      fail_too_large(op, name, *tensor);
    }
    token_stride = token;
    if (tokens > 1) {
      token_stride = tensor->stride[0];
      if (token_stride < token) [[unlikely]] {
        fail(kInvalid, "%s: %s has token stride %lld (shape %s), expected %lld or more", op, name,
             static_cast<long long>(token_stride), shape_text(*tensor).chars,
             static_cast<long long>(token));
      }
    }
    if (tokens > 0) {
      std::int64_t elements;
      if (__builtin_mul_overflow(tokens - 1, token_stride, &elements) ||
          __builtin_add_overflow(elements, token, &elements) ||
          __builtin_mul_overflow(elements, element, &bytes)) [[unlikely]] {
        fail_too_large(op, name, *tensor);
      }
    }
  }
  return Tokens{
      tensor->data,
      tensor->dtype,
      tokens,
      streams,
      columns,
      token_stride,
      stream_stride,
      make_buffer(op, name, tensor->data, static_cast<std::uint64_t>(bytes),
                  static_cast<std::uint64_t>(token_stride) * static_cast<std::uint64_t>(element),
                  static_cast<std::uint64_t>(token) * static_cast<std::uint64_t>(element),
                  static_cast<std::uint64_t>(element))};
}

Vector check_vector(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                    DtypeSet dtypes) {
  const char* op = place.op;
  check_fields<1>(place, name, tensor, dtypes);
  const std::int64_t count = tensor->shape[0];
  if (count > 1 && tensor->stride[0] != 1) [[unlikely]] {
    fail(kInvalid, "%s: %s has stride %lld (shape %s), expected 1: it must be contiguous", op, name,
         static_cast<long long>(tensor->stride[0]), shape_text(*tensor).chars);
  }
  const std::int64_t element = dtype_bytes(tensor->dtype);
  std::int64_t bytes;
  if (__builtin_mul_overflow(count, element, &bytes)) [[unlikely]]
    fail_too_large(op, name, *tensor);
  const std::uint64_t size = static_cast<std::uint64_t>(bytes);
  return Vector{
      tensor->data, count,
      make_buffer(op, name, tensor->data, size, size, size, static_cast<std::uint64_t>(element))};
}

void check_count(const char* op, const char* name, const Vector& vector, std::int64_t count,
                 const char* why) {
  if (vector.count != count) [[unlikely]] {
    fail(kInvalid, "%s: %s has %lld elements, expected %lld (%s)", op, name,
         static_cast<long long>(vector.count), static_cast<long long>(count), why);
  }
}

void check_shape(const char* op, const char* name, const Matrix& matrix, std::int64_t rows,
                 std::int64_t columns, const char* why) {
  if (matrix.rows != rows || matrix.columns != columns) [[unlikely]] {
    fail(kInvalid, "%s: %s has shape [%lld, %lld], expected [%lld, %lld] (%s)", op, name,
         static_cast<long long>(matrix.rows), static_cast<long long>(matrix.columns),
         static_cast<long long>(rows), static_cast<long long>(columns), why);
  }
}

void check_shape(const char* op, const char* name, const Tokens& tensor, std::int64_t tokens,
                 std::int64_t streams, std::int64_t columns, const char* why) {
  if (tensor.tokens != tokens || tensor.streams != streams || tensor.columns != columns)
      [[unlikely]] {
    fail(kInvalid, "%s: %s has shape [%lld, %lld, %lld], expected [%lld, %lld, %lld] (%s)", op,
         name, static_cast<long long>(tensor.tokens), static_cast<long long>(tensor.streams),
         static_cast<long long>(tensor.columns), static_cast<long long>(tokens),
         static_cast<long long>(streams), static_cast<long long>(columns), why);
  }
}

void check_contiguous_tokens(const char* op, const char* name, const Tokens& tensor) {
  if (tensor.stream_stride != tensor.columns) [[unlikely]] {
    fail(kInvalid,
         "%s: %s has row stride %lld, expected %lld: the elements of a token are contiguous", op,
         name, static_cast<long long>(tensor.stream_stride),
         static_cast<long long>(tensor.columns));
  }
}

void check_disjoint(const char* op, const Buffer& written, const Buffer& other) {
  if (written.bytes == 0 || other.bytes == 0) return;
  const bool before = written.begin + written.bytes <= other.begin;
  const bool behind = other.begin + other.bytes <= written.begin;
  if (before || behind) [[likely]]
    return;
  // Two column ranges of one matrix share its pitch; they are apart when they are apart within
  // a row.
  if (written.pitch == other.pitch && written.pitch != 0) {
    const std::uint64_t pitch = written.pitch;
    const std::uint64_t shift = written.begin >= other.begin
                                    ? (pitch - (written.begin - other.begin) % pitch) % pitch
                                    : (other.begin - written.begin) % pitch;
    // `other` begins `shift` bytes behind the begin of some row of `written`.
    if (shift >= written.width && shift + other.width <= pitch) return;
  }
  fail(kInvalid,
       "%s: %s (%llu bytes at 0x%llx) overlaps %s (%llu bytes at 0x%llx), expected separate memory",
       op, written.name, static_cast<unsigned long long>(written.bytes),
       static_cast<unsigned long long>(written.begin), other.name,
       static_cast<unsigned long long>(other.bytes), static_cast<unsigned long long>(other.begin));
}

}  // namespace nvfp4j
