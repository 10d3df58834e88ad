// SPDX-License-Identifier: Apache-2.0
// Every argument of every op, wrong in every way that C can see: the status, the sentence, and
// that nothing was written.
#include "rejection_calls.hpp"

using namespace fixture;

namespace {

// `spoil` makes one argument wrong and makes the call.
void refused(const char* expected, const std::function<Outcome(Call&)>& spoil) {
  Call call;
  const Outcome outcome = spoil(call);
  CHECK_EQ(outcome.message, expected);
  CHECK_EQ(outcome.status, kInvalid);
  CHECK(nothing_written(call));
}

// What every op says of a tensor argument.
void tensor_argument(const std::string& op, const std::string& name, nvfp4j_tensor Call::* member,
                     Outcome (*run)(Call&)) {
  const std::string prefix = op + ": " + name;
  const auto spoiled = [&](const std::string& sentence,
                           const std::function<void(nvfp4j_tensor&)>& change) {
    refused((prefix + sentence).c_str(), [&](Call& call) {
      change(call.*member);
      return run(call);
    });
  };
  spoiled(".struct_size is 80, expected 88 (ABI version " NVFP4J_ABI_TEXT ")",
          [](nvfp4j_tensor& t) { t.struct_size = 80; });
  spoiled(".dtype is 6, expected 0 to 5 (F32, BF16, F16, U8, I32, I64)",
          [](nvfp4j_tensor& t) { t.dtype = 6; });
  spoiled(".dtype is -1, expected 0 to 5 (F32, BF16, F16, U8, I32, I64)",
          [](nvfp4j_tensor& t) { t.dtype = -1; });
  spoiled(".memory is 3, expected 0 to 2 (HOST, PINNED, DEVICE)",
          [](nvfp4j_tensor& t) { t.memory = 3; });
  spoiled(".rank is 5, expected 0 to 4", [](nvfp4j_tensor& t) { t.rank = 5; });
  spoiled(".rank is -1, expected 0 to 4", [](nvfp4j_tensor& t) { t.rank = -1; });
  spoiled(".shape[0] is -3, expected 0 or more", [](nvfp4j_tensor& t) { t.shape[0] = -3; });
  spoiled(" is in DEVICE memory, expected HOST or PINNED (the context's device is cpu)",
          [](nvfp4j_tensor& t) { t.memory = NVFP4J_MEMORY_DEVICE; });
}

// What every op says of a rank-2 argument of `element` bytes.
void matrix_argument(const std::string& op, const std::string& name, nvfp4j_tensor Call::* member,
                     Outcome (*run)(Call&)) {
  tensor_argument(op, name, member, run);
  const Call example;
  const nvfp4j_tensor& t = example.*member;
  const std::string shape =
      "[" + std::to_string(t.shape[0]) + ", " + std::to_string(t.shape[1]) + "]";
  const int64_t element = element_bytes(t.dtype);
  const auto spoiled = [&](const std::string& sentence,
                           const std::function<void(nvfp4j_tensor&)>& change) {
    refused((op + ": " + name + sentence).c_str(), [&](Call& call) {
      change(call.*member);
      return run(call);
    });
  };
  spoiled(" has rank 1 (shape [" + std::to_string(t.shape[0]) + "]), expected rank 2",
          [](nvfp4j_tensor& v) { v.rank = 1; });
  spoiled(" has rank 3 (shape [" + std::to_string(t.shape[0]) + ", " + std::to_string(t.shape[1]) +
              ", 0]), expected rank 2",
          [](nvfp4j_tensor& v) { v.rank = 3; });
  spoiled(" has column stride 2 (shape " + shape + "), expected 1",
          [](nvfp4j_tensor& v) { v.stride[1] = 2; });
  spoiled(" has row stride " + std::to_string(t.shape[1] - 1) + " (shape " + shape +
              "), expected " + std::to_string(t.shape[1]) + " or more",
          [](nvfp4j_tensor& v) { v.stride[0] = v.shape[1] - 1; });
  spoiled(" has row stride 0 (shape " + shape + "), expected " + std::to_string(t.shape[1]) +
              " or more",
          [](nvfp4j_tensor& v) { v.stride[0] = 0; });
  spoiled(" has row stride -1024 (shape " + shape + "), expected " + std::to_string(t.shape[1]) +
              " or more",
          [](nvfp4j_tensor& v) { v.stride[0] = -1024; });
  const int64_t bytes = ((t.shape[0] - 1) * t.stride[0] + t.shape[1]) * element;
  spoiled(" has no memory (data is NULL), expected " + std::to_string(bytes) + " bytes",
          [](nvfp4j_tensor& v) { v.data = nullptr; });
  const char* dtype = t.dtype == NVFP4J_DTYPE_BF16  ? "BF16"
                      : t.dtype == NVFP4J_DTYPE_F32 ? "F32"
                                                    : "U8";
  spoiled(" with shape [4611686018427387904, " + std::to_string(t.shape[1]) + "] and dtype " +
              dtype + " does not fit the 64-bit address space",
          [](nvfp4j_tensor& v) { v.shape[0] = int64_t{1} << 62; });
  spoiled(" with shape " + shape + " and dtype " + dtype + " does not fit the 64-bit address space",
          [](nvfp4j_tensor& v) { v.stride[0] = INT64_MAX / 8; });
  if (element > 1) {
    char address[64];
    std::snprintf(address, sizeof address,
                  " is at address 0x10001, expected a multiple of %d bytes",
                  static_cast<int>(element));
    spoiled(address, [](nvfp4j_tensor& v) { v.data = reinterpret_cast<void*>(0x10001); });
  }
  char end[128];
  std::snprintf(end, sizeof end,
                " at 0xffffffffffffff00 with %lld bytes reaches past the end of the address space",
                static_cast<long long>(bytes));
  spoiled(end, [](nvfp4j_tensor& v) { v.data = reinterpret_cast<void*>(~std::uintptr_t{0xFF}); });
}

void vector_argument(const std::string& op, const std::string& name, nvfp4j_tensor Call::* member,
                     Outcome (*run)(Call&)) {
  tensor_argument(op, name, member, run);
  const Call example;
  const std::string count = std::to_string((example.*member).shape[0]);
  const auto spoiled = [&](const std::string& sentence,
                           const std::function<void(nvfp4j_tensor&)>& change) {
    refused((op + ": " + name + sentence).c_str(), [&](Call& call) {
      change(call.*member);
      return run(call);
    });
  };
  spoiled(" has rank 2 (shape [" + count + ", 0]), expected rank 1",
          [](nvfp4j_tensor& v) { v.rank = 2; });
  spoiled(" has stride 2 (shape [" + count + "]), expected 1: it must be contiguous",
          [](nvfp4j_tensor& v) { v.stride[0] = 2; });
}

// What every op says of an NVFP4 argument [128, columns].
void nvfp4_argument(const std::string& op, const std::string& name, Nvfp4 Call::* member,
                    Outcome (*run)(Call&)) {
  const Call example;
  const int64_t k = (example.*member).descriptor.columns;
  const std::string codes = std::to_string(128 * k / 2);
  const std::string shape = "m=128, k=" + std::to_string(k) + ": ";
  const auto spoiled = [&](const std::string& sentence,
                           const std::function<void(nvfp4j_nvfp4_tensor&)>& change) {
    refused((op + ": " + name + sentence).c_str(), [&](Call& call) {
      change((call.*member).descriptor);
      return run(call);
    });
  };
  spoiled(".struct_size is 0, expected 88 (ABI version " NVFP4J_ABI_TEXT ")",
          [](auto& t) { t.struct_size = 0; });
  spoiled(".memory is -1, expected 0 to 2 (HOST, PINNED, DEVICE)", [](auto& t) { t.memory = -1; });
  spoiled(".scale_layout is 2 (PREPARED), expected LINEAR or SWIZZLED_128X4",
          [](auto& t) { t.scale_layout = NVFP4J_SCALE_LAYOUT_PREPARED; });
  spoiled(".scale_layout is 3 (PACKED), expected LINEAR or SWIZZLED_128X4",
          [](auto& t) { t.scale_layout = NVFP4J_SCALE_LAYOUT_PACKED; });
  spoiled(".scale_layout is -1 (unknown), expected LINEAR or SWIZZLED_128X4",
          [](auto& t) { t.scale_layout = -1; });
  spoiled(".global_scale_kind is 2 (GROUP), expected TENSOR or ROW",
          [](auto& t) { t.global_scale_kind = NVFP4J_GLOBAL_SCALE_GROUP; });
  spoiled(".global_scale_kind is 3 (HALVES), expected TENSOR or ROW",
          [](auto& t) { t.global_scale_kind = NVFP4J_GLOBAL_SCALE_HALVES; });
  spoiled(".global_scale_kind is 4 (unknown), expected TENSOR or ROW",
          [](auto& t) { t.global_scale_kind = 4; });
  spoiled(".groups is 2, expected 1", [](auto& t) { t.groups = 2; });
  spoiled(".groups is 0, expected 1", [](auto& t) { t.groups = 0; });
  spoiled(" is in DEVICE memory, expected HOST or PINNED (the context's device is cpu)",
          [](auto& t) { t.memory = NVFP4J_MEMORY_DEVICE; });
  spoiled(".rows is -1, expected 0 or more", [](auto& t) { t.rows = -1; });
  spoiled(".columns is 1000, expected a positive multiple of 16",
          [](auto& t) { t.columns = 1000; });
  spoiled(".columns is 0, expected a positive multiple of 16", [](auto& t) { t.columns = 0; });
  spoiled(" with shape [4611686018427387904, " + std::to_string(k) +
              "] does not fit the 64-bit address space",
          [](auto& t) { t.rows = int64_t{1} << 62; });
  spoiled(".codes has 7 bytes, expected " + codes + " (" + shape + std::to_string(k / 2) +
              " bytes per row)",
          [](auto& t) { t.codes_bytes = 7; });
  spoiled(".scales has 4096 bytes, expected " + std::to_string(128 * k / 16) + " (" + shape +
              std::to_string(k / 16) + " scales per row, layout LINEAR)",
          [](auto& t) { t.scales_bytes = 4096; });
  spoiled(".scales has 7 bytes, expected " + std::to_string(128 * ((k + 63) / 64) * 4) + " (" +
              shape + std::to_string(k / 16) + " scales per row, layout SWIZZLED_128X4)",
          [](auto& t) { t.scales_bytes = 7, t.scale_layout = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4; });
  spoiled(".global_scales has 2 elements, expected 1 (one for the tensor)",
          [](auto& t) { t.global_scales_count = 2; });
  spoiled(".global_scales has 1 elements, expected 128 (one per row)",
          [](auto& t) { t.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW; });
  spoiled(".codes has no memory (data is NULL), expected " + codes + " bytes",
          [](auto& t) { t.codes = nullptr; });
  spoiled(
      ".scales has no memory (data is NULL), expected " + std::to_string(128 * k / 16) + " bytes",
      [](auto& t) { t.scales = nullptr; });
  spoiled(".global_scales has no memory (data is NULL), expected 4 bytes",
          [](auto& t) { t.global_scales = nullptr; });
  spoiled(".codes is at address 0x10008, expected a multiple of 16 bytes",
          [](auto& t) { t.codes = reinterpret_cast<void*>(0x10008); });
  spoiled(".scales is at address 0x10008, expected a multiple of 16 bytes",
          [](auto& t) { t.scales = reinterpret_cast<void*>(0x10008); });
  spoiled(".global_scales is at address 0x10002, expected a multiple of 4 bytes",
          [](auto& t) { t.global_scales = reinterpret_cast<void*>(0x10002); });
}

Outcome run_quantize(Call& c) { return c.quantize(); }
Outcome run_gather(Call& c) { return c.quantize(true); }
Outcome run_dequantize(Call& c) { return c.dequantize(); }
Outcome run_swizzle(Call& c) { return c.swizzle(); }
Outcome run_unswizzle(Call& c) { return c.unswizzle(); }
Outcome run_swiglu(Call& c) { return c.swiglu(); }
Outcome run_swiglu_quantize(Call& c) { return c.swiglu_quantize(); }

void quantize_options_argument(const std::string& op, const std::string& name,
                               Outcome (*run)(Call&)) {
  const auto spoiled = [&](const std::string& sentence, void (*change)(nvfp4j_quantize_options&)) {
    refused((op + ": " + sentence).c_str(), [&](Call& call) {
      change(call.options);
      return run(call);
    });
  };
  spoiled(name + ".struct_size is 20, expected 16 (ABI version " NVFP4J_ABI_TEXT ")",
          [](auto& o) { o.struct_size = 20; });
  spoiled(name + ".global_scale is 2, expected 0 to 1 (DYNAMIC, GIVEN)",
          [](auto& o) { o.global_scale = 2; });
  spoiled(name + ".recipe is -1, expected 0 to 1 (EXACT, TE_EXACT)",
          [](auto& o) { o.recipe = -1; });
  spoiled(name + ".zero_scale is 2, expected 0 to 1 (MIN, FLUSH)",
          [](auto& o) { o.zero_scale = 2; });
}

void swiglu_options_argument(const std::string& op, const std::string& name,
                             Outcome (*run)(Call&)) {
  const auto spoiled = [&](const std::string& sentence, void (*change)(nvfp4j_swiglu_options&)) {
    refused((op + ": " + sentence).c_str(), [&](Call& call) {
      change(call.swiglu_options_);
      return run(call);
    });
  };
  spoiled(name + ".struct_size is 1, expected 16 (ABI version " NVFP4J_ABI_TEXT ")",
          [](auto& o) { o.struct_size = 1; });
  spoiled(name + ".columns is 2, expected 0 to 1 (HALVES, INTERLEAVED)",
          [](auto& o) { o.columns = 2; });
  spoiled(name + ".limit is -1, expected 0 (no clamp) or a finite positive number",
          [](auto& o) { o.limit = -1; });
  spoiled(name + ".limit is inf, expected 0 (no clamp) or a finite positive number",
          [](auto& o) { o.limit = __builtin_inff(); });
  spoiled(name + ".limit is nan, expected 0 (no clamp) or a finite positive number",
          [](auto& o) { o.limit = __builtin_nanf(""); });
  spoiled(name + ".reserved is 1, expected 0", [](auto& o) { o.reserved = 1; });
}

}  // namespace

TEST(the_calls_are_valid_before_they_are_spoiled) {
  Call call;
  for (const auto run : {run_quantize, run_gather, run_dequantize, run_swizzle, run_unswizzle,
                         run_swiglu, run_swiglu_quantize}) {
    CHECK_EQ(run(call).message, "");
  }
  CHECK(!nothing_written(call));
}

TEST(quantize_arguments) {
  matrix_argument("quantize", "input", &Call::input, run_quantize);
  vector_argument("quantize", "rows", &Call::rows, run_gather);
  nvfp4_argument("quantize", "output", &Call::q, run_quantize);
  quantize_options_argument("quantize", "options", run_quantize);
  refused("quantize: input has dtype U8, expected F32, BF16 or F16",
          [](Call& c) { return c.input.dtype = NVFP4J_DTYPE_U8, c.quantize(); });
  refused("quantize: rows has dtype I64, expected I32",
          [](Call& c) { return c.rows.dtype = NVFP4J_DTYPE_I64, c.quantize(true); });
  refused(
      "quantize: input has 1000 columns (shape [128, 1000]), expected a positive multiple of 16",
      [](Call& c) { return c.input.shape[1] = 1000, c.quantize(); });
  refused("quantize: input has 0 columns (shape [128, 0]), expected a positive multiple of 16",
          [](Call& c) { return c.input.shape[1] = 0, c.quantize(); });
  refused("quantize: output has shape [128, 1024], expected [127, 1024] (the shape of input)",
          [](Call& c) { return c.input.shape[0] = 127, c.quantize(); });
  refused(
      "quantize: output has shape [128, 1024], expected [5, 1024] (one row per element of rows)",
      [](Call& c) { return c.rows.shape[0] = 5, c.quantize(true); });
  Call c;
  CHECK_FAILS(nvfp4j_quantize(nullptr, &c.input, nullptr, &c.options, &c.q.descriptor, error),
              kInvalid, "quantize: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_quantize(c.context, nullptr, nullptr, &c.options, &c.q.descriptor, error),
              kInvalid, "quantize: input is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_quantize(c.context, &c.input, nullptr, nullptr, &c.q.descriptor, error),
              kInvalid, "quantize: options is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_quantize(c.context, &c.input, nullptr, &c.options, nullptr, error), kInvalid,
              "quantize: output is NULL, expected a structure");
  CHECK_EQ(nvfp4j_quantize(c.context, nullptr, nullptr, nullptr, nullptr, nullptr),
           kInvalid);  // no record to write
  CHECK(nothing_written(c));
}

TEST(dequantize_arguments) {
  nvfp4_argument("dequantize", "input", &Call::q, run_dequantize);
  matrix_argument("dequantize", "output", &Call::output, run_dequantize);
  refused("dequantize: output has dtype I64, expected F32, BF16 or F16",
          [](Call& c) { return c.output.dtype = NVFP4J_DTYPE_I64, c.dequantize(); });
  refused("dequantize: output has shape [128, 512], expected [128, 1024] (the shape of input)",
          [](Call& c) { return c.output.shape[1] = 512, c.dequantize(); });
  Call c;
  CHECK_FAILS(nvfp4j_dequantize(nullptr, &c.q.descriptor, &c.output, error), kInvalid,
              "dequantize: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_dequantize(c.context, nullptr, &c.output, error), kInvalid,
              "dequantize: input is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_dequantize(c.context, &c.q.descriptor, nullptr, error), kInvalid,
              "dequantize: output is NULL, expected a structure");
}

TEST(swizzle_arguments) {
  matrix_argument("swizzle", "linear", &Call::linear_scales, run_swizzle);
  vector_argument("swizzle", "swizzled", &Call::swizzled_scales, run_swizzle);
  matrix_argument("unswizzle", "linear", &Call::linear_scales, run_unswizzle);
  vector_argument("unswizzle", "swizzled", &Call::swizzled_scales, run_unswizzle);
  refused("swizzle: linear has dtype F32, expected U8",
          [](Call& c) { return c.linear_scales.dtype = NVFP4J_DTYPE_F32, c.swizzle(); });
  refused("swizzle: swizzled has 8191 bytes, expected 8192 (linear is [128, 64]: tiles of 128 x 4)",
          [](Call& c) { return c.swizzled_scales.shape[0] = 8191, c.swizzle(); });
  refused(
      "unswizzle: swizzled has 8192 bytes, expected 16384 (linear is [129, 64]: tiles of 128 x 4)",
      [](Call& c) { return c.linear_scales.shape[0] = 129, c.unswizzle(); });
  refused("swizzle: swizzled is at address 0x10004, expected a multiple of 16 bytes", [](Call& c) {
    return c.swizzled_scales.data = reinterpret_cast<void*>(0x10004), c.swizzle();
  });
  Call c;
  CHECK_FAILS(nvfp4j_swizzle(nullptr, &c.linear_scales, &c.swizzled_scales, error), kInvalid,
              "swizzle: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_unswizzle(nullptr, &c.swizzled_scales, &c.linear_scales, error), kInvalid,
              "unswizzle: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_swizzle(c.context, nullptr, &c.swizzled_scales, error), kInvalid,
              "swizzle: linear is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_unswizzle(c.context, nullptr, &c.linear_scales, error), kInvalid,
              "unswizzle: swizzled is NULL, expected a structure");
}

TEST(swiglu_arguments) {
  matrix_argument("swiglu", "gate_up", &Call::gate_up_tensor, run_swiglu);
  vector_argument("swiglu", "weight", &Call::weight_tensor, run_swiglu);
  matrix_argument("swiglu", "output", &Call::h_tensor, run_swiglu);
  swiglu_options_argument("swiglu", "options", run_swiglu);
  refused("swiglu: gate_up has dtype F16, expected F32 or BF16",
          [](Call& c) { return c.gate_up_tensor.dtype = NVFP4J_DTYPE_F16, c.swiglu(); });
  refused("swiglu: output has dtype F32, expected BF16", [](Call& c) {
    c.h_tensor.dtype = NVFP4J_DTYPE_F32;
    return c.swiglu();
  });
  refused("swiglu: gate_up has 63 columns, expected an even number (gate and up of the same width)",
          [](Call& c) { return c.gate_up_tensor.shape[1] = 63, c.swiglu(); });
  refused("swiglu: gate_up has 4294967296 columns, expected at most 4294967294", [](Call& c) {
    c.gate_up_tensor.shape[0] = 1;
    c.gate_up_tensor.shape[1] = c.gate_up_tensor.stride[0] = int64_t{1} << 32;
    return c.swiglu();
  });
  refused("swiglu: weight has 127 elements, expected 128 (one per row of gate_up)",
          [](Call& c) { return c.weight_tensor.shape[0] = 127, c.swiglu(); });
  refused(
      "swiglu: output has shape [128, 31], expected [128, 32] (the rows and half the columns of "
      "gate_up)",
      [](Call& c) { return c.h_tensor.shape[1] = 31, c.swiglu(); });
  Call c;
  CHECK_FAILS(
      nvfp4j_swiglu(nullptr, &c.gate_up_tensor, nullptr, &c.swiglu_options_, &c.h_tensor, error),
      kInvalid, "swiglu: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_swiglu(c.context, &c.gate_up_tensor, nullptr, nullptr, &c.h_tensor, error),
              kInvalid, "swiglu: options is NULL, expected a structure");
}

TEST(swiglu_quantize_arguments) {
  matrix_argument("swiglu_quantize", "gate_up", &Call::gate_up_tensor, run_swiglu_quantize);
  vector_argument("swiglu_quantize", "weight", &Call::weight_tensor, run_swiglu_quantize);
  nvfp4_argument("swiglu_quantize", "output", &Call::hq, run_swiglu_quantize);
  swiglu_options_argument("swiglu_quantize", "swiglu_options", run_swiglu_quantize);
  quantize_options_argument("swiglu_quantize", "quantize_options", run_swiglu_quantize);
  refused(
      "swiglu_quantize: gate_up has 48 columns, expected a positive multiple of 32 (the result has "
      "half of them)",
      [](Call& c) { return c.gate_up_tensor.shape[1] = 48, c.swiglu_quantize(); });
  refused(
      "swiglu_quantize: output has shape [128, 32], expected [100, 32] (the rows and half the "
      "columns of gate_up)",
      [](Call& c) {
        c.gate_up_tensor.shape[0] = c.weight_tensor.shape[0] = 100;
        return c.swiglu_quantize();
      });
  Call c;
  CHECK_FAILS(nvfp4j_swiglu_quantize(nullptr, &c.gate_up_tensor, nullptr, &c.swiglu_options_,
                                     &c.options, &c.hq.descriptor, error),
              kInvalid, "swiglu_quantize: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_swiglu_quantize(c.context, &c.gate_up_tensor, nullptr, nullptr, &c.options,
                                     &c.hq.descriptor, error),
              kInvalid, "swiglu_quantize: swiglu_options is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_swiglu_quantize(c.context, &c.gate_up_tensor, nullptr, &c.swiglu_options_,
                                     nullptr, &c.hq.descriptor, error),
              kInvalid, "swiglu_quantize: quantize_options is NULL, expected a structure");
}

TEST(one_row_has_no_row_stride) {
  Call c;
  c.input.shape[0] = 1;
  c.input.stride[0] = -77;
  Nvfp4 q(1, 1024);
  CHECK_OK(nvfp4j_quantize(c.context, &c.input, nullptr, &c.options, &q.descriptor, error));
}

TEST(no_rows_are_validated_and_nothing_is_written) {
  const Context context;
  Bytes poison(64);
  Nvfp4 q(0, 64, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4);
  q.descriptor.codes = nullptr;
  q.descriptor.scales = nullptr;
  const nvfp4j_tensor input = tensor(nullptr, NVFP4J_DTYPE_BF16, {0, 64});
  const nvfp4j_tensor ids = tensor(nullptr, NVFP4J_DTYPE_I32, {0});
  nvfp4j_quantize_options options = quantize_options();
  CHECK_OK(nvfp4j_quantize(context, &input, nullptr, &options, &q.descriptor, error));
  CHECK_OK(nvfp4j_quantize(context, &input, &ids, &options, &q.descriptor, error));
  const nvfp4j_tensor output = tensor(nullptr, NVFP4J_DTYPE_F32, {0, 64});
  CHECK_OK(nvfp4j_dequantize(context, &q.descriptor, &output, error));
  const nvfp4j_tensor gate_up = tensor(nullptr, NVFP4J_DTYPE_F32, {0, 128});
  const nvfp4j_swiglu_options swiglu = swiglu_options();
  CHECK_OK(nvfp4j_swiglu(context, &gate_up, nullptr, &swiglu, &output, error));
  CHECK_OK(
      nvfp4j_swiglu_quantize(context, &gate_up, nullptr, &swiglu, &options, &q.descriptor, error));
  const nvfp4j_tensor linear = tensor(nullptr, NVFP4J_DTYPE_U8, {0, 4});
  const nvfp4j_tensor tiles = tensor(nullptr, NVFP4J_DTYPE_U8, {0});
  CHECK_OK(nvfp4j_swizzle(context, &linear, &tiles, error));
  CHECK_OK(nvfp4j_unswizzle(context, &tiles, &linear, error));
  CHECK(poisoned(q.global_scales));
  CHECK_FAILS((options.recipe = 5,
               nvfp4j_quantize(context, &input, nullptr, &options, &q.descriptor, error)),
              kInvalid, "quantize: options.recipe is 5, expected 0 to 1 (EXACT, TE_EXACT)");
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

int main(int count, char** arguments) { return check::main(count, arguments); }
