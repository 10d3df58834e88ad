// SPDX-License-Identifier: Apache-2.0
// CUDA contexts: every op against the CPU device on every kind of stream, refusals, threads, and contexts beside each other.
#include "context_fixture.hpp"

using namespace nvfp4j::test;

TEST(the_device_is_described) {
  for (int32_t op = 0; op < NVFP4J_OP_COUNT; ++op) {
    char text[256] = "";
    CHECK_OK(nvfp4j_path(op, 0, text, sizeof text, error));
    CHECK(text[0] != '\0');
    std::printf("%s: %s\n", nvfp4j_op_name(op), text);
    int64_t bytes = -1;
    CHECK_OK(nvfp4j_workspace_bytes(op, 0, 8192, 7168, &bytes, error));
    CHECK(bytes >= 0);
    const Outcome none = outcome(
        [&](nvfp4j_error* error) { return nvfp4j_path(op, 4711, text, sizeof text, error); });
    CHECK_EQ(none.status, kInvalid);
    CHECK(none.message.find("device is cuda:4711, which does not exist") != std::string::npos);
  }
  CHECK(std::strstr(nvfp4j_build_info(), "sm_90") != nullptr);
  nvfp4j_context* context = nullptr;
  nvfp4j_context_options options = cuda_options();
  options.device = 4711;
  CHECK_EQ(nvfp4j_context_create(&options, &context, nullptr), kInvalid);
  CHECK(context == nullptr);
}

TEST(every_op_equals_the_cpu_on_every_kind_of_stream) {
  const OwnedStream non_blocking(cudaStreamNonBlocking);
  const OwnedStream blocking(cudaStreamDefault);
  const struct {
    const char* name;
    nvfp4j_context_options options;
  } streams[] = {{"own stream", cuda_options()},
                 {"foreign stream", foreign(non_blocking)},
                 {"foreign stream that waits for the legacy one", foreign(blocking)},
                 {"legacy default stream", foreign(nullptr)},
                 {"cudaStreamLegacy", foreign(cudaStreamLegacy)}};
  for (const auto& s : streams) {
    std::printf("%s\n", s.name);
    const CudaContext context(s.options);
    if (s.options.foreign_stream == 1) CHECK(context.stream() == s.options.cuda_stream);
    CHECK_OK(nvfp4j_context_warm_up(context, error));
    for (const auto& [rows, columns] :
         {std::pair<int64_t, int64_t>{1, 16}, {5, 272}, {130, 1040}}) {
      std::mt19937 g = seeded(static_cast<unsigned>(rows));
      for_every_op(g, rows, columns, [&](const Workload& w) {
        expect_on_cpu(w);
        w.poison();
        CHECK_OK(on_gpu(w, context, error));
        CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
        check_equal(w);
      });
    }
  }
  // They are their owner's still.
  MUST(cudaStreamSynchronize(non_blocking));
  MUST(cudaStreamSynchronize(blocking));
}

TEST(large_shapes_equal_the_cpu) {
  if (quick) return;  // the ops' own tests reach every kernel with small ones
  const CudaContext context;
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{64, 7168}, {2048, 7168}}) {
    std::mt19937 g = seeded(static_cast<unsigned>(rows));
    for_every_op(g, rows, columns, [&](const Workload& w) {
      expect_on_cpu(w);
      for (int round = 0; round < 2; ++round) {
        w.poison();
        CHECK_OK(on_gpu(w, context, error));
        CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
        check_equal(w);
      }
    });
  }
}

TEST(copies_between_all_kinds_of_memory) {
  const CudaContext context;
  constexpr int64_t kRows = 37;
  constexpr int64_t kColumns = 100;
  constexpr int64_t kStride = 111;
  constexpr int64_t kBytes = kRows * kStride * 2;
  void* pinned = nullptr;
  MUST(cudaHostAlloc(&pinned, static_cast<std::size_t>(2 * kBytes), cudaHostAllocDefault));
  auto* const pinned_bytes = static_cast<std::uint8_t*>(pinned);
  std::mt19937 g = seeded(1);
  const std::vector<std::uint8_t> x = random_tensor(g, NVFP4J_DTYPE_BF16, kRows * kStride, kGauss);
  const auto strided = [](void* data, int32_t memory) {
    nvfp4j_tensor t = fixture::matrix(data, NVFP4J_DTYPE_BF16, kRows, kColumns, kStride);
    t.memory = memory;
    return t;
  };
  for (const bool through_pinned : {false, true}) {
    Bytes host(kBytes);
    Bytes back(kBytes);
    Buffer device(kBytes);
    std::memcpy(host.data(), x.data(), x.size());
    std::memcpy(pinned_bytes, x.data(), x.size());
    std::memset(pinned_bytes + kBytes, 0xA5, static_cast<std::size_t>(kBytes));
    const nvfp4j_tensor middle = strided(device.data(), NVFP4J_MEMORY_DEVICE);
    const nvfp4j_tensor from = through_pinned ? strided(pinned_bytes, NVFP4J_MEMORY_PINNED)
                                              : strided(host.data(), NVFP4J_MEMORY_HOST);
    const nvfp4j_tensor to = through_pinned ? strided(pinned_bytes + kBytes, NVFP4J_MEMORY_PINNED)
                                            : strided(back.data(), NVFP4J_MEMORY_HOST);
    CHECK_OK(nvfp4j_copy(context, &from, &middle, error));
    CHECK_OK(nvfp4j_copy(context, &middle, &to, error));
    // Pageable memory is there on return.
    if (through_pinned) CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    const std::uint8_t* result = through_pinned ? pinned_bytes + kBytes : back.data();
    int64_t wrong = 0;
    for (int64_t m = 0; m < kRows; ++m) {
      for (int64_t i = 0; i < kStride * 2; ++i) {
        const int64_t at = m * kStride * 2 + i;
        wrong += result[at] != (i < kColumns * 2 ? x[static_cast<std::size_t>(at)] : 0xA5);
      }
    }
    CHECK_EQ(wrong, 0);
  }
  MUST(cudaFreeHost(pinned));
}

// A stream that waits for the legacy one captures it implicitly.

TEST(a_second_thread_is_refused_by_name) {
  const CudaContext context;
  std::mt19937 g = seeded(4);
  const Workload w = quantize_workload(g, NVFP4J_DTYPE_BF16, 4, 64, NVFP4J_GLOBAL_SCALE_GIVEN,
                                       NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_SCALE_LAYOUT_LINEAR);
  w.poison();
  MUST(cudaDeviceSynchronize());
  int32_t waited = -1;
  {
    Gate gate(context.stream());
    std::thread waiting([&] {
      // The other thread's warm_up may be inside just now.
      do waited = nvfp4j_context_synchronize(context, nullptr, nullptr);
      while (waited == kState);
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    int32_t status;
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      status = nvfp4j_context_warm_up(context, nullptr);
    } while (status == NVFP4J_OK && std::chrono::steady_clock::now() < end);
    CHECK_EQ(status, kState);
    if (status == kState) {  // it is inside, and stays there until the gate opens
      const std::string busy =
          "the context is in use by another thread (in context_synchronize), expected ";
      CHECK_FAILS(on_gpu(w, context, error), kState, "quantize: " + busy + "one thread at a time");
      CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), kState,
                  "context_synchronize: " + busy + "one thread at a time");
      CHECK_FAILS(nvfp4j_context_request_report(context, error), kState,
                  "context_request_report: " + busy + "one thread at a time");
      CHECK_FAILS(nvfp4j_context_destroy(context, error), kState,
                  "context_destroy: " + busy + "none");
    }
    gate.release();
    waiting.join();
  }
  CHECK_EQ(waited, NVFP4J_OK);
  CHECK(w.is_poison());
  CHECK_OK(on_gpu(w, context, error));
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

TEST(no_rows_are_validated_and_nothing_is_launched) {
  const CudaContext context;
  Nvfp4Twin q(4, 64, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, NVFP4J_GLOBAL_SCALE_TENSOR);
  nvfp4j_nvfp4_tensor none = q.at(Side::kGpu);
  none.rows = none.codes_bytes = none.scales_bytes = 0;
  Buffer memory(4096);
  const auto empty = [&](int32_t dtype, int64_t columns) {
    nvfp4j_tensor t = tensor(memory.data(), dtype, {0, columns});
    t.memory = NVFP4J_MEMORY_DEVICE;
    return t;
  };
  const nvfp4j_tensor x = empty(NVFP4J_DTYPE_BF16, 64);
  const nvfp4j_tensor gate_up = empty(NVFP4J_DTYPE_BF16, 128);
  const nvfp4j_tensor linear = empty(NVFP4J_DTYPE_U8, 4);
  nvfp4j_tensor tiles = tensor(memory.data(), NVFP4J_DTYPE_U8, {0});
  tiles.memory = NVFP4J_MEMORY_DEVICE;
  nvfp4j_quantize_options options = quantize_options();
  const nvfp4j_swiglu_options swiglu = swiglu_options();
  const auto no_tokens = [&](int32_t dtype, int64_t n, int64_t columns) {
    nvfp4j_tensor t = tensor(memory.data(), dtype, {0, n, columns});
    t.memory = NVFP4J_MEMORY_DEVICE;
    return t;
  };
  const nvfp4j_tensor streams_of_none = no_tokens(NVFP4J_DTYPE_BF16, 4, 64);
  const nvfp4j_tensor comb = no_tokens(NVFP4J_DTYPE_F32, 4, 4);
  const nvfp4j_tensor post = empty(NVFP4J_DTYPE_F32, 4);
  Buffer parameters(24 * 4 * 64 * 4);
  const auto of_module = [&](std::initializer_list<int64_t> shape) {
    nvfp4j_tensor t = tensor(parameters.data(), NVFP4J_DTYPE_F32, shape);
    t.memory = NVFP4J_MEMORY_DEVICE;
    return t;
  };
  const nvfp4j_tensor fn = of_module({24, 4 * 64}), base = of_module({24}), scale = of_module({3});
  const nvfp4j_tensor head_fn = of_module({4, 4 * 64}), head_base = of_module({4}),
                      head_scale = of_module({1});
  const nvfp4j_sinkhorn_options sinkhorn = {sizeof sinkhorn, 20, 1e-6f, 0};
  const nvfp4j_hc_options hc = {sizeof hc, 20, 1e-6f, 1e-6f};
  const nvfp4j_hc_options hc_head = {sizeof hc_head, 0, 1e-6f, 1e-6f};
  const nvfp4j_tensor no_slots = empty(NVFP4J_DTYPE_I32, 6);
  Buffer cache(4 * 64 * 2);
  nvfp4j_tensor rows_of_cache = tensor(cache.data(), NVFP4J_DTYPE_BF16, {4, 64});
  rows_of_cache.memory = NVFP4J_MEMORY_DEVICE;
  nvfp4j_tensor counter = tensor(memory.data(), NVFP4J_DTYPE_I32, {1});
  counter.memory = NVFP4J_MEMORY_DEVICE;
  nvfp4j_tensor no_ids = tensor(memory.data(), NVFP4J_DTYPE_I32, {0});
  no_ids.memory = NVFP4J_MEMORY_DEVICE;
  const nvfp4j_sample_options sample = {sizeof sample, 1.0f, 0, 0};
  const nvfp4j_tensor gate = of_module({24, 64}), gate_bias = of_module({24}),
                      indices = empty(NVFP4J_DTYPE_I32, 6), chosen = empty(NVFP4J_DTYPE_F32, 6);
  nvfp4j_tensor table = of_module({10, 6}), ids = tiles;
  table.dtype = ids.dtype = NVFP4J_DTYPE_I32;
  const nvfp4j_router_options router = {sizeof router, 1.5f, 0};
  const Graph graph(context.stream(), [&] {
    CHECK_OK(nvfp4j_router_dense(context, &x, &gate, nullptr, &gate_bias, &router, &indices,
                                 &chosen, nullptr, error));
    CHECK_OK(nvfp4j_router_hash(context, &x, &gate, nullptr, &table, &ids, &router, &indices,
                                &chosen, error));
    CHECK_OK(nvfp4j_sinkhorn(context, &comb, &sinkhorn, &comb, error));
    CHECK_OK(
        nvfp4j_hc_pre(context, &streams_of_none, &fn, &base, &scale, &hc, &x, &post, &comb, error));
    CHECK_OK(nvfp4j_hc_post(context, &streams_of_none, &x, &post, &comb, &streams_of_none, error));
    CHECK_OK(nvfp4j_hc_head(context, &streams_of_none, &head_fn, &head_base, &head_scale, &hc_head,
                            &x, error));
    CHECK_OK(nvfp4j_hc_post_pre(context, &streams_of_none, &x, &post, &comb, &fn, &base, &scale,
                                nullptr, &hc, nullptr, &streams_of_none, &x, &post, &comb, nullptr,
                                error));
    CHECK_OK(nvfp4j_quantize(context, &x, nullptr, &options, &none, error));
    CHECK_OK(nvfp4j_dequantize(context, &none, &x, error));
    CHECK_OK(nvfp4j_swizzle(context, &linear, &tiles, error));
    CHECK_OK(nvfp4j_unswizzle(context, &tiles, &linear, error));
    CHECK_OK(nvfp4j_swiglu(context, &gate_up, nullptr, &swiglu, &x, error));
    CHECK_OK(nvfp4j_swiglu_quantize(context, &gate_up, nullptr, &swiglu, &options, &none, error));
    CHECK_OK(nvfp4j_copy(context, &x, &x, error));
    CHECK_OK(nvfp4j_expert_combine(context, &x, &no_slots, nullptr, &x, &x, error));
    CHECK_OK(nvfp4j_cache_append_window(context, &rows_of_cache, &x, &counter, error));
    CHECK_OK(nvfp4j_cache_append(context, &rows_of_cache, &x, &counter, error));
    CHECK_OK(nvfp4j_sample(context, &x, nullptr, nullptr, &sample, &no_ids, error));
    options.recipe = 5;
    CHECK_FAILS(nvfp4j_quantize(context, &x, nullptr, &options, &none, error), kInvalid,
                "quantize: options.recipe is 5, expected 0 to 1 (EXACT, TE_EXACT)");
  });
  CHECK_EQ(graph.nodes(), std::size_t{0});
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  for (const Memory& m : {q.codes, q.scales, q.global_scales}) CHECK(m->device_is_poison("rows 0"));
}

// Each op with one argument spoiled: an argument error, and not a byte written by then or later.
TEST(a_refused_call_has_written_nothing) {
  const CudaContext context;
  std::mt19937 g = seeded(5);
  constexpr int64_t kRows = 40;
  constexpr int64_t kColumns = 256;
  const Memory x = random_memory(g, NVFP4J_DTYPE_BF16, kRows * 2 * kColumns);
  const Memory y = std::make_shared<Twin>(kRows * kColumns * 4);
  const Memory tiles = std::make_shared<Twin>(int64_t{128 * 16});
  const Nvfp4Twin q(kRows, kColumns, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW);
  struct Arguments {
    nvfp4j_tensor input, gate_up, output, linear, swizzled;
    nvfp4j_nvfp4_tensor packed;
    nvfp4j_quantize_options options;
    nvfp4j_swiglu_options swiglu;
  };
  const auto fresh = [&] {
    const Side side = Side::kGpu;
    return Arguments{matrix(side, x, NVFP4J_DTYPE_BF16, kRows, kColumns, kColumns),
                     matrix(side, x, NVFP4J_DTYPE_BF16, kRows, 2 * kColumns, 2 * kColumns),
                     matrix(side, y, NVFP4J_DTYPE_BF16, kRows, kColumns, kColumns),
                     matrix(side, y, NVFP4J_DTYPE_U8, kRows, 16, 16),
                     vector(side, tiles, NVFP4J_DTYPE_U8, 128 * 16),
                     q.at(side),
                     quantize_options(),
                     swiglu_options()};
  };
  const auto refused = [&](const char* part, const std::function<void(Arguments&)>& spoil,
                           const std::function<int32_t(Arguments&, nvfp4j_error*)>& call) {
    Arguments arguments = fresh();
    spoil(arguments);
    const Outcome got = outcome([&](nvfp4j_error* error) { return call(arguments, error); });
    CHECK_EQ(got.status, kInvalid);
    if (got.message.find(part) == std::string::npos)
      check::failed(__FILE__, __LINE__, "'" + got.message + "' does not say '" + part + "'");
  };
  const auto quantize = [&](Arguments& a, nvfp4j_error* error) {
    return nvfp4j_quantize(context, &a.input, nullptr, &a.options, &a.packed, error);
  };
  const auto dequantize = [&](Arguments& a, nvfp4j_error* error) {
    return nvfp4j_dequantize(context, &a.packed, &a.output, error);
  };
  const auto swizzle = [&](Arguments& a, nvfp4j_error* error) {
    return nvfp4j_swizzle(context, &a.linear, &a.swizzled, error);
  };
  const auto unswizzle = [&](Arguments& a, nvfp4j_error* error) {
    return nvfp4j_unswizzle(context, &a.swizzled, &a.linear, error);
  };
  const auto swiglu = [&](Arguments& a, nvfp4j_error* error) {
    return nvfp4j_swiglu(context, &a.gate_up, nullptr, &a.swiglu, &a.output, error);
  };
  const auto swiglu_quantize = [&](Arguments& a, nvfp4j_error* error) {
    return nvfp4j_swiglu_quantize(context, &a.gate_up, nullptr, &a.swiglu, &a.options, &a.packed,
                                  error);
  };
  const auto copy = [&](Arguments& a, nvfp4j_error* error) {
    return nvfp4j_copy(context, &a.input, &a.output, error);
  };
  const char* host = "memory, expected DEVICE (the context's device is cuda:0)";
  refused(host, [](Arguments& a) { a.input.memory = NVFP4J_MEMORY_HOST; }, quantize);
  refused(host, [](Arguments& a) { a.packed.memory = NVFP4J_MEMORY_PINNED; }, quantize);
  refused(host, [](Arguments& a) { a.output.memory = NVFP4J_MEMORY_PINNED; }, dequantize);
  refused(host, [](Arguments& a) { a.linear.memory = NVFP4J_MEMORY_HOST; }, swizzle);
  refused(host, [](Arguments& a) { a.swizzled.memory = NVFP4J_MEMORY_HOST; }, unswizzle);
  refused(host, [](Arguments& a) { a.gate_up.memory = NVFP4J_MEMORY_HOST; }, swiglu);
  refused(host, [](Arguments& a) { a.packed.memory = NVFP4J_MEMORY_HOST; }, swiglu_quantize);
  // The last thing that each op looks at: everything before it was right.
  refused("overlaps", [](Arguments& a) { a.packed.global_scales = a.input.data; }, quantize);
  refused("overlaps", [](Arguments& a) { a.packed.global_scales = a.output.data; }, dequantize);
  refused("overlaps", [](Arguments& a) { a.linear.data = a.swizzled.data; }, swizzle);
  refused("overlaps", [](Arguments& a) { a.linear.data = a.swizzled.data; }, unswizzle);
  refused("overlaps", [](Arguments& a) { a.output.data = a.gate_up.data; }, swiglu);
  refused(
      "overlaps", [](Arguments& a) { a.packed.global_scales = a.gate_up.data; }, swiglu_quantize);
  refused("overlaps", [](Arguments& a) { a.output.data = a.input.data; }, copy);
  refused("codes has", [](Arguments& a) { --a.packed.codes_bytes; }, quantize);
  refused("scales has", [](Arguments& a) { ++a.packed.scales_bytes; }, swiglu_quantize);
  refused("swizzled has", [](Arguments& a) { --a.swizzled.shape[0]; }, unswizzle);
  refused("dtype", [](Arguments& a) { a.output.dtype = NVFP4J_DTYPE_F16; }, swiglu);
  refused("dtype", [](Arguments& a) { a.output.dtype = NVFP4J_DTYPE_F16; }, copy);
  refused("row stride", [](Arguments& a) { a.output.stride[0] = 1; }, dequantize);
  refused("limit", [](Arguments& a) { a.swiglu.limit = -1; }, swiglu_quantize);
  refused("zero_scale", [](Arguments& a) { a.options.zero_scale = 2; }, quantize);
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  for (const Memory& m : {y, tiles, q.codes, q.scales, q.global_scales})
    CHECK(m->device_is_poison("a refused call"));
}

TEST(a_workspace_that_is_too_small_is_refused) {
  int64_t needed = 0;
  CHECK_OK(nvfp4j_workspace_bytes(NVFP4J_OP_QUANTIZE, 0, 16, 512, &needed, error));
  if (needed <= 1) return;
  std::mt19937 g = seeded(6);
  const Workload w = quantize_workload(g, NVFP4J_DTYPE_BF16, 16, 512, NVFP4J_GLOBAL_SCALE_DYNAMIC,
                                       NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_SCALE_LAYOUT_LINEAR);
  expect_on_cpu(w);
  w.poison();
  nvfp4j_context_options options = cuda_options();
  options.workspace_bytes = 1;
  {
    const CudaContext small(options);
    CHECK_FAILS(on_gpu(w, small, error), kState,
                "quantize: the context's workspace has 1 bytes, expected " +
                    std::to_string(needed) + " or more (input [16, 512])");
    CHECK_OK(nvfp4j_context_synchronize(small, nullptr, error));
    CHECK(w.is_poison());
  }
  options.workspace_bytes = needed;
  const CudaContext enough(options);
  CHECK_OK(on_gpu(w, enough, error));
  CHECK_OK(nvfp4j_context_synchronize(enough, nullptr, error));
  check_equal(w);
}

TEST(a_workspace_too_small_for_counters_is_refused) {
  std::mt19937 g = seeded(7);
  int64_t needed = -1;
  CHECK_OK(nvfp4j_workspace_bytes(NVFP4J_OP_CACHE_APPEND, 0, 5, 64, &needed, error));
  CHECK(needed > 1);
  int64_t also = -1;
  CHECK_OK(nvfp4j_workspace_bytes(NVFP4J_OP_SAMPLE, 0, 5, 64, &also, error));
  CHECK_EQ(also, needed);
  nvfp4j_context_options options = cuda_options();
  for (const auto& [name, w] :
       {std::pair<std::string, Workload>{"cache_append",
                                         cache_workload(g, false, NVFP4J_DTYPE_BF16, 5, 64)},
        {"sample", sample_workload(g, NVFP4J_DTYPE_F32, 5, 64, 1.0f, false)}}) {
    expect_on_cpu(w);
    w.poison();
    options.workspace_bytes = 1;
    const CudaContext small(options);
    const Outcome said =
        outcome([&](nvfp4j_error* error) { return w.call(Side::kGpu, small, error); });
    CHECK_EQ(said.status, kState);
    CHECK_EQ(said.message.rfind(name + ": the context's workspace has 1 bytes, expected ", 0),
             std::size_t{0});
    CHECK_OK(nvfp4j_context_synchronize(small, nullptr, error));
    CHECK(w.is_poison());
    options.workspace_bytes = needed;
    const CudaContext enough(options);
    CHECK_OK(on_gpu(w, enough, error));
    CHECK_OK(nvfp4j_context_synchronize(enough, nullptr, error));
    check_equal(w);
  }
}

TEST(a_workspace_too_small_for_hyper_connections_is_refused) {
  std::mt19937 g = seeded(11);
  constexpr int64_t kRows = 20;
  constexpr int64_t kColumns = 512;
  const struct {
    const char* name;
    int32_t op;
  } ops[] = {{"hc_pre", NVFP4J_OP_HC_PRE},
             {"hc_head", NVFP4J_OP_HC_HEAD},
             {"hc_post_pre", NVFP4J_OP_HC_POST_PRE}};
  for (const auto& o : ops) {
    int64_t needed = 0;
    CHECK_OK(nvfp4j_workspace_bytes(o.op, 0, kRows, kColumns, &needed, error));
    if (needed <= 1) continue;
    const Workload w = hc_workload(g, o.op, NVFP4J_DTYPE_BF16, kRows, 4, kColumns);
    expect_on_cpu(w);
    w.poison();
    nvfp4j_context_options options = cuda_options();
    options.workspace_bytes = 1;
    {
      const CudaContext small(options);
      CHECK_FAILS(on_gpu(w, small, error), kState,
                  std::string(o.name) + ": the context's workspace has 1 bytes, expected " +
                      std::to_string(needed) + " or more (input [20, 512])");
      CHECK_OK(nvfp4j_context_synchronize(small, nullptr, error));
      CHECK(w.is_poison());
    }
    options.workspace_bytes = needed;
    const CudaContext enough(options);
    CHECK_OK(on_gpu(w, enough, error));
    CHECK_OK(nvfp4j_context_synchronize(enough, nullptr, error));
    check_equal(w);
  }
}

TEST(a_workspace_too_small_for_the_indexer_is_refused) {
  std::mt19937 g = seeded(12);
  int64_t needed = 0;
  CHECK_OK(nvfp4j_workspace_bytes(NVFP4J_OP_INDEXER_TOPK, 0, 3, 5000, &needed, error));
  const Workload w = indexer_workload(g, NVFP4J_DTYPE_BF16, 3, 5000, 512);
  expect_on_cpu(w);
  w.poison();
  nvfp4j_context_options options = cuda_options();
  options.workspace_bytes = needed - 1;
  {
    const CudaContext small(options);
    CHECK_FAILS(on_gpu(w, small, error), kState,
                "indexer_topk: the context's workspace has " + std::to_string(needed - 1) +
                    " bytes, expected " + std::to_string(needed) + " or more (input [3, 5000])");
    CHECK_OK(nvfp4j_context_synchronize(small, nullptr, error));
    CHECK(w.is_poison());
  }
  options.workspace_bytes = needed;
  const CudaContext enough(options);
  CHECK_OK(on_gpu(w, enough, error));
  CHECK_OK(nvfp4j_context_synchronize(enough, nullptr, error));
  check_equal(w);
}

namespace {

// A context with kernels of every kind that meets at a grid barrier.
struct Lane {
  explicit Lane(unsigned seed) {
    std::mt19937 g = seeded(seed);
    constexpr int32_t kDynamic = NVFP4J_GLOBAL_SCALE_DYNAMIC;
    constexpr int32_t kTensor = NVFP4J_GLOBAL_SCALE_TENSOR;
    constexpr int32_t kSwizzled = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;
    // Small, and so large that the grid fills the card: another one waits for its place.
    for (const int64_t rows : {int64_t{64}, int64_t{quick ? 160 : 1400}}) {
      work.push_back(
          quantize_workload(g, NVFP4J_DTYPE_BF16, rows, 7168, kDynamic, kTensor, kSwizzled));
      work.push_back(
          swiglu_quantize_workload(g, NVFP4J_DTYPE_BF16, rows, 3072, kDynamic, kTensor, kSwizzled));
      work.push_back(hc_workload(g, NVFP4J_OP_HC_PRE, NVFP4J_DTYPE_BF16, rows / 4, 4, 1040));
      work.push_back(
          hc_workload(g, NVFP4J_OP_HC_POST_PRE, NVFP4J_DTYPE_BF16, rows / 8, 4, 7168, true));
      work.push_back(indexer_workload(g, NVFP4J_DTYPE_BF16, rows / 64, 100 * rows, 1024));
    }
    for (const Workload& w : work) expect_on_cpu(w);
  }
  void poison() const {
    for (const Workload& w : work) w.poison();
  }
  void enqueue() const {
    for (const Workload& w : work) CHECK_OK(on_gpu(w, context, error));
  }
  void check() const {
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    for (const Workload& w : work) check_equal(w);
  }

  CudaContext context;
  std::vector<Workload> work;
};

}  // namespace

// A grid barrier waits for thread blocks that must all be on the card: two of them that each hold a
// part of it would wait for ever. main() ends the program then.
TEST(two_streams_with_grid_barriers_from_two_threads) {
  const Lane lanes[] = {Lane(7), Lane(8)};
  const int rounds = quick ? 2 : 60;
  std::vector<std::thread> threads;
  for (const Lane& lane : lanes) {
    threads.emplace_back([&lane, rounds] {
      for (int round = 0; round < rounds; ++round) {
        lane.poison();
        for (int i = 0; i < (quick ? 2 : 25); ++i) lane.enqueue();
        lane.check();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(two_streams_with_grid_barriers_from_one_thread) {
  const Lane first(9);
  const Lane second(10);
  first.poison();
  second.poison();
  for (int i = 0; i < (quick ? 3 : 300); ++i) {
    first.enqueue();
    second.enqueue();
  }
  first.check();
  second.check();
  // The same from graphs.
  const Graph of_first(first.context.stream(), [&] { first.enqueue(); });
  const Graph of_second(second.context.stream(), [&] { second.enqueue(); });
  first.poison();
  second.poison();
  for (int i = 0; i < (quick ? 3 : 300); ++i) {
    of_first.launch(first.context.stream());
    of_second.launch(second.context.stream());
  }
  first.check();
  second.check();
}

int main(int count, char** arguments) { return run_tests(count, arguments); }
