// SPDX-License-Identifier: Apache-2.0
// What every op checks about its tensors, in one place, so that every sentence has the same
// form. No op knowledge but names of arguments. All checks throw an Error (error.hpp); those that
// succeed cost a few comparisons and build no text.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "common/error.hpp"
#include "nvfp4j/tensor.h"

namespace nvfp4j {

/// A range of memory that an op reads or writes: `rows` pieces of `width` bytes, `pitch` bytes
/// apart.
struct Buffer {
  const char* name;
  std::uintptr_t begin;
  std::uint64_t bytes;  // from the first byte to behind the last
  std::uint64_t pitch;
  std::uint64_t width;
};

/// A checked rank-2 tensor. `stride` is in elements and is `columns` where the tensor has at
/// most one row.
struct Matrix {
  void* data;
  std::int32_t dtype;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;
  Buffer buffer;
};

/// A checked rank-3 tensor [tokens, streams, columns]. Strides are in elements; a stride that leads
/// nowhere is what a contiguous tensor has.
struct Tokens {
  void* data;
  std::int32_t dtype;
  std::int64_t tokens;
  std::int64_t streams;
  std::int64_t columns;
  std::int64_t token_stride;
  std::int64_t stream_stride;
  Buffer buffer;
};

/// A checked rank-1 tensor, contiguous.
struct Vector {
  void* data;
  std::int64_t count;
  Buffer buffer;
};

/// The buffers of a checked NVFP4 tensor.
struct Nvfp4Buffers {
  Buffer codes;
  Buffer scales;
  Buffer global_scales;
};

/// The names of an NVFP4 argument and of its buffers. They live as long as the program does: sentences point at them.
struct Nvfp4Names {
  const char* name;
  const char* codes;
  const char* scales;
  const char* global_scales;
};

#define NVFP4J_NAMES(name) {name, name ".codes", name ".scales", name ".global_scales"}
inline constexpr Nvfp4Names kNvfp4Names[] = {
    NVFP4J_NAMES("input"),  NVFP4J_NAMES("output"),    NVFP4J_NAMES("a"),
    NVFP4J_NAMES("w"),      NVFP4J_NAMES("prepared"),  NVFP4J_NAMES("packed"),
    NVFP4J_NAMES("weight"), NVFP4J_NAMES("quantized"),
};
#undef NVFP4J_NAMES

/// An NVFP4 argument by its name, which is looked up when this is compiled: a call is to be cheap.
struct Nvfp4Argument {
  consteval Nvfp4Argument(const char* name) : names(find(name)) {}

  const Nvfp4Names& names;

 private:
  static consteval const Nvfp4Names& find(std::string_view name) {
    for (const Nvfp4Names& names : kNvfp4Names) {
      if (names.name == name) return names;
    }
    throw "no name of an NVFP4 argument";
  }
};

/// A set of dtypes: the bits 1 << NVFP4J_DTYPE_*.
using DtypeSet = std::uint32_t;
constexpr DtypeSet dtype_set(std::initializer_list<std::int32_t> dtypes) {
  DtypeSet set = 0;
  for (std::int32_t dtype : dtypes) set |= DtypeSet{1} << dtype;
  return set;
}

/// What an op takes of NVFP4 tensors.
struct Nvfp4Accepted {
  std::uint32_t scale_layouts;       // the bits 1 << NVFP4J_SCALE_LAYOUT_*
  std::uint32_t global_scale_kinds;  // the bits 1 << NVFP4J_GLOBAL_SCALE_*
  bool groups;                       // more than one
};

/// A matrix in one of the layouts of the format itself.
inline constexpr Nvfp4Accepted kNvfp4Matrix{
    1u << NVFP4J_SCALE_LAYOUT_LINEAR | 1u << NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4,
    1u << NVFP4J_GLOBAL_SCALE_TENSOR | 1u << NVFP4J_GLOBAL_SCALE_ROW, false};

/// Where tensors must be: what the context's device can reach.
struct Place {
  const char* op;
  std::int32_t device;  // NVFP4J_DEVICE_CPU or a CUDA ordinal
};

/// NULL and struct_size of a structure that the caller hands in. `what` is its name in sentences.
template <class Struct>
inline void check_struct(const char* op, const char* what, const Struct* value) {
  if (value == nullptr) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s is NULL, expected a structure", op, what);
  }
  if (value->struct_size != static_cast<std::int32_t>(sizeof(Struct))) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s.struct_size is %d, expected %d (ABI version %d)",
         op, what, value->struct_size, static_cast<int>(sizeof(Struct)), NVFP4J_ABI_VERSION);
  }
}

template <class T>
inline void check_not_null(const char* op, const char* what, const T* value) {
  if (value == nullptr) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s is NULL, expected a pointer", op, what);
  }
}

/// A choice of an option; `names` lists what is accepted.
inline void check_choice(const char* op, const char* what, std::int32_t value, std::int32_t count,
                         const char* names) {
  if (static_cast<std::uint32_t>(value) >= static_cast<std::uint32_t>(count)) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s is %d, expected 0 to %d (%s)", op, what, value,
         count - 1, names);
  }
}

/// The same for a field of a structure called `name`.
inline void check_choice(const char* op, const char* name, const char* field, std::int32_t value,
                         std::int32_t count, const char* names) {
  if (static_cast<std::uint32_t>(value) >= static_cast<std::uint32_t>(count)) [[unlikely]] {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: %s.%s is %d, expected 0 to %d (%s)", op, name, field,
         value, count - 1, names);
  }
}

/// dtype known, memory kind known, rank and shape valid, sizes within 64 bits: what holds for
/// every tensor of every op.
void check_tensor(const char* op, const char* name, const nvfp4j_tensor* tensor);

/// A memory kind that the device can reach.
void check_memory(const Place& place, const char* name, std::int32_t memory);

/// A rank-2 tensor with any row stride >= its columns.
Matrix check_matrix(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                    DtypeSet dtypes);

/// A rank-3 tensor: any stream stride >= its columns, any token stride that keeps tokens apart.
Tokens check_tokens(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                    DtypeSet dtypes);

/// A contiguous rank-1 tensor.
Vector check_vector(const Place& place, const char* name, const nvfp4j_tensor* tensor,
                    DtypeSet dtypes);

/// `count` elements, as `why` says.
void check_count(const char* op, const char* name, const Vector& vector, std::int64_t count,
                 const char* why);

/// [rows, columns], as `why` says.
void check_shape(const char* op, const char* name, const Matrix& matrix, std::int64_t rows,
                 std::int64_t columns, const char* why);

/// [tokens, streams, columns], as `why` says.
void check_shape(const char* op, const char* name, const Tokens& tensor, std::int64_t tokens,
                 std::int64_t streams, std::int64_t columns, const char* why);

/// The streams of a token follow each other without gaps.
void check_contiguous_tokens(const char* op, const char* name, const Tokens& tensor);

/// Where the first element of a buffer must be; `alignment` is a power of two.
void check_alignment(const char* op, const char* name, const void* data, std::uint64_t alignment);

/// A buffer of `bytes` bytes that begins at `data`.
Buffer make_buffer(const char* op, const char* name, const void* data, std::uint64_t bytes,
                   std::uint64_t pitch, std::uint64_t width, std::uint64_t alignment);

/// An NVFP4 tensor of the shape that it says it has.
Nvfp4Buffers check_nvfp4(const Place& place, Nvfp4Argument argument,
                         const nvfp4j_nvfp4_tensor* tensor,
                         const Nvfp4Accepted& accepted = kNvfp4Matrix);

/// A matrix of [rows, columns], as `why` says.
void check_nvfp4_shape(const char* op, const char* name, const nvfp4j_nvfp4_tensor* tensor,
                       std::int64_t rows, std::int64_t columns, const char* why);

/// No byte of `written` is a byte of `other`. Strided buffers with the same pitch may interleave.
void check_disjoint(const char* op, const Buffer& written, const Buffer& other);

/// The same groups, rows, columns and kind of global scales as `other`, the argument `other_name`.
void check_nvfp4_alike(const char* op, const char* name, const nvfp4j_nvfp4_tensor* tensor,
                       const char* other_name, const nvfp4j_nvfp4_tensor* other);

/// No buffer of `written` overlaps one of `read`.
void check_disjoint(const char* op, const Nvfp4Buffers& written, const Nvfp4Buffers& read);

/// Bytes of a row of a buffer of codes; `layout` is a known one, `columns` a multiple of 16.
constexpr std::int64_t code_row_bytes(std::int64_t columns, std::int32_t layout) {
  const std::int64_t blocks = columns / 16;
  return layout == NVFP4J_SCALE_LAYOUT_PREPARED ? 9 * blocks
         : layout == NVFP4J_SCALE_LAYOUT_PACKED ? 32 * blocks
                                                : 8 * blocks;
}

/// Bytes of a buffer of codes; false where they do not fit 63 bits.
[[nodiscard]] bool codes_bytes(std::int64_t rows, std::int64_t columns, std::int32_t layout,
                               std::int64_t* bytes);

/// Bytes of a block-scale buffer; false where they do not fit 63 bits. `layout` is a known one;
/// rows, columns >= 0.
[[nodiscard]] bool scale_bytes(std::int64_t rows, std::int64_t columns, std::int32_t layout,
                               std::int64_t* bytes);

/// Where a row-wise or tiled layout keeps the scale of block `s` of row `m`, with `blocks` =
/// K/16 scales in a row (tensor.h).
constexpr std::int64_t scale_offset(std::int32_t layout, std::int64_t blocks, std::int64_t m,
                                    std::int64_t s) {
  if (layout == NVFP4J_SCALE_LAYOUT_LINEAR) return m * blocks + s;
  const std::int64_t tiles = (blocks + 3) / 4;
  return ((m / 128) * tiles + s / 4) * 512 + (m % 32) * 16 + ((m % 128) / 32) * 4 + s % 4;
}

}  // namespace nvfp4j
