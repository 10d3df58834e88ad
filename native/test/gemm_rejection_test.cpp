// SPDX-License-Identifier: Apache-2.0
// Every argument of the matrix products and of the ops around them, wrong in every way that C can
// see: the status, the sentence, and that nothing was written. (What all tensors have in common is
// rejection_test's, but for NVFP4 tensors of several groups.)
#include "rejection_calls.hpp"

using namespace fixture;

namespace {

// A valid call of every op, of which a test spoils one thing.
struct Products {
  Products()
      : bf16(16 * 128 * 2),
        a(16, 64),
        w(32, 64),
        w_groups(16, 64, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_GROUP, 2),
        prepared(16, 64, NVFP4J_SCALE_LAYOUT_PREPARED, NVFP4J_GLOBAL_SCALE_GROUP, 2),
        packed(16, 64, NVFP4J_SCALE_LAYOUT_PACKED),
        offset_values(12),
        weights(64),
        d_bytes(16 * 32 * 4) {
    for (const Bytes* b :
         {&bf16, &a.codes, &a.scales, &a.global_scales, &w.codes, &w.scales, &w.global_scales,
          &w_groups.codes, &w_groups.scales, &w_groups.global_scales, &weights, &offset_values})
      std::memset(b->data(), 0, static_cast<std::size_t>(b->size()));
    reinterpret_cast<int32_t*>(offset_values.data())[1] = 7;
    reinterpret_cast<int32_t*>(offset_values.data())[2] = 16;
    a_tensor = tensor(bf16.data(), NVFP4J_DTYPE_BF16, {16, 64});
    a_batched = tensor(bf16.data(), NVFP4J_DTYPE_BF16, {16, 128});
    offsets = tensor(offset_values.data(), NVFP4J_DTYPE_I32, {3});
    row_weight = tensor(weights.data(), NVFP4J_DTYPE_F32, {16});
    d = tensor(d_bytes.data(), NVFP4J_DTYPE_F32, {16, 32});
    d_grouped = tensor(d_bytes.data(), NVFP4J_DTYPE_F32, {16, 16});
    d_swiglu = tensor(d_bytes.data(), NVFP4J_DTYPE_BF16, {16, 16});
  }
  bool written() const {
    return !poisoned(d_bytes) || !poisoned(prepared.codes) || !poisoned(prepared.global_scales) ||
           !poisoned(packed.codes) || !poisoned(packed.global_scales);
  }

  Context context;
  Bytes bf16;
  Nvfp4 a, w, w_groups, prepared, packed;
  Bytes offset_values, weights, d_bytes;
  nvfp4j_tensor a_tensor, a_batched, offsets, row_weight, d, d_grouped, d_swiglu;
  nvfp4j_gemm_options options = gemm_options();
  nvfp4j_gemm_options swiglu = gemm_options(true);
};

Outcome gemm(Products& p) {
  return outcome([&](nvfp4j_error* error) {
    return nvfp4j_gemm(p.context, &p.a_tensor, nullptr, &p.w.descriptor, nullptr, &p.options, &p.d,
                       error);
  });
}
Outcome gemm_nvfp4(Products& p) {
  return outcome([&](nvfp4j_error* error) {
    return nvfp4j_gemm(p.context, nullptr, &p.a.descriptor, &p.w.descriptor, nullptr, &p.options,
                       &p.d, error);
  });
}
Outcome gemm_swiglu(Products& p) {
  return outcome([&](nvfp4j_error* error) {
    return nvfp4j_gemm(p.context, &p.a_tensor, nullptr, &p.w.descriptor, &p.row_weight, &p.swiglu,
                       &p.d_swiglu, error);
  });
}
Outcome grouped(Products& p) {
  return outcome([&](nvfp4j_error* error) {
    return nvfp4j_grouped_gemm(p.context, &p.a_tensor, nullptr, &p.w_groups.descriptor, &p.offsets,
                               nullptr, &p.options, &p.d_grouped, error);
  });
}
Outcome batched(Products& p) {
  return outcome([&](nvfp4j_error* error) {
    return nvfp4j_batched_gemm(p.context, &p.a_batched, nullptr, &p.w_groups.descriptor, &p.options,
                               &p.d, error);
  });
}
Outcome prepare(Products& p) {
  return outcome([&](nvfp4j_error* error) {
    return nvfp4j_prepare_weights(p.context, &p.w_groups.descriptor, &p.prepared.descriptor, error);
  });
}
Outcome pack(Products& p) {
  return outcome([&](nvfp4j_error* error) {
    return nvfp4j_pack_activations(p.context, &p.a.descriptor, &p.packed.descriptor, error);
  });
}

using Run = Outcome (*)(Products&);

void refused(Run run, const std::string& expected, const std::function<void(Products&)>& spoil) {
  Products p;
  spoil(p);
  const Outcome outcome = run(p);
  CHECK_EQ(outcome.message, expected);
  CHECK_EQ(outcome.status, kInvalid);
  CHECK(!p.written());
}

void overlaps(Run run, const char* written, const char* other,
              const std::function<void(Products&)>& spoil) {
  Products p;
  spoil(p);
  const Outcome outcome = run(p);
  CHECK_EQ(outcome.status, kInvalid);
  const bool says =
      outcome.message.find(std::string(": ") + written + " (") != std::string::npos &&
      outcome.message.find(std::string(" overlaps ") + other + " (") != std::string::npos;
  CHECK(says);
  if (!says) std::printf("  %s\n", outcome.message.c_str());
}

}  // namespace

TEST(the_calls_are_valid_before_they_are_spoiled) {
  for (const Run run : {gemm, gemm_nvfp4, gemm_swiglu, grouped, batched, prepare, pack}) {
    Products p;
    CHECK_EQ(run(p).message, "");
    CHECK(p.written());
    CHECK_OK(nvfp4j_context_synchronize(p.context, nullptr, error));
  }
}

TEST(activations) {
  Products p;
  CHECK_FAILS(
      nvfp4j_gemm(nullptr, &p.a_tensor, nullptr, &p.w.descriptor, nullptr, &p.options, &p.d, error),
      kInvalid, "gemm: context is NULL, expected a context");
  CHECK_FAILS(
      nvfp4j_gemm(p.context, nullptr, nullptr, &p.w.descriptor, nullptr, &p.options, &p.d, error),
      kInvalid, "gemm: a and a_nvfp4 are both NULL, expected exactly one of them");
  CHECK_FAILS(nvfp4j_gemm(p.context, &p.a_tensor, &p.a.descriptor, &p.w.descriptor, nullptr,
                          &p.options, &p.d, error),
              kInvalid, "gemm: a and a_nvfp4 are both given, expected exactly one of them");
  refused(gemm, "gemm: a has dtype F32, expected BF16",
          [](Products& c) { c.a_tensor.dtype = NVFP4J_DTYPE_F32; });
  refused(gemm, "gemm: a has rank 1 (shape [16]), expected rank 2",
          [](Products& c) { c.a_tensor.rank = 1; });
  refused(gemm, "gemm: a has row stride 63 (shape [16, 64]), expected 64 or more",
          [](Products& c) { c.a_tensor.stride[0] = 63; });
  refused(gemm, "gemm: a has 48 columns, expected 64 (the columns of w)",
          [](Products& c) { c.a_tensor.shape[1] = 48; });
  refused(batched, "batched_gemm: a has 64 columns, expected 128 (w has 2 groups of 64 columns)",
          [](Products& c) { c.a_batched.shape[1] = 64; });
  refused(gemm, "gemm: a has 2147483648 rows, expected at most 2147483647",
          [](Products& c) { c.a_tensor.shape[0] = int64_t{1} << 31; });
  refused(gemm_nvfp4, "gemm: a.scale_layout is 1 (SWIZZLED_128X4), expected LINEAR or PACKED",
          [](Products& c) { c.a.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4; });
  refused(gemm_nvfp4, "gemm: a.global_scale_kind is 2 (GROUP), expected TENSOR or ROW",
          [](Products& c) { c.a.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_GROUP; });
  refused(gemm_nvfp4, "gemm: a.groups is 2, expected 1",
          [](Products& c) { c.a.descriptor.groups = 2; });
  refused(gemm_nvfp4, "gemm: a.codes has 512 bytes, expected 2048 (m=16, k=64: 128 bytes per row)",
          [](Products& c) { c.a.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_PACKED; });
  refused(gemm_nvfp4, "gemm: a.codes is at address 0x10008, expected a multiple of 16 bytes",
          [](Products& c) { c.a.descriptor.codes = reinterpret_cast<void*>(0x10008); });
}

TEST(weights) {
  refused(gemm, "gemm: w.struct_size is 80, expected 88 (ABI version " NVFP4J_ABI_TEXT ")",
          [](Products& c) { c.w.descriptor.struct_size = 80; });
  refused(gemm, "gemm: w.scale_layout is 1 (SWIZZLED_128X4), expected LINEAR or PREPARED",
          [](Products& c) { c.w.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4; });
  refused(gemm, "gemm: w.scale_layout is 3 (PACKED), expected LINEAR or PREPARED",
          [](Products& c) { c.w.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_PACKED; });
  refused(gemm, "gemm: w.global_scale_kind is 1 (ROW), expected TENSOR or HALVES",
          [](Products& c) { c.w.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW; });
  refused(gemm, "gemm: w.global_scale_kind is 2 (GROUP), expected TENSOR or HALVES",
          [](Products& c) { c.w.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_GROUP; });
  refused(grouped, "grouped_gemm: w.global_scale_kind is 1 (ROW), expected TENSOR, GROUP or HALVES",
          [](Products& c) { c.w_groups.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW; });
  refused(
      batched, "batched_gemm: w.global_scale_kind is 3 (HALVES), expected TENSOR or GROUP",
      [](Products& c) { c.w_groups.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_HALVES; });
  refused(gemm, "gemm: w.groups is 2, expected 1", [](Products& c) { c.w.descriptor.groups = 2; });
  refused(grouped, "grouped_gemm: w.groups is 0, expected 1 or more",
          [](Products& c) { c.w_groups.descriptor.groups = 0; });
  refused(
      grouped,
      "grouped_gemm: w with shape [4611686018427387904, 16, 64] does not fit the 64-bit address "
      "space",
      [](Products& c) { c.w_groups.descriptor.groups = int64_t{1} << 62; });
  refused(grouped,
          "grouped_gemm: w.codes has 1024 bytes, expected 1536 (g=3, m=16, k=64: 32 bytes per row)",
          [](Products& c) { c.w_groups.descriptor.groups = 3; });
  refused(
      grouped, "grouped_gemm: w.global_scales has 2 elements, expected 4 (two per group)",
      [](Products& c) { c.w_groups.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_HALVES; });
  refused(gemm, "gemm: w.rows is 31, expected an even number (global_scale_kind is HALVES)",
          [](Products& c) {
            c.w.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_HALVES;
            c.w.descriptor.rows = 31;
          });
  const auto resize = [](int64_t rows) {
    return [rows](Products& c) {
      c.w.descriptor.rows = rows;
      c.w.descriptor.codes_bytes = rows * 32;
      c.w.descriptor.scales_bytes = rows * 4;
    };
  };
  refused(gemm, "gemm: w.rows is 12, expected a positive multiple of 8", resize(12));
  refused(gemm, "gemm: w.rows is 0, expected a positive multiple of 8", resize(0));
  refused(gemm_swiglu,
          "gemm: w.rows is 24, expected a positive multiple of 16 (gate and up: options.swiglu is "
          "1)",
          resize(24));
  const auto prepared_with = [](void* scales) {
    return [scales](Products& c) {
      c.w.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_PREPARED;
      c.w.descriptor.codes_bytes = 32 * 36;
      c.w.descriptor.scales = scales;
    };
  };
  refused(gemm, "gemm: w.scales has 128 bytes, expected 0 (layout PREPARED has none)",
          prepared_with(nullptr));
  refused(gemm, "gemm: w.scales is at address 0x10000, expected NULL (layout PREPARED has none)",
          prepared_with(reinterpret_cast<void*>(0x10000)));
}

TEST(offsets_weights_and_options) {
  refused(grouped, "grouped_gemm: offsets has dtype I64, expected I32",
          [](Products& c) { c.offsets.dtype = NVFP4J_DTYPE_I64; });
  refused(grouped, "grouped_gemm: offsets has 2 elements, expected 3 (one more than w has groups)",
          [](Products& c) { c.offsets.shape[0] = 2; });
  refused(grouped,
          "grouped_gemm: offsets has stride 2 (shape [3]), expected 1: it must be contiguous",
          [](Products& c) { c.offsets.stride[0] = 2; });
  refused(gemm_swiglu, "gemm: row_weight has dtype BF16, expected F32",
          [](Products& c) { c.row_weight.dtype = NVFP4J_DTYPE_BF16; });
  refused(gemm_swiglu, "gemm: row_weight has 15 elements, expected 16 (one per row of a)",
          [](Products& c) { c.row_weight.shape[0] = 15; });
  refused(gemm_swiglu, "gemm: row_weight is given, expected NULL (options.swiglu is 0)",
          [](Products& c) { c.swiglu.swiglu = 0; });
  refused(gemm, "gemm: options.struct_size is 20, expected 24 (ABI version " NVFP4J_ABI_TEXT ")",
          [](Products& c) { c.options.struct_size = 20; });
  refused(gemm, "gemm: options.batch_invariant is 2, expected 0 to 1 (no, yes)",
          [](Products& c) { c.options.batch_invariant = 2; });
  refused(gemm, "gemm: options.swiglu is -1, expected 0 to 1 (no, yes)",
          [](Products& c) { c.options.swiglu = -1; });
  refused(batched, "batched_gemm: options.swiglu is 1, expected 0: batched_gemm has no SwiGLU",
          [](Products& c) { c.options.swiglu = 1; });
  refused(gemm, "gemm: options.limit is nan, expected 0 (no clamp) or a finite positive number",
          [](Products& c) { c.options.limit = __builtin_nanf(""); });
  refused(gemm, "gemm: options.limit is -1, expected 0 (no clamp) or a finite positive number",
          [](Products& c) { c.options.limit = -1.0f; });
  refused(gemm, "gemm: options.path is 4, expected 0 to 3 (AUTO, GENERIC, DECODE, WGMMA)",
          [](Products& c) { c.options.path = 4; });
  refused(gemm, "gemm: options.path is 2 (DECODE), expected AUTO (the CPU has one implementation)",
          [](Products& c) { c.options.path = NVFP4J_GEMM_PATH_DECODE; });
  refused(gemm, "gemm: options.weights_settled is 7, expected 0 to 1 (no, yes)",
          [](Products& c) { c.options.weights_settled = 7; });
}

TEST(outputs) {
  refused(gemm, "gemm: d has dtype F16, expected F32 or BF16",
          [](Products& c) { c.d.dtype = NVFP4J_DTYPE_F16; });
  refused(gemm_swiglu, "gemm: d has dtype F32, expected BF16",
          [](Products& c) { c.d_swiglu.dtype = NVFP4J_DTYPE_F32; });
  refused(gemm, "gemm: d has shape [16, 31], expected [16, 32] (the rows of a and of w)",
          [](Products& c) { c.d.shape[1] = 31; });
  refused(gemm_swiglu,
          "gemm: d has shape [15, 16], expected [16, 16] (the rows of a, and half of those of w)",
          [](Products& c) { c.d_swiglu.shape[0] = 15; });
  refused(batched,
          "batched_gemm: d has shape [16, 16], expected [16, 32] (the rows of a, and those of all "
          "of w)",
          [](Products& c) { c.d.shape[1] = 16; });
  overlaps(gemm, "d", "a", [](Products& c) { c.a_tensor.data = c.d_bytes.data() + 2046; });
  overlaps(gemm_nvfp4, "d", "a.codes",
           [](Products& c) { c.a.descriptor.codes = c.d_bytes.data() + 2032; });
  overlaps(gemm_nvfp4, "d", "a.scales",
           [](Products& c) { c.a.descriptor.scales = c.d_bytes.data() + 2032; });
  overlaps(gemm_nvfp4, "d", "a.global_scales",
           [](Products& c) { c.a.descriptor.global_scales = c.d_bytes.data() + 2044; });
  overlaps(gemm, "d", "w.codes",
           [](Products& c) { c.w.descriptor.codes = c.d_bytes.data() + 2032; });
  overlaps(gemm, "d", "w.scales",
           [](Products& c) { c.w.descriptor.scales = c.d_bytes.data() + 2032; });
  overlaps(gemm, "d", "w.global_scales",
           [](Products& c) { c.w.descriptor.global_scales = c.d_bytes.data() + 2044; });
  overlaps(gemm_swiglu, "d", "row_weight",
           [](Products& c) { c.row_weight.data = c.d_bytes.data() + 508; });
  overlaps(grouped, "d", "offsets", [](Products& c) { c.offsets.data = c.d_bytes.data() + 1020; });
}

TEST(prepare_and_pack) {
  refused(prepare, "prepare_weights: w.scale_layout is 2 (PREPARED), expected LINEAR",
          [](Products& c) { c.w_groups.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_PREPARED; });
  refused(prepare,
          "prepare_weights: w.global_scale_kind is 1 (ROW), expected TENSOR, GROUP or HALVES",
          [](Products& c) { c.w_groups.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW; });
  refused(prepare, "prepare_weights: prepared.scale_layout is 0 (LINEAR), expected PREPARED",
          [](Products& c) { c.prepared.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_LINEAR; });
  refused(prepare,
          "prepare_weights: prepared.codes has 7 bytes, expected 1152 (g=2, m=16, k=64: 36 bytes "
          "per row)",
          [](Products& c) { c.prepared.descriptor.codes_bytes = 7; });
  refused(prepare,
          "prepare_weights: prepared has shape [32, 64], expected [2, 16, 64] (the shape of w)",
          [](Products& c) {
            c.prepared.descriptor.groups = 1;
            c.prepared.descriptor.rows = 32;
            c.prepared.descriptor.global_scales_count = 1;
          });
  refused(prepare,
          "prepare_weights: prepared.global_scale_kind is 0 (TENSOR), expected GROUP (the kind of "
          "w)",
          [](Products& c) {
            c.prepared.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_TENSOR;
            c.prepared.descriptor.global_scales_count = 1;
          });
  overlaps(prepare, "prepared.codes", "w.codes",
           [](Products& c) { c.prepared.descriptor.codes = c.w_groups.codes.data() + 1008; });
  overlaps(prepare, "prepared.codes", "w.scales",
           [](Products& c) { c.prepared.descriptor.codes = c.w_groups.scales.data() + 112; });
  overlaps(prepare, "prepared.global_scales", "w.global_scales", [](Products& c) {
    c.prepared.descriptor.global_scales = c.w_groups.global_scales.data() + 4;
  });
  refused(pack, "pack_activations: a.scale_layout is 3 (PACKED), expected LINEAR",
          [](Products& c) { c.a.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_PACKED; });
  refused(pack, "pack_activations: packed.scale_layout is 0 (LINEAR), expected PACKED",
          [](Products& c) { c.packed.descriptor.scale_layout = NVFP4J_SCALE_LAYOUT_LINEAR; });
  refused(pack, "pack_activations: packed.groups is 2, expected 1",
          [](Products& c) { c.packed.descriptor.groups = 2; });
  overlaps(pack, "packed.codes", "a.codes",
           [](Products& c) { c.packed.descriptor.codes = c.a.codes.data() + 496; });
  overlaps(pack, "packed.global_scales", "a.global_scales",
           [](Products& c) { c.packed.descriptor.global_scales = c.a.global_scales.data(); });
}

TEST(no_rows_are_validated_and_nothing_is_written) {
  Products p;
  p.a_tensor.shape[0] = p.d.shape[0] = p.a_batched.shape[0] = p.d_grouped.shape[0] = 0;
  p.a_tensor.data = p.d.data = p.a_batched.data = p.d_grouped.data = nullptr;
  CHECK_EQ(gemm(p).message, "");
  CHECK_EQ(grouped(p).message, "");
  CHECK_EQ(batched(p).message, "");
  p.options.weights_settled = 2;
  CHECK_EQ(gemm(p).message, "gemm: options.weights_settled is 2, expected 0 to 1 (no, yes)");
  CHECK(!p.written());
}

TEST(paths) {
  char text[256];
  nvfp4j_gemm_options options = gemm_options();
  const auto path = [&](int32_t op, int32_t device, int64_t groups, int64_t m, int64_t n, int64_t k,
                        int32_t a_kind, int32_t w_layout, nvfp4j_error* error) {
    return nvfp4j_gemm_path(op, device, groups, m, n, k, a_kind, w_layout, &options, text,
                            sizeof text, error);
  };
  for (const int32_t op : {NVFP4J_OP_GEMM, NVFP4J_OP_GROUPED_GEMM, NVFP4J_OP_BATCHED_GEMM}) {
    CHECK_OK(path(op, -1, 1, 5, 64, 64, 0, 0, error));
    CHECK(std::string(text).starts_with(std::string("cpu: ") + nvfp4j_op_name(op) + "_cpu, "));
  }
  CHECK_FAILS(path(3, -1, 1, 5, 64, 64, 0, 0, error), kInvalid,
              "gemm_path: op is 3, expected 7 to 9 (GEMM, GROUPED_GEMM, BATCHED_GEMM)");
  CHECK_FAILS(path(7, -2, 1, 5, 64, 64, 0, 0, error), kInvalid,
              "gemm_path: device is -2, expected -1 (the CPU) or a CUDA ordinal");
  CHECK_FAILS(path(7, -1, 2, 5, 64, 64, 0, 0, error), kInvalid,
              "gemm_path: groups is 2, expected 1 (op is GEMM)");
  CHECK_FAILS(path(8, -1, 0, 5, 64, 64, 0, 0, error), kInvalid,
              "gemm_path: groups is 0, expected 1 or more");
  CHECK_FAILS(path(7, -1, 1, -1, 64, 64, 0, 0, error), kInvalid,
              "gemm_path: m is -1, expected 0 or more");
  CHECK_FAILS(path(7, -1, 1, int64_t{1} << 31, 64, 64, 0, 0, error), kInvalid,
              "gemm_path: m is 2147483648, expected at most 2147483647");
  CHECK_FAILS(path(7, -1, 1, 5, 63, 64, 0, 0, error), kInvalid,
              "gemm_path: n is 63, expected a positive multiple of 8");
  CHECK_FAILS(path(7, -1, 1, 5, 64, 8, 0, 0, error), kInvalid,
              "gemm_path: k is 8, expected a positive multiple of 16");
  CHECK_FAILS(path(7, -1, 1, 5, 64, (int64_t{1} << 30) + 16, 0, 0, error), kInvalid,
              "gemm_path: k is 1073741840, expected at most 1073741824");
  CHECK_FAILS(
      path(9, -1, 2, 5, 64, int64_t{1} << 30, 0, 0, error), kInvalid,
      "gemm_path: k is 1073741824 in 2 groups, expected at most 2147483647 columns in a row "
      "of a");
  CHECK_FAILS(path(7, -1, 1, 5, 64, 64, 3, 0, error), kInvalid,
              "gemm_path: a_kind is 3, expected 0 to 2 (BF16, NVFP4, PACKED)");
  CHECK_FAILS(path(7, -1, 1, 5, 64, 64, 0, 1, error), kInvalid,
              "gemm_path: w_layout is 1 (SWIZZLED_128X4), expected LINEAR or PREPARED");
  CHECK_FAILS(nvfp4j_gemm_path(7, -1, 1, 5, 64, 64, 0, 0, nullptr, text, 1, error), kInvalid,
              "gemm_path: options is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_gemm_path(7, -1, 1, 5, 64, 64, 0, 0, &options, nullptr, 1, error), kInvalid,
              "gemm_path: text is NULL, expected a pointer");
  CHECK_FAILS(nvfp4j_gemm_path(7, -1, 1, 5, 64, 64, 0, 0, &options, text, 0, error), kInvalid,
              "gemm_path: text_bytes is 0, expected 1 or more");
  options.path = NVFP4J_GEMM_PATH_WGMMA;
  CHECK_FAILS(path(7, -1, 1, 5, 64, 64, 0, 0, error), kInvalid,
              "gemm_path: options.path is 3 (WGMMA), expected AUTO (the CPU has one "
              "implementation)");
}

int main(int count, char** arguments) { return check::main(count, arguments); }
