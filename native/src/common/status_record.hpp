// SPDX-License-Identifier: Apache-2.0
// From the status record of a device to the record and the sentence that the caller gets.
#pragma once
#include "common/device_status.hpp"

namespace nvfp4j {

/// Writes the ABI's record; its struct_size has been checked.
void fill_status_record(const DeviceStatus& status, nvfp4j_status_record& record) noexcept;

/// Throws NVFP4J_ERROR_REPORTED, naming op, cause and place, when anything was reported.
void throw_if_reported(const DeviceStatus& status);

/// Adds what was reported later to what was reported earlier: the first fault stays the first.
void merge_status(const DeviceStatus& later, DeviceStatus& status) noexcept;

}  // namespace nvfp4j
