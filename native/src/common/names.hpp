// SPDX-License-Identifier: Apache-2.0
// Names and sizes of the ABI's constants, for sentences and arithmetic.
#pragma once
#include <cstdint>

#include "nvfp4j/context.h"
#include "nvfp4j/tensor.h"

namespace nvfp4j {

inline constexpr std::int32_t kDtypeCount = 6;

/// Bytes of an element; `dtype` is a known one.
inline std::int64_t dtype_bytes(std::int32_t dtype) {
  constexpr std::int8_t bytes[kDtypeCount] = {4, 2, 2, 1, 4, 8};
  return bytes[dtype];
}

inline const char* dtype_name(std::int32_t dtype) {
  constexpr const char* names[kDtypeCount] = {"F32", "BF16", "F16", "U8", "I32", "I64"};
  return dtype >= 0 && dtype < kDtypeCount ? names[dtype] : "unknown";
}

inline const char* memory_name(std::int32_t memory) {
  constexpr const char* names[] = {"HOST", "PINNED", "DEVICE"};
  return memory >= 0 && memory < 3 ? names[memory] : "unknown";
}

inline constexpr std::int32_t kScaleLayoutCount = 4;

inline const char* scale_layout_name(std::int32_t layout) {
  constexpr const char* names[kScaleLayoutCount] = {"LINEAR", "SWIZZLED_128X4", "PREPARED",
                                                    "PACKED"};
  return layout >= 0 && layout < kScaleLayoutCount ? names[layout] : "unknown";
}

inline constexpr std::int32_t kGlobalScaleKindCount = 4;

inline const char* global_scale_kind_name(std::int32_t kind) {
  constexpr const char* names[kGlobalScaleKindCount] = {"TENSOR", "ROW", "GROUP", "HALVES"};
  return kind >= 0 && kind < kGlobalScaleKindCount ? names[kind] : "unknown";
}

inline constexpr std::int32_t kCauseCount = 8;

inline const char* cause_name(std::int32_t cause) {
  constexpr const char* names[kCauseCount] = {
      "NON_FINITE_INPUT",  "BAD_GLOBAL_SCALE", "INDEX_OUT_OF_RANGE", "BAD_BLOCK_SCALE",
      "NON_FINITE_RESULT", "BAD_OFFSETS",      "CACHE_OVERFLOW",     "BAD_NOISE"};
  return cause >= 0 && cause < kCauseCount ? names[cause] : "unknown";
}

inline const char* cause_sentence(std::int32_t cause) {
  constexpr const char* sentences[kCauseCount] = {
      "an input element is NaN or infinite",
      "a supplied global scale is not finite or not positive",
      "an index is out of range",
      "a block scale byte is NaN or has its sign bit set",
      "a result is NaN or infinite in F32",
      "the offsets of the groups do not ascend from 0 or more to the number of rows or less",
      "a cache has no room for the rows",
      "a value of the noise is not positive and finite"};
  return cause >= 0 && cause < kCauseCount ? sentences[cause] : "a cause of a later version";
}

}  // namespace nvfp4j
