// SPDX-License-Identifier: Apache-2.0
// The wall between C++ and the C ABI: every entry point runs its body inside guard().
#pragma once
#include "common/error.hpp"

namespace nvfp4j {

/// Runs `body`; whatever it throws becomes a status and a sentence in `error`.
template <class Body>
std::int32_t guard(nvfp4j_error* error, const char* name, Body&& body) noexcept {
  try {
    body();
    return NVFP4J_OK;
  } catch (...) {
    return report_current_exception(error, name);
  }
}

}  // namespace nvfp4j
