// SPDX-License-Identifier: Apache-2.0
#include "common/status_record.hpp"

#include <cstdio>

#include "common/error.hpp"
#include "common/names.hpp"

namespace nvfp4j {
namespace {

const char* op_name(std::int32_t op) {
  const char* name = nvfp4j_op_name(op);
  return name != nullptr ? name : "an op of a later version";
}

}  // namespace

void fill_status_record(const DeviceStatus& status, nvfp4j_status_record& record) noexcept {
  const bool claimed = status.claimed != 0;
  record.first_op = claimed ? status.first_op : -1;
  record.first_cause = claimed ? status.first_cause : 0;
  record.reserved = 0;
  record.first_row = claimed ? status.first_row : -1;
  record.first_column = claimed ? status.first_column : -1;
  for (int i = 0; i < NVFP4J_STATUS_WORDS; ++i) record.causes[i] = status.causes[i];
}

void merge_status(const DeviceStatus& later, DeviceStatus& status) noexcept {
  const DeviceStatus first = status.claimed != 0 ? status : later;
  for (int i = 0; i < NVFP4J_STATUS_WORDS; ++i) status.causes[i] |= later.causes[i];
  status.claimed = first.claimed;
  status.first_op = first.first_op;
  status.first_cause = first.first_cause;
  status.first_row = first.first_row;
  status.first_column = first.first_column;
}

void throw_if_reported(const DeviceStatus& status) {
  unsigned long long any = 0;
  for (unsigned long long word : status.causes) any |= word;
  if (status.claimed == 0 && any == 0) [[likely]]
    return;

  char text[NVFP4J_ERROR_MESSAGE_BYTES];
  int at = 0;
  const auto add = [&](const char* format, auto... values) {
    const int room = static_cast<int>(sizeof text) - at;
    const int length = std::snprintf(text + at, static_cast<std::size_t>(room), format, values...);
    at += length < room ? length : room - 1;
  };
  text[0] = '\0';
  if (status.claimed != 0) {
    add("%s: %s: %s", op_name(status.first_op), cause_name(status.first_cause),
        cause_sentence(status.first_cause));
    if (status.first_row >= 0)
      add(", first seen at row %lld", static_cast<long long>(status.first_row));
    if (status.first_row >= 0 && status.first_column >= 0)
      add(", column %lld", static_cast<long long>(status.first_column));
    if (status.first_row < 0 && status.first_column >= 0)
      add(", first seen at column %lld", static_cast<long long>(status.first_column));
  }
  for (std::int32_t op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
    for (std::int32_t cause = 0; cause < 64; ++cause) {
      if ((status.causes[op] >> cause & 1) == 0) continue;
      if (status.claimed != 0 && op == status.first_op && cause == status.first_cause) continue;
      add("%s%s: %s", at == 0 ? "" : "; also ", op_name(op), cause_name(cause));
    }
  }
  fail(NVFP4J_ERROR_REPORTED, "%s", text);
}

}  // namespace nvfp4j
