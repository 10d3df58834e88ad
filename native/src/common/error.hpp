// SPDX-License-Identifier: Apache-2.0
// How a call fails inside the library: it throws an Error, and the guard of the entry point
// (guard.hpp) turns that into a status and a sentence. Nothing here allocates, so that running
// out of memory can be reported too.
#pragma once
#include <cstdint>
#include <exception>

#include "nvfp4j/base.h"

namespace nvfp4j {

class Error final : public std::exception {
 public:
  Error(std::int32_t status, std::int32_t cuda_error) noexcept
      : status_(status), cuda_error_(cuda_error) {}

  const char* what() const noexcept override { return message_; }
  std::int32_t status() const noexcept { return status_; }
  std::int32_t cuda_error() const noexcept { return cuda_error_; }
  char* buffer() noexcept { return message_; }

 private:
  std::int32_t status_;
  std::int32_t cuda_error_;
  char message_[NVFP4J_ERROR_MESSAGE_BYTES] = {};
};

/// Throws an Error with one sentence `op: argument is X, expected Y`.
[[noreturn, gnu::cold, gnu::format(printf, 2, 3)]] void fail(std::int32_t status,
                                                             const char* format, ...);

/// The same with the cudaError_t that caused it.
[[noreturn, gnu::cold, gnu::format(printf, 3, 4)]] void fail_cuda(std::int32_t status,
                                                                  std::int32_t cuda_error,
                                                                  const char* format, ...);

/// Writes a failure into the caller's record as far as its struct_size says that there is room;
/// NULL is allowed.
void write_error(nvfp4j_error* error, std::int32_t status, std::int32_t cuda_error,
                 const char* message) noexcept;

/// Copies a NUL-terminated UTF-8 text into a buffer of `bytes` >= 1, cutting it between
/// characters where it is too long.
void copy_text(char* buffer, std::uint64_t bytes, const char* text) noexcept;

/// Turns the exception being handled into a status, and writes it. `name` is the op or
/// function, for what has no sentence of its own.
[[gnu::cold]] std::int32_t report_current_exception(nvfp4j_error* error, const char* name) noexcept;

}  // namespace nvfp4j
