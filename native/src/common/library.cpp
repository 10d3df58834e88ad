// SPDX-License-Identifier: Apache-2.0
// What the library says about itself: version, build, and which implementation of an op a device
// gets.
#include <cstdio>

#include "common/context.hpp"
#include "common/guard.hpp"
#include "common/names.hpp"
#include "common/op_table.hpp"
#include "common/tensor_checks.hpp"
#include "nvfp4j/nvfp4j.h"
#include "nvfp4j_build_config.hpp"

#if NVFP4J_WITH_CUDA
#define NVFP4J_BUILD_INFO_CUDA "\"" NVFP4J_CUDA_VERSION "\""
#else
#define NVFP4J_BUILD_INFO_CUDA "null"
#endif

using namespace nvfp4j;

namespace {

const OpInfo& check_op(const char* name, std::int32_t op) {
  if (op < 0 || op >= NVFP4J_OP_COUNT) {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: op is %d, expected 0 to %d", name, op,
         NVFP4J_OP_COUNT - 1);
  }
  return op_table[op];
}

void check_device(const char* name, std::int32_t device) {
  if (device < NVFP4J_DEVICE_CPU) {
    fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: device is %d, expected -1 (the CPU) or a CUDA ordinal",
         name, device);
  }
}

#if !NVFP4J_WITH_CUDA
[[noreturn]] void fail_without_cuda(const OpInfo& info, std::int32_t device) {
  fail(NVFP4J_ERROR_NOT_SUPPORTED, "%s: device is cuda:%d, but nvfp4j was built without CUDA",
       info.name, device);
}
#endif

// What nvfp4j_codes_bytes and nvfp4j_scale_bytes have in common.
int32_t buffer_bytes(const char* name, const char* what,
                     bool (*size_of)(std::int64_t, std::int64_t, std::int32_t, std::int64_t*),
                     std::int64_t rows, std::int64_t columns, std::int32_t scale_layout,
                     std::int64_t* bytes, nvfp4j_error* error) {
  return guard(error, name, [&] {
    if (rows < 0)
      fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: rows is %lld, expected 0 or more", name,
           static_cast<long long>(rows));
    if (columns < 0 || columns % 16 != 0) {
      fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: columns is %lld, expected a multiple of 16", name,
           static_cast<long long>(columns));
    }
    check_choice(name, "scale_layout", scale_layout, kScaleLayoutCount,
                 "LINEAR, SWIZZLED_128X4, PREPARED, PACKED");
    check_not_null(name, "bytes", bytes);
    std::int64_t size;
    if (!size_of(rows, columns, scale_layout, &size)) {
      fail(NVFP4J_ERROR_INVALID_ARGUMENT,
           "%s: rows, columns are %lld, %lld: their %s do not fit the 64-bit address space", name,
           static_cast<long long>(rows), static_cast<long long>(columns), what);
    }
    *bytes = size;
  });
}

}  // namespace

extern "C" {

int32_t nvfp4j_abi_version(void) { return NVFP4J_ABI_VERSION; }

const char* nvfp4j_build_info(void) {
  return "{\"version\":\"" NVFP4J_VERSION_STRING "\",\"revision\":\"" NVFP4J_REVISION
         "\",\"compiler\":\"" NVFP4J_COMPILER "\",\"cuda\":" NVFP4J_BUILD_INFO_CUDA
         ",\"architectures\":" NVFP4J_ARCHITECTURES ",\"build_type\":\"" NVFP4J_BUILD_TYPE "\"}";
}

const char* nvfp4j_op_name(int32_t op) {
  return op >= 0 && op < NVFP4J_OP_COUNT ? op_table[op].name : nullptr;
}

int32_t nvfp4j_path(int32_t op, int32_t device, char* text, int64_t text_bytes,
                    nvfp4j_error* error) {
  constexpr const char* name = "path";
  return guard(error, name, [&] {
    const OpInfo& info = check_op(name, op);
    check_device(name, device);
    check_not_null(name, "text", text);
    if (text_bytes < 1) {
      fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: text_bytes is %lld, expected 1 or more", name,
           static_cast<long long>(text_bytes));
    }
    if (device == NVFP4J_DEVICE_CPU) {
      copy_text(text, static_cast<std::uint64_t>(text_bytes), info.cpu_path());
      return;
    }
#if NVFP4J_WITH_CUDA
    const CudaDeviceProperties& properties = cuda_device(info.name, device).properties;
    const char* path = info.cuda_path(properties);
    if (path == nullptr) {
      fail(NVFP4J_ERROR_NOT_SUPPORTED,
           "%s: cuda:%d (compute capability %d.%d) has no implementation: %s", info.name, device,
           properties.major, properties.minor, info.cuda_refusal(properties));
    }
    copy_text(text, static_cast<std::uint64_t>(text_bytes), path);
#else
    fail_without_cuda(info, device);
#endif
  });
}

int32_t nvfp4j_workspace_bytes(int32_t op, int32_t device, int64_t rows, int64_t columns,
                               int64_t* bytes, nvfp4j_error* error) {
  constexpr const char* name = "workspace_bytes";
  return guard(error, name, [&] {
    const OpInfo& info = check_op(name, op);
    check_device(name, device);
    if (rows < 0 || columns < 0) {
      fail(NVFP4J_ERROR_INVALID_ARGUMENT, "%s: rows, columns are %lld, %lld, expected 0 or more",
           name, static_cast<long long>(rows), static_cast<long long>(columns));
    }
    check_not_null(name, "bytes", bytes);
    if (device == NVFP4J_DEVICE_CPU) {
      *bytes = 0;  // CPU ops work in registers and on the stack
      return;
    }
#if NVFP4J_WITH_CUDA
    *bytes = info.cuda_workspace_bytes(cuda_device(info.name, device).properties, rows, columns);
#else
    fail_without_cuda(info, device);
#endif
  });
}

int32_t nvfp4j_codes_bytes(int64_t rows, int64_t columns, int32_t scale_layout, int64_t* bytes,
                           nvfp4j_error* error) {
  return buffer_bytes("codes_bytes", "codes", codes_bytes, rows, columns, scale_layout, bytes,
                      error);
}

int32_t nvfp4j_scale_bytes(int64_t rows, int64_t columns, int32_t scale_layout, int64_t* bytes,
                           nvfp4j_error* error) {
  return buffer_bytes("scale_bytes", "scales", scale_bytes, rows, columns, scale_layout, bytes,
                      error);
}

}  // extern "C"
