// SPDX-License-Identifier: Apache-2.0
// The guard, the error record, and what the library says about itself.
#include "common/error.hpp"

#include <atomic>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "common/guard.hpp"
#include "fixture.hpp"

using namespace fixture;

// While set, operator new fails: in every thread, so also in a pool's.
static std::atomic<bool> allocations_fail{false};
// Not negative: so many succeed, and the next one fails.
static std::atomic<int> allocations_before_a_failure{-1};

// Not inlined: g++ would take the pair for a mismatch of malloc and delete.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  const bool fails = allocations_fail ||
                     (allocations_before_a_failure >= 0 && allocations_before_a_failure-- == 0);
  void* memory = fails ? nullptr : std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

nvfp4j_error fresh(int32_t size = sizeof(nvfp4j_error)) {
  nvfp4j_error error;
  std::memset(&error, 0x5A, sizeof error);
  error.struct_size = size;
  return error;
}

}  // namespace

TEST(guard_turns_every_exception_into_a_status_and_a_sentence) {
  nvfp4j_error error = fresh();
  CHECK_EQ(nvfp4j::guard(&error, "op", [] { throw std::bad_alloc(); }), NVFP4J_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(error.message, "op: host memory is exhausted");
  CHECK_EQ(nvfp4j::guard(&error, "op", [] { throw std::runtime_error("odd"); }),
           NVFP4J_ERROR_INTERNAL);
  CHECK_EQ(error.message, "op: a defect of nvfp4j: odd");
  CHECK_EQ(nvfp4j::guard(&error, "op", [] { throw 42; }), NVFP4J_ERROR_INTERNAL);
  CHECK_EQ(error.message, "op: a defect of nvfp4j: an exception of unknown type");
  CHECK_EQ(
      nvfp4j::guard(
          &error, "op",
          [] { nvfp4j::fail(NVFP4J_ERROR_INVALID_STATE, "op: x is %d, expected %s", 3, "4"); }),
      NVFP4J_ERROR_INVALID_STATE);
  CHECK_EQ(error.message, "op: x is 3, expected 4");
  CHECK_EQ(error.status, NVFP4J_ERROR_INVALID_STATE);
  CHECK_EQ(error.cuda_error, 0);
  CHECK_EQ(error.reserved, 0);
  CHECK_EQ(
      nvfp4j::guard(&error, "op", [] { nvfp4j::fail_cuda(NVFP4J_ERROR_CUDA, 700, "op: failed"); }),
      NVFP4J_ERROR_CUDA);
  CHECK_EQ(error.cuda_error, 700);
}

TEST(success_writes_nothing) {
  nvfp4j_error error = fresh();
  const nvfp4j_error before = error;
  CHECK_EQ(nvfp4j::guard(&error, "op", [] {}), NVFP4J_OK);
  CHECK(std::memcmp(&error, &before, sizeof error) == 0);
}

TEST(no_record_and_records_of_other_sizes) {
  CHECK_EQ(nvfp4j::guard(nullptr, "op", [] { throw 1; }), NVFP4J_ERROR_INTERNAL);
  for (const int32_t size : {-1, 0, 4, 12, 16}) {
    nvfp4j_error error = fresh(size);
    const nvfp4j_error before = error;
    CHECK_EQ(nvfp4j::guard(&error, "op", [] { throw 1; }), NVFP4J_ERROR_INTERNAL);
    CHECK(std::memcmp(&error, &before, sizeof error) == 0);
  }
  nvfp4j_error error = fresh(16 + 8);
  CHECK_EQ(nvfp4j::guard(&error, "op", [] { nvfp4j::fail(1, "123456789"); }), 1);
  CHECK_EQ(error.message, "1234567");
  CHECK_EQ(error.message[8], char{0x5A});
  // Of a later version, with more behind.
  error = fresh(1 << 20);
  CHECK_EQ(nvfp4j::guard(&error, "op", [] { nvfp4j::fail(1, "123456789"); }), 1);
  CHECK_EQ(error.message, "123456789");
}

TEST(long_messages_are_cut_between_characters) {
  std::string text(493, 'x');
  text +=
      "\xC3\xA9\xC3\xA9";  // two characters of two bytes each: 493 + 2 fit 495, the second does not
  nvfp4j_error error = fresh();
  CHECK_EQ(nvfp4j::guard(&error, "op", [&] { nvfp4j::fail(1, "%s", text.c_str()); }), 1);
  CHECK_EQ(error.message, text.substr(0, 495));
  const std::string odd = std::string(494, 'x') + "\xC3\xA9\xC3\xA9";
  CHECK_EQ(nvfp4j::guard(&error, "op", [&] { nvfp4j::fail(1, "%s", odd.c_str()); }), 1);
  CHECK_EQ(error.message, std::string(494, 'x'));
  const std::string huge(5000, 'y');
  CHECK_EQ(nvfp4j::guard(&error, "op", [&] { nvfp4j::fail(1, "%s", huge.c_str()); }), 1);
  CHECK_EQ(error.message, std::string(495, 'y'));
}

TEST(out_of_memory_in_an_entry_point_is_a_status) {
  const Context context;
  std::vector<float> x(64, 1.0f);
  std::vector<float> y(64);
  const nvfp4j_tensor source = tensor(x.data(), NVFP4J_DTYPE_F32, {64});
  const nvfp4j_tensor destination = tensor(y.data(), NVFP4J_DTYPE_F32, {64});
  nvfp4j_error error = fresh();
  nvfp4j_context_options options{};
  options.struct_size = sizeof options;
  options.device = NVFP4J_DEVICE_CPU;
  nvfp4j_context* other = nullptr;

  allocations_fail = true;
  const int32_t created = nvfp4j_context_create(&options, &other, &error);
  allocations_fail = false;
  CHECK_EQ(created, NVFP4J_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(error.message, "context_create: host memory is exhausted");
  CHECK(other == nullptr);

  // Recording a call keeps a copy of it.
  nvfp4j_cpu_graph* graph = nullptr;
  CHECK_OK(nvfp4j_cpu_capture_begin(context, error));
  allocations_fail = true;
  const int32_t recorded = nvfp4j_copy(context, &source, &destination, &error);
  allocations_fail = false;
  CHECK_EQ(recorded, NVFP4J_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(error.message, "copy: host memory is exhausted");
  CHECK_OK(nvfp4j_copy(context, &source, &destination, error));
  CHECK_OK(nvfp4j_cpu_capture_end(context, &graph, error));

  // Running ops allocates nothing.
  allocations_fail = true;
  const int32_t launched = nvfp4j_cpu_graph_launch(context, graph, &error);
  const int32_t copied = nvfp4j_copy(context, &source, &destination, &error);
  allocations_fail = false;
  CHECK_EQ(launched, NVFP4J_OK);
  CHECK_EQ(copied, NVFP4J_OK);
  CHECK_EQ(y[63], 1.0f);
  CHECK_OK(nvfp4j_cpu_graph_destroy(graph, error));
}

// Whichever allocation fails: also one behind the first threads of the pool, which must be joined.
TEST(out_of_memory_at_every_step_of_a_context) {
  nvfp4j_context_options options{};
  options.struct_size = sizeof options;
  options.device = NVFP4J_DEVICE_CPU;
  options.threads = 5;
  int failures = 0;
  for (int step = 0; step < 100; ++step) {
    nvfp4j_context* context = nullptr;
    nvfp4j_error error = fresh();
    allocations_before_a_failure = step;
    const int32_t status = nvfp4j_context_create(&options, &context, &error);
    allocations_before_a_failure = -1;
    if (status == NVFP4J_OK) {
      CHECK_OK(nvfp4j_context_destroy(context, error));
      break;
    }
    ++failures;
    CHECK_EQ(status, NVFP4J_ERROR_OUT_OF_MEMORY);
    CHECK_EQ(error.message, "context_create: host memory is exhausted");
    CHECK(context == nullptr);
  }
  CHECK(failures >= 7 && failures < 100);  // context, pool, its words, its threads
}

// On the pool as well, for every op: those on NVFP4 tensors, then the others.
TEST(no_op_allocates) {
  const Context context(3);
  const int64_t rows = 300;
  const int64_t columns = 512;
  Bytes x(rows * columns * 4);
  std::memset(x.data(), 0, static_cast<std::size_t>(x.size()));
  Bytes y(rows * columns * 4);
  Bytes linear(rows * 32);
  Nvfp4 q(rows, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4);
  Nvfp4 h(rows, columns / 2);
  Bytes tiles(q.scales.size());
  const nvfp4j_tensor input = tensor(x.data(), NVFP4J_DTYPE_F32, {rows, columns});
  const nvfp4j_tensor output = tensor(y.data(), NVFP4J_DTYPE_F32, {rows, columns});
  const nvfp4j_tensor half = tensor(y.data(), NVFP4J_DTYPE_F32, {rows, columns / 2});
  const nvfp4j_tensor scales = tensor(linear.data(), NVFP4J_DTYPE_U8, {rows, columns / 16});
  const nvfp4j_tensor swizzled = tensor(tiles.data(), NVFP4J_DTYPE_U8, {tiles.size()});
  const nvfp4j_quantize_options options = quantize_options();
  const nvfp4j_swiglu_options swiglu = swiglu_options();
  const nvfp4j_gemm_options gemm = gemm_options();
  const nvfp4j_tensor bf16 = tensor(x.data(), NVFP4J_DTYPE_BF16, {rows, columns});
  const nvfp4j_tensor product = tensor(y.data(), NVFP4J_DTYPE_F32, {rows, 64});
  const int32_t offset_values[] = {0, 300};
  const nvfp4j_tensor offsets = tensor(const_cast<int32_t*>(offset_values), NVFP4J_DTYPE_I32, {2});
  const Nvfp4 w(64, columns);
  for (const Bytes* b : {&w.codes, &w.scales, &w.global_scales})
    std::memset(b->data(), 0x11, static_cast<std::size_t>(b->size()));
  const Nvfp4 prepared(64, columns, NVFP4J_SCALE_LAYOUT_PREPARED);
  const Nvfp4 packed(64, columns, NVFP4J_SCALE_LAYOUT_PACKED);
  allocations_fail = true;
  const int32_t statuses[] = {
      nvfp4j_quantize(context, &input, nullptr, &options, &q.descriptor, nullptr),
      nvfp4j_dequantize(context, &q.descriptor, &output, nullptr),
      nvfp4j_swizzle(context, &scales, &swizzled, nullptr),
      nvfp4j_unswizzle(context, &swizzled, &scales, nullptr),
      nvfp4j_swiglu(context, &input, nullptr, &swiglu, &half, nullptr),
      nvfp4j_swiglu_quantize(context, &input, nullptr, &swiglu, &options, &h.descriptor, nullptr),
      nvfp4j_copy(context, &input, &output, nullptr),
      nvfp4j_gemm(context, &bf16, nullptr, &w.descriptor, nullptr, &gemm, &product, nullptr),
      nvfp4j_grouped_gemm(context, &bf16, nullptr, &w.descriptor, &offsets, nullptr, &gemm,
                          &product, nullptr),
      nvfp4j_batched_gemm(context, &bf16, nullptr, &w.descriptor, &gemm, &product, nullptr),
      nvfp4j_prepare_weights(context, &w.descriptor, &prepared.descriptor, nullptr),
      nvfp4j_pack_activations(context, &w.descriptor, &packed.descriptor, nullptr),
      nvfp4j_context_synchronize(context, nullptr, nullptr)};
  allocations_fail = false;
  for (const int32_t status : statuses) CHECK_EQ(status, NVFP4J_OK);
}

TEST(no_op_of_a_layer_allocates) {
  const Context context(3);
  const int64_t tokens = 30;
  constexpr int64_t kSlot = 40960;  // bytes of an output
  Bytes zeros(180 * 64 * 4);
  std::memset(zeros.data(), 0, static_cast<std::size_t>(zeros.size()));
  Bytes written(4 * kSlot);
  const auto in = [&](int32_t dtype, std::initializer_list<int64_t> shape) {
    return tensor(zeros.data(), dtype, shape);
  };
  const auto out = [&](int slot, int32_t dtype, std::initializer_list<int64_t> shape) {
    return tensor(written.data() + slot * kSlot, dtype, shape);
  };
  constexpr int32_t kF32 = NVFP4J_DTYPE_F32;
  constexpr int32_t kI32 = NVFP4J_DTYPE_I32;
  // Hyper-connections.
  const nvfp4j_sinkhorn_options sinkhorn = {sizeof sinkhorn, 2, 1e-6f, 0};
  const nvfp4j_hc_options hc = {sizeof hc, 2, 1e-6f, 1e-6f};
  const nvfp4j_hc_options head = {sizeof head, 0, 1e-6f, 1e-6f};
  const nvfp4j_tensor x = in(kF32, {tokens, 4, 64});
  const nvfp4j_tensor row = in(kF32, {tokens, 64});
  const nvfp4j_tensor post = in(kF32, {tokens, 4});
  const nvfp4j_tensor comb = in(kF32, {tokens, 4, 4});
  const nvfp4j_tensor fn = in(kF32, {24, 256});
  const nvfp4j_tensor base = in(kF32, {24});
  const nvfp4j_tensor scale = in(kF32, {3});
  const nvfp4j_tensor head_fn = in(kF32, {4, 256});
  const nvfp4j_tensor head_base = in(kF32, {4});
  const nvfp4j_tensor one = in(kF32, {1});
  const nvfp4j_tensor streams = out(0, kF32, {tokens, 4, 64});
  const nvfp4j_tensor collapsed = out(1, kF32, {tokens, 64});
  const nvfp4j_tensor next_post = out(2, kF32, {tokens, 4});
  const nvfp4j_tensor next_comb = out(3, kF32, {tokens, 4, 4});
  // Routers and experts.
  const nvfp4j_router_options router = {sizeof router, 2.5f, 0};
  const nvfp4j_tensor gate = in(kF32, {32, 64});
  const nvfp4j_tensor bias = in(kF32, {32});
  const nvfp4j_tensor table = in(kI32, {5, 6});
  const nvfp4j_tensor ids = in(kI32, {tokens});
  const nvfp4j_tensor choices = in(kI32, {tokens, 6});
  const nvfp4j_tensor weights = in(kF32, {tokens, 6});
  const nvfp4j_tensor y = in(kF32, {6 * tokens, 64});
  const nvfp4j_tensor indices = out(0, kI32, {tokens, 6});
  const nvfp4j_tensor routed = out(1, kF32, {tokens, 6});
  const nvfp4j_tensor logits = out(2, kF32, {tokens, 32});
  const nvfp4j_tensor offsets = out(1, kI32, {33});
  const nvfp4j_tensor rows = out(2, kI32, {6 * tokens});
  const nvfp4j_tensor row_weights = out(3, kF32, {6 * tokens});
  // Indexer, caches, sample.
  const nvfp4j_tensor q = in(kF32, {3, 4, 16});
  const nvfp4j_tensor keys = in(kF32, {300, 16});
  const nvfp4j_tensor heads = in(kF32, {3, 4});
  int32_t visible[] = {300, 1, 0};
  const nvfp4j_tensor valid = tensor(visible, kI32, {3});
  const nvfp4j_tensor top = out(0, kI32, {3, 40});
  const nvfp4j_tensor scores = out(1, kF32, {3, 300});
  int32_t counter = 0;
  const nvfp4j_tensor length = tensor(&counter, kI32, {1});
  const nvfp4j_tensor ring = out(0, kF32, {8, 64});
  const nvfp4j_tensor cache = out(0, kF32, {tokens, 64});
  const nvfp4j_tensor vocabulary = in(kF32, {3, 3000});
  const nvfp4j_tensor drawn = out(0, kI32, {3});
  const nvfp4j_sample_options greedy = {sizeof greedy, 0, 0, 0};
  const nvfp4j_sample_options draw = {sizeof draw, 1, 2, 3};
  allocations_fail = true;
  const int32_t statuses[] = {
      nvfp4j_sinkhorn(context, &comb, &sinkhorn, &next_comb, nullptr),
      nvfp4j_hc_pre(context, &x, &fn, &base, &scale, &hc, &collapsed, &next_post, &next_comb,
                    nullptr),
      nvfp4j_hc_post(context, &x, &row, &post, &comb, &streams, nullptr),
      nvfp4j_hc_head(context, &x, &head_fn, &head_base, &one, &head, &collapsed, nullptr),
      nvfp4j_hc_post_pre(context, &x, &row, &post, &comb, &fn, &base, &scale, nullptr, &hc, nullptr,
                         &streams, &collapsed, &next_post, &next_comb, nullptr, nullptr),
      nvfp4j_router_dense(context, &row, &gate, nullptr, &bias, &router, &indices, &routed, &logits,
                          nullptr),
      nvfp4j_router_hash(context, &row, &gate, nullptr, &table, &ids, &router, &indices, &routed,
                         nullptr),
      nvfp4j_expert_dispatch(context, &choices, &weights, &offsets, &rows, &indices, &row_weights,
                             nullptr),
      nvfp4j_expert_combine(context, &y, &choices, &weights, &row, &collapsed, nullptr),
      nvfp4j_indexer_topk(context, &q, &keys, &heads, &valid, &top, &scores, nullptr),
      nvfp4j_cache_append_window(context, &ring, &row, &length, nullptr),
      nvfp4j_cache_append(context, &cache, &row, &length, nullptr),
      nvfp4j_sample(context, &vocabulary, nullptr, nullptr, &greedy, &drawn, nullptr),
      nvfp4j_sample(context, &vocabulary, nullptr, nullptr, &draw, &drawn, nullptr),
      nvfp4j_context_synchronize(context, nullptr, nullptr)};
  allocations_fail = false;
  for (const int32_t status : statuses) CHECK_EQ(status, NVFP4J_OK);
  CHECK_EQ(counter, static_cast<int32_t>(tokens));
}

TEST(library_describes_itself) {
  CHECK_EQ(nvfp4j_abi_version(), NVFP4J_ABI_VERSION);
  const std::string info = nvfp4j_build_info();
  for (const char* key : {"\"version\":\"", "\"revision\":\"", "\"compiler\":\"",
                          "\"cuda\":", "\"architectures\":[", "\"build_type\":\""}) {
    CHECK(info.find(key) != std::string::npos);
  }
  CHECK(info.front() == '{' && info.back() == '}');
  const char* names[] = {"quantize",
                         "dequantize",
                         "swizzle",
                         "unswizzle",
                         "swiglu",
                         "swiglu_quantize",
                         "copy",
                         "gemm",
                         "grouped_gemm",
                         "batched_gemm",
                         "prepare_weights",
                         "pack_activations",
                         "sinkhorn",
                         "hc_pre",
                         "hc_post",
                         "hc_head",
                         "hc_post_pre",
                         "router_dense",
                         "router_hash",
                         "expert_dispatch",
                         "expert_combine",
                         "indexer_topk",
                         "cache_append_window",
                         "cache_append",
                         "sample"};
  for (int32_t op = 0; op < NVFP4J_OP_COUNT; ++op) CHECK_EQ(nvfp4j_op_name(op), names[op]);
  CHECK(nvfp4j_op_name(-1) == nullptr);
  CHECK(nvfp4j_op_name(NVFP4J_OP_COUNT) == nullptr);
}

TEST(paths) {
  char text[256];
  for (int32_t op = 0; op < NVFP4J_OP_COUNT; ++op) {
    CHECK_OK(nvfp4j_path(op, NVFP4J_DEVICE_CPU, text, sizeof text, error));
    CHECK(std::string(text).starts_with(std::string("cpu: ") + nvfp4j_op_name(op) + "_cpu, "));
  }
  char small[4] = {'z', 'z', 'z', 'z'};
  CHECK_OK(nvfp4j_path(0, NVFP4J_DEVICE_CPU, small, 3, error));
  CHECK_EQ(small, "cp");
  CHECK_EQ(small[3], 'z');
  CHECK_FAILS(nvfp4j_path(NVFP4J_OP_COUNT, -1, text, 256, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "path: op is 25, expected 0 to 24");
  CHECK_FAILS(nvfp4j_path(-1, -1, text, 256, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "path: op is -1, expected 0 to 24");
  CHECK_FAILS(nvfp4j_path(0, -2, text, 256, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "path: device is -2, expected -1 (the CPU) or a CUDA ordinal");
  CHECK_FAILS(nvfp4j_path(0, -1, nullptr, 256, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "path: text is NULL, expected a pointer");
  CHECK_FAILS(nvfp4j_path(0, -1, text, 0, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "path: text_bytes is 0, expected 1 or more");
}

TEST(workspace_bytes) {
  int64_t bytes = -1;
  for (int32_t op = 0; op < NVFP4J_OP_COUNT; ++op) {
    CHECK_OK(nvfp4j_workspace_bytes(op, NVFP4J_DEVICE_CPU, 1000, 1024, &bytes, error));
    CHECK_EQ(bytes, 0);
  }
  CHECK_FAILS(nvfp4j_workspace_bytes(NVFP4J_OP_COUNT, -1, 1, 1, &bytes, error),
              NVFP4J_ERROR_INVALID_ARGUMENT, "workspace_bytes: op is 25, expected 0 to 24");
  CHECK_FAILS(nvfp4j_workspace_bytes(0, -1, -1, 1, &bytes, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "workspace_bytes: rows, columns are -1, 1, expected 0 or more");
  CHECK_FAILS(nvfp4j_workspace_bytes(0, -1, 1, 1, nullptr, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "workspace_bytes: bytes is NULL, expected a pointer");
}

TEST(buffer_sizes) {
  using Function = int32_t (*)(int64_t, int64_t, int32_t, int64_t*, nvfp4j_error*);
  for (const auto& [name, what, function] :
       {std::tuple<std::string, std::string, Function>{"scale_bytes", "scales", nvfp4j_scale_bytes},
        {"codes_bytes", "codes", nvfp4j_codes_bytes}}) {
    int64_t bytes = -1;
    CHECK_FAILS(function(-1, 16, 0, &bytes, error), NVFP4J_ERROR_INVALID_ARGUMENT,
                name + ": rows is -1, expected 0 or more");
    CHECK_FAILS(function(1, 24, 0, &bytes, error), NVFP4J_ERROR_INVALID_ARGUMENT,
                name + ": columns is 24, expected a multiple of 16");
    CHECK_FAILS(function(1, 16, 4, &bytes, error), NVFP4J_ERROR_INVALID_ARGUMENT,
                name +
                    ": scale_layout is 4, expected 0 to 3 (LINEAR, SWIZZLED_128X4, PREPARED, "
                    "PACKED)");
    CHECK_FAILS(function(1, 16, 0, nullptr, error), NVFP4J_ERROR_INVALID_ARGUMENT,
                name + ": bytes is NULL, expected a pointer");
    CHECK_FAILS(function(INT64_MAX, 64, 0, &bytes, error), NVFP4J_ERROR_INVALID_ARGUMENT,
                name + ": rows, columns are 9223372036854775807, 64: their " + what +
                    " do not fit the 64-bit address space");
    CHECK_EQ(bytes, -1);
  }
  int64_t bytes = -1;
  CHECK_FAILS(nvfp4j_codes_bytes(1, INT64_MAX / 16 * 16, NVFP4J_SCALE_LAYOUT_PACKED, &bytes, error),
              NVFP4J_ERROR_INVALID_ARGUMENT,
              "codes_bytes: rows, columns are 1, 9223372036854775792: their codes do not fit the "
              "64-bit address space");
  constexpr int64_t codes[] = {5 * 24, 5 * 24, 5 * 27, 5 * 96};
  constexpr int64_t scales[] = {5 * 3, 512, 0, 0};
  for (int32_t layout = 0; layout < 4; ++layout) {
    CHECK_EQ(codes_bytes(5, 48, layout), codes[layout]);
    CHECK_EQ(scale_bytes(5, 48, layout), scales[layout]);
  }
}

// What a machine without a GPU says; where there is one, this is another test's.
TEST(cuda_devices_without_cuda) {
  char text[256];
  const Outcome path = outcome([&](nvfp4j_error* error) {
    return nvfp4j_path(NVFP4J_OP_QUANTIZE, 0, text, sizeof text, error);
  });
  if (path.status == NVFP4J_OK) {
    const Outcome missing = outcome([&](nvfp4j_error* error) {
      return nvfp4j_path(NVFP4J_OP_QUANTIZE, 1000, text, sizeof text, error);
    });
    CHECK_EQ(missing.status, NVFP4J_ERROR_INVALID_ARGUMENT);
    CHECK(missing.message.starts_with("quantize: device is cuda:1000, which does not exist: "));
    return;
  }
  CHECK_EQ(path.status, NVFP4J_ERROR_NOT_SUPPORTED);
  nvfp4j_context_options options{};
  options.struct_size = sizeof options;
  options.device = 0;
  nvfp4j_context* context = nullptr;
  const Outcome create = outcome(
      [&](nvfp4j_error* error) { return nvfp4j_context_create(&options, &context, error); });
  CHECK_EQ(create.status, NVFP4J_ERROR_NOT_SUPPORTED);
  CHECK(context == nullptr);
  const bool with_cuda =
      std::string(nvfp4j_build_info()).find("\"cuda\":null") == std::string::npos;
  if (with_cuda) {
    CHECK(path.message.starts_with("quantize: device is cuda:0, but no CUDA d"));
    CHECK(create.message.starts_with("context_create: device is cuda:0, but no CUDA d"));
  } else {
    CHECK_EQ(path.message, "quantize: device is cuda:0, but nvfp4j was built without CUDA");
    CHECK_EQ(create.message,
             "context_create: options.device is cuda:0, but nvfp4j was built without CUDA");
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
