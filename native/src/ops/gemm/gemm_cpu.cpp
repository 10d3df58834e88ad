// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm/gemm_cpu.hpp"

#include <algorithm>

#include "common/faults.hpp"
#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "nvfp4j/gemm.h"
#include "nvfp4j/swiglu.h"
#include "ops/gemm/gemm_kernels.hpp"
#include "ops/gemm/prepared_layout.hpp"
#include "ops/swiglu/swiglu_kernels.hpp"

namespace nvfp4j {
namespace {

// A tile of D: up to 32 rows of A by 48 rows of W (24 of gate and 24 of up; of few rows of A and whole
// tiles of prepared weights 16 and 16), and as many elements of A as are decoded at a time. Whatever M is, W is decoded again for every four rows of A: that takes
// no longer than to decode it into memory once and to read it from there.
constexpr int kTileM = 32;
constexpr int kTileN = 48;
// Rows of A up to which stream_prepared(), which decodes W for each of them, takes less time than stream().
constexpr int kFewRows = 3;
constexpr std::int64_t kElementsOfA = kTileM * kGemmChunk;
constexpr std::int64_t kGrainProducts = std::int64_t{1} << 18;

struct Scratch {
  float a[kElementsOfA];
  float sums[kTileM][kTileN];
  // Prepared weights in the order of a checkpoint.
  std::uint8_t codes[kGemmRowsAtOnce][kGemmChunk / 2];
  std::uint8_t scales[kGemmRowsAtOnce][kGemmChunk / 16];
};
static_assert(sizeof(Scratch) <= kCpuScratchBytes);

// Rows of A of one group.
struct GroupRows {
  std::int64_t begin;
  std::int64_t end;
};

GroupRows rows_of(const GemmArgs& args, std::int64_t group) {
  if (args.op != NVFP4J_OP_GROUPED_GEMM) return {0, args.m};
  return {args.offsets[group], args.offsets[group + 1]};
}

bool offsets_ascend(const GemmArgs& args) {
  std::int64_t last = 0;
  for (std::int64_t i = 0; i <= args.groups; ++i) {
    if (args.offsets[i] < last) return false;
    last = args.offsets[i];
  }
  return last <= args.m;
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

class Products {
 public:
  Products(const GemmArgs& args, Faults& scales, Faults& results)
      : args_(args),
        scale_faults_(scales),
        result_faults_(results),
        kernels_(gemm_kernels[static_cast<int>(cpu_isa())]),
        swiglu_(swiglu_kernels[static_cast<int>(cpu_isa())]),
        prepared_tiles_(args.w.layout == NVFP4J_SCALE_LAYOUT_PREPARED &&
                        prepared::is_tiled(args.n, args.k)),
        columns_(args.swiglu ? args.n / 2 : args.n),
        whole_tiles_(prepared_tiles_ && kernels_.stream_prepared != nullptr &&
                     (!args.swiglu || (columns_ % prepared::kTileRows == 0 &&
                                       (args.op == NVFP4J_OP_GROUPED_GEMM || args.m <= kFewRows)))),
        tile_columns_(!args.swiglu   ? kTileN
                      : whole_tiles_ ? prepared::kTileRows
                                     : kTileN / 2) {}

  // Tiles of all groups, numbered one after the other; in a group the rows of A go fastest.
  std::int64_t tiles() const {
    std::int64_t count = 0;
    for (std::int64_t group = 0; group < args_.groups; ++group) count += tiles_of(group);
    return count;
  }

  void run(std::int64_t begin, std::int64_t end, Scratch& scratch) const {
    std::int64_t first = 0;  // tile of the group
    Decoded decoded;
    for (std::int64_t group = 0; group < args_.groups && first < end; ++group) {
      const std::int64_t count = tiles_of(group);
      const std::int64_t to = std::min(count, end - first);
      for (std::int64_t i = std::max<std::int64_t>(0, begin - first); i < to; ++i)
        run_tile(group, i, decoded, scratch);
      first += count;
    }
  }

 private:
  struct Tile {
    std::int64_t group;
    std::int64_t row;  // of A and D
    int rows;
    std::int64_t column;  // of D, within the group
    int columns;
    int n;                              // rows of W: columns, or twice as many
    const std::uint8_t* codes[kTileN];  // where the order is that of a checkpoint
    const std::uint8_t* scales[kTileN];
    bool bad_a[kTileM];
    bool bad_w[kTileN];  // of prepared tiles known when they have been multiplied
  };

  // Which rows of A scratch.a has, and from which column on: the next tile often wants the same.
  struct Decoded {
    std::int64_t group = -1, row = 0, from = 0;
  };

  std::int64_t tiles_of(std::int64_t group) const {
    const GroupRows rows = rows_of(args_, group);
    return ceil_div(rows.end - rows.begin, kTileM) * ceil_div(columns_, tile_columns_);
  }

  Tile tile_of(std::int64_t group, std::int64_t index) const {
    const GroupRows rows = rows_of(args_, group);
    const std::int64_t row_tiles = ceil_div(rows.end - rows.begin, kTileM);
    Tile tile;
    tile.group = group;
    tile.row = rows.begin + index % row_tiles * kTileM;
    tile.rows = static_cast<int>(std::min<std::int64_t>(kTileM, rows.end - tile.row));
    tile.column = index / row_tiles * tile_columns_;
    tile.columns = static_cast<int>(std::min<std::int64_t>(tile_columns_, columns_ - tile.column));
    tile.n = args_.swiglu ? 2 * tile.columns : tile.columns;
    const std::int64_t blocks = args_.k / 16;
    const bool linear = args_.w.layout == NVFP4J_SCALE_LAYOUT_LINEAR;
    const std::uint8_t* codes = args_.w.codes + group * args_.n * (linear ? 8 : 9) * blocks;
    const std::uint8_t* scales =
        linear ? args_.w.scales + group * args_.n * blocks : codes + args_.n * 8 * blocks;
    for (int i = 0; i < tile.n; ++i) {
      if (prepared_tiles_) {
        tile.bad_w[i] = false;
        continue;
      }
      tile.codes[i] = codes + row_of_w(tile, i) * 8 * blocks;
      tile.scales[i] = scales + row_of_w(tile, i) * blocks;
      tile.bad_w[i] = kernels_.bad_scale(tile.scales[i], blocks);
    }
    for (int m = 0; m < tile.rows; ++m) {
      tile.bad_a[m] = args_.a.kind == NVFP4J_GEMM_A_NVFP4 &&
                      kernels_.bad_scale(args_.a.scales + element_of_a(tile, m) / 16, blocks);
    }
    return tile;
  }

  // The i-th row of W of a tile, in its group: of SwiGLU first those of gate, then those of up.
  std::int64_t row_of_w(const Tile& tile, int i) const {
    return i < tile.columns ? tile.column + i : columns_ + tile.column + i - tile.columns;
  }

  // Where the m-th row of a tile begins in A, in elements.
  std::int64_t element_of_a(const Tile& tile, int m) const {
    const bool batched = args_.op == NVFP4J_OP_BATCHED_GEMM;
    return (tile.row + m) * args_.a.stride + (batched ? tile.group * args_.k : 0);
  }

  std::int64_t column_of_d(const Tile& tile) const {
    return tile.column + (args_.op == NVFP4J_OP_BATCHED_GEMM ? tile.group * args_.n : 0);
  }

  void decode_a(const Tile& tile, std::int64_t from, std::int64_t count, std::int64_t stride,
                float* out) const {
    for (int m = 0; m < tile.rows; ++m, out += stride) {
      const std::int64_t at = element_of_a(tile, m) + from;
      if (args_.a.kind == NVFP4J_GEMM_A_NVFP4) {
        kernels_.decode_a(static_cast<const std::uint8_t*>(args_.a.data) + at / 2,
                          args_.a.scales + at / 16, count / 16, out);
      } else {
        kernels_.unpack_a(static_cast<const std::uint16_t*>(args_.a.data) + at, count, out);
      }
    }
  }

  void run_tile(std::int64_t group, std::int64_t index, Decoded& decoded, Scratch& scratch) const {
    Tile tile = tile_of(group, index);
    std::fill(&scratch.sums[0][0], &scratch.sums[0][0] + kTileM * kTileN, 0.0f);
    // As many whole chunks of A as there is room for.
    const std::int64_t span =
        std::min(kElementsOfA / tile.rows / kGemmChunk, ceil_div(args_.k, kGemmChunk)) * kGemmChunk;
    for (std::int64_t from = 0; from < args_.k; from += span) {
      const std::int64_t count = std::min(span, args_.k - from);
      const bool few = whole_tiles_ && tile.rows <= kFewRows;
      if (decoded.group != group || decoded.row != tile.row || decoded.from != from) {
        decode_a(tile, from, count, span, scratch.a);
        for (int m = 0; few && m < tile.rows; ++m) kernels_.order_a(scratch.a + m * span, count);
        decoded = {group, tile.row, from};
      }
      if (few) {
        multiply_tiles(tile, from, count, span, scratch);
      } else {
        multiply(tile, from, count, span, scratch);
      }
    }
    report_scales(tile);
    write(tile, scratch);
  }

  // Few rows of A with whole tiles of prepared weights.
  void multiply_tiles(Tile& tile, std::int64_t from, std::int64_t count, std::int64_t stride,
                      Scratch& scratch) const {
    for (int n = 0; n < tile.n; n += prepared::kTileRows) {
      for (std::int64_t k = 0; k < count; k += kGemmChunk) {
        std::uint32_t bad = 0;
        for (int m = 0; m < tile.rows; ++m) {
          bad |= kernels_.stream_prepared(
              scratch.a + m * stride + k, prepared_at(tile, n, from + k),
              std::min(kGemmChunk, count - k) / prepared::kChunkColumns, &scratch.sums[m][n]);
        }
        for (int i = 0; i < prepared::kTileRows; ++i) tile.bad_w[n + i] |= (bad >> i & 1) != 0;
      }
    }
  }

  // The chunks of a few rows of W one after the other, as they lie in memory, and with each of them
  // all rows of A.
  void multiply(Tile& tile, std::int64_t from, std::int64_t count, std::int64_t stride,
                Scratch& scratch) const {
    for (int n = 0; n < tile.n; n += kGemmRowsAtOnce) {
      for (std::int64_t k = 0; k < count; k += kGemmChunk) {
        const std::uint8_t* codes[kGemmRowsAtOnce];
        const std::uint8_t* scales[kGemmRowsAtOnce];
        if (prepared_tiles_) {
          unprepare(tile, n, from + k, std::min(kGemmChunk, count - k), scratch);
          for (int i = 0; i < kGemmRowsAtOnce; ++i) {
            codes[i] = scratch.codes[i];
            scales[i] = scratch.scales[i];
          }
        } else {
          for (int i = 0; i < kGemmRowsAtOnce; ++i) {
            codes[i] = tile.codes[n + i] + (from + k) / 2;
            scales[i] = tile.scales[n + i] + (from + k) / 16;
          }
        }
        for (int m = 0; m < tile.rows; m += kGemmRowsAtOnce) {
          kernels_.stream(std::min(kGemmRowsAtOnce, tile.rows - m), scratch.a + m * stride + k,
                          stride, codes, scales, std::min(kGemmChunk, count - k) / 16,
                          &scratch.sums[m][n], kTileN);
        }
      }
    }
  }

  // The chunk that has the n-th row of W of a tile and column `from`.
  const std::uint8_t* prepared_at(const Tile& tile, int n, std::int64_t from) const {
    const std::int64_t chunk =
        row_of_w(tile, n) / prepared::kTileRows * (args_.k / prepared::kChunkColumns) +
        from / prepared::kChunkColumns;
    return args_.w.codes + tile.group * prepared::group_bytes(args_.n, args_.k) +
           chunk * prepared::kChunkBytes;
  }

  // Rows n to n + 3 of a tile's, columns from `from` on, from the tiles of prepared weights: they are
  // neighbours from a multiple of 4 on, since the halves of W have a multiple of 8 rows.
  void unprepare(Tile& tile, int n, std::int64_t from, std::int64_t count, Scratch& scratch) const {
    kernels_.unprepare(prepared_at(tile, n, from),
                       static_cast<int>(row_of_w(tile, n) % prepared::kTileRows),
                       count / prepared::kChunkColumns, scratch.codes[0], scratch.scales[0]);
    for (int i = 0; i < kGemmRowsAtOnce; ++i)
      tile.bad_w[n + i] |= kernels_.bad_scale(scratch.scales[i], count / 16);
  }

  void report_scales(const Tile& tile) const {
    for (int j = 0; j < tile.columns; ++j) {
      if (tile.bad_w[j] || (args_.swiglu && tile.bad_w[tile.columns + j])) [[unlikely]] {
        scale_faults_.report(NVFP4J_CAUSE_BAD_BLOCK_SCALE, -1, column_of_d(tile) + j);
        break;
      }
    }
    for (int m = 0; m < tile.rows; ++m) {
      if (tile.bad_a[m]) [[unlikely]] {
        scale_faults_.report(NVFP4J_CAUSE_BAD_BLOCK_SCALE, tile.row + m, -1);
        break;
      }
    }
  }

  void write(const Tile& tile, const Scratch& scratch) const {
    bool reported = false;
    for (int m = 0; m < tile.rows; ++m) {
      const std::int64_t row = tile.row + m;
      float results[kTileN];
      scale_row(tile, m, scratch.sums[m], results);
      // Of gate and up those that are not finite, too: the clamp hides an infinity.
      std::uint64_t not_finite = 0;
      for (int i = 0; i < tile.n; ++i)
        not_finite |= static_cast<std::uint64_t>(!math::is_finite(results[i])) << i % tile.columns;
      if (args_.swiglu) {
        apply_swiglu(tile, row, results);
        for (int i = 0; i < tile.columns; ++i)
          not_finite |= static_cast<std::uint64_t>(!math::is_finite(results[i])) << i;
      }
      if (not_finite != 0 && !reported) [[unlikely]] {
        result_faults_.report(NVFP4J_CAUSE_NON_FINITE_RESULT, row,
                              column_of_d(tile) + __builtin_ctzll(not_finite));
        reported = true;
      }
      const std::int64_t at = row * args_.d.stride + column_of_d(tile);
      if (args_.d.dtype == NVFP4J_DTYPE_F32) {
        std::copy_n(results, tile.columns, static_cast<float*>(args_.d.data) + at);
      } else {
        std::transform(results, results + tile.columns,
                       static_cast<std::uint16_t*>(args_.d.data) + at, f32_to_bf16);
      }
    }
  }

  // alpha * acc of a row.
  void scale_row(const Tile& tile, int m, const float* sums, float* results) const {
    const float* global_scales = args_.a.global_scales;
    const float a_scale = global_scales == nullptr       ? 1.0f
                          : args_.a.global_scale_per_row ? global_scales[tile.row + m]
                                                         : global_scales[0];
    for (int i = 0; i < tile.n; ++i) {
      const std::int64_t w_index =
          global_scale_index(args_.w.global_scale_kind, tile.group, row_of_w(tile, i), args_.n);
      const float alpha = a_scale * args_.w.global_scales[w_index];
      const bool bad = tile.bad_a[m] || tile.bad_w[i];
      results[i] = math::canonical_nan(bad ? float_of(kNan) : alpha * sums[i]);
    }
  }

  void apply_swiglu(const Tile& tile, std::int64_t row, float* results) const {
    const SwigluInput input{results,
                            NVFP4J_DTYPE_F32,
                            tile.n,
                            1,
                            tile.columns,
                            args_.row_weight != nullptr ? args_.row_weight + row : nullptr,
                            NVFP4J_SWIGLU_HALVES,
                            args_.limit};
    float h[kTileN / 2];
    swiglu_(input, 0, 0, tile.columns, h, true);
    std::copy_n(h, tile.columns, results);
  }

  const GemmArgs& args_;
  Faults& scale_faults_;
  Faults& result_faults_;
  const GemmKernels& kernels_;
  const SwigluKernel swiglu_;
  const bool prepared_tiles_;
  const std::int64_t columns_;  // of D, of one group
  const bool whole_tiles_;      // stream_prepared() takes them
  const std::int64_t tile_columns_;
};

}  // namespace

void gemm_cpu(CpuPool& pool, DeviceStatus& status, const GemmArgs& args) {
  // A bad scale comes before what it makes of the results.
  Faults scales;
  Faults results;
  if (args.op == NVFP4J_OP_GROUPED_GEMM && !offsets_ascend(args)) [[unlikely]] {
    scales.report(NVFP4J_CAUSE_BAD_OFFSETS, -1, -1);
  } else {
    const Products products(args, scales, results);
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainProducts / (kTileN * args.k));
    pool.run(products.tiles(), grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
      products.run(begin, end, *static_cast<Scratch*>(pool.scratch(part)));
    });
  }
  scales.publish(status, args.op);
  results.publish(status, args.op);
}

const char* gemm_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {"cpu: gemm_cpu, x86-64 baseline (no AVX2)",
                                                      "cpu: gemm_cpu, x86-64-v3 (AVX2)",
                                                      "cpu: gemm_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

const char* grouped_gemm_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: grouped_gemm_cpu, x86-64 baseline (no AVX2)", "cpu: grouped_gemm_cpu, x86-64-v3 (AVX2)",
      "cpu: grouped_gemm_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

const char* batched_gemm_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: batched_gemm_cpu, x86-64 baseline (no AVX2)", "cpu: batched_gemm_cpu, x86-64-v3 (AVX2)",
      "cpu: batched_gemm_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
