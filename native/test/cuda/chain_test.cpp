// SPDX-License-Identifier: Apache-2.0
// Ops that follow each other without a wait, each reading what the one before writes or writing what it reads. Kernels are
// launched before their predecessors have ended: one that did not wait would meet poison, or half of the new values. Each header
// has a sequence: the same calls on either side.
#include "cache_chain.hpp"
#include "context_fixture.hpp"
#include "expert_chain.hpp"
#include "hc_chain.hpp"
#include "indexer_chain.hpp"
#include "product_chain.hpp"
#include "quantize_chain.hpp"
#include "router_chain.hpp"
#include "settled_router_chain.hpp"
#include "token_chain.hpp"

using namespace nvfp4j::test;

namespace {

template <class Sequence>
void expect(const Sequence& chain) {
  const Context cpu(0);
  chain.run(Side::kCpu, cpu);
  CHECK_OK(nvfp4j_context_synchronize(cpu, nullptr, error));
}
void expect(const HcChain& chain) { chain.expect(); }
void expect(const TokenChain& chain) {
  expect<TokenChain>(chain);
  chain.check_draws();
}

template <class Sequence>
void test_chain(std::int64_t rows, std::int64_t columns, int rounds) {
  std::mt19937 g(17);
  const Sequence chain(g, rows, columns);
  expect(chain);
  const CudaContext context;
  for (int i = 0; i < rounds; ++i) {
    chain.poison();
    chain.run(Side::kGpu, context);
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    chain.check("calls");
  }
  const Graph graph(context.stream(), [&] { chain.run(Side::kGpu, context); });
  for (int i = 0; i < rounds; ++i) {
    chain.poison();
    // Twice: the first calls of a replay follow the last of the one before.
    graph.launch(context.stream());
    graph.launch(context.stream());
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    chain.check("replays");
  }
}

}  // namespace

TEST(ops_wait_for_the_op_before) {
  test_chain<QuantizeChain>(3, 1040, 3);
  if (quick) return;
  test_chain<QuantizeChain>(64, 7168, 20);
  test_chain<QuantizeChain>(1000, 3072, 20);
  test_chain<QuantizeChain>(4097, 3072, 10);
}

TEST(matrix_products_wait_for_the_op_before) {
  test_chain<ProductChain>(5, 512, 3);
  if (quick) return;
  test_chain<ProductChain>(3, 1040, 10);
  test_chain<ProductChain>(8, 7168, 20);
  test_chain<ProductChain>(16, 4096, 20);
  test_chain<ProductChain>(200, 2048, 20);
  test_chain<ProductChain>(2001, 2048, 10);
}

TEST(hyper_connections_wait_for_the_op_before) {
  test_chain<HcChain>(3, 1040, 3);
  if (quick) return;
  test_chain<HcChain>(1, 7168, 20);
  test_chain<HcChain>(64, 7168, 20);
  test_chain<HcChain>(300, 4096, 20);
  test_chain<HcChain>(1025, 2048, 10);
}

TEST(experts_wait_for_the_op_before) {
  test_chain<ExpertChain>(3, 1040, 3);
  if (quick) return;
  test_chain<ExpertChain>(1, 7168, 20);
  test_chain<ExpertChain>(64, 7168, 20);
  test_chain<ExpertChain>(1000, 1040, 20);
  test_chain<ExpertChain>(4097, 512, 10);
}

TEST(caches_and_draws_wait_for_the_op_before) {
  test_chain<CacheChain>(3, 1040, 3);
  if (quick) return;
  test_chain<CacheChain>(1, 512, 20);
  test_chain<CacheChain>(16, 7168, 20);
  test_chain<CacheChain>(300, 2048, 20);
  test_chain<CacheChain>(4097, 512, 10);
}

TEST(routers_wait_for_the_op_before) {
  test_chain<RouterChain>(3, 1040, 3);
  if (quick) return;
  test_chain<RouterChain>(1, 7168, 20);
  test_chain<RouterChain>(64, 7168, 20);
  test_chain<RouterChain>(300, 4096, 20);
  test_chain<RouterChain>(2001, 2048, 10);
}

TEST(routers_of_settled_weights_wait_for_all_else) {
  test_chain<SettledRouterChain<6>>(3, 1040, 3);
  // More rows of W than registers hold at a time.
  test_chain<SettledRouterChain<12>>(2, 1040, 3);
  if (quick) return;
  test_chain<SettledRouterChain<6>>(1, 7168, 20);
  test_chain<SettledRouterChain<6>>(8, 7168, 20);
  test_chain<SettledRouterChain<6>>(9, 4096, 20);
  test_chain<SettledRouterChain<6>>(64, 7168, 20);
  test_chain<SettledRouterChain<6>>(300, 512, 20);
  test_chain<SettledRouterChain<12>>(5, 7168, 20);
}

TEST(drawn_tokens_are_the_next_router_s_ids) {
  test_chain<TokenChain>(3, 1040, 3);
  if (quick) return;
  test_chain<TokenChain>(1, 7168, 20);
  test_chain<TokenChain>(64, 4096, 20);
  test_chain<TokenChain>(300, 512, 20);
}

TEST(the_indexer_waits_for_the_op_before) {
  test_chain<IndexerChain>(3, 1040, 3);
  if (quick) return;
  test_chain<IndexerChain>(1, 32768, 20);
  test_chain<IndexerChain>(1, 400, 20);
  test_chain<IndexerChain>(8, 8192, 20);
  test_chain<IndexerChain>(33, 2048, 20);
}

int main(int count, char** arguments) { return run_tests(count, arguments); }
