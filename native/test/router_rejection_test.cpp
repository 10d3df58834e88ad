// SPDX-License-Identifier: Apache-2.0
// What the routers refuse, in which words, and that nothing is written then.
#include <limits>

#include "rejections.hpp"

using namespace fixture;

namespace {

constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr int64_t kT = 3, kE = 8, kD = 32, kK = 2, kV = 5;

/// A valid call of each op, of which a test spoils one thing.
struct Call {
  Call() {
    for (const Bytes* b : {&x, &weight, &bias, &table, &ids, &w.codes, &w.scales, &w.global_scales})
      std::memset(b->data(), 0, static_cast<std::size_t>(b->size()));
    *w.gs() = 1.0f;
  }
  Outcome dense() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_router_dense(context, &x_t, coded ? nullptr : &weight_t,
                                 coded ? &w.descriptor : nullptr, &bias_t, &options, &indices_t,
                                 &weights_t, &logits_t, error);
    });
  }
  Outcome dense_nvfp4() {
    coded = true;
    return dense();
  }
  Outcome hash() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_router_hash(context, &x_t, coded ? nullptr : &weight_t,
                                coded ? &w.descriptor : nullptr, &table_t, &ids_t, &options,
                                &indices_t, &weights_t, error);
    });
  }
  Outcome hash_nvfp4() {
    coded = true;
    return hash();
  }
  bool nothing_written() const {
    for (const Bytes* b : {&indices, &weights, &logits}) {
      for (int64_t i = 0; i < b->size(); ++i) {
        if ((*b)[i] != 0xA5) return false;
      }
    }
    return true;
  }

  Context context;
  Bytes x{kT * kD * 2}, weight{kE * kD * 2}, bias{kE * 4}, table{kV * kK * 8}, ids{kT * 8};
  Bytes indices{kT * kK * 4}, weights{kT * kK * 4}, logits{kT * kE * 4};
  Nvfp4 w{kE, kD};
  nvfp4j_tensor x_t = tensor(x.data(), NVFP4J_DTYPE_BF16, {kT, kD});
  nvfp4j_tensor weight_t = tensor(weight.data(), NVFP4J_DTYPE_BF16, {kE, kD});
  nvfp4j_tensor bias_t = tensor(bias.data(), NVFP4J_DTYPE_F32, {kE});
  nvfp4j_tensor table_t = tensor(table.data(), NVFP4J_DTYPE_I64, {kV, kK});
  nvfp4j_tensor ids_t = tensor(ids.data(), NVFP4J_DTYPE_I32, {kT});
  nvfp4j_tensor indices_t = tensor(indices.data(), NVFP4J_DTYPE_I32, {kT, kK});
  nvfp4j_tensor weights_t = tensor(weights.data(), NVFP4J_DTYPE_F32, {kT, kK});
  nvfp4j_tensor logits_t = tensor(logits.data(), NVFP4J_DTYPE_F32, {kT, kE});
  nvfp4j_router_options options{sizeof(nvfp4j_router_options), 1.5f, 0};
  bool coded = false;
};

using Op = Outcome (Call::*)();
constexpr auto tensor_argument = Rejections<Call>::tensor_argument;

template <class... Arguments>
void refused(const Arguments&... arguments) {
  Rejections<Call>::refused(arguments...);
}

/// x, the gate, options and outputs of either op; `nvfp4` is the op with an NVFP4 gate.
void common_arguments(const std::string& op, Op run, Op nvfp4) {
  tensor_argument(op, run, "x", &Call::x_t, "F32 or BF16");
  tensor_argument(op, run, "weight", &Call::weight_t, "F32 or BF16");
  tensor_argument(op, run, "indices", &Call::indices_t, "I32");
  tensor_argument(op, run, "weights", &Call::weights_t, "F32");
  for (const int64_t columns : {int64_t{0}, (int64_t{1} << 24) + 1}) {
    refused(op, run, "x has D = " + std::to_string(columns) + " columns, expected 1 to 2^24",
            [&](Call& c) {
              c.x_t.shape[1] = columns;
              c.x_t.stride[0] = columns;
            });
  }
  refused(op, run, "x has row stride 31 (shape [3, 32]), expected 32 or more",
          [](Call& c) { c.x_t.stride[0] = 31; });
  refused(op, run, "weight has 31 columns, expected 32 (D of x)",
          [](Call& c) { c.weight_t.shape[1] = 31; });
  for (const int64_t rows : {0, 1025}) {
    refused(op, run, "weight has E = " + std::to_string(rows) + " rows, expected 1 to 1024",
            [&](Call& c) { c.weight_t.shape[0] = rows; });
  }
  refused(op, nvfp4,
          "weight.struct_size is 7, expected " + std::to_string(sizeof(nvfp4j_nvfp4_tensor)) +
              " (ABI version " NVFP4J_ABI_TEXT ")",
          [](Call& c) { c.w.descriptor.struct_size = 7; });
  refused(op, nvfp4, "weight.scale_layout is 1 (SWIZZLED_128X4), expected LINEAR",
          [](Call& c) { c.w.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4; });
  refused(op, nvfp4, "weight.scale_layout is 2 (PREPARED), expected LINEAR",
          [](Call& c) { c.w.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_PREPARED; });
  refused(op, nvfp4, "weight.global_scale_kind is 1 (ROW), expected TENSOR",
          [](Call& c) { c.w.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW; });
  refused(op, nvfp4, "weight.groups is 2, expected 1", [](Call& c) { c.w.descriptor.groups = 2; });
  refused(op, nvfp4, "weight.codes has 7 bytes, expected 128 (m=8, k=32: 16 bytes per row)",
          [](Call& c) { c.w.descriptor.codes_bytes = 7; });
  refused(op, nvfp4,
          "weight.scales has 7 bytes, expected 16 (m=8, k=32: 2 scales per row, layout "
          "LINEAR)",
          [](Call& c) { c.w.descriptor.scales_bytes = 7; });
  refused(op, nvfp4, "weight has 16 columns, expected 32 (D of x)", [](Call& c) {
    c.w.descriptor.columns = 16;
    c.w.descriptor.codes_bytes /= 2;
    c.w.descriptor.scales_bytes /= 2;
  });
  refused(op, nvfp4, "weight has E = 0 rows, expected 1 to 1024", [](Call& c) {
    c.w.descriptor.rows = c.w.descriptor.codes_bytes = c.w.descriptor.scales_bytes = 0;
  });
  refused(op, nvfp4, "weight has E = 1025 rows, expected 1 to 1024", [](Call& c) {
    c.w.descriptor.rows = 1025;
    c.w.descriptor.codes_bytes = 1025 * 16;
    c.w.descriptor.scales_bytes = 1025 * 2;
  });
  refused(nvfp4, [](Call& c) { c.w.descriptor.codes = c.w.codes.data() + 8; });
  refused(nvfp4, [](Call& c) { c.w.descriptor.global_scales = nullptr; });
  refused(op, run, "weights has shape [2, 2], expected [3, 2] (the shape of indices)",
          [](Call& c) { c.weights_t.shape[0] = 2; });
  refused(op, run, "weights has shape [3, 1], expected [3, 2] (the shape of indices)",
          [](Call& c) { c.weights_t.shape[1] = 1; });
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [scale, text] : {std::pair{0.0f, "0"},
                                    {-0.0f, "-0"},
                                    {-1.5f, "-1.5"},
                                    {infinity, "inf"},
                                    {-infinity, "-inf"},
                                    {nan, "nan"}}) {
    refused(op, run, std::string("options.scale is ") + text + ", expected a finite number > 0",
            [scale = scale](Call& c) { c.options.scale = scale; });
  }
  for (const int32_t value : {-1, 2}) {
    refused(op, run,
            "options.weights_settled is " + std::to_string(value) + ", expected 0 to 1 (no, yes)",
            [&](Call& c) { c.options.weights_settled = value; });
  }
  refused(op, run, "options.struct_size is 0, expected 12 (ABI version " NVFP4J_ABI_TEXT ")",
          [](Call& c) { c.options.struct_size = 0; });
}

/// The call is refused because the first overlaps the second.
void overlapping(Op run, const std::string& written, const std::string& other,
                 const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  const Outcome said = (call.*run)();
  CHECK_EQ(said.status, kInvalid);
  CHECK(call.nothing_written());
  CHECK(said.message.find(": " + written + " (") != std::string::npos);
  CHECK(said.message.find(" overlaps " + other + " (") != std::string::npos);
}

void common_overlaps(Op run, Op nvfp4) {
  overlapping(run, "indices", "x", [](Call& c) { c.indices_t.data = c.x.data() + 4; });
  overlapping(run, "weights", "x", [](Call& c) { c.weights_t.data = c.x.data() + 4; });
  overlapping(run, "indices", "weight", [](Call& c) { c.indices_t.data = c.weight.data(); });
  overlapping(run, "weights", "weight", [](Call& c) { c.weights_t.data = c.weight.data() + 508; });
  overlapping(run, "indices", "weights", [](Call& c) { c.indices_t.data = c.weights.data() + 20; });
  overlapping(nvfp4, "indices", "weight.codes",
              [](Call& c) { c.indices_t.data = c.w.codes.data(); });
  overlapping(nvfp4, "weights", "weight.scales",
              [](Call& c) { c.weights_t.data = c.w.scales.data() + 12; });
  overlapping(nvfp4, "weights", "weight.global_scales",
              [](Call& c) { c.weights_t.data = c.w.global_scales.data(); });
}

}  // namespace

TEST(the_calls_are_good) {
  for (const Op run : {&Call::dense, &Call::dense_nvfp4, &Call::hash, &Call::hash_nvfp4}) {
    Call c;
    const Outcome said = (c.*run)();
    CHECK_EQ(said.message, "");
    CHECK_EQ(said.status, NVFP4J_OK);
  }
}

TEST(router_dense_arguments) {
  const std::string op = "router_dense";
  const Op run = &Call::dense;
  common_arguments(op, run, &Call::dense_nvfp4);
  common_overlaps(run, &Call::dense_nvfp4);
  tensor_argument(op, run, "bias", &Call::bias_t, "F32");
  tensor_argument(op, run, "logits", &Call::logits_t, "F32");
  refused(op, run, "bias has 7 elements, expected 8 (one per expert)",
          [](Call& c) { c.bias_t.shape[0] = 7; });
  for (const int64_t k : {0, 9}) {
    refused(op, run,
            "indices has k = " + std::to_string(k) +
                " columns, expected 1 to 8 (the lesser of 16 and E)",
            [&](Call& c) {
              c.indices_t.shape[1] = c.weights_t.shape[1] = k;
              c.indices_t.stride[0] = c.weights_t.stride[0] = k;
            });
  }
  refused(op, run, "indices has k = 17 columns, expected 1 to 16 (the lesser of 16 and E)",
          [](Call& c) {
            c.weight_t.shape[0] = c.bias_t.shape[0] = 20;
            c.indices_t.shape[1] = c.indices_t.stride[0] = 17;
          });
  refused(op, run, "indices has shape [2, 2], expected [3, 2] (T of x, and k)",
          [](Call& c) { c.indices_t.shape[0] = 2; });
  refused(op, run, "logits has shape [3, 7], expected [3, 8] (T of x and E of the weight)",
          [](Call& c) { c.logits_t.shape[1] = 7; });
  refused(op, run, "logits has shape [4, 8], expected [3, 8] (T of x and E of the weight)",
          [](Call& c) { c.logits_t.shape[0] = 4; });
  overlapping(run, "indices", "bias", [](Call& c) { c.indices_t.data = c.bias.data() + 28; });
  overlapping(run, "logits", "bias", [](Call& c) { c.logits_t.data = c.bias.data(); });
  overlapping(run, "logits", "x", [](Call& c) { c.logits_t.data = c.x.data(); });
  overlapping(run, "indices", "logits", [](Call& c) { c.logits_t.data = c.indices.data() + 4; });
  overlapping(run, "weights", "logits", [](Call& c) { c.logits_t.data = c.weights.data() + 4; });
}

TEST(router_hash_arguments) {
  const std::string op = "router_hash";
  const Op run = &Call::hash;
  common_arguments(op, run, &Call::hash_nvfp4);
  common_overlaps(run, &Call::hash_nvfp4);
  tensor_argument(op, run, "table", &Call::table_t, "I32 or I64");
  tensor_argument(op, run, "ids", &Call::ids_t, "I32 or I64");
  for (const int64_t rows : {int64_t{0}, int64_t{1} << 31}) {
    refused(op, run, "table has V = " + std::to_string(rows) + " rows, expected 1 to 2^31 - 1",
            [&](Call& c) { c.table_t.shape[0] = rows; });
  }
  for (const int64_t k : {0, 17}) {
    refused(op, run, "table has k = " + std::to_string(k) + " columns, expected 1 to 16",
            [&](Call& c) { c.table_t.shape[1] = c.table_t.stride[0] = k; });
  }
  refused(op, run, "table has row stride 3, expected 2: it must be contiguous",
          [](Call& c) { c.table_t.stride[0] = 3; });
  refused(op, run, "ids has 2 elements, expected 3 (one per row of x)",
          [](Call& c) { c.ids_t.shape[0] = 2; });
  refused(op, run, "indices has shape [3, 1], expected [3, 2] (T of x and k of table)",
          [](Call& c) { c.indices_t.shape[1] = 1; });
  refused(op, run, "indices has shape [2, 2], expected [3, 2] (T of x and k of table)",
          [](Call& c) { c.indices_t.shape[0] = 2; });
  overlapping(run, "indices", "table", [](Call& c) { c.indices_t.data = c.table.data() + 76; });
  overlapping(run, "weights", "ids", [](Call& c) { c.weights_t.data = c.ids.data(); });
}

TEST(no_structure_at_all) {
  Call c;
  const char* const dense_names[] = {"x", "bias", "options", "indices", "weights"};
  for (int i = 0; i < 5; ++i) {
    CHECK_FAILS(nvfp4j_router_dense(c.context, i == 0 ? nullptr : &c.x_t, &c.weight_t, nullptr,
                                    i == 1 ? nullptr : &c.bias_t, i == 2 ? nullptr : &c.options,
                                    i == 3 ? nullptr : &c.indices_t,
                                    i == 4 ? nullptr : &c.weights_t, &c.logits_t, error),
                kInvalid,
                std::string("router_dense: ") + dense_names[i] + " is NULL, expected a structure");
  }
  const char* const hash_names[] = {"x", "table", "ids", "options", "indices", "weights"};
  for (int i = 0; i < 6; ++i) {
    CHECK_FAILS(nvfp4j_router_hash(c.context, i == 0 ? nullptr : &c.x_t, &c.weight_t, nullptr,
                                   i == 1 ? nullptr : &c.table_t, i == 2 ? nullptr : &c.ids_t,
                                   i == 3 ? nullptr : &c.options, i == 4 ? nullptr : &c.indices_t,
                                   i == 5 ? nullptr : &c.weights_t, error),
                kInvalid,
                std::string("router_hash: ") + hash_names[i] + " is NULL, expected a structure");
  }
  const std::string one_of = " expected exactly one of them";
  const auto dense = [&](const nvfp4j_tensor* w, const nvfp4j_nvfp4_tensor* coded,
                         const char* text) {
    CHECK_FAILS(nvfp4j_router_dense(c.context, &c.x_t, w, coded, &c.bias_t, &c.options,
                                    &c.indices_t, &c.weights_t, nullptr, error),
                kInvalid, "router_dense: weight and weight_nvfp4 are both " + (text + one_of));
    CHECK_FAILS(nvfp4j_router_hash(c.context, &c.x_t, w, coded, &c.table_t, &c.ids_t, &c.options,
                                   &c.indices_t, &c.weights_t, error),
                kInvalid, "router_hash: weight and weight_nvfp4 are both " + (text + one_of));
  };
  dense(nullptr, nullptr, "NULL,");
  dense(&c.weight_t, &c.w.descriptor, "given,");
  CHECK_FAILS(nvfp4j_router_dense(nullptr, &c.x_t, &c.weight_t, nullptr, &c.bias_t, &c.options,
                                  &c.indices_t, &c.weights_t, nullptr, error),
              kInvalid, "router_dense: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_router_hash(nullptr, &c.x_t, &c.weight_t, nullptr, &c.table_t, &c.ids_t,
                                 &c.options, &c.indices_t, &c.weights_t, error),
              kInvalid, "router_hash: context is NULL, expected a context");
  CHECK(c.nothing_written());
}

int main(int count, char** arguments) { return check::main(count, arguments); }
