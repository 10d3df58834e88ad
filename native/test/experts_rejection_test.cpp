// SPDX-License-Identifier: Apache-2.0
// What expert_dispatch and expert_combine refuse, in which words, and that nothing is written then.
#include <functional>

#include "fixture.hpp"

using namespace fixture;

namespace {

constexpr int64_t kT = 5, kK = 3, kE = 8, kD = 32, kR = kT * kK;

/// A valid call of each op, of which a test spoils one thing.
struct Call {
  Call() {
    for (Bytes* b : {&indices, &weights, &y, &places, &shared})
      std::memset(b->data(), 0, static_cast<std::size_t>(b->size()));
  }
  Outcome dispatch() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_expert_dispatch(context, &indices_t, weighted ? &weights_t : nullptr,
                                    &offsets_t, &rows_t, &positions_t,
                                    row_weighted ? &row_weights_t : nullptr, error);
    });
  }
  Outcome combine() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_expert_combine(context, &y_t, &places_t, &weights_t, &shared_t, &out_t, error);
    });
  }
  bool nothing_written() const {
    for (const Bytes* b : {&offsets, &rows, &positions, &row_weights, &out}) {
      for (int64_t i = 0; i < b->size(); ++i) {
        if ((*b)[i] != 0xA5) return false;
      }
    }
    return true;
  }

  Context context;
  Bytes indices{kR * 4}, weights{kR * 4}, y{kR * kD * 2}, places{kR * 4}, shared{kT * kD * 2};
  Bytes offsets{(kE + 1) * 4}, rows{kR * 4}, positions{kR * 4}, row_weights{kR * 4},
      out{kT * kD * 2};
  nvfp4j_tensor indices_t = tensor(indices.data(), NVFP4J_DTYPE_I32, {kT, kK});
  nvfp4j_tensor weights_t = tensor(weights.data(), NVFP4J_DTYPE_F32, {kT, kK});
  nvfp4j_tensor offsets_t = tensor(offsets.data(), NVFP4J_DTYPE_I32, {kE + 1});
  nvfp4j_tensor rows_t = tensor(rows.data(), NVFP4J_DTYPE_I32, {kR});
  nvfp4j_tensor positions_t = tensor(positions.data(), NVFP4J_DTYPE_I32, {kT, kK});
  nvfp4j_tensor row_weights_t = tensor(row_weights.data(), NVFP4J_DTYPE_F32, {kR});
  nvfp4j_tensor y_t = tensor(y.data(), NVFP4J_DTYPE_BF16, {kR, kD});
  nvfp4j_tensor places_t = tensor(places.data(), NVFP4J_DTYPE_I32, {kT, kK});
  nvfp4j_tensor shared_t = tensor(shared.data(), NVFP4J_DTYPE_BF16, {kT, kD});
  nvfp4j_tensor out_t = tensor(out.data(), NVFP4J_DTYPE_BF16, {kT, kD});
  bool weighted = true, row_weighted = true;
};

using Op = Outcome (Call::*)();

struct Named {
  std::string name;
  Op run;
};
const Named kDispatch = {"expert_dispatch", &Call::dispatch};
const Named kCombine = {"expert_combine", &Call::combine};

/// Spoils a good call, which must then be refused with the sentence and write nothing.
void refused(const Named& op, const std::string& sentence,
             const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  const Outcome said = (call.*op.run)();
  check::equal(__FILE__, __LINE__, sentence.c_str(), said.message, op.name + ": " + sentence);
  CHECK_EQ(said.status, NVFP4J_ERROR_INVALID_ARGUMENT);
  CHECK(call.nothing_written());
}

/// The same where the sentence has an address: it begins with `words`.
void refused_with_address(const Named& op, const std::string& words,
                          const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  const Outcome said = (call.*op.run)();
  check::equal(__FILE__, __LINE__, words.c_str(),
               said.message.substr(0, op.name.size() + 2 + words.size()), op.name + ": " + words);
  CHECK_EQ(said.status, NVFP4J_ERROR_INVALID_ARGUMENT);
  CHECK(call.nothing_written());
}

/// What holds for each tensor argument.
void tensor_argument(const Named& op, const std::string& name, nvfp4j_tensor Call::* argument,
                     const std::string& dtypes) {
  refused(op,
          name + ".struct_size is 7, expected " + std::to_string(sizeof(nvfp4j_tensor)) +
              " (ABI version " NVFP4J_ABI_TEXT ")",
          [&](Call& c) { (c.*argument).struct_size = 7; });
  refused(op, name + " has dtype F16, expected " + dtypes,
          [&](Call& c) { (c.*argument).dtype = NVFP4J_DTYPE_F16; });
  refused(op, name + " is in DEVICE memory, expected HOST or PINNED (the context's device is cpu)",
          [&](Call& c) { (c.*argument).memory = NVFP4J_MEMORY_DEVICE; });
  refused(op, name + ".shape[0] is -1, expected 0 or more",
          [&](Call& c) { (c.*argument).shape[0] = -1; });
  refused_with_address(op, name + " is at address ", [&](Call& c) {
    (c.*argument).data = static_cast<std::uint8_t*>((c.*argument).data) + 1;
  });
  refused_with_address(op, name + " has no memory (data is NULL), expected ",
                       [&](Call& c) { (c.*argument).data = nullptr; });
  const nvfp4j_tensor good = Call().*argument;
  refused_with_address(op, name + " has rank 4 (shape ", [&](Call& c) { (c.*argument).rank = 4; });
  if (good.rank == 1) {
    refused(op,
            name + " has stride 2 (shape [" + std::to_string(good.shape[0]) +
                "]), expected 1: it must be contiguous",
            [&](Call& c) { (c.*argument).stride[0] = 2; });
  } else {
    const std::string shape = " (shape [" + std::to_string(good.shape[0]) + ", " +
                              std::to_string(good.shape[1]) + "]), expected ";
    refused(op, name + " has column stride 2" + shape + "1",
            [&](Call& c) { (c.*argument).stride[1] = 2; });
    refused(op, name + " has row stride 2" + shape + std::to_string(good.shape[1]) + " or more",
            [&](Call& c) { (c.*argument).stride[0] = 2; });
  }
}

/// `written` onto the last bytes of `other`.
void overlaps(const Named& op, const std::string& written, nvfp4j_tensor Call::* argument,
              const std::string& other, void* (*last)(Call&)) {
  Call call;
  (call.*argument).data = last(call);
  const Outcome said = (call.*op.run)();
  const std::string words = op.name + ": " + written + " (";
  check::equal(__FILE__, __LINE__, written.c_str(), said.message.substr(0, words.size()), words);
  CHECK(said.message.find(") overlaps " + other + " (") != std::string::npos);
  CHECK(said.message.ends_with("), expected separate memory"));
  CHECK_EQ(said.status, NVFP4J_ERROR_INVALID_ARGUMENT);
}

template <Bytes Call::* memory>
void* last_element(Call& call) {
  Bytes& bytes = call.*memory;
  return bytes.data() + bytes.size() - 4;
}

}  // namespace

TEST(good_calls_are_taken) {
  Call call;
  CHECK_EQ(call.dispatch().message, "");
  CHECK_EQ(call.combine().message, "");
}

TEST(dispatch_refuses) {
  const Named& op = kDispatch;
  tensor_argument(op, "indices", &Call::indices_t, "I32");
  tensor_argument(op, "weights", &Call::weights_t, "F32");
  tensor_argument(op, "offsets", &Call::offsets_t, "I32");
  tensor_argument(op, "rows", &Call::rows_t, "I32");
  tensor_argument(op, "positions", &Call::positions_t, "I32");
  tensor_argument(op, "row_weights", &Call::row_weights_t, "F32");
  for (const int64_t k : {0, 17}) {
    refused(op,
            "indices has k = " + std::to_string(k) + " (its second dimension), expected 1 to 16",
            [&](Call& c) {
              c.indices_t.shape[0] = 0;
              c.indices_t.shape[1] = k;
            });
  }
  refused(op, "indices has shape [715827883, 3], expected at most 2^31 - 1 elements",
          [](Call& c) { c.indices_t.shape[0] = 715827883; });
  refused(op, "weights has shape [4, 3], expected [5, 3] (the shape of indices)",
          [](Call& c) { c.weights_t.shape[0] = 4; });
  refused(op, "positions has shape [5, 2], expected [5, 3] (the shape of indices)",
          [](Call& c) { c.positions_t.shape[1] = 2; });
  for (const int64_t count : {0, 1, 1026}) {
    refused(op,
            "offsets has " + std::to_string(count) +
                " elements, expected 2 to 1025 (one more than there are experts)",
            [&](Call& c) { c.offsets_t.shape[0] = count; });
  }
  refused(op, "rows has 14 elements, expected 15 (one per element of indices)",
          [](Call& c) { c.rows_t.shape[0] = 14; });
  refused(op, "row_weights has 16 elements, expected 15 (one per element of indices)",
          [](Call& c) { c.row_weights_t.shape[0] = 16; });
  refused(op, "weights is NULL, expected weights and row_weights both or neither",
          [](Call& c) { c.weighted = false; });
  refused(op, "row_weights is NULL, expected weights and row_weights both or neither",
          [](Call& c) { c.row_weighted = false; });
}

TEST(dispatch_refuses_overlaps) {
  const Named& op = kDispatch;
  overlaps(op, "offsets", &Call::offsets_t, "indices", last_element<&Call::indices>);
  overlaps(op, "offsets", &Call::offsets_t, "weights", last_element<&Call::weights>);
  overlaps(op, "rows", &Call::rows_t, "indices", last_element<&Call::indices>);
  overlaps(op, "rows", &Call::rows_t, "weights", last_element<&Call::weights>);
  overlaps(op, "offsets", &Call::offsets_t, "rows", last_element<&Call::rows>);
  overlaps(op, "positions", &Call::positions_t, "indices", last_element<&Call::indices>);
  overlaps(op, "positions", &Call::positions_t, "weights", last_element<&Call::weights>);
  overlaps(op, "offsets", &Call::offsets_t, "positions", last_element<&Call::positions>);
  overlaps(op, "rows", &Call::rows_t, "positions", last_element<&Call::positions>);
  overlaps(op, "row_weights", &Call::row_weights_t, "indices", last_element<&Call::indices>);
  overlaps(op, "row_weights", &Call::row_weights_t, "weights", last_element<&Call::weights>);
  overlaps(op, "offsets", &Call::offsets_t, "row_weights", last_element<&Call::row_weights>);
  overlaps(op, "rows", &Call::rows_t, "row_weights", last_element<&Call::row_weights>);
  overlaps(op, "positions", &Call::positions_t, "row_weights", last_element<&Call::row_weights>);
}

TEST(combine_refuses) {
  const Named& op = kCombine;
  tensor_argument(op, "y", &Call::y_t, "F32 or BF16");
  tensor_argument(op, "positions", &Call::places_t, "I32");
  tensor_argument(op, "weights", &Call::weights_t, "F32");
  tensor_argument(op, "shared", &Call::shared_t, "BF16");
  tensor_argument(op, "out", &Call::out_t, "F32 or BF16");
  refused(op, "y has 2147483648 columns, expected at most 2147483647", [](Call& c) {
    c.y_t.shape[0] = 0;
    c.y_t.shape[1] = 2147483648;
  });
  for (const int64_t k : {0, 17}) {
    refused(op,
            "positions has k = " + std::to_string(k) + " (its second dimension), expected 1 to 16",
            [&](Call& c) {
              c.places_t.shape[0] = 0;
              c.places_t.shape[1] = k;
            });
  }
  refused(op, "weights has shape [5, 2], expected [5, 3] (the shape of positions)",
          [](Call& c) { c.weights_t.shape[1] = 2; });
  const std::string why = "(the rows of positions and the columns of y)";
  refused(op, "shared has dtype F32, expected BF16", [](Call& c) {
    c.shared_t.dtype = NVFP4J_DTYPE_F32;
    c.shared_t.shape[0] = 1;
  });
  refused(op, "shared has shape [4, 32], expected [5, 32] " + why,
          [](Call& c) { c.shared_t.shape[0] = 4; });
  refused(op, "out has shape [5, 31], expected [5, 32] " + why,
          [](Call& c) { c.out_t.shape[1] = 31; });
  refused(op, "out has shape [4, 32], expected [5, 32] " + why,
          [](Call& c) { c.out_t.shape[0] = 4; });
}

TEST(combine_refuses_overlaps) {
  const Named& op = kCombine;
  overlaps(op, "out", &Call::out_t, "y", last_element<&Call::y>);
  overlaps(op, "out", &Call::out_t, "positions", last_element<&Call::places>);
  overlaps(op, "out", &Call::out_t, "weights", last_element<&Call::weights>);
  overlaps(op, "out", &Call::out_t, "shared", last_element<&Call::shared>);
  // In place is the same memory, type and strides.
  Call call;
  call.out_t.data = call.shared.data();
  CHECK_EQ(call.combine().message, "");
  call.out_t.stride[0] = kD + 1;
  CHECK(call.combine().message.find("out (") != std::string::npos);
  call.out_t.stride[0] = kD;
  call.out_t.dtype = NVFP4J_DTYPE_F32;
  CHECK(call.combine().message.find("out (") != std::string::npos);
}

TEST(null_arguments) {
  const Context context;
  CHECK_FAILS(
      nvfp4j_expert_dispatch(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, error),
      NVFP4J_ERROR_INVALID_ARGUMENT, "expert_dispatch: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_expert_combine(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, error),
              NVFP4J_ERROR_INVALID_ARGUMENT, "expert_combine: context is NULL, expected a context");
  CHECK_FAILS(
      nvfp4j_expert_dispatch(context, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, error),
      NVFP4J_ERROR_INVALID_ARGUMENT, "expert_dispatch: indices is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_expert_combine(context, nullptr, nullptr, nullptr, nullptr, nullptr, error),
              NVFP4J_ERROR_INVALID_ARGUMENT, "expert_combine: y is NULL, expected a structure");
}

int main(int count, char** arguments) { return check::main(count, arguments); }
