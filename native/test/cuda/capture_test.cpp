// SPDX-License-Identifier: Apache-2.0
// CUDA contexts: what kernels report, and what can be captured.
#include "context_fixture.hpp"

using namespace nvfp4j::test;

namespace {

// One that reports: a NaN at (2, 3) of [4, 32].
struct Faulty {
  Faulty() : output(4, 32, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR) {
    std::vector<std::uint8_t> x(4 * 32 * 4, 0);
    store_element(x.data(), NVFP4J_DTYPE_F32, 2 * 32 + 3, NAN);
    input = std::make_shared<Twin>(x);
  }
  int32_t run(nvfp4j_context* context, nvfp4j_error* error) const {
    const nvfp4j_tensor in = matrix(Side::kGpu, input, NVFP4J_DTYPE_F32, 4, 32, 32);
    const nvfp4j_nvfp4_tensor out = output.at(Side::kGpu);
    const nvfp4j_quantize_options options = quantize_options();
    return nvfp4j_quantize(context, &in, nullptr, &options, &out, error);
  }
  static constexpr const char* kSentence =
      "quantize: NON_FINITE_INPUT: an input element is NaN or infinite, first seen at row 2, "
      "column 3";

  Memory input;
  Nvfp4Twin output;
};

void check_faulty_record(const nvfp4j_status_record& record) {
  CHECK_EQ(record.first_op, NVFP4J_OP_QUANTIZE);
  CHECK_EQ(record.first_cause, NVFP4J_CAUSE_NON_FINITE_INPUT);
  CHECK_EQ(record.first_row, 2);
  CHECK_EQ(record.first_column, 3);
  for (int32_t op = 0; op < NVFP4J_STATUS_WORDS; ++op)
    CHECK_EQ(record.causes[op], std::uint64_t{op == NVFP4J_OP_QUANTIZE ? 1u : 0u});
}

void check_clean_record(const nvfp4j_status_record& record) {
  CHECK_EQ(record.first_op, -1);
  CHECK_EQ(record.first_row, -1);
  CHECK_EQ(record.first_column, -1);
  for (const std::uint64_t word : record.causes) CHECK_EQ(word, std::uint64_t{0});
}

}  // namespace

TEST(a_fault_is_reported_once_and_by_name) {
  const CudaContext context;
  const Faulty faulty;
  for (int round = 0; round < 2; ++round) {
    CHECK_OK(faulty.run(context, error));
    nvfp4j_status_record record = status_record();
    CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), kReported, Faulty::kSentence);
    check_faulty_record(record);
    record = status_record();
    CHECK_OK(nvfp4j_context_synchronize(context, &record, error));
    check_clean_record(record);
  }
  // Another context hears nothing of it.
  const CudaContext other;
  CHECK_OK(faulty.run(context, error));
  CHECK_OK(nvfp4j_context_synchronize(other, nullptr, error));
  // Without a record the status says so still.
  CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr), kReported);
}

TEST(every_cause_is_reported_with_its_op) {
  const CudaContext context;
  const Faulty faulty;
  CHECK_OK(faulty.run(context, error));
  // A given scale that is not usable, and an index beside the input.
  std::vector<std::uint8_t> ids(4 * 4, 0);
  ids[4] = 9;
  const Memory rows = std::make_shared<Twin>(ids);
  const Nvfp4Twin out(4, 32, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR);
  const float bad_scale = -1.0f;
  MUST(cudaMemcpy(out.global_scales->at(Side::kGpu), &bad_scale, 4, cudaMemcpyHostToDevice));
  const Memory finite = std::make_shared<Twin>(std::vector<std::uint8_t>(4 * 32 * 4, 0));
  const nvfp4j_tensor input = matrix(Side::kGpu, finite, NVFP4J_DTYPE_F32, 4, 32, 32);
  const nvfp4j_tensor row_ids = vector(Side::kGpu, rows, NVFP4J_DTYPE_I32, 4);
  const nvfp4j_nvfp4_tensor output = out.at(Side::kGpu);
  const nvfp4j_quantize_options given = quantize_options(NVFP4J_GLOBAL_SCALE_GIVEN);
  CHECK_OK(nvfp4j_quantize(context, &input, &row_ids, &given, &output, error));
  // A block scale that is NaN.
  const Nvfp4Twin coded(1, 32, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR);
  MUST(cudaMemset(coded.codes->at(Side::kGpu), 0, 16));
  MUST(cudaMemset(coded.scales->at(Side::kGpu), 0x7F, 2));
  const float one = 1.0f;
  MUST(cudaMemcpy(coded.global_scales->at(Side::kGpu), &one, 4, cudaMemcpyHostToDevice));
  MUST(cudaDeviceSynchronize());
  const Memory decoded = std::make_shared<Twin>(std::int64_t{32 * 4});
  const nvfp4j_nvfp4_tensor packed = coded.at(Side::kGpu);
  const nvfp4j_tensor y = matrix(Side::kGpu, decoded, NVFP4J_DTYPE_F32, 1, 32, 32);
  CHECK_OK(nvfp4j_dequantize(context, &packed, &y, error));
  nvfp4j_status_record record = status_record();
  CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), kReported,
              std::string(Faulty::kSentence) +
                  "; also quantize: BAD_GLOBAL_SCALE; also quantize: INDEX_OUT_OF_RANGE; also "
                  "dequantize: BAD_BLOCK_SCALE");
  CHECK_EQ(record.causes[NVFP4J_OP_QUANTIZE],
           std::uint64_t{1 << NVFP4J_CAUSE_NON_FINITE_INPUT | 1 << NVFP4J_CAUSE_BAD_GLOBAL_SCALE |
                         1 << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE});
  CHECK_EQ(record.causes[NVFP4J_OP_DEQUANTIZE], std::uint64_t{1 << NVFP4J_CAUSE_BAD_BLOCK_SCALE});
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

// A NaN in token 5 of 9, and an infinite logit in token 2 of 3.
TEST(hyper_connections_report_their_tokens) {
  const CudaContext context;
  std::vector<std::uint8_t> streams_bytes(9 * 4 * 64 * 2, 0);
  store_element(streams_bytes.data(), NVFP4J_DTYPE_BF16, 5 * 4 * 64 + 77, NAN);
  std::vector<std::uint8_t> logits_bytes(3 * 4 * 4 * 4, 0);
  store_element(logits_bytes.data(), NVFP4J_DTYPE_F32, 2 * 16 + 6, INFINITY);
  const Side side = Side::kGpu;
  const auto zeros = [](int64_t elements) {
    return std::make_shared<Twin>(
        std::vector<std::uint8_t>(static_cast<std::size_t>(4 * elements), 0));
  };
  const Memory x = std::make_shared<Twin>(streams_bytes), fn = zeros(24 * 4 * 64), base = zeros(24),
               scale = zeros(3), collapsed = zeros(9 * 64), post = zeros(9 * 4),
               comb = zeros(9 * 16), logits = std::make_shared<Twin>(logits_bytes),
               doubly = zeros(3 * 16);
  const nvfp4j_tensor x_at = streams(side, x, NVFP4J_DTYPE_BF16, 9, 4, 64);
  const nvfp4j_tensor fn_at = matrix(side, fn, NVFP4J_DTYPE_F32, 24, 4 * 64, 4 * 64);
  const nvfp4j_tensor base_at = vector(side, base, NVFP4J_DTYPE_F32, 24);
  const nvfp4j_tensor scale_at = vector(side, scale, NVFP4J_DTYPE_F32, 3);
  const nvfp4j_tensor collapsed_at = matrix(side, collapsed, NVFP4J_DTYPE_BF16, 9, 64, 64);
  const nvfp4j_tensor post_at = matrix(side, post, NVFP4J_DTYPE_F32, 9, 4, 4);
  const nvfp4j_tensor comb_at = streams(side, comb, NVFP4J_DTYPE_F32, 9, 4, 4);
  const nvfp4j_tensor logits_at = streams(side, logits, NVFP4J_DTYPE_F32, 3, 4, 4);
  const nvfp4j_tensor doubly_at = streams(side, doubly, NVFP4J_DTYPE_F32, 3, 4, 4);
  const nvfp4j_hc_options options = {sizeof options, 20, 1e-6f, 1e-6f};
  const nvfp4j_sinkhorn_options sinkhorn = {sizeof sinkhorn, 20, 1e-6f, 0};
  const Graph graph(context.stream(), [&] {
    CHECK_OK(nvfp4j_hc_pre(context, &x_at, &fn_at, &base_at, &scale_at, &options, &collapsed_at,
                           &post_at, &comb_at, error));
    CHECK_OK(nvfp4j_sinkhorn(context, &logits_at, &sinkhorn, &doubly_at, error));
  });
  for (int replay = 0; replay < 2; ++replay) {
    graph.launch(context.stream());
    nvfp4j_status_record record = status_record();
    CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), kReported);
    CHECK_EQ(record.first_op, NVFP4J_OP_HC_PRE);
    CHECK_EQ(record.first_cause, NVFP4J_CAUSE_NON_FINITE_RESULT);
    CHECK_EQ(record.first_row, 5);
    CHECK_EQ(record.first_column, -1);
    for (int32_t op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
      CHECK_EQ(record.causes[op],
               op == NVFP4J_OP_HC_PRE     ? std::uint64_t{1} << NVFP4J_CAUSE_NON_FINITE_RESULT
               : op == NVFP4J_OP_SINKHORN ? std::uint64_t{1} << NVFP4J_CAUSE_NON_FINITE_INPUT
                                          : std::uint64_t{0});
    }
  }
}

// Choice 4 of token 6 is no expert, and slot 1 of token 2 no row.
TEST(experts_report_their_tokens) {
  const CudaContext context;
  const Side side = Side::kGpu;
  std::vector<std::int32_t> ids(9 * 6, 1), places(3 * 2, 0);
  ids[6 * 6 + 4] = 8;
  places[2 * 2 + 1] = 4;
  const Memory choices = i32_memory(ids), slots = i32_memory(places),
               offsets = std::make_shared<Twin>(9 * 4), rows = std::make_shared<Twin>(54 * 4),
               positions = std::make_shared<Twin>(54 * 4), out = std::make_shared<Twin>(3 * 64 * 4),
               y = std::make_shared<Twin>(std::vector<std::uint8_t>(4 * 64 * 4, 0));
  const nvfp4j_tensor choices_at = matrix(side, choices, NVFP4J_DTYPE_I32, 9, 6, 6);
  const nvfp4j_tensor offsets_at = vector(side, offsets, NVFP4J_DTYPE_I32, 9);
  const nvfp4j_tensor rows_at = vector(side, rows, NVFP4J_DTYPE_I32, 54);
  const nvfp4j_tensor positions_at = matrix(side, positions, NVFP4J_DTYPE_I32, 9, 6, 6);
  const nvfp4j_tensor y_at = matrix(side, y, NVFP4J_DTYPE_F32, 4, 64, 64);
  const nvfp4j_tensor slots_at = matrix(side, slots, NVFP4J_DTYPE_I32, 3, 2, 2);
  const nvfp4j_tensor out_at = matrix(side, out, NVFP4J_DTYPE_F32, 3, 64, 64);
  const Graph graph(context.stream(), [&] {
    CHECK_OK(nvfp4j_expert_dispatch(context, &choices_at, nullptr, &offsets_at, &rows_at,
                                    &positions_at, nullptr, error));
    CHECK_OK(nvfp4j_expert_combine(context, &y_at, &slots_at, nullptr, nullptr, &out_at, error));
  });
  CHECK_EQ(graph.nodes(), std::size_t{2});
  for (int replay = 0; replay < 2; ++replay) {
    graph.launch(context.stream());
    nvfp4j_status_record record = status_record();
    CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), kReported);
    // The second may have been quicker only where it did not wait for the first.
    CHECK_EQ(record.first_op, NVFP4J_OP_EXPERT_DISPATCH);
    CHECK_EQ(record.first_cause, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE);
    CHECK_EQ(record.first_row, 6);
    CHECK_EQ(record.first_column, 4);
    for (int32_t op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
      const bool mine = op == NVFP4J_OP_EXPERT_DISPATCH || op == NVFP4J_OP_EXPERT_COMBINE;
      CHECK_EQ(record.causes[op],
               mine ? std::uint64_t{1} << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : std::uint64_t{0});
    }
  }
}

// A NaN in token 5 of 9, and a token id beyond the table in token 2 of 3.
TEST(routers_report_their_tokens) {
  const CudaContext context;
  std::vector<std::uint8_t> x_bytes(9 * 64 * 2, 0);
  store_element(x_bytes.data(), NVFP4J_DTYPE_BF16, 5 * 64 + 7, NAN);
  const Side side = Side::kGpu;
  const auto zeros = [](int64_t elements) {
    return std::make_shared<Twin>(
        std::vector<std::uint8_t>(static_cast<std::size_t>(4 * elements), 0));
  };
  const Memory x = std::make_shared<Twin>(x_bytes), gate = zeros(8 * 64), bias = zeros(8),
               table = zeros(10 * 2), ids = i32_memory({9, 0, 10}), indices = zeros(9 * 2),
               weights = zeros(9 * 2), hashed = zeros(3 * 2), hashed_weights = zeros(3 * 2);
  const nvfp4j_tensor x_at = matrix(side, x, NVFP4J_DTYPE_BF16, 9, 64, 64);
  const nvfp4j_tensor first_at = matrix(side, x, NVFP4J_DTYPE_BF16, 3, 64, 64);
  const nvfp4j_tensor gate_at = matrix(side, gate, NVFP4J_DTYPE_F32, 8, 64, 64);
  const nvfp4j_tensor bias_at = vector(side, bias, NVFP4J_DTYPE_F32, 8);
  const nvfp4j_tensor table_at = matrix(side, table, NVFP4J_DTYPE_I32, 10, 2, 2);
  const nvfp4j_tensor ids_at = vector(side, ids, NVFP4J_DTYPE_I32, 3);
  const nvfp4j_tensor indices_at = matrix(side, indices, NVFP4J_DTYPE_I32, 9, 2, 2);
  const nvfp4j_tensor weights_at = matrix(side, weights, NVFP4J_DTYPE_F32, 9, 2, 2);
  const nvfp4j_tensor hashed_at = matrix(side, hashed, NVFP4J_DTYPE_I32, 3, 2, 2);
  const nvfp4j_tensor hashed_weights_at = matrix(side, hashed_weights, NVFP4J_DTYPE_F32, 3, 2, 2);
  const nvfp4j_router_options options = {sizeof options, 1.5f, 0};
  const Graph graph(context.stream(), [&] {
    CHECK_OK(nvfp4j_router_dense(context, &x_at, &gate_at, nullptr, &bias_at, &options, &indices_at,
                                 &weights_at, nullptr, error));
    CHECK_OK(nvfp4j_router_hash(context, &first_at, &gate_at, nullptr, &table_at, &ids_at, &options,
                                &hashed_at, &hashed_weights_at, error));
  });
  for (int replay = 0; replay < 2; ++replay) {
    graph.launch(context.stream());
    nvfp4j_status_record record = status_record();
    CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), kReported);
    CHECK_EQ(record.first_op, NVFP4J_OP_ROUTER_DENSE);
    CHECK_EQ(record.first_cause, NVFP4J_CAUSE_NON_FINITE_RESULT);
    CHECK_EQ(record.first_row, 5);
    for (int32_t op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
      CHECK_EQ(record.causes[op],
               op == NVFP4J_OP_ROUTER_DENSE  ? std::uint64_t{1} << NVFP4J_CAUSE_NON_FINITE_RESULT
               : op == NVFP4J_OP_ROUTER_HASH ? std::uint64_t{1} << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE
                                             : std::uint64_t{0});
    }
  }
}

TEST(a_report_that_nobody_waits_for) {
  const CudaContext context;
  const Faulty faulty;
  CHECK_FAILS(nvfp4j_context_report(context, nullptr, error), kState,
              "context_report: no report is outstanding, expected context_request_report before");
  CHECK_OK(faulty.run(context, error));
  MUST(cudaStreamSynchronize(context.stream()));
  if (!gates) {
    CHECK_OK(nvfp4j_context_request_report(context, error));
    MUST(cudaStreamSynchronize(context.stream()));
  } else {
    Gate gate(context.stream());
    CHECK_OK(nvfp4j_context_request_report(context, error));
    CHECK_FAILS(nvfp4j_context_request_report(context, error), kState,
                "context_request_report: a report is outstanding, expected none: fetch it with "
                "context_report first");
    CHECK_FAILS(nvfp4j_context_report(context, nullptr, error), kState,
                "context_report: the requested report is not complete, expected a call after its "
                "work is done");
    gate.release();
    MUST(cudaStreamSynchronize(context.stream()));
  }
  // It was cleared in stream order, behind the copy: what comes later is another report's.
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  nvfp4j_status_record record = status_record();
  std::thread([&] {
    CHECK_FAILS(nvfp4j_context_report(context, &record, error), kReported, Faulty::kSentence);
  }).join();
  check_faulty_record(record);
  CHECK_OK(nvfp4j_context_request_report(context, error));
  MUST(cudaStreamSynchronize(context.stream()));
  record = status_record();
  CHECK_OK(nvfp4j_context_report(context, &record, error));
  check_clean_record(record);
}

TEST(every_op_is_captured_as_one_node_and_replayed) {
  const CudaContext context;
  std::mt19937 g = seeded(2);
  std::vector<Workload> all;
  for_every_op(g, 33, 1040, [&](const Workload& w) { all.push_back(w); });
  const Faulty faulty;
  for (const Workload& w : all) expect_on_cpu(w);
  for (const Workload& w : all) w.poison();
  const Graph graph(context.stream(), [&] {
    for (const Workload& w : all) CHECK_OK(on_gpu(w, context, error));
    CHECK_OK(faulty.run(context, error));
  });
  CHECK_EQ(graph.nodes(), all.size() + 1);
  for (const Workload& w : all) CHECK(w.is_poison());  // captured, not run
  for (int replay = 0; replay < 3; ++replay) {
    for (const Workload& w : all) w.poison();
    graph.launch(context.stream());
    // Each replay reports anew.
    CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), kReported, Faulty::kSentence);
    for (const Workload& w : all) check_equal(w);
  }
}

// Sizes at which one launch might have become several: of the indexer the largest that is promised, of router_hash one that takes two rounds.
TEST(calls_of_many_tokens_are_one_node_too) {
  if (quick) return;  // the sizes are the point, and a sanitizer would take minutes over them
  const CudaContext context;
  std::mt19937 g = seeded(4);
  const std::int32_t bf16 = NVFP4J_DTYPE_BF16;
  const std::vector<Workload> all = {
      expert_dispatch_workload(g, 10923, 6, 384, 0, true),
      expert_dispatch_workload(g, 140000, 1, 1024, 0, false),
      expert_combine_workload(g, bf16, bf16, 8192, 6, 1024, false),
      router_dense_workload(g, bf16, bf16, 8192, 7168, 384, 6),
      router_hash_workload(g, bf16, bf16, 8192, 7168, 384, 16),
      indexer_workload(g, bf16, 8, 65536, 1024),
      indexer_workload(g, bf16, 8, 65536, 2048, 64, 128),
      indexer_workload(g, NVFP4J_DTYPE_F32, 8, 65536, 2048),
  };
  for (const Workload& w : all) {
    expect_on_cpu(w);
    w.poison();
    const Graph graph(context.stream(), [&] { CHECK_OK(on_gpu(w, context, error)); });
    CHECK_EQ(graph.nodes(), std::size_t{1});
    graph.launch(context.stream());
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    check_equal(w);
  }
}

TEST(what_cannot_be_captured_is_refused_and_spoils_no_capture) {
  const CudaContext context;
  std::mt19937 g = seeded(3);
  const Workload w = quantize_workload(g, NVFP4J_DTYPE_BF16, 9, 528, NVFP4J_GLOBAL_SCALE_DYNAMIC,
                                       NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_SCALE_LAYOUT_LINEAR);
  expect_on_cpu(w);
  w.poison();
  Bytes host(64);
  Buffer device(64);
  nvfp4j_tensor pageable = tensor(host.data(), NVFP4J_DTYPE_U8, {64});
  nvfp4j_tensor there = tensor(device.data(), NVFP4J_DTYPE_U8, {64});
  there.memory = NVFP4J_MEMORY_DEVICE;
  nvfp4j_status_record record = status_record();
  const std::string captured = "the context's stream is being captured, expected no capture: ";
  nvfp4j_context* other = nullptr;
  const nvfp4j_context_options options = cuda_options();
  const Graph graph(context.stream(), [&] {
    CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), kState,
                "context_synchronize: " + captured + "a wait cannot be captured");
    CHECK_FAILS(
        nvfp4j_context_request_report(context, error), kState,
        "context_request_report: " + captured + "each replay of the graph would clear the record");
    CHECK_FAILS(nvfp4j_copy(context, &pageable, &there, error), kState,
                "copy: " + captured + "source is in pageable HOST memory");
    CHECK_FAILS(nvfp4j_copy(context, &there, &pageable, error), kState,
                "copy: " + captured + "destination is in pageable HOST memory");
    CHECK_FAILS(nvfp4j_context_destroy(context, error), kState,
                "context_destroy: " + captured + "end the capture first");
    // Allowed: arguments are checked, kernels are loaded already, and other contexts come and go.
    CHECK_EQ(nvfp4j_quantize(context, nullptr, nullptr, nullptr, nullptr, nullptr), kInvalid);
    CHECK_OK(nvfp4j_context_warm_up(context, error));
    CHECK_OK(nvfp4j_context_create(&options, &other, error));
    CHECK_OK(nvfp4j_context_synchronize(other, nullptr, error));
    CHECK_OK(nvfp4j_context_destroy(other, error));
    CHECK_OK(on_gpu(w, context, error));
  });
  CHECK_EQ(graph.nodes(), std::size_t{1});
  graph.launch(context.stream());
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  check_equal(w);
  // No request is outstanding after the refused one.
  CHECK_OK(nvfp4j_context_request_report(context, error));
  MUST(cudaStreamSynchronize(context.stream()));
  CHECK_OK(nvfp4j_context_report(context, nullptr, error));
}

TEST(the_legacy_stream_during_a_strangers_capture) {
  if (quick) return;  // the runtime's refusal, which the library expects, counts for memcheck
  const CudaContext context(foreign(nullptr));
  const OwnedStream blocking(cudaStreamDefault);
  const std::string captured =
      "a stream that waits for the context's legacy stream is being captured, expected no "
      "capture: ";
  const Graph graph(blocking, [&] {
    CHECK_FAILS(nvfp4j_context_synchronize(context, nullptr, error), kState,
                "context_synchronize: " + captured + "a wait cannot be captured");
    CHECK_FAILS(nvfp4j_context_destroy(context, error), kState,
                "context_destroy: " + captured + "end the capture first");
  });
  CHECK_EQ(graph.nodes(), std::size_t{0});
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

int main(int count, char** arguments) { return run_tests(count, arguments); }
