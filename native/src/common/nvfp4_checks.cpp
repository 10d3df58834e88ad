// SPDX-License-Identifier: Apache-2.0
// The part of tensor_checks.hpp that is about NVFP4 tensors.
#include <cstdio>

#include "common/names.hpp"
#include "common/tensor_checks.hpp"

namespace nvfp4j {
namespace {

constexpr std::int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;

// Texts for sentences: made on failure only.
struct Text {
  char chars[128];
};

// "LINEAR", "LINEAR or PREPARED", "TENSOR, GROUP or HALVES"
[[gnu::cold]] Text set_text(std::uint32_t set, const char* (*name)(std::int32_t)) {
  Text text;
  text.chars[0] = '\0';
  int at = 0;
  for (std::int32_t i = 0; set >> i != 0; ++i) {
    if ((set >> i & 1) == 0) continue;
    const bool first = (set & ((1u << i) - 1)) == 0;
    const bool last = set >> i == 1;
    at += std::snprintf(text.chars + at, sizeof text.chars - static_cast<std::size_t>(at), "%s%s",
                        first ? "" : (last ? " or " : ", "), name(i));
  }
  return text;
}

void check_member(const char* op, const char* name, const char* field, std::int32_t value,
                  std::uint32_t accepted, const char* (*value_name)(std::int32_t)) {
  if (value >= 0 && value < 32 && (accepted >> value & 1) != 0) [[likely]]
    return;
  fail(kInvalid, "%s: %s.%s is %d (%s), expected %s", op, name, field, value, value_name(value),
       set_text(accepted, value_name).chars);
}

// "m=128, k=1024", and "g=8, " before where there are groups.
[[gnu::cold]] Text shape_text(const nvfp4j_nvfp4_tensor& tensor, const char* format_one,
                              const char* format_groups) {
  Text text;
  const long long m = tensor.rows;
  const long long k = tensor.columns;
  if (tensor.groups == 1) {
    std::snprintf(text.chars, sizeof text.chars, format_one, m, k);
  } else {
    std::snprintf(text.chars, sizeof text.chars, format_groups,
                  static_cast<long long>(tensor.groups), m, k);
  }
  return text;
}
[[gnu::cold]] Text shape_text(const nvfp4j_nvfp4_tensor& tensor) {
  return shape_text(tensor, "[%lld, %lld]", "[%lld, %lld, %lld]");
}
[[gnu::cold]] Text named_shape_text(const nvfp4j_nvfp4_tensor& tensor) {
  return shape_text(tensor, "m=%lld, k=%lld", "g=%lld, m=%lld, k=%lld");
}

void check_nvfp4_fields(const Place& place, const char* name, const nvfp4j_nvfp4_tensor* tensor,
                        const Nvfp4Accepted& accepted) {
  const char* op = place.op;
  check_struct(op, name, tensor);
  if (static_cast<std::uint32_t>(tensor->memory) > NVFP4J_MEMORY_DEVICE) [[unlikely]] {
    fail(kInvalid, "%s: %s.memory is %d, expected 0 to 2 (HOST, PINNED, DEVICE)", op, name,
         tensor->memory);
  }
  check_member(op, name, "scale_layout", tensor->scale_layout, accepted.scale_layouts,
               scale_layout_name);
  check_member(op, name, "global_scale_kind", tensor->global_scale_kind,
               accepted.global_scale_kinds, global_scale_kind_name);
  check_memory(place, name, tensor->memory);
  if (tensor->groups < 1 || (tensor->groups > 1 && !accepted.groups)) [[unlikely]] {
    fail(kInvalid, "%s: %s.groups is %lld, expected %s", op, name,
         static_cast<long long>(tensor->groups), accepted.groups ? "1 or more" : "1");
  }
  if (tensor->rows < 0) [[unlikely]] {
    fail(kInvalid, "%s: %s.rows is %lld, expected 0 or more", op, name,
         static_cast<long long>(tensor->rows));
  }
  if (tensor->columns <= 0 || tensor->columns % 16 != 0) [[unlikely]] {
    fail(kInvalid, "%s: %s.columns is %lld, expected a positive multiple of 16", op, name,
         static_cast<long long>(tensor->columns));
  }
  if (tensor->global_scale_kind == NVFP4J_GLOBAL_SCALE_HALVES && tensor->rows % 2 != 0)
      [[unlikely]] {
    fail(kInvalid, "%s: %s.rows is %lld, expected an even number (global_scale_kind is HALVES)", op,
         name, static_cast<long long>(tensor->rows));
  }
}

// What the fields say about the sizes of the buffers.
struct Sizes {
  std::int64_t codes;
  std::int64_t scales;
  std::int64_t global_scales;  // their number
};

Sizes nvfp4_sizes(const char* op, const char* name, const nvfp4j_nvfp4_tensor& tensor) {
  Sizes sizes;
  std::int64_t all_rows;
  std::int64_t bytes;
  bool fits = !__builtin_mul_overflow(tensor.groups, tensor.rows, &all_rows) &&
              codes_bytes(all_rows, tensor.columns, tensor.scale_layout, &sizes.codes) &&
              scale_bytes(tensor.rows, tensor.columns, tensor.scale_layout, &sizes.scales) &&
              !__builtin_mul_overflow(sizes.scales, tensor.groups, &sizes.scales);
  switch (tensor.global_scale_kind) {
    case NVFP4J_GLOBAL_SCALE_ROW:
      sizes.global_scales = tensor.rows;
      break;
    case NVFP4J_GLOBAL_SCALE_GROUP:
      sizes.global_scales = tensor.groups;
      break;
    case NVFP4J_GLOBAL_SCALE_HALVES:
      fits = !__builtin_mul_overflow(tensor.groups, std::int64_t{2}, &sizes.global_scales) && fits;
      break;
    default:
      sizes.global_scales = 1;
  }
  if (!fits || __builtin_mul_overflow(sizes.global_scales, std::int64_t{4}, &bytes)) [[unlikely]] {
    fail(kInvalid, "%s: %s with shape %s does not fit the 64-bit address space", op, name,
         shape_text(tensor).chars);
  }
  return sizes;
}

void check_sizes(const char* op, const Nvfp4Names& names, const nvfp4j_nvfp4_tensor& tensor,
                 const Sizes& sizes) {
  constexpr const char* counts[kGlobalScaleKindCount] = {"one for the tensor", "one per row",
                                                         "one per group", "two per group"};
  if (tensor.codes_bytes != sizes.codes) [[unlikely]] {
    const long long row = code_row_bytes(tensor.columns, tensor.scale_layout);
    fail(kInvalid, "%s: %s has %lld bytes, expected %lld (%s: %lld bytes per row)", op, names.codes,
         static_cast<long long>(tensor.codes_bytes), static_cast<long long>(sizes.codes),
         named_shape_text(tensor).chars, row);
  }
  const bool has_scales = tensor.scale_layout == NVFP4J_SCALE_LAYOUT_LINEAR ||
                          tensor.scale_layout == NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;
  if (!has_scales && tensor.scales != nullptr) [[unlikely]] {
    fail(kInvalid, "%s: %s is at address %p, expected NULL (layout %s has none)", op, names.scales,
         tensor.scales, scale_layout_name(tensor.scale_layout));
  }
  if (!has_scales && tensor.scales_bytes != 0) [[unlikely]] {
    fail(kInvalid, "%s: %s has %lld bytes, expected 0 (layout %s has none)", op, names.scales,
         static_cast<long long>(tensor.scales_bytes), scale_layout_name(tensor.scale_layout));
  }
  if (tensor.scales_bytes != sizes.scales) [[unlikely]] {
    fail(kInvalid, "%s: %s has %lld bytes, expected %lld (%s: %lld scales per row, layout %s)", op,
         names.scales, static_cast<long long>(tensor.scales_bytes),
         static_cast<long long>(sizes.scales), named_shape_text(tensor).chars,
         static_cast<long long>(tensor.columns / 16), scale_layout_name(tensor.scale_layout));
  }
  if (tensor.global_scales_count != sizes.global_scales) [[unlikely]] {
    fail(kInvalid, "%s: %s has %lld elements, expected %lld (%s)", op, names.global_scales,
         static_cast<long long>(tensor.global_scales_count),
         static_cast<long long>(sizes.global_scales), counts[tensor.global_scale_kind]);
  }
}

}  // namespace

Nvfp4Buffers check_nvfp4(const Place& place, Nvfp4Argument argument,
                         const nvfp4j_nvfp4_tensor* tensor, const Nvfp4Accepted& accepted) {
  const char* op = place.op;
  const Nvfp4Names& names = argument.names;
  check_nvfp4_fields(place, names.name, tensor, accepted);
  const Sizes sizes = nvfp4_sizes(op, names.name, *tensor);
  check_sizes(op, names, *tensor, sizes);
  const auto whole = [op](const char* what, const void* data, std::int64_t bytes,
                          std::uint64_t alignment) {
    const std::uint64_t size = static_cast<std::uint64_t>(bytes);
    return make_buffer(op, what, data, size, size, size, alignment);
  };
  const Nvfp4Buffers buffers{
      whole(names.codes, tensor->codes, sizes.codes, 16),
      whole(names.scales, tensor->scales, sizes.scales, 16),
      whole(names.global_scales, tensor->global_scales, 4 * sizes.global_scales, 4)};
  check_disjoint(op, buffers.scales, buffers.codes);
  check_disjoint(op, buffers.global_scales, buffers.codes);
  check_disjoint(op, buffers.global_scales, buffers.scales);
  return buffers;
}

void check_nvfp4_shape(const char* op, const char* name, const nvfp4j_nvfp4_tensor* tensor,
                       std::int64_t rows, std::int64_t columns, const char* why) {
  if (tensor->rows != rows || tensor->columns != columns) [[unlikely]] {
    fail(kInvalid, "%s: %s has shape [%lld, %lld], expected [%lld, %lld] (%s)", op, name,
         static_cast<long long>(tensor->rows), static_cast<long long>(tensor->columns),
         static_cast<long long>(rows), static_cast<long long>(columns), why);
  }
}

void check_nvfp4_alike(const char* op, const char* name, const nvfp4j_nvfp4_tensor* tensor,
                       const char* other_name, const nvfp4j_nvfp4_tensor* other) {
  if (tensor->groups != other->groups || tensor->rows != other->rows ||
      tensor->columns != other->columns) [[unlikely]] {
    fail(kInvalid, "%s: %s has shape %s, expected %s (the shape of %s)", op, name,
         shape_text(*tensor).chars, shape_text(*other).chars, other_name);
  }
  if (tensor->global_scale_kind != other->global_scale_kind) [[unlikely]] {
    fail(kInvalid, "%s: %s.global_scale_kind is %d (%s), expected %s (the kind of %s)", op, name,
         tensor->global_scale_kind, global_scale_kind_name(tensor->global_scale_kind),
         global_scale_kind_name(other->global_scale_kind), other_name);
  }
}

void check_disjoint(const char* op, const Nvfp4Buffers& written, const Nvfp4Buffers& read) {
  for (const Buffer* to : {&written.codes, &written.scales, &written.global_scales}) {
    for (const Buffer* from : {&read.codes, &read.scales, &read.global_scales})
      check_disjoint(op, *to, *from);
  }
}

bool codes_bytes(std::int64_t rows, std::int64_t columns, std::int32_t layout,
                 std::int64_t* bytes) {
  // A row of PACKED takes two bytes per column.
  return columns <= INT64_MAX / 2 &&
         !__builtin_mul_overflow(rows, code_row_bytes(columns, layout), bytes);
}

bool scale_bytes(std::int64_t rows, std::int64_t columns, std::int32_t layout,
                 std::int64_t* bytes) {
  const std::int64_t blocks = columns / 16;
  if (layout == NVFP4J_SCALE_LAYOUT_LINEAR) return !__builtin_mul_overflow(rows, blocks, bytes);
  if (layout != NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4) {
    *bytes = 0;
    return true;
  }
  const std::int64_t row_tiles = rows / 128 + (rows % 128 != 0);
  const std::int64_t column_tiles = blocks / 4 + (blocks % 4 != 0);
  return !__builtin_mul_overflow(row_tiles, column_tiles, bytes) &&
         !__builtin_mul_overflow(*bytes, std::int64_t{512}, bytes);
}

}  // namespace nvfp4j
