// SPDX-License-Identifier: Apache-2.0
// gemm, grouped_gemm, batched_gemm, prepare_weights and pack_activations on the CPU against exact
// sums.
#include "gemm_fixture.hpp"
#include "ops/gemm/gemm_kernels.hpp"

using namespace fixture;

namespace {

struct Shape {
  int64_t m, n, k;
};
constexpr Shape kShapes[] = {{1, 8, 16},     {2, 8, 48},     {3, 56, 144},
                             {4, 48, 1024},  {5, 104, 1040}, {33, 72, 272},
                             {70, 24, 2064}, {1, 8, 18432},  {37, 8, 3200}};

}  // namespace

TEST(nvfp4_activations_of_every_shape) {
  int64_t certified = 0;
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const Shape& s : kShapes) {
      for (const int32_t a_kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_ROW}) {
        for (const int32_t w_kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_HALVES}) {
          // One binade, which certifies up to K = 512; and every scale, 0 and subnormals included.
          for (const bool binade : {true, false}) {
            const Nvfp4 a(s.m, s.k, NVFP4J_SCALE_LAYOUT_LINEAR, a_kind);
            const Nvfp4 w(s.n, s.k, NVFP4J_SCALE_LAYOUT_LINEAR, w_kind);
            fill_nvfp4(a, binade ? 0x38 : 0, binade ? 0x3F : 0x7E);
            fill_nvfp4(w, binade ? 0x40 : 0, binade ? 0x47 : 0x7E);
            const int64_t stride = s.n + 3;
            const std::vector<float> d =
                gemm(context, nullptr, &a.descriptor, w.descriptor, s.m, stride);
            Product p;
            p.a = &a;
            p.w = &w;
            p.m = s.m;
            const int64_t equal = check_product(p, d.data(), stride);
            if (binade && s.k <= 512) CHECK_EQ(equal, s.m * s.n);
            certified += equal;
            for (int64_t m = 0; m + 1 < s.m; ++m) {
              for (int64_t n = s.n; n < stride; ++n)
                CHECK_EQ(d[static_cast<std::size_t>(m * stride + n)], -77.0f);
            }
            // The same bits again, from prepared weights, and from unpacked activations.
            CHECK(same_bits(d, gemm(context, nullptr, &a.descriptor, w.descriptor, s.m, stride)));
            const Nvfp4 prepared_w = prepared(context, w);
            CHECK(same_bits(
                d, gemm(context, nullptr, &a.descriptor, prepared_w.descriptor, s.m, stride)));
            const Nvfp4 packed(s.m, s.k, NVFP4J_SCALE_LAYOUT_PACKED, a_kind);
            CHECK_OK(nvfp4j_pack_activations(context, &a.descriptor, &packed.descriptor, error));
            CHECK(same_bits(d,
                            gemm(context, nullptr, &packed.descriptor, w.descriptor, s.m, stride)));
          }
        }
      }
    }
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  }
  CHECK(certified > 10000);
}

TEST(bf16_activations_of_every_shape) {
  const Context context(2);
  for (const Shape& s : kShapes) {
    const int64_t a_stride = s.k + 5;
    std::vector<std::uint16_t> x = random_bf16(s.m * a_stride);
    const Nvfp4 w(s.n, s.k);
    fill_nvfp4(w, 0, 0x7E);
    const nvfp4j_tensor a = matrix(x.data(), NVFP4J_DTYPE_BF16, s.m, s.k, a_stride);
    const std::vector<float> d = gemm(context, &a, nullptr, w.descriptor, s.m, s.n);
    Product p;
    p.a_bf16 = x.data();
    p.a_stride = a_stride;
    p.w = &w;
    p.m = s.m;
    check_product(p, d.data(), s.n);
    const Nvfp4 prepared_w = prepared(context, w);
    CHECK(same_bits(d, gemm(context, &a, nullptr, prepared_w.descriptor, s.m, s.n)));
    // BF16 is the F32 result, rounded once.
    std::vector<std::uint16_t> half(static_cast<std::size_t>(s.m * s.n));
    const nvfp4j_tensor output = tensor(half.data(), NVFP4J_DTYPE_BF16, {s.m, s.n});
    const nvfp4j_gemm_options options = gemm_options();
    CHECK_OK(nvfp4j_gemm(context, &a, nullptr, &w.descriptor, nullptr, &options, &output, error));
    for (std::size_t i = 0; i < half.size(); ++i)
      CHECK_EQ(half[i], reference::round16(d[i], NVFP4J_DTYPE_BF16));
    // A row's bits do not depend on M, nor on where in A it is.
    for (const int64_t m : {int64_t{0}, s.m / 2, s.m - 1}) {
      const nvfp4j_tensor row = tensor(x.data() + m * a_stride, NVFP4J_DTYPE_BF16, {1, s.k});
      const std::vector<float> alone = gemm(context, &row, nullptr, w.descriptor, 1, s.n);
      CHECK(std::memcmp(alone.data(), d.data() + m * s.n, alone.size() * 4) == 0);
    }
  }
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

// Few rows with whole tiles of prepared weights, which AVX-512 does not bring back to the order of a checkpoint: the bits and reports of linear ones.
TEST(few_rows_of_prepared_tiles) {
  const Context context(2);
  int32_t reported[2];
  for (const int64_t k : {256, 1024, 1280, 4864}) {
    for (const int64_t n : {16, 48, 80, 96, 160}) {
      for (const bool bad : {false, true}) {
        const Nvfp4 w(n, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_HALVES);
        fill_nvfp4(w, 0, 0x7E);
        if (bad) w.scales[(n - 3) * (k / 16) + k / 16 - 2] = 0x7F;
        const Nvfp4 prepared_w = prepared(context, w);
        (void)nvfp4j_context_synchronize(context, nullptr, nullptr);
        for (const int64_t m : {1, 2, 3, 4}) {
          for (const bool nvfp4 : {false, true}) {
            const Nvfp4 coded(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW);
            fill_nvfp4(coded, 0, 0x7E);
            std::vector<std::uint16_t> x = random_bf16(m * k);
            const nvfp4j_tensor rows = tensor(x.data(), NVFP4J_DTYPE_BF16, {m, k});
            const nvfp4j_tensor* a = nvfp4 ? nullptr : &rows;
            const nvfp4j_nvfp4_tensor* a_nvfp4 = nvfp4 ? &coded.descriptor : nullptr;
            for (const bool swiglu : {false, true}) {
              std::vector<std::uint16_t> d[2];
              nvfp4j_status_record records[2] = {status_record(), status_record()};
              for (int which = 0; which < 2; ++which) {
                d[which].assign(static_cast<std::size_t>(m * n), 0xABCD);
                const nvfp4j_tensor output =
                    tensor(d[which].data(), NVFP4J_DTYPE_BF16, {m, swiglu ? n / 2 : n});
                const nvfp4j_gemm_options options = gemm_options(swiglu);
                CHECK_OK(nvfp4j_gemm(context, a, a_nvfp4,
                                     which == 0 ? &w.descriptor : &prepared_w.descriptor, nullptr,
                                     &options, &output, error));
                reported[which] = nvfp4j_context_synchronize(context, &records[which], nullptr);
              }
              CHECK(d[0] == d[1]);
              CHECK_EQ(reported[0], bad ? NVFP4J_ERROR_REPORTED : NVFP4J_OK);
              CHECK_EQ(reported[1], reported[0]);
              CHECK(std::memcmp(&records[0], &records[1], sizeof records[0]) == 0);
              if (bad) CHECK_EQ(records[1].first_column, (swiglu ? n / 2 : n) - 3);
            }
          }
        }
      }
    }
  }
}

// Every block scale of A with every one of W, where all orders are exact.
TEST(every_block_scale) {
  const Context context;
  const Nvfp4 a(127, 16);
  const Nvfp4 w(128, 16);
  fill_nvfp4(a, 0, 0);
  fill_nvfp4(w, 0, 0);
  for (int64_t i = 0; i < 127; ++i) a.scales[i] = w.scales[i] = static_cast<std::uint8_t>(i);
  const std::vector<float> d = gemm(context, nullptr, &a.descriptor, w.descriptor, 127, 128);
  Product p;
  p.a = &a;
  p.w = &w;
  p.m = 127;
  CHECK_EQ(check_product(p, d.data(), 128), 127 * 128);
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

// Large terms that cancel and leave a small one: any operand out of place is seen.
TEST(cancellation) {
  const Context context(2);
  const int64_t k = 4096;
  const Nvfp4 a(6, k);
  const Nvfp4 w(8, k);
  for (const Nvfp4* x : {&a, &w}) {
    fill_nvfp4(*x, 0x38, 0x38);
    x->gs()[0] = 1.0f;
  }
  for (int64_t row = 0; row < 8; ++row) {
    for (int64_t i = 0; i < k / 2; ++i) {
      if (row < 6) a.codes[row * k / 2 + i] = 0x77;  // 6 and 6
      w.codes[row * k / 2 + i] = 0xF7;               // 6 and -6
    }
    const int64_t at = static_cast<int64_t>(generator()() % static_cast<unsigned>(k / 2));
    w.codes[row * k / 2 + at] = 0xF6;  // 4 and -6
  }
  const std::vector<float> d = gemm(context, nullptr, &a.descriptor, w.descriptor, 6, 8);
  for (const float value : d) CHECK_EQ(value, -12.0f);
}

// The largest BF16 by the smallest scale: no intermediate result overflows, no small one is lost.
TEST(range_of_bf16_activations) {
  const Context context;
  std::vector<std::uint16_t> x(32, 0x7F7F);
  for (std::size_t i = 16; i < 32; ++i) x[i] = 0x0001;
  const Nvfp4 w(8, 16);
  fill_nvfp4(w, 1, 1);
  std::memset(w.codes.data(), 0x77, static_cast<std::size_t>(w.codes.size()));
  w.gs()[0] = 1.0f;
  const nvfp4j_tensor a = tensor(x.data(), NVFP4J_DTYPE_BF16, {2, 16});
  const std::vector<float> d = gemm(context, &a, nullptr, w.descriptor, 2, 8);
  CHECK_EQ(d[0], static_cast<float>(16.0 * 6.0 * 0x1p-9 * 0x1.FEp127));
  CHECK_EQ(d[8], static_cast<float>(16.0 * 6.0 * 0x1p-9 * 0x1p-133));
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

TEST(swiglu_of_the_f32_products) {
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const int64_t half : {8, 24, 56}) {
      for (const int64_t m : {1, 6, 40}) {
        for (const bool weighted : {false, true}) {
          for (const float limit : {0.0f, 1.5f}) {
            const int64_t k = 208;
            std::vector<std::uint16_t> x = random_bf16(m * k);
            std::vector<float> weight;
            for (int64_t i = 0; i < m; ++i) weight.push_back(0.37f * static_cast<float>(i) - 1.0f);
            const nvfp4j_tensor a = tensor(x.data(), NVFP4J_DTYPE_BF16, {m, k});
            const nvfp4j_tensor factors = tensor(weight.data(), NVFP4J_DTYPE_F32, {m});
            const Nvfp4 w(2 * half, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_HALVES);
            fill_nvfp4(w, 0x20, 0x30);
            const std::vector<float> both = gemm(context, &a, nullptr, w.descriptor, m, 2 * half);
            std::vector<std::uint16_t> d(static_cast<std::size_t>(m * (half + 1)), 0xA5A5);
            const nvfp4j_tensor output = matrix(d.data(), NVFP4J_DTYPE_BF16, m, half, half + 1);
            const nvfp4j_gemm_options options = gemm_options(true, limit);
            CHECK_OK(nvfp4j_gemm(context, &a, nullptr, &w.descriptor, weighted ? &factors : nullptr,
                                 &options, &output, error));
            int64_t wrong = 0;
            for (int64_t i = 0; i < m; ++i) {
              for (int64_t j = 0; j < half; ++j) {
                const float* row = both.data() + i * 2 * half;
                const float h = reference::swiglu(row[j], row[half + j], weighted,
                                                  weight[static_cast<std::size_t>(i)], limit);
                wrong += d[static_cast<std::size_t>(i * (half + 1) + j)] !=
                         reference::round16(h, NVFP4J_DTYPE_BF16);
              }
            }
            CHECK_EQ(wrong, 0);
            CHECK_EQ(d[static_cast<std::size_t>(half)],
                     m == 1 ? 0xA5A5 : d[static_cast<std::size_t>(half)]);
          }
        }
      }
    }
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  }
}

TEST(grouped) {
  // An empty expert first, in the middle and last; rows outside in front and behind; one of 41 rows.
  const std::vector<int32_t> offsets = {2, 2, 5, 5, 46, 47, 47};
  const int64_t experts = 6;
  const int64_t m = 50;
  const int64_t n = 72;
  const int64_t k = 304;
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const int32_t kind :
         {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_GROUP, NVFP4J_GLOBAL_SCALE_HALVES}) {
      const Nvfp4 a(m, k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW);
      const Nvfp4 w(n, k, NVFP4J_SCALE_LAYOUT_LINEAR, kind, experts);
      fill_nvfp4(a, 0x38, 0x3F);
      fill_nvfp4(w, 0x30, 0x37);
      const nvfp4j_tensor o = tensor(const_cast<int32_t*>(offsets.data()), NVFP4J_DTYPE_I32, {7});
      std::vector<float> d(static_cast<std::size_t>(m * n), -77.0f);
      const nvfp4j_tensor output = tensor(d.data(), NVFP4J_DTYPE_F32, {m, n});
      const nvfp4j_gemm_options options = gemm_options();
      CHECK_OK(nvfp4j_grouped_gemm(context, nullptr, &a.descriptor, &w.descriptor, &o, nullptr,
                                   &options, &output, error));
      Product p;
      p.op = NVFP4J_OP_GROUPED_GEMM;
      p.a = &a;
      p.w = &w;
      p.offsets = offsets.data();
      p.m = m;
      CHECK_EQ(check_product(p, d.data(), n), 45 * n);
      for (const int64_t row : {0, 1, 47, 48, 49}) {
        for (int64_t j = 0; j < n; ++j) CHECK_EQ(d[static_cast<std::size_t>(row * n + j)], -77.0f);
      }
      const Nvfp4 prepared_w = prepared(context, w);
      std::vector<float> again(d.size(), -77.0f);
      const nvfp4j_tensor other = tensor(again.data(), NVFP4J_DTYPE_F32, {m, n});
      CHECK_OK(nvfp4j_grouped_gemm(context, nullptr, &a.descriptor, &prepared_w.descriptor, &o,
                                   nullptr, &options, &other, error));
      CHECK(same_bits(d, again));
    }
    CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  }
}

TEST(batched) {
  const int64_t groups = 3;
  const int64_t n = 56;
  const int64_t k = 272;
  for (const int64_t m : {1, 35}) {
    for (const int32_t kind : {NVFP4J_GLOBAL_SCALE_TENSOR, NVFP4J_GLOBAL_SCALE_GROUP}) {
      const Context context(3);
      const Nvfp4 a(m, groups * k, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW);
      const Nvfp4 w(n, k, NVFP4J_SCALE_LAYOUT_LINEAR, kind, groups);
      fill_nvfp4(a, 0x38, 0x3F);
      fill_nvfp4(w, 0x30, 0x37);
      const int64_t stride = groups * n + 1;
      std::vector<float> d(static_cast<std::size_t>(m * stride), -77.0f);
      const nvfp4j_tensor output = matrix(d.data(), NVFP4J_DTYPE_F32, m, groups * n, stride);
      const nvfp4j_gemm_options options = gemm_options();
      CHECK_OK(nvfp4j_batched_gemm(context, nullptr, &a.descriptor, &w.descriptor, &options,
                                   &output, error));
      Product p;
      p.op = NVFP4J_OP_BATCHED_GEMM;
      p.a = &a;
      p.w = &w;
      p.m = m;
      CHECK_EQ(check_product(p, d.data(), stride), m * groups * n);
      CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    }
  }
}

TEST(every_instruction_set_gives_the_same_bits_of_nvfp4_rows) {
  using namespace nvfp4j;
  for (const int64_t blocks : {1, 8, 13, 64}) {
    const Nvfp4 w(4, 16 * blocks);
    const Nvfp4 a(1, 16 * blocks);
    fill_nvfp4(w, 0, 0x7E);
    fill_nvfp4(a, 0, 0x7E);
    std::vector<std::uint16_t> x = random_bf16(16 * blocks);
    const std::uint8_t* codes[4];
    const std::uint8_t* scales[4];
    for (int i = 0; i < 4; ++i) {
      codes[i] = w.codes.data() + i * 8 * blocks;
      scales[i] = w.scales.data() + i * blocks;
    }
    std::vector<float> first;
    for (int isa = 0; isa <= static_cast<int>(cpu_isa()); ++isa) {
      const GemmKernels& kernels = gemm_kernels[isa];
      std::vector<float> all(4 * kGemmChunk + 16);
      for (int m = 0; m < 4; ++m) {
        float* row = all.data() + m * kGemmChunk;
        if (m % 2 == 0) kernels.decode_a(a.codes.data(), a.scales.data(), blocks, row);
        if (m % 2 == 1) kernels.unpack_a(x.data(), 16 * blocks, row);
      }
      for (int rows = 1; rows <= 4; ++rows) {
        kernels.stream(rows, all.data(), kGemmChunk, codes, scales, blocks,
                       all.data() + 4 * kGemmChunk, 4);
      }
      // Half-block sums of NVFP4 rows are exact, so the baseline's two roundings of a product and a
      // sum are the one of an fma. Those of BF16 rows (1 and 3) are not, and may differ.
      for (int n = 0; n < 4; ++n) {
        all[static_cast<std::size_t>(4 * kGemmChunk + 4 + n)] = 0.0f;
        all[static_cast<std::size_t>(4 * kGemmChunk + 12 + n)] = 0.0f;
      }
      if (isa == 0) first = all;
      CHECK(same_bits(first, all));
      std::vector<std::uint8_t> bytes(static_cast<std::size_t>(blocks), 0x7E);
      CHECK(!kernels.bad_scale(bytes.data(), blocks));
      bytes.back() = 0x7F;
      CHECK(kernels.bad_scale(bytes.data(), blocks));
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
