// SPDX-License-Identifier: Apache-2.0
// Every buffer of every op against an inaccessible page, on either side, and descriptors that are
// shorter than ours: a byte too many faults and ends the program.
#include <algorithm>

#include "fixture.hpp"

using namespace fixture;

namespace {

// An NVFP4 tensor in guarded memory. A buffer that needs an alignment of 16, and whose size is
// not a multiple of that, always lies against the page in front of it.
struct GuardedNvfp4 {
  GuardedNvfp4(int64_t rows, int64_t columns, int32_t layout, int32_t kind, bool at_end)
      : codes(static_cast<std::size_t>(rows * columns / 2), at_end && rows * columns % 32 == 0),
        scales(static_cast<std::size_t>(fixture::scale_bytes(rows, columns, layout)),
               at_end && fixture::scale_bytes(rows, columns, layout) % 16 == 0),
        global_scales(static_cast<std::size_t>(4 * (kind == NVFP4J_GLOBAL_SCALE_ROW ? rows : 1)),
                      at_end) {
    descriptor.struct_size = sizeof descriptor;
    descriptor.scale_layout = layout;
    descriptor.global_scale_kind = kind;
    descriptor.groups = 1;
    descriptor.rows = rows;
    descriptor.columns = columns;
    descriptor.codes = codes.data();
    descriptor.codes_bytes = rows * columns / 2;
    descriptor.scales = scales.data();
    descriptor.scales_bytes = fixture::scale_bytes(rows, columns, layout);
    descriptor.global_scales = global_scales.data();
    descriptor.global_scales_count = kind == NVFP4J_GLOBAL_SCALE_ROW ? rows : 1;
  }
  GuardedMemory codes;
  GuardedMemory scales;
  GuardedMemory global_scales;
  nvfp4j_nvfp4_tensor descriptor{};
};

struct GuardedMatrix {
  GuardedMatrix(int32_t dtype, int64_t rows, int64_t columns, int64_t stride, bool at_end)
      : memory(static_cast<std::size_t>(((rows - 1) * stride + columns) * element_bytes(dtype)),
               at_end),
        descriptor(matrix(memory.data(), dtype, rows, columns, stride)) {
    // 0x3F3F is a finite number in every type.
    std::memset(memory.data(), 0x3F,
                static_cast<std::size_t>(((rows - 1) * stride + columns) * element_bytes(dtype)));
  }
  GuardedMemory memory;
  nvfp4j_tensor descriptor;
};

// Rows and columns that leave every kind of remainder: of vectors, tiles of 512, segments of
// 4096, and scale tiles.
constexpr std::pair<int64_t, int64_t> kShapes[] = {{1, 16},   {3, 48},   {2, 528},
                                                   {5, 1040}, {1, 4112}, {129, 80}};

}  // namespace

TEST(quantize_and_dequantize_stay_inside) {
  for (const bool at_end : {false, true}) {
    for (const int32_t threads : {1, 2}) {
      const Context context(threads);
      for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16}) {
        for (const auto& [rows, columns] : kShapes) {
          for (const int32_t layout :
               {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4}) {
            for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
              const GuardedMatrix input(dtype, rows, columns, columns + 1, at_end);
              const GuardedNvfp4 q(rows, columns, layout, kind, at_end);
              const GuardedMatrix output(dtype, rows, columns, columns + 3, at_end);
              const GuardedMemory ids(static_cast<std::size_t>(4 * rows), at_end);
              const nvfp4j_tensor gather = tensor(ids.data(), NVFP4J_DTYPE_I32, {rows});
              nvfp4j_quantize_options options = quantize_options();
              for (const int32_t recipe : {NVFP4J_RECIPE_EXACT, NVFP4J_RECIPE_TE_EXACT}) {
                options.recipe = recipe;
                CHECK_OK(nvfp4j_quantize(context, &input.descriptor, nullptr, &options,
                                         &q.descriptor, error));
                CHECK_OK(nvfp4j_quantize(context, &input.descriptor, &gather, &options,
                                         &q.descriptor, error));
              }
              options.global_scale = NVFP4J_GLOBAL_SCALE_GIVEN;
              CHECK_OK(nvfp4j_quantize(context, &input.descriptor, nullptr, &options, &q.descriptor,
                                       error));
              CHECK_OK(nvfp4j_dequantize(context, &q.descriptor, &output.descriptor, error));
            }
          }
        }
      }
      CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    }
  }
}

TEST(swiglu_stays_inside) {
  for (const bool at_end : {false, true}) {
    const Context context(2);
    for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
      for (const int32_t layout : {NVFP4J_SWIGLU_HALVES, NVFP4J_SWIGLU_INTERLEAVED}) {
        const nvfp4j_swiglu_options swiglu = swiglu_options(layout);
        const nvfp4j_quantize_options options = quantize_options();
        for (const auto& [rows, columns] : kShapes) {
          const GuardedMatrix gate_up(dtype, rows, 2 * columns, 2 * columns + 1, at_end);
          const GuardedMatrix weight(NVFP4J_DTYPE_F32, rows, 1, 1, at_end);
          const nvfp4j_tensor w = tensor(weight.memory.data(), NVFP4J_DTYPE_F32, {rows});
          const GuardedNvfp4 q(rows, columns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4,
                               NVFP4J_GLOBAL_SCALE_TENSOR, at_end);
          CHECK_OK(nvfp4j_swiglu_quantize(context, &gate_up.descriptor, &w, &swiglu, &options,
                                          &q.descriptor, error));
        }
        for (const int64_t columns : {1, 3, 17, 511, 513, 4097}) {
          const GuardedMatrix gate_up(dtype, 2, 2 * columns, 2 * columns, at_end);
          const GuardedMatrix output(dtype, 2, columns, columns, at_end);
          CHECK_OK(nvfp4j_swiglu(context, &gate_up.descriptor, nullptr, &swiglu, &output.descriptor,
                                 error));
        }
      }
    }
  }
}

TEST(swizzle_and_copy_stay_inside) {
  for (const bool at_end : {false, true}) {
    const Context context(2);
    for (const auto& [rows, blocks] :
         {std::pair<int64_t, int64_t>{1, 1}, {5, 3}, {129, 6}, {128, 64}}) {
      const GuardedMatrix linear(NVFP4J_DTYPE_U8, rows, blocks, blocks + 1, at_end);
      const int64_t bytes = scale_bytes(rows, 16 * blocks, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4);
      const GuardedMemory tiles(static_cast<std::size_t>(bytes), at_end);
      const nvfp4j_tensor swizzled = tensor(tiles.data(), NVFP4J_DTYPE_U8, {bytes});
      CHECK_OK(nvfp4j_swizzle(context, &linear.descriptor, &swizzled, error));
      CHECK_OK(nvfp4j_unswizzle(context, &swizzled, &linear.descriptor, error));
      const GuardedMatrix other(NVFP4J_DTYPE_U8, rows, blocks, blocks + 2, at_end);
      CHECK_OK(nvfp4j_copy(context, &linear.descriptor, &other.descriptor, error));
    }
  }
}

TEST(caches_stay_inside) {
  for (const bool at_end : {false, true}) {
    for (const int32_t threads : {1, 3}) {
      const Context context(threads);
      for (const int32_t dtype :
           {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16, NVFP4J_DTYPE_U8}) {
        for (const int64_t columns : {1, 7, 512}) {
          for (const int64_t tokens : {1, 3, 8, 30}) {
            const GuardedMatrix cache(dtype, 8, columns, columns + 1, at_end);
            const GuardedMatrix rows(dtype, tokens, columns, columns + 2, at_end);
            for (const int64_t size : {4, 8}) {
              const GuardedMemory counter(static_cast<std::size_t>(size), at_end);  // zero
              const nvfp4j_tensor at =
                  tensor(counter.data(), size == 8 ? NVFP4J_DTYPE_I64 : NVFP4J_DTYPE_I32, {1});
              CHECK_OK(nvfp4j_cache_append_window(context, &cache.descriptor, &rows.descriptor, &at,
                                                  error));
              if (tokens > 8) continue;
              CHECK_OK(
                  nvfp4j_cache_append(context, &cache.descriptor, &rows.descriptor, &at, error));
            }
          }
        }
      }
      CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    }
  }
}

TEST(sample_stays_inside) {
  for (const bool at_end : {false, true}) {
    for (const int32_t threads : {1, 3}) {
      const Context context(threads);
      for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
        for (const int64_t columns : {1, 3, 7, 1023, 1025, 20001}) {
          const GuardedMatrix logits(dtype, 3, columns, columns + 1, at_end);
          const GuardedMatrix noise(NVFP4J_DTYPE_F32, 3, columns, columns + 2, at_end);
          const GuardedMemory more(8, at_end);
          const nvfp4j_tensor offset = tensor(more.data(), NVFP4J_DTYPE_I64, {1});
          const GuardedMemory out(3 * 4, at_end);
          const nvfp4j_tensor tokens = tensor(out.data(), NVFP4J_DTYPE_I32, {3});
          for (const float temperature : {0.0f, 1.0f}) {
            const nvfp4j_sample_options options = {sizeof options, temperature, 1, 2};
            for (const nvfp4j_tensor* e :
                 {static_cast<const nvfp4j_tensor*>(nullptr), &noise.descriptor})
              CHECK_OK(
                  nvfp4j_sample(context, &logits.descriptor, e, &offset, &options, &tokens, error));
          }
        }
      }
      CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    }
  }
}

TEST(matrix_products_stay_inside) {
  for (const bool at_end : {false, true}) {
    const Context context(2);
    for (const int64_t m : {1, 5}) {
      for (const int64_t k : {16, 48, 272, 1040, 1152}) {
        const int64_t n = 16;
        const GuardedMatrix a(NVFP4J_DTYPE_BF16, m, k, k + 1, at_end);
        const GuardedNvfp4 q(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW, at_end);
        const GuardedNvfp4 w(n, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_TENSOR, at_end);
        const GuardedMatrix d(NVFP4J_DTYPE_F32, m, n, n + 1, at_end);
        const GuardedMatrix h(NVFP4J_DTYPE_BF16, m, n / 2, n / 2, at_end);
        const GuardedMatrix weight(NVFP4J_DTYPE_F32, m, 1, 1, at_end);
        const nvfp4j_tensor factors = tensor(weight.memory.data(), NVFP4J_DTYPE_F32, {m});
        const GuardedMemory codes(static_cast<std::size_t>(n * k / 16 * 9), at_end);
        const GuardedMemory unpacked(static_cast<std::size_t>(m * k * 2), at_end);
        nvfp4j_nvfp4_tensor prepared = w.descriptor;
        prepared.scale_layout = NVFP4J_SCALE_LAYOUT_PREPARED;
        prepared.codes = codes.data();
        prepared.codes_bytes = n * k / 16 * 9;
        nvfp4j_nvfp4_tensor packed = q.descriptor;
        packed.scale_layout = NVFP4J_SCALE_LAYOUT_PACKED;
        packed.codes = unpacked.data();
        packed.codes_bytes = m * k * 2;
        for (nvfp4j_nvfp4_tensor* t : {&prepared, &packed}) {
          t->scales = nullptr;
          t->scales_bytes = 0;
        }
        const GuardedMemory one(4, at_end);
        const GuardedMemory many(static_cast<std::size_t>(4 * m), at_end);
        prepared.global_scales = one.data();
        packed.global_scales = many.data();
        CHECK_OK(nvfp4j_prepare_weights(context, &w.descriptor, &prepared, error));
        CHECK_OK(nvfp4j_pack_activations(context, &q.descriptor, &packed, error));
        const nvfp4j_gemm_options options = gemm_options();
        const nvfp4j_gemm_options swiglu = gemm_options(true);
        const GuardedMemory offset_memory(8, at_end);
        reinterpret_cast<int32_t*>(offset_memory.data())[1] = static_cast<int32_t>(m);
        const nvfp4j_tensor offsets = tensor(offset_memory.data(), NVFP4J_DTYPE_I32, {2});
        for (const nvfp4j_nvfp4_tensor* weights :
             {&w.descriptor, static_cast<const nvfp4j_nvfp4_tensor*>(&prepared)}) {
          CHECK_OK(nvfp4j_gemm(context, &a.descriptor, nullptr, weights, nullptr, &options,
                               &d.descriptor, error));
          CHECK_OK(nvfp4j_gemm(context, nullptr, &q.descriptor, weights, nullptr, &options,
                               &d.descriptor, error));
          CHECK_OK(nvfp4j_gemm(context, nullptr, &packed, weights, &factors, &swiglu, &h.descriptor,
                               error));
          CHECK_OK(nvfp4j_grouped_gemm(context, nullptr, &q.descriptor, weights, &offsets, nullptr,
                                       &options, &d.descriptor, error));
        }
      }
    }
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  }
}

// A caller built for a shorter structure says so in struct_size, and behind that nothing is read.
TEST(structures_that_are_shorter_are_not_read_behind_their_size) {
  constexpr std::int64_t kRows = 3;
  constexpr std::int64_t kStreams = 4;
  constexpr std::int64_t kColumns = 16;
  const GuardedMemory memory(16);
  auto* const shorter = reinterpret_cast<nvfp4j_tensor*>(memory.data());
  shorter->struct_size = 16;
  const Context context;
  Bytes data{kRows * kStreams * kColumns * 4 * 24};
  const nvfp4j_tensor x = tensor(data.data(), NVFP4J_DTYPE_F32, {kRows, kStreams, kColumns});
  const nvfp4j_tensor fn = tensor(data.data(), NVFP4J_DTYPE_F32, {24, kStreams * kColumns});
  const nvfp4j_hc_options options{sizeof options, 20, 1e-6f, 1e-6f};
  const std::string expected = ".struct_size is 16, expected 88 (ABI version " NVFP4J_ABI_TEXT ")";
  const auto refused = [&](const std::string& name, const Outcome& said) {
    CHECK_EQ(said.status, NVFP4J_ERROR_INVALID_ARGUMENT);
    CHECK_EQ(said.message, name + expected);
  };
  const auto post = [&](const nvfp4j_tensor* streams, const nvfp4j_tensor* rows) {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_hc_post(context, streams, rows, nullptr, nullptr, nullptr, error);
    });
  };
  refused("hc_post: x", post(shorter, nullptr));
  refused("hc_post: sub", post(&x, shorter));
  refused("hc_pre: base", outcome([&](nvfp4j_error* error) {
            return nvfp4j_hc_pre(context, &x, &fn, shorter, nullptr, &options, nullptr, nullptr,
                                 nullptr, error);
          }));
}

namespace {

/// [tokens, streams, columns] with gaps between streams and between tokens.
struct GuardedTokens {
  GuardedTokens(int32_t dtype, int64_t tokens, int64_t streams, int64_t columns, int64_t gap,
                bool at_end)
      : GuardedTokens(dtype, tokens, streams, columns, columns + gap,
                      (streams - 1) * (columns + gap) + columns + gap, at_end) {}
  GuardedTokens(int32_t dtype, int64_t tokens, int64_t streams, int64_t columns,
                int64_t stream_stride, int64_t token_stride, bool at_end)
      : bytes(static_cast<std::size_t>(
            ((tokens - 1) * token_stride + (streams - 1) * stream_stride + columns) *
            element_bytes(dtype))),
        memory(bytes, at_end),
        descriptor(tensor(memory.data(), dtype, {tokens, streams, columns})) {
    descriptor.stride[0] = token_stride;
    descriptor.stride[1] = stream_stride;
    std::memset(memory.data(), 0x3F, bytes);
  }
  std::size_t bytes;
  GuardedMemory memory;
  nvfp4j_tensor descriptor;
};

}  // namespace

TEST(sinkhorn_stays_inside) {
  const nvfp4j_sinkhorn_options options = {sizeof options, 3, 1e-6f, 0};
  for (const bool at_end : {false, true}) {
    const Context context(2);
    for (int64_t n = 1; n <= 16; ++n) {
      for (const int64_t tokens : {1, 15, 17, 130}) {
        const GuardedTokens logits(NVFP4J_DTYPE_F32, tokens, n, n, n, n * n + n % 3, at_end);
        const GuardedTokens comb(NVFP4J_DTYPE_F32, tokens, n, n, n, n * n + n % 2, at_end);
        CHECK_OK(nvfp4j_sinkhorn(context, &logits.descriptor, &options, &comb.descriptor, error));
        CHECK_OK(nvfp4j_sinkhorn(context, &logits.descriptor, &options, &logits.descriptor, error));
      }
    }
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  }
}

TEST(indexer_topk_stays_inside) {
  for (const bool at_end : {false, true}) {
    for (const int32_t threads : {1, 3}) {
      const Context context(threads);
      for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
        for (const auto& [queries, rows, heads, columns, gap] :
             {std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>{1, 1, 1, 16, 0},
              {3, 37, 5, 48, 1},
              {2, 3000, 3, 16, 8},
              {9, 5, 64, 128, 3}}) {
          const GuardedTokens q(dtype, queries, heads, columns, columns + gap,
                                heads * (columns + gap) + gap, at_end);
          const GuardedMatrix keys(dtype, rows, columns, columns + gap, at_end);
          const GuardedMatrix weights(NVFP4J_DTYPE_F32, queries, heads, heads + gap, at_end);
          const GuardedMemory valid(static_cast<std::size_t>(4 * queries), at_end);
          const nvfp4j_tensor valid_t = tensor(valid.data(), NVFP4J_DTYPE_I32, {queries});
          const GuardedMatrix scores(NVFP4J_DTYPE_F32, queries, rows, rows + gap, at_end);
          for (const int64_t k : {1, 40, 2048}) {
            const GuardedMatrix indices(NVFP4J_DTYPE_I32, queries, k, k + gap, at_end);
            // The last is hostile.
            for (const int64_t visible : {int64_t{0}, rows, int64_t{0x7fffffff}}) {
              for (int64_t s = 0; s < queries; ++s)
                reinterpret_cast<int32_t*>(valid.data())[s] = static_cast<int32_t>(visible);
              for (const bool with_scores : {false, true}) {
                CHECK_OK(nvfp4j_indexer_topk(context, &q.descriptor, &keys.descriptor,
                                             &weights.descriptor, &valid_t, &indices.descriptor,
                                             with_scores ? &scores.descriptor : nullptr, error));
              }
            }
          }
        }
      }
      CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr), NVFP4J_ERROR_REPORTED);
    }
  }
}

TEST(hyper_connections_stay_inside) {
  const nvfp4j_hc_options options = {sizeof options, 2, 1e-6f, 1e-6f};
  const nvfp4j_hc_options head_options = {sizeof head_options, 0, 1e-6f, 1e-6f};
  const nvfp4j_quantize_options quantize = quantize_options();
  for (const bool at_end : {false, true}) {
    for (const int32_t threads : {1, 3}) {
      const Context context(threads);
      for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
        for (const auto& [tokens, n, columns] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 8},
                                                 {3, 2, 24},
                                                 {33, 4, 16},
                                                 {2, 4, 528},
                                                 {7, 5, 520},
                                                 {1, 4, 8208},
                                                 {2, 16, 48},
                                                 {1, 2, 16400}}) {
          const int64_t rows = n * (n + 2);
          const GuardedTokens x(dtype, tokens, n, columns, 3, at_end);
          const GuardedTokens out(dtype, tokens, n, columns, 1, at_end);
          const GuardedMatrix sub(dtype, tokens, columns, columns + 1, at_end);
          const GuardedMatrix collapsed(dtype, tokens, columns, columns + 1, at_end);
          const GuardedMatrix fn(NVFP4J_DTYPE_F32, rows, n * columns, n * columns + 1, at_end);
          const GuardedMatrix head_fn(NVFP4J_DTYPE_F32, n, n * columns, n * columns + 1, at_end);
          const GuardedMatrix base(NVFP4J_DTYPE_F32, 1, rows, rows, at_end);
          const GuardedMatrix head_base(NVFP4J_DTYPE_F32, 1, n, n, at_end);
          const GuardedMatrix scale(NVFP4J_DTYPE_F32, 1, 3, 3, at_end);
          const GuardedMatrix head_scale(NVFP4J_DTYPE_F32, 1, 1, 1, at_end);
          const GuardedMatrix weight(dtype, 1, columns, columns, at_end);
          const auto vector = [](const GuardedMatrix& m) {
            return tensor(m.memory.data(), m.descriptor.dtype, {m.descriptor.shape[1]});
          };
          const nvfp4j_tensor b = vector(base), s = vector(scale), hb = vector(head_base),
                              hs = vector(head_scale), w = vector(weight);
          const GuardedMatrix post(NVFP4J_DTYPE_F32, tokens, n, n + 1, at_end);
          const GuardedMatrix next_post(NVFP4J_DTYPE_F32, tokens, n, n, at_end);
          const GuardedTokens comb(NVFP4J_DTYPE_F32, tokens, n, n, n, n * n + 1, at_end);
          const GuardedTokens next_comb(NVFP4J_DTYPE_F32, tokens, n, n, n, n * n, at_end);
          CHECK_OK(nvfp4j_hc_pre(context, &x.descriptor, &fn.descriptor, &b, &s, &options,
                                 &collapsed.descriptor, &next_post.descriptor,
                                 &next_comb.descriptor, error));
          CHECK_OK(nvfp4j_hc_head(context, &x.descriptor, &head_fn.descriptor, &hb, &hs,
                                  &head_options, &collapsed.descriptor, error));
          for (const nvfp4j_tensor* to : {&out.descriptor, &x.descriptor}) {
            CHECK_OK(nvfp4j_hc_post(context, &x.descriptor, &sub.descriptor, &post.descriptor,
                                    &comb.descriptor, to, error));
            CHECK_OK(nvfp4j_hc_post_pre(context, &x.descriptor, &sub.descriptor, &post.descriptor,
                                        &comb.descriptor, &fn.descriptor, &b, &s, nullptr, &options,
                                        nullptr, to, &collapsed.descriptor, &next_post.descriptor,
                                        &next_comb.descriptor, nullptr, error));
          }
          CHECK_OK(nvfp4j_hc_post_pre(
              context, &x.descriptor, &sub.descriptor, &post.descriptor, &comb.descriptor,
              &fn.descriptor, &b, &s, &w, &options, nullptr, &out.descriptor, &collapsed.descriptor,
              &next_post.descriptor, &next_comb.descriptor, nullptr, error));
          if (columns % 16 != 0) continue;
          for (const int32_t layout :
               {NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4}) {
            const GuardedNvfp4 q(tokens, columns, layout, NVFP4J_GLOBAL_SCALE_ROW, at_end);
            CHECK_OK(nvfp4j_hc_post_pre(context, &x.descriptor, &sub.descriptor, &post.descriptor,
                                        &comb.descriptor, &fn.descriptor, &b, &s, &w, &options,
                                        &quantize, &out.descriptor, nullptr, &next_post.descriptor,
                                        &next_comb.descriptor, &q.descriptor, error));
          }
        }
      }
      CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    }
  }
}

// Of three ids one is an expert, one below and one above all.
TEST(experts_stay_inside) {
  const auto fill = [](const GuardedMatrix& m, int64_t count) {
    int32_t* ids = reinterpret_cast<int32_t*>(m.memory.data());
    const int32_t some[] = {0, INT32_MIN, INT32_MAX};
    for (int64_t i = 0; i < count; ++i) ids[i] = some[i % 3];
  };
  for (const bool at_end : {false, true}) {
    const Context context(2);
    for (const int64_t k : {1, 6, 16}) {
      for (const int64_t tokens : {1, 7, 2500}) {
        for (const int64_t gap : {0, 1}) {
          const GuardedMatrix indices(NVFP4J_DTYPE_I32, tokens, k, k + gap, at_end);
          fill(indices, (tokens - 1) * (k + gap) + k);
          const GuardedMatrix weights(NVFP4J_DTYPE_F32, tokens, k, k + gap, at_end);
          const GuardedMatrix positions(NVFP4J_DTYPE_I32, tokens, k, k + gap, at_end);
          const GuardedMemory offsets(4 * 2, at_end);
          const GuardedMemory rows(static_cast<std::size_t>(4 * tokens * k), at_end);
          const GuardedMemory row_weights(static_cast<std::size_t>(4 * tokens * k), at_end);
          const nvfp4j_tensor o = tensor(offsets.data(), NVFP4J_DTYPE_I32, {2});
          const nvfp4j_tensor r = tensor(rows.data(), NVFP4J_DTYPE_I32, {tokens * k});
          const nvfp4j_tensor w = tensor(row_weights.data(), NVFP4J_DTYPE_F32, {tokens * k});
          CHECK_OK(nvfp4j_expert_dispatch(context, &indices.descriptor, &weights.descriptor, &o, &r,
                                          &positions.descriptor, &w, error));
          if (tokens > 7) continue;
          fill(positions, (tokens - 1) * (k + gap) + k);
          for (const int32_t dtype : {NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F32}) {
            for (const int64_t columns : {1, 31, 513, 4100}) {
              const GuardedMatrix y(dtype, 2, columns, columns + gap, at_end);
              const GuardedMatrix shared(dtype, tokens, columns, columns + gap, at_end);
              const GuardedMatrix out(NVFP4J_DTYPE_F32, tokens, columns, columns + gap, at_end);
              CHECK_OK(nvfp4j_expert_combine(context, &y.descriptor, &positions.descriptor,
                                             &weights.descriptor, &shared.descriptor,
                                             &out.descriptor, error));
            }
          }
        }
      }
    }
    CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr), NVFP4J_ERROR_REPORTED);
  }
}

TEST(routers_stay_inside) {
  const nvfp4j_router_options options = {sizeof options, 1.5f, 0};
  for (const bool at_end : {false, true}) {
    for (const int32_t threads : {1, 3}) {
      const Context context(threads);
      for (const int32_t dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
        for (const auto& [tokens, experts, columns] :
             {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
              {3, 7, 3},
              {33, 13, 17},
              {2, 300, 64},
              {5, 25, 520},
              {1, 40, 8208}}) {
          const int64_t k = std::min<int64_t>(experts, 6);
          const GuardedMatrix x(dtype, tokens, columns, columns + 1, at_end);
          const GuardedMatrix w(dtype, experts, columns, columns + 3, at_end);
          const GuardedMatrix b(NVFP4J_DTYPE_F32, 1, experts, experts, at_end);
          const GuardedMatrix indices(NVFP4J_DTYPE_I32, tokens, k, k + 1, at_end);
          const GuardedMatrix weights(NVFP4J_DTYPE_F32, tokens, k, k + 2, at_end);
          const GuardedMatrix logits(NVFP4J_DTYPE_F32, tokens, experts, experts + 1, at_end);
          const nvfp4j_tensor bias = tensor(b.memory.data(), NVFP4J_DTYPE_F32, {experts});
          const GuardedNvfp4 coded(experts, (columns + 15) / 16 * 16, NVFP4J_SCALE_LAYOUT_LINEAR,
                                   NVFP4J_GLOBAL_SCALE_TENSOR, at_end);
          const bool is_coded = columns % 16 == 0;
          for (const bool nvfp4 : {false, is_coded}) {
            const nvfp4j_tensor* dense = nvfp4 ? nullptr : &w.descriptor;
            const nvfp4j_nvfp4_tensor* packed = nvfp4 ? &coded.descriptor : nullptr;
            for (const bool with_logits : {false, true}) {
              CHECK_OK(nvfp4j_router_dense(context, &x.descriptor, dense, packed, &bias, &options,
                                           &indices.descriptor, &weights.descriptor,
                                           with_logits ? &logits.descriptor : nullptr, error));
            }
            for (const int32_t integers : {NVFP4J_DTYPE_I32, NVFP4J_DTYPE_I64}) {
              // Good ids first, then 0x3F3F3F3F, which none is.
              for (const bool good : {true, false}) {
                const GuardedMatrix table(integers, 9, k, k, at_end);
                const GuardedMatrix id(integers, 1, tokens, tokens, at_end);
                const auto bytes = static_cast<std::size_t>(element_bytes(integers));
                if (good) {
                  std::memset(table.memory.data(), 0, static_cast<std::size_t>(9 * k) * bytes);
                  std::memset(id.memory.data(), 0, static_cast<std::size_t>(tokens) * bytes);
                }
                const nvfp4j_tensor ids = tensor(id.memory.data(), integers, {tokens});
                CHECK_OK(nvfp4j_router_hash(context, &x.descriptor, dense, packed,
                                            &table.descriptor, &ids, &options, &indices.descriptor,
                                            &weights.descriptor, error));
                const Outcome said = outcome([&](nvfp4j_error* error) {
                  return nvfp4j_context_synchronize(context, nullptr, error);
                });
                const bool reported = said.message.find("INDEX_OUT_OF_RANGE") != std::string::npos;
                CHECK_EQ(reported, !good);
              }
            }
          }
        }
      }
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
