// SPDX-License-Identifier: Apache-2.0
// What an op refuses, as rows of a test: a good call, one thing of which is spoilt, and the sentence that follows. For a test's own
// `Call`, a valid call of each of its ops with a `nothing_written()`.
#pragma once
#include <functional>

#include "fixture.hpp"

namespace fixture {

template <class Call>
struct Rejections {
  using Op = Outcome (Call::*)();
  using Spoil = std::function<void(Call&)>;

  /// Spoils a good call, which must then be refused with the sentence and write nothing.
  static void refused(const std::string& op, Op run, const std::string& sentence,
                      const Spoil& spoil) {
    Call call;
    spoil(call);
    const Outcome said = (call.*run)();
    check::equal(__FILE__, __LINE__, sentence.c_str(), said.message, op + ": " + sentence);
    CHECK_EQ(said.status, NVFP4J_ERROR_INVALID_ARGUMENT);
    CHECK(call.nothing_written());
  }

  /// The same for what has an address or another test's sentence.
  static void refused(Op run, const Spoil& spoil) {
    Call call;
    spoil(call);
    CHECK_EQ((call.*run)().status, NVFP4J_ERROR_INVALID_ARGUMENT);
    CHECK(call.nothing_written());
  }

  /// What holds for each tensor argument. `dtypes` are none of F16 and U8.
  static void tensor_argument(const std::string& op, Op run, const std::string& name,
                              nvfp4j_tensor Call::* argument, const std::string& dtypes) {
    const std::int32_t rank = (Call().*argument).rank;
    refused(op, run,
            name + ".struct_size is 7, expected " + std::to_string(sizeof(nvfp4j_tensor)) +
                " (ABI version " NVFP4J_ABI_TEXT ")",
            [&](Call& c) { (c.*argument).struct_size = 7; });
    for (const auto& [dtype, text] :
         {std::pair{NVFP4J_DTYPE_F16, "F16"}, {NVFP4J_DTYPE_U8, "U8"}}) {
      refused(op, run, name + " has dtype " + text + ", expected " + dtypes,
              [&, dtype = dtype](Call& c) { (c.*argument).dtype = dtype; });
    }
    refused(op, run,
            name + " is in DEVICE memory, expected HOST or PINNED (the context's device is cpu)",
            [&](Call& c) { (c.*argument).memory = NVFP4J_MEMORY_DEVICE; });
    for (const std::int32_t dtype : {6, 32, 64, -1, -32}) {
      refused(op, run,
              name + ".dtype is " + std::to_string(dtype) +
                  ", expected 0 to 5 (F32, BF16, F16, U8, I32, I64)",
              [&](Call& c) { (c.*argument).dtype = dtype; });
    }
    for (const std::int32_t memory : {3, 32, -1, -32}) {
      refused(op, run,
              name + ".memory is " + std::to_string(memory) +
                  ", expected 0 to 2 (HOST, PINNED, DEVICE)",
              [&](Call& c) { (c.*argument).memory = memory; });
    }
    for (std::int32_t i = 0; i < rank; ++i) {
      refused(op, run, name + ".shape[" + std::to_string(i) + "] is -1, expected 0 or more",
              [&](Call& c) { (c.*argument).shape[i] = -1; });
    }
    refused(run, [&](Call& c) { (c.*argument).rank = 4; });
    refused(run, [&](Call& c) { (c.*argument).rank = rank == 1 ? 0 : 1; });
    refused(run, [&](Call& c) { (c.*argument).data = nullptr; });
    refused(run, [&](Call& c) {
      (c.*argument).data = static_cast<std::uint8_t*>((c.*argument).data) + 1;
    });
    if (rank > 1) refused(run, [&](Call& c) { (c.*argument).stride[0] = 1; });
    // (What a single element has of a stride means nothing.)
    if ((Call().*argument).shape[rank - 1] > 1)
      refused(run, [&](Call& c) { (c.*argument).stride[rank - 1] = 2; });
  }
};

}  // namespace fixture
