// SPDX-License-Identifier: Apache-2.0
#include "common/error.hpp"

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <new>

namespace nvfp4j {
namespace {

void format_into(Error& error, const char* format, std::va_list arguments) {
  // One byte more than the message holds, so that a cut text is seen and cut between characters.
  char text[2 * NVFP4J_ERROR_MESSAGE_BYTES];
  if (std::vsnprintf(text, sizeof text, format, arguments) < 0) {
    std::strcpy(text, "the sentence of this error could not be formatted");
  }
  copy_text(error.buffer(), NVFP4J_ERROR_MESSAGE_BYTES, text);
}

}  // namespace

void fail(std::int32_t status, const char* format, ...) {
  Error error(status, 0);
  std::va_list arguments;
  va_start(arguments, format);
  format_into(error, format, arguments);
  va_end(arguments);
  throw error;
}

void fail_cuda(std::int32_t status, std::int32_t cuda_error, const char* format, ...) {
  Error error(status, cuda_error);
  std::va_list arguments;
  va_start(arguments, format);
  format_into(error, format, arguments);
  va_end(arguments);
  throw error;
}

void copy_text(char* buffer, std::uint64_t bytes, const char* text) noexcept {
  std::uint64_t length = std::strlen(text);
  if (length >= bytes) {
    length = bytes - 1;
    // A continuation byte (10xxxxxx) at the cut belongs to a character that began before it.
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  }
  std::memcpy(buffer, text, length);
  buffer[length] = '\0';
}

void write_error(nvfp4j_error* error, std::int32_t status, std::int32_t cuda_error,
                 const char* message) noexcept {
  if (error == nullptr) return;
  // A record too small for its fixed fields and one character is left alone: the status is
  // returned in any case.
  constexpr std::int32_t fixed = offsetof(nvfp4j_error, message);
  if (error->struct_size <= fixed) return;
  const std::int32_t room = error->struct_size < static_cast<std::int32_t>(sizeof(nvfp4j_error))
                                ? error->struct_size - fixed
                                : NVFP4J_ERROR_MESSAGE_BYTES;
  error->status = status;
  error->cuda_error = cuda_error;
  error->reserved = 0;
  copy_text(error->message, static_cast<std::uint64_t>(room), message);
}

std::int32_t report_current_exception(nvfp4j_error* error, const char* name) noexcept {
  char text[NVFP4J_ERROR_MESSAGE_BYTES];
  try {
    throw;
  } catch (const Error& e) {
    write_error(error, e.status(), e.cuda_error(), e.what());
    return e.status();
  } catch (const std::bad_alloc&) {
    std::snprintf(text, sizeof text, "%s: host memory is exhausted", name);
    write_error(error, NVFP4J_ERROR_OUT_OF_MEMORY, 0, text);
    return NVFP4J_ERROR_OUT_OF_MEMORY;
  } catch (const std::exception& e) {
    std::snprintf(text, sizeof text, "%s: a defect of nvfp4j: %s", name, e.what());
  } catch (...) {
    std::snprintf(text, sizeof text, "%s: a defect of nvfp4j: an exception of unknown type", name);
  }
  write_error(error, NVFP4J_ERROR_INTERNAL, 0, text);
  return NVFP4J_ERROR_INTERNAL;
}

}  // namespace nvfp4j
