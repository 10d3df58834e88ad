// SPDX-License-Identifier: Apache-2.0
// What indexer_topk refuses, in which words, and that nothing is written then.
#include <functional>

#include "fixture.hpp"

using namespace fixture;

namespace {

constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr int64_t kT = 3, kC = 40, kH = 4, kD = 32, kK = 8;

/// A valid call, of which a test spoils one thing.
struct Call {
  Call() {
    for (Bytes* b : {&q, &keys, &weights, &valid})
      std::memset(b->data(), 0, static_cast<std::size_t>(b->size()));
  }
  Outcome run() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_indexer_topk(context, &q_t, &keys_t, &weights_t, &valid_t, &indices_t,
                                 with_scores ? &scores_t : nullptr, error);
    });
  }
  bool nothing_written() const {
    for (const Bytes* b : {&indices, &scores}) {
      for (int64_t i = 0; i < b->size(); ++i) {
        if ((*b)[i] != 0xA5) return false;
      }
    }
    return true;
  }

  Context context;
  Bytes q{kT * kH * kD * 2}, keys{kC * kD * 2}, weights{kT * kH * 4}, valid{kT * 4};
  Bytes indices{kT * kK * 4}, scores{kT * kC * 4};
  nvfp4j_tensor q_t = tensor(q.data(), NVFP4J_DTYPE_BF16, {kT, kH, kD});
  nvfp4j_tensor keys_t = tensor(keys.data(), NVFP4J_DTYPE_BF16, {kC, kD});
  nvfp4j_tensor weights_t = tensor(weights.data(), NVFP4J_DTYPE_F32, {kT, kH});
  nvfp4j_tensor valid_t = tensor(valid.data(), NVFP4J_DTYPE_I32, {kT});
  nvfp4j_tensor indices_t = tensor(indices.data(), NVFP4J_DTYPE_I32, {kT, kK});
  nvfp4j_tensor scores_t = tensor(scores.data(), NVFP4J_DTYPE_F32, {kT, kC});
  bool with_scores = true;
};

void refused(const std::string& sentence, const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  const Outcome said = call.run();
  check::equal(__FILE__, __LINE__, sentence.c_str(), said.message, "indexer_topk: " + sentence);
  CHECK_EQ(said.status, kInvalid);
  CHECK(call.nothing_written());
}

/// What holds for each tensor argument.
void tensor_argument(const std::string& name, nvfp4j_tensor Call::* argument,
                     const std::string& dtypes) {
  refused(name + ".struct_size is 7, expected " + std::to_string(sizeof(nvfp4j_tensor)) +
              " (ABI version " NVFP4J_ABI_TEXT ")",
          [&](Call& c) { (c.*argument).struct_size = 7; });
  refused(name + " has dtype F16, expected " + dtypes,
          [&](Call& c) { (c.*argument).dtype = NVFP4J_DTYPE_F16; });
  refused(name + ".dtype is 6, expected 0 to 5 (F32, BF16, F16, U8, I32, I64)",
          [&](Call& c) { (c.*argument).dtype = 6; });
  refused(name + " is in DEVICE memory, expected HOST or PINNED (the context's device is cpu)",
          [&](Call& c) { (c.*argument).memory = NVFP4J_MEMORY_DEVICE; });
  refused(name + ".memory is 3, expected 0 to 2 (HOST, PINNED, DEVICE)",
          [&](Call& c) { (c.*argument).memory = 3; });
  for (std::int32_t i = 0; i < (Call().*argument).rank; ++i) {
    refused(name + ".shape[" + std::to_string(i) + "] is -1, expected 0 or more",
            [&](Call& c) { (c.*argument).shape[i] = -1; });
  }
  // What has an address or another test's sentence.
  const std::function<void(Call&)> spoils[] = {
      [&](Call& c) { (c.*argument).rank = 4; }, [&](Call& c) { (c.*argument).data = nullptr; },
      [&](Call& c) { (c.*argument).data = static_cast<std::uint8_t*>((c.*argument).data) + 1; },
      [&](Call& c) { (c.*argument).stride[0] = (c.*argument).rank > 1 ? 1 : 2; }};
  for (const auto& spoil : spoils) {
    Call call;
    spoil(call);
    CHECK_EQ(call.run().status, kInvalid);
    CHECK(call.nothing_written());
  }
}

/// The call is refused because two buffers share memory.
void overlapping(const std::string& written, const std::string& other,
                 const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  const Outcome said = call.run();
  CHECK_EQ(said.status, kInvalid);
  CHECK(said.message.starts_with("indexer_topk: " + written + " ("));
  CHECK(said.message.find(") overlaps " + other + " (") != std::string::npos);
}

}  // namespace

TEST(the_call_is_good) {
  for (const bool with_scores : {true, false}) {
    Call c;
    c.with_scores = with_scores;
    const Outcome said = c.run();
    CHECK_EQ(said.message, "");
    CHECK_EQ(said.status, NVFP4J_OK);
  }
}

TEST(tensors_are_named) {
  tensor_argument("q", &Call::q_t, "F32 or BF16");
  tensor_argument("keys", &Call::keys_t, "BF16");
  tensor_argument("weights", &Call::weights_t, "F32");
  tensor_argument("valid", &Call::valid_t, "I32");
  tensor_argument("indices", &Call::indices_t, "I32");
  tensor_argument("scores", &Call::scores_t, "F32");
}

TEST(shapes_are_named) {
  refused("q has rank 2 (shape [3, 4]), expected rank 3", [](Call& c) { c.q_t.rank = 2; });
  for (const int64_t heads : {0, 129}) {
    refused("q has " + std::to_string(heads) + " heads (its second dimension), expected 1 to 128",
            [&](Call& c) { c.q_t.shape[0] = 1, c.q_t.shape[1] = heads; });
  }
  for (const int64_t columns : {0, 8, 24, 272}) {
    refused("q has " + std::to_string(columns) +
                " columns a head (its last dimension), expected a multiple of 16 from 16 to 256",
            [&](Call& c) {
              c.q_t.shape[0] = 1;
              c.q_t.shape[2] = columns;
              c.q_t.stride[1] = columns;
            });
  }
  refused("q has stream stride 31 (shape [3, 4, 32]), expected 32 or more",
          [](Call& c) { c.q_t.stride[1] = 31; });
  refused("q has token stride 127 (shape [3, 4, 32]), expected 128 or more",
          [](Call& c) { c.q_t.stride[0] = 127; });
  refused("q has column stride 2 (shape [3, 4, 32]), expected 1",
          [](Call& c) { c.q_t.stride[2] = 2; });
  refused("keys has dtype F32, expected BF16", [](Call& c) { c.keys_t.dtype = NVFP4J_DTYPE_F32; });
  refused("keys has dtype BF16, expected F32", [](Call& c) { c.q_t.dtype = NVFP4J_DTYPE_F32; });
  refused("keys has 1048577 rows, expected 1048576 or fewer",
          [](Call& c) { c.keys_t.shape[0] = 1048577; });
  refused("keys has shape [40, 16], expected [40, 32] (as many columns as a head of q)",
          [](Call& c) { c.keys_t.shape[1] = 16; });
  refused("weights has shape [2, 4], expected [3, 4] (one weight per query and head)",
          [](Call& c) { c.weights_t.shape[0] = 2; });
  refused("weights has shape [3, 3], expected [3, 4] (one weight per query and head)",
          [](Call& c) { c.weights_t.shape[1] = 3; });
  refused("valid has 2 elements, expected 3 (one per query)",
          [](Call& c) { c.valid_t.shape[0] = 2; });
  refused("valid has stride 2 (shape [3]), expected 1: it must be contiguous",
          [](Call& c) { c.valid_t.stride[0] = 2; });
  for (const int64_t k : {0, 2049}) {
    refused("indices has k = " + std::to_string(k) + " (its columns), expected 1 to 2048",
            [&](Call& c) { c.indices_t.shape[1] = k, c.indices_t.stride[0] = k; });
  }
  refused("indices has shape [2, 8], expected [3, 8] (one row per query)",
          [](Call& c) { c.indices_t.shape[0] = 2; });
  refused("scores has shape [3, 39], expected [3, 40] (one score per query and row of keys)",
          [](Call& c) { c.scores_t.shape[1] = 39; });
  refused("scores has shape [2, 40], expected [3, 40] (one score per query and row of keys)",
          [](Call& c) { c.scores_t.shape[0] = 2; });
}

TEST(nothing_is_missing) {
  Call c;
  const auto fails = [&](const std::string& what, nvfp4j_context* context, const nvfp4j_tensor* q,
                         const nvfp4j_tensor* keys, const nvfp4j_tensor* weights,
                         const nvfp4j_tensor* valid, const nvfp4j_tensor* indices) {
    CHECK_FAILS(nvfp4j_indexer_topk(context, q, keys, weights, valid, indices, &c.scores_t, error),
                kInvalid, "indexer_topk: " + what);
  };
  fails("context is NULL, expected a context", nullptr, &c.q_t, &c.keys_t, &c.weights_t, &c.valid_t,
        &c.indices_t);
  fails("q is NULL, expected a structure", c.context, nullptr, &c.keys_t, &c.weights_t, &c.valid_t,
        &c.indices_t);
  fails("keys is NULL, expected a structure", c.context, &c.q_t, nullptr, &c.weights_t, &c.valid_t,
        &c.indices_t);
  fails("weights is NULL, expected a structure", c.context, &c.q_t, &c.keys_t, nullptr, &c.valid_t,
        &c.indices_t);
  fails("valid is NULL, expected a structure", c.context, &c.q_t, &c.keys_t, &c.weights_t, nullptr,
        &c.indices_t);
  fails("indices is NULL, expected a structure", c.context, &c.q_t, &c.keys_t, &c.weights_t,
        &c.valid_t, nullptr);
}

TEST(outputs_are_apart) {
  overlapping("indices", "q", [](Call& c) { c.indices_t.data = c.q.data() + 64; });
  overlapping("indices", "keys", [](Call& c) { c.indices_t.data = c.keys.data(); });
  overlapping("indices", "weights", [](Call& c) { c.indices_t.data = c.weights.data() + 4; });
  overlapping("indices", "valid", [](Call& c) { c.valid_t.data = c.indices.data(); });
  overlapping("scores", "q", [](Call& c) { c.scores_t.data = c.q.data(); });
  overlapping("scores", "keys", [](Call& c) { c.keys_t.data = c.scores.data(); });
  overlapping("scores", "weights", [](Call& c) { c.weights_t.data = c.scores.data() + 64; });
  overlapping("scores", "valid", [](Call& c) { c.valid_t.data = c.scores.data() + 4; });
  overlapping("indices", "scores", [](Call& c) { c.indices_t.data = c.scores.data() + 32; });
}

TEST(no_queries_are_a_good_call) {
  Call c;
  c.q_t.shape[0] = c.weights_t.shape[0] = c.valid_t.shape[0] = c.indices_t.shape[0] =
      c.scores_t.shape[0] = 0;
  CHECK_EQ(c.run().message, "");
  CHECK(c.nothing_written());
  // What is wrong is wrong without queries too.
  c.indices_t.shape[1] = 2049;
  CHECK_EQ(c.run().status, kInvalid);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
