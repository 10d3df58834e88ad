// SPDX-License-Identifier: Apache-2.0
#include "ops/prepare_weights/prepare_weights_cpu.hpp"

#include <algorithm>
#include <cstring>

#include "common/faults.hpp"
#include "ops/gemm/prepared_layout.hpp"

namespace nvfp4j {
namespace {

constexpr std::int64_t kGrainBytes = 65536;

// prepared::encode_codes of what byte j alone contributes, since the code is linear over GF(2); and
// prepared::encode_scale.
struct Tables {
  std::uint32_t codes[4][256];
  std::uint8_t scales[256];
};
constexpr Tables tables = [] {
  Tables t{};
  for (std::uint32_t j = 0; j < 4; ++j) {
    for (std::uint32_t bit = 0; bit < 8; ++bit)
      t.codes[j][1u << bit] = prepared::encode_codes(1u << (8 * j + bit));
    for (std::uint32_t i = 1; i < 256; ++i)
      t.codes[j][i] = t.codes[j][i & (i - 1)] ^ t.codes[j][i & -i];
  }
  for (std::uint32_t i = 0; i < 256; ++i)
    t.scales[i] = static_cast<std::uint8_t>(prepared::encode_scale(i));
  return t;
}();

// The rows of all groups, which are one matrix: a group is whole tiles, or is taken by itself.
class Preparation {
 public:
  Preparation(const PrepareWeightsArgs& args, Faults& faults)
      : args_(args), blocks_(args.k / 16), faults_(faults) {}

  // Rows 16 tile to 16 tile + 15.
  void tile(std::int64_t tile) const {
    constexpr int kRows = prepared::kTileRows;
    const std::int64_t chunks = args_.k / prepared::kChunkColumns;
    std::uint8_t* to = args_.prepared + tile * chunks * prepared::kChunkBytes;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk, to += prepared::kChunkBytes) {
      for (int unit = 0; unit < prepared::kChunkUnits; ++unit) {
        const std::int64_t block = 4 * (prepared::kChunkUnits * chunk + unit);
        for (int pair = 0; pair < kRows / 2; ++pair) {
          const std::int64_t row = kRows * tile + 2 * pair;
          codes(row, block, to + 512 * unit + 64 * pair);
          scales(row, block, to + prepared::kChunkCodes + 64 * unit + 8 * pair);
        }
      }
    }
    for (int row = 0; row < kRows; ++row) report(kRows * tile + row);
  }

  // A row of a group that keeps its order: of all codes, and of all scales behind them.
  void row(std::int64_t row) const {
    const std::int64_t n = row % args_.n;
    std::uint8_t* codes = args_.prepared + (row - n) * 9 * blocks_;
    std::uint8_t* scales = codes + args_.n * 8 * blocks_;
    std::memcpy(codes + n * 8 * blocks_, args_.codes + row * 8 * blocks_,
                static_cast<std::size_t>(8 * blocks_));
    std::memcpy(scales + n * blocks_, args_.scales + row * blocks_,
                static_cast<std::size_t>(blocks_));
    report(row);
  }

 private:
  // Rows `row` and `row` + 1, four blocks: words [t: 4][row][half].
  void codes(std::int64_t row, std::int64_t block, std::uint8_t* to) const {
    std::uint32_t words[4][2][2];
    for (int r = 0; r < 2; ++r) {
      const std::int64_t at = (row + r) * blocks_ + block;
      std::uint8_t bytes[32];
      std::memcpy(bytes, args_.codes + 8 * at, sizeof bytes);
      for (int b = 0; b < 4; ++b) {
        if (args_.scales[at + b] == 0) std::memset(bytes + 8 * b, 0, 8);
      }
      for (int half = 0; half < 2; ++half) {
        for (int t = 0; t < 4; ++t) {
          const std::uint8_t* byte = bytes + 16 * half + t;
          words[t][r][half] = tables.codes[0][byte[0]] ^ tables.codes[1][byte[4]] ^
                              tables.codes[2][byte[8]] ^ tables.codes[3][byte[12]];
        }
      }
    }
    std::memcpy(to, words, sizeof words);
  }

  void scales(std::int64_t row, std::int64_t block, std::uint8_t* to) const {
    const std::uint8_t* low = args_.scales + row * blocks_ + block;
    const std::uint8_t* high = low + blocks_;
    std::uint32_t words[2];
    for (int i = 0; i < 2; ++i) {
      words[i] =
          prepared::pack_scales(tables.scales[low[2 * i]], tables.scales[high[2 * i]],
                                tables.scales[low[2 * i + 1]], tables.scales[high[2 * i + 1]]);
    }
    std::memcpy(to, words, sizeof words);
  }

  void report(std::int64_t row) const {
    const std::uint8_t* scales = args_.scales + row * blocks_;
    const std::uint8_t* bad =
        std::find_if(scales, scales + blocks_, [](std::uint8_t scale) { return scale >= 0x7F; });
    if (bad != scales + blocks_) [[unlikely]]
      faults_.report(NVFP4J_CAUSE_BAD_BLOCK_SCALE, row, 16 * (bad - scales));
  }

  const PrepareWeightsArgs& args_;
  const std::int64_t blocks_;
  Faults& faults_;
};

}  // namespace

void prepare_weights_cpu(CpuPool& pool, DeviceStatus& status, const PrepareWeightsArgs& args) {
  const bool tiled = prepared::is_tiled(args.n, args.k);
  const std::int64_t unit_rows = tiled ? prepared::kTileRows : 1;
  const std::int64_t unit_bytes = prepared::group_bytes(unit_rows, args.k);
  Faults faults;
  const Preparation preparation(args, faults);
  pool.run(args.groups * args.n / unit_rows, std::max<std::int64_t>(1, kGrainBytes / unit_bytes),
           [&](int, std::int64_t begin, std::int64_t end) noexcept {
             for (std::int64_t i = begin; i < end; ++i) {
               if (tiled) {
                 preparation.tile(i);
               } else {
                 preparation.row(i);
               }
             }
           });
  std::memcpy(args.prepared_global_scales, args.global_scales,
              static_cast<std::size_t>(args.global_scales_count) * 4);
  faults.publish(status, NVFP4J_OP_PREPARE_WEIGHTS);
}

const char* prepare_weights_cpu_path() {
  return "cpu: prepare_weights_cpu, tiles of 16 x 256 where N and K are multiples of that";
}

}  // namespace nvfp4j
