// SPDX-License-Identifier: Apache-2.0
// The order of prepared weights: what prepared_layout.hpp says of it, that prepare_weights on the CPU
// writes it, and that products read it to the bit.
#include "gemm_fixture.hpp"
#include "ops/gemm/gemm_kernels.hpp"
#include "ops/gemm/prepared_layout.hpp"

using namespace fixture;
namespace layout = nvfp4j::prepared;

namespace {

struct Place {
  int64_t groups, n, k;
};
constexpr Place kTiled[] = {{1, 16, 256}, {1, 48, 1280}, {3, 32, 512}, {2, 112, 2304}};
constexpr Place kUntiled[] = {{1, 8, 256}, {3, 24, 256}, {2, 16, 272}, {2, 40, 1040}};

std::uint32_t word_at(const std::uint8_t* p) {
  std::uint32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

// Every code, and every kind of scale: all magnitudes, zeros more often, and bad ones.
Nvfp4 all_kinds(const Place& p, bool bad, int32_t kind = NVFP4J_GLOBAL_SCALE_TENSOR) {
  Nvfp4 w(p.n, p.k, NVFP4J_SCALE_LAYOUT_LINEAR, kind, p.groups);
  fill_nvfp4(w, 0, bad ? 0xFF : 0x7E);
  for (int64_t i = 0; i < w.scales.size(); ++i) {
    if (generator()() % 8 == 0) w.scales[i] = 0;
  }
  return w;
}

// The code (a byte of the row's) and the scale of an element of a tiled group, where the comment of
// prepared_layout.hpp says that they are.
struct Element {
  std::uint32_t pair;  // the byte of columns 2i and 2i + 1
  std::uint32_t scale;
};
Element tiled_element(const std::uint8_t* group, int64_t k, int64_t row, int64_t column) {
  const std::uint8_t* chunk = group + (row / 16 * (k / 128) + column / 128) * layout::kChunkBytes;
  const int64_t unit = column % 128 / 64;
  const int64_t pair = row % 16 / 2;  // 2r or 2r + 1
  const int64_t half = row % 2;
  const int64_t c = column % 64 / 8;  // 8c + 2t or 8c + 2t + 1
  const int64_t t = column % 8 / 2;
  const int64_t lane = 4 * pair + t;
  const std::uint8_t* word = chunk + unit * 512 + lane * 16 + 4 * (2 * half + c / 4);
  const std::uint32_t bytes = layout::decode_codes(word_at(word));
  const int64_t block = column % 64 / 16;
  const std::uint8_t* scales = chunk + layout::kChunkCodes + unit * 64 + pair * 8 + block / 2 * 4;
  return {
      bytes >> (8 * (c % 4)) & 0xFFu,
      layout::unpack_scale(word_at(scales), static_cast<int>(half), static_cast<int>(block % 2))};
}

std::uint16_t bf16(double exact) {
  return reference::round16(static_cast<float>(exact), NVFP4J_DTYPE_BF16);
}

}  // namespace

TEST(words_of_codes_come_back) {
  const auto both = [](std::uint32_t bytes) {
    const std::uint32_t word = layout::encode_codes(bytes);
    CHECK_EQ(layout::decode_codes(word), bytes);
    // What the instructions of the header make of it: e2m1 * 2^-126 in the halves of pair j.
    const std::uint32_t pairs[] = {word & 0x81C081C0u, ((word << 3) ^ (word << 2)) & 0x81C081C0u,
                                   (word << 6) & 0x81C081C0u,
                                   ((word >> 4) ^ (word << 1)) & 0x81C081C0u};
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t code = bytes >> (4 * i) & 15u;
      const std::uint32_t value = pairs[i / 2] >> (16 * (i % 2)) & 0xFFFFu;
      CHECK_EQ(value,
               std::uint32_t{bf16(std::ldexp(
                   static_cast<double>(reference::e2m1_value(static_cast<int>(code))), -126))});
    }
  };
  for (int bit = 0; bit < 32; ++bit) both(1u << bit);
  for (int i = 0; i < 10000; ++i) both(static_cast<std::uint32_t>(generator()()));
  both(0xFFFFFFFF);
  both(0);
}

TEST(every_scale_comes_back) {
  for (std::uint32_t e4m3 = 0; e4m3 < 256; ++e4m3) {
    const std::uint32_t byte = layout::encode_scale(e4m3);
    CHECK(byte < 256);
    CHECK_EQ(byte == layout::kBadScale, e4m3 >= 0x7F);
    CHECK_EQ(layout::decode_scale(byte), e4m3 >= 0x7F ? 0x7Fu : e4m3 == 0 ? 1u : e4m3);
    const std::uint32_t value = byte * 16 + 0x7000;
    if (e4m3 >= 0x7F) {
      CHECK((value & 0x7FFF) > 0x7F80);
    } else if (e4m3 != 0) {
      const double scale = reference::e4m3_value(static_cast<std::uint8_t>(e4m3));
      CHECK_EQ(value, std::uint32_t{bf16(std::ldexp(scale, 118))});
    }
  }
  for (int i = 0; i < 10000; ++i) {
    std::uint32_t s[4];
    for (std::uint32_t& byte : s) byte = static_cast<std::uint32_t>(generator()() & 0xFF);
    const std::uint32_t word = layout::pack_scales(s[0], s[1], s[2], s[3]);
    for (int j = 0; j < 4; ++j) CHECK_EQ(layout::unpack_scale(word, j % 2, j / 2), s[j]);
    CHECK_EQ(word >> 4 & 0xFF, s[0]);
    CHECK_EQ(word >> 20 & 0xFF, s[1]);
  }
}

TEST(every_element_is_where_it_is_said_to_be) {
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const Place& p : kTiled) {
      CHECK(layout::is_tiled(p.n, p.k));
      const Nvfp4 w = all_kinds(p, true);
      const Nvfp4 to = prepared(context, w);
      int64_t wrong = 0;
      for (int64_t row = 0; row < p.groups * p.n; ++row) {
        const std::uint8_t* group = to.codes.data() + row / p.n * layout::group_bytes(p.n, p.k);
        for (int64_t column = 0; column < p.k; column += 2) {
          const std::uint32_t scale = w.scales[(row * p.k + column) / 16];
          const std::uint32_t pair = scale == 0 ? 0 : w.codes[(row * p.k + column) / 2];
          const Element e = tiled_element(group, p.k, row % p.n, column);
          wrong += e.pair != pair || e.scale != layout::encode_scale(scale);
        }
      }
      CHECK_EQ(wrong, 0);
      CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr), NVFP4J_ERROR_REPORTED);
    }
    for (const Place& p : kUntiled) {
      CHECK(!layout::is_tiled(p.n, p.k));
      const Nvfp4 w = all_kinds(p, true);
      const Nvfp4 to = prepared(context, w);
      const std::size_t codes = static_cast<std::size_t>(p.n * p.k / 2);
      for (int64_t g = 0; g < p.groups; ++g) {
        const std::uint8_t* group = to.codes.data() + g * layout::group_bytes(p.n, p.k);
        CHECK(std::memcmp(group, w.codes.data() + g * p.n * p.k / 2, codes) == 0);
        CHECK(std::memcmp(group + codes, w.scales.data() + g * p.n * p.k / 16, codes / 8) == 0);
      }
      CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr), NVFP4J_ERROR_REPORTED);
    }
  }
}

TEST(every_instruction_set_reads_tiles_alike) {
  using namespace nvfp4j;
  const Context context;
  const Place p = {1, 16, 1024};
  const Nvfp4 w = all_kinds(p, true);
  const Nvfp4 to = fixture::prepared(context, w);
  CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr), NVFP4J_ERROR_REPORTED);
  for (int isa = 0; isa <= static_cast<int>(cpu_isa()); ++isa) {
    for (int row = 0; row < 16; row += 4) {
      for (int64_t chunks = 1; chunks <= 8; ++chunks) {
        const Bytes codes(4 * kGemmChunk / 2);
        const Bytes scales(4 * kGemmChunk / 16);
        gemm_kernels[isa].unprepare(to.codes.data(), row, chunks, codes.data(), scales.data());
        int64_t wrong = 0;
        for (int r = 0; r < 4; ++r) {
          for (int64_t block = 0; block < kGemmChunk / 16; ++block) {
            const int64_t at = (row + r) * (p.k / 16) + block;
            const std::uint8_t scale = w.scales[at];
            const int64_t mine = r * (kGemmChunk / 16) + block;
            const bool there = block < 8 * chunks;
            wrong += scales[mine] != (!there          ? 0xA5
                                      : scale >= 0x7F ? 0x7F
                                      : scale == 0    ? 1
                                                      : scale);
            for (int64_t i = 0; i < 8; ++i) {
              wrong += codes[8 * mine + i] != (!there       ? 0xA5
                                               : scale == 0 ? 0
                                                            : w.codes[8 * at + i]);
            }
          }
        }
        CHECK_EQ(wrong, 0);
      }
    }
  }
}

namespace {

// One product, with linear weights and with the same prepared: the bits of D, and what was reported.
struct Outcomes {
  Bytes d;
  nvfp4j_status_record record;
};
bool same(const Outcomes& x, const Outcomes& y) {
  return x.d == y.d && x.record.causes[NVFP4J_OP_GEMM] == y.record.causes[NVFP4J_OP_GEMM] &&
         x.record.causes[NVFP4J_OP_GROUPED_GEMM] == y.record.causes[NVFP4J_OP_GROUPED_GEMM] &&
         x.record.causes[NVFP4J_OP_BATCHED_GEMM] == y.record.causes[NVFP4J_OP_BATCHED_GEMM] &&
         x.record.first_cause == y.record.first_cause && x.record.first_row == y.record.first_row &&
         x.record.first_column == y.record.first_column;
}

template <class Call>
Outcomes outcome_of(const Context& context, int64_t bytes, const Call& call) {
  Outcomes result{Bytes(bytes), status_record()};
  std::memset(&result.record, 0, sizeof result.record);
  result.record.struct_size = sizeof result.record;
  call(result.d.data());
  nvfp4j_context_synchronize(context, &result.record, nullptr);
  return result;
}

}  // namespace

TEST(products_do_not_tell_prepared_weights_from_linear_ones) {
  for (const int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const int64_t m : {1, 5, 37}) {
      for (const bool tiled : {true, false}) {
        for (const Place& p : tiled ? kTiled : kUntiled) {
          for (const bool bad : {false, true}) {
            Nvfp4 w = all_kinds(
                p, false, p.groups > 1 ? NVFP4J_GLOBAL_SCALE_GROUP : NVFP4J_GLOBAL_SCALE_HALVES);
            if (bad) {
              w.scales[(p.n - 5) * p.k / 16 + 3] = 0x7F;
              w.scales[w.scales.size() - 1] = 0x80;
            }
            const Nvfp4 to = prepared(context, w);
            CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr),
                     bad ? NVFP4J_ERROR_REPORTED : NVFP4J_OK);
            std::vector<std::uint16_t> x = random_bf16(m * p.groups * p.k);
            x[x.size() / 2] = 0x7F80;  // meets zero scales, too
            // 0: the product, 1: SwiGLU of it, 2: groups of columns of A.
            for (const int how : {0, 1, 2}) {
              if (how == 1 && p.n % 16 != 0) continue;
              const nvfp4j_gemm_options options = gemm_options(how == 1);
              const int64_t columns = how == 1 ? p.n / 2 : how == 2 ? p.groups * p.n : p.n;
              const int32_t dtype = how == 1 ? NVFP4J_DTYPE_BF16 : NVFP4J_DTYPE_F32;
              const int64_t k = how == 2 ? p.groups * p.k : p.k;
              if (how == 2 && p.groups == 1) continue;
              std::vector<int32_t> offsets(static_cast<std::size_t>(p.groups) + 1,
                                           static_cast<int32_t>(m));
              offsets[0] = 0;
              offsets[1] = static_cast<int32_t>((m + 1) / 2);
              const nvfp4j_tensor o = tensor(offsets.data(), NVFP4J_DTYPE_I32, {p.groups + 1});
              const nvfp4j_tensor a = tensor(x.data(), NVFP4J_DTYPE_BF16, {m, k});
              const auto product = [&](const Nvfp4& weights) {
                return outcome_of(context, m * columns * element_bytes(dtype), [&](void* d) {
                  const nvfp4j_tensor output = tensor(d, dtype, {m, columns});
                  const nvfp4j_nvfp4_tensor* t = &weights.descriptor;
                  if (how == 2) {
                    CHECK_OK(
                        nvfp4j_batched_gemm(context, &a, nullptr, t, &options, &output, error));
                  } else if (p.groups > 1) {
                    CHECK_OK(nvfp4j_grouped_gemm(context, &a, nullptr, t, &o, nullptr, &options,
                                                 &output, error));
                  } else {
                    CHECK_OK(
                        nvfp4j_gemm(context, &a, nullptr, t, nullptr, &options, &output, error));
                  }
                });
              };
              const Outcomes linear = product(w);
              CHECK(same(linear, product(to)));
              if (bad && how == 0 && p.groups == 1) CHECK_EQ(linear.record.first_column, p.n - 5);
            }
          }
        }
      }
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
