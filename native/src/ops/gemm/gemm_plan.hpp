// SPDX-License-Identifier: Apache-2.0
// Which kernel a matrix product gets on a CUDA device, as a function of its shape, so that it is tested without a GPU.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/gemm/gemm_args.hpp"

namespace nvfp4j {

/// Tiles of tokens that a thread block lists at most where rows are sorted by group (gemm_tiles.cuh).
inline constexpr int kListedTiles = 1024;

enum class GemmKernel { kGeneric, kDecode, kWgmma };

/// A configuration of gemm_decode_sm90: WN tiles of 16 rows of W by WK warps each, clusters of CK, 8 NT tokens, BLOCKS thread blocks on an SM (gemm_decode.cuh).
struct DecodeShape {
  int wn, wk, ck, nt, stages, pieces, blocks;
};
#define NVFP4J_GEMM_DECODE_CONFIGS(X) \
  X(0, 3, 4, 1, 1, 1, 3, 1)           \
  X(1, 4, 4, 1, 1, 1, 3, 1)           \
  X(2, 4, 4, 2, 1, 1, 2, 1)           \
  X(3, 1, 8, 1, 1, 1, 3, 2)           \
  X(4, 16, 1, 1, 1, 1, 2, 1)          \
  X(5, 2, 4, 1, 1, 1, 3, 2)           \
  X(6, 6, 2, 2, 1, 1, 3, 1)           \
  X(7, 8, 2, 2, 1, 1, 2, 1)           \
  X(8, 8, 1, 1, 1, 2, 2, 1)           \
  X(9, 6, 2, 2, 2, 1, 2, 1)           \
  X(10, 8, 2, 2, 2, 1, 2, 1)          \
  X(11, 16, 1, 1, 2, 1, 2, 1)         \
  X(12, 4, 4, 4, 2, 1, 2, 1)          \
  X(13, 4, 4, 2, 2, 1, 2, 1)          \
  X(14, 4, 2, 1, 2, 2, 2, 1)          \
  X(15, 8, 1, 1, 2, 2, 2, 1)          \
  X(16, 8, 1, 1, 1, 1, 2, 2)
inline constexpr int kDecodeConfigs = 17;
inline constexpr DecodeShape kDecodeShapes[kDecodeConfigs] = {
#define NVFP4J_SHAPE(i, ...) {__VA_ARGS__},
    NVFP4J_GEMM_DECODE_CONFIGS(NVFP4J_SHAPE)
#undef NVFP4J_SHAPE
};
/// Those with kernels for rows that are sorted by group: twelve warps at most, and registers to spare.
constexpr bool takes_groups(const DecodeShape& s) {
  return s.wn > 1 && s.wn * s.wk <= 12 && s.ck == 1;
}
/// Columns of W that a warp takes at a time.
inline constexpr int kDecodeColumns = 256;
/// Columns of the tokens that a thread block keeps at a time, times PIECES.
inline constexpr int kDecodePieceColumns = 1024;

/// A configuration of gemm_wgmma_sm90: BM tokens, 64 WGN rows of W, WGK warpgroups to a row, clusters of CK (gemm_wgmma.cuh).
struct WgmmaShape {
  int bm, wgn, wgk, ck;
};
// After them: stages of the rings of tokens and of weights, and sets of registers that weights are decoded into.
// 0 to 3 alone know groups of rows. They and 4 add up K in one go, so that they agree on every bit.
#define NVFP4J_GEMM_WGMMA_BASIC(X) \
  X(0, 32, 2, 1, 1, 16, 3, 1)      \
  X(1, 64, 2, 1, 1, 16, 3, 2)      \
  X(2, 128, 2, 1, 1, 8, 3, 1)      \
  X(3, 256, 2, 1, 1, 5, 2, 1)
#define NVFP4J_GEMM_WGMMA_CONFIGS(X) \
  NVFP4J_GEMM_WGMMA_BASIC(X)         \
  X(4, 128, 3, 1, 1, 9, 2, 2)        \
  X(5, 64, 1, 2, 1, 16, 4, 1)        \
  X(6, 64, 1, 2, 2, 16, 4, 2)        \
  X(7, 64, 1, 2, 4, 16, 4, 2)        \
  X(8, 64, 2, 1, 2, 16, 3, 2)        \
  X(9, 128, 1, 2, 1, 10, 3, 2)       \
  X(10, 128, 1, 2, 2, 8, 3, 2)       \
  X(11, 128, 1, 2, 4, 8, 3, 2)       \
  X(12, 128, 2, 1, 2, 6, 3, 2)       \
  X(13, 128, 3, 1, 2, 4, 2, 2)       \
  X(14, 32, 2, 1, 2, 12, 3, 2)       \
  X(15, 32, 1, 2, 1, 16, 4, 1)       \
  X(16, 32, 1, 2, 2, 16, 4, 2)       \
  X(17, 32, 1, 2, 4, 16, 4, 1)
inline constexpr int kWgmmaConfigs = 18;
inline constexpr int kWgmmaBasicConfigs = 4;
inline constexpr WgmmaShape kWgmmaShapes[kWgmmaConfigs] = {
#define NVFP4J_SHAPE(i, bm, wgn, wgk, ck, a, w, sets) {bm, wgn, wgk, ck},
    NVFP4J_GEMM_WGMMA_CONFIGS(NVFP4J_SHAPE)
#undef NVFP4J_SHAPE
};

// Linear weights have those with two warpgroups: three have too few registers for what more there is to decode.
inline constexpr bool wgmma_takes_linear(int config) {
  return kWgmmaShapes[config].wgn * kWgmmaShapes[config].wgk == 2;
}

/// NVFP4 tokens of wgmma are decoded to BF16 in the context's workspace first, behind what belongs to grid exchanges: as many rows at a time as fit. (Of batches with many columns in all that is few, and W is read again for each part.)
inline constexpr std::int64_t kPackedTokenBytes = std::int64_t{32} << 20;
/// Rows of `columns` elements that fit; 0: not even one.
constexpr std::int64_t most_packed_rows(std::int64_t columns) {
  return kPackedTokenBytes / 2 / columns;
}
/// Of `m` such rows: all, or about equal parts, of whole tiles where they can be.
std::int64_t packed_rows(std::int64_t m, std::int64_t columns);
/// What that takes at most, of as many rows or fewer.
constexpr std::int64_t packed_token_bytes(std::int64_t m, std::int64_t columns) {
  return 2 * columns * (m < most_packed_rows(columns) ? m : most_packed_rows(columns));
}

struct GemmPlan {
  GemmKernel kernel;
  int config;          // of decode or wgmma
  int token_tile;      // tokens of a job
  const char* reason;  // for nvfp4j_gemm_path: "decode: gemm_decode_sm90, ..."
  // NULL, or why the options cannot be had: the rest of a sentence that begins with "options.".
  // Then the other members mean nothing.
  const char* refusal;
  // Of NVFP4 tokens of wgmma: rows decoded, then multiplied, at a time.
  std::int64_t packed_rows = 0;
};

/// What the choice depends on, beside the device.
struct GemmShape {
  std::int64_t groups, m, n, k;
  int op;
  int a_kind;
  int w_layout;
  int path;
  bool aligned;  // NVFP4, or rows of A at multiples of 16 bytes
  bool swiglu;
  bool batch_invariant;

  bool operator==(const GemmShape&) const = default;
};

/// Follows no pointer of `args`.
GemmShape gemm_shape(const GemmArgs& args);

inline std::int64_t a_columns(const GemmShape& shape) {
  return a_columns(shape.op, shape.groups, shape.k);
}

/// The choice, or what options.path asks for.
GemmPlan plan_gemm(const CudaDeviceProperties& device, const GemmShape& shape);

}  // namespace nvfp4j
