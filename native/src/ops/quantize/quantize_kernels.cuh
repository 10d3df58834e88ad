// SPDX-License-Identifier: Apache-2.0
// The quantising kernels, over any source of blocks: a matrix (quantize) or SwiGLU of one (swiglu_quantize). Included by the .cu files of both ops.
//
// A source has `using Element`, `struct Row`, `Row row(m)` (where output row m comes from; not valid() for a bad id) and `Block<Element> load(Row, block)`; if it is `flat`, also `load_flat(b)`.
// One thread owns one block of 16 elements at a time: its maximum, scale and codes stay in its registers, nothing is shuffled.
//
// Bound by memory from a few MB on, by latency below. Measured on an H100 80GB HBM3 by benchmarks' DeviceTime (commit bff670fb8c1a, random BF16; copy = our copy kernel over the same bytes, an empty node takes 0.78 us):
//   quantize_given, 8192x7168: 50.3 us, 104 % of copy; 1, 4, 16, 64 x 7168: 1.37, 1.48, 1.60, 1.96 us
//   quantize_slices, a scale per row, 1, 4, 16, 64 x 7168: 1.53, 1.66, 1.76, 2.19 us; one scale, 1 and 4 x 7168: 1.53, 2.11 us
//   quantize_small, 16 and 64 x 7168: 3.24, 3.76 us. At 64 rows the maxima of the thread blocks are known over 0.8 us (cold memory, launch), the exchange itself takes 0.55 us
//   quantize_tensor, 1024x7168: 13.5 us; over SwiGLU, 8192x3072: 64.6 us, 63 % of copy
//   swiglu_quantize with a given scale, 8192x3072: 41.5 us, 98 % of copy
// Tried and slower: one cluster with distributed shared memory in place of the grid exchange (its barriers cost 0.9 us, the exchange among 8 thread blocks 0.4 us and the cooperative launch 0.16 us);
// in quantize_small, polling by every warp, by one warp, with pauses, with 1 to 32 copies of the slots or a mailbox for each thread block, 224 to 1024 threads, and two blocks of elements a thread.
#pragma once
#include "device/fp4.cuh"
#include "device/grid_barrier.cuh"
#include "device/reduce.cuh"
#include "device/rows.cuh"
#include "device/scale_layout.cuh"
#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j {

// What every kernel gets besides its source.
struct QuantizeTarget {
  std::uint8_t* codes;
  std::uint8_t* scales;
  float* global_scales;
  DeviceStatus* status;
  std::int64_t rows;
  std::uint64_t total_blocks;
  FastDivision row_blocks;  // blocks in a row
  std::uint32_t tiles;      // of four scales in a swizzled row; 0: linear
  std::int32_t op;
  bool per_row;
  bool flush;

  static QuantizeTarget of(const QuantizeOutput& output, const QuantizeRecipe& recipe, int op,
                           std::int64_t rows, std::int64_t columns, DeviceStatus* status) {
    const auto blocks = static_cast<std::uint32_t>(columns / 16);
    return {output.codes,
            output.scales,
            output.global_scales,
            status,
            rows,
            static_cast<std::uint64_t>(rows) * blocks,
            FastDivision::of(blocks),
            output.scale_layout == NVFP4J_SCALE_LAYOUT_LINEAR ? 0u : (blocks + 3u) / 4u,
            op,
            output.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW,
            recipe.zero_scale == NVFP4J_ZERO_SCALE_FLUSH};
  }
};

template <typename T, bool ALIGNED>
struct MatrixSource {
  using Element = T;
  static constexpr bool kComputed = false;
  const char* base;
  std::int64_t stride;  // bytes
  const std::int32_t* gather;
  std::int64_t input_rows;
  bool flat;  // no gather, no gaps: block b is at b times its size

  struct Row {
    const char* data;
    __device__ __forceinline__ bool valid() const { return data != nullptr; }
  };

  static MatrixSource of(const QuantizeArgs& a) {
    return {static_cast<const char*>(a.input), a.input_stride * T::kBytes, a.gather, a.input_rows,
            a.gather == nullptr && a.input_stride == a.columns};
  }
  __device__ __forceinline__ Row row(std::int64_t m) const {
    if (gather != nullptr) {
      const std::int32_t id = device::load(gather + m);
      if (id < 0 || id >= input_rows) return {nullptr};
      m = id;
    }
    return {base + m * stride};
  }
  // A row in shared memory, as it is in global memory: its size, and a block of it.
  __device__ __forceinline__ std::uint32_t row_bytes(std::uint32_t blocks) const {
    return blocks * (16 * T::kBytes);
  }
  __device__ __forceinline__ device::Block<T> from_shared(const char* data, Row,
                                                          std::uint32_t block) const {
    return device::load_block_shared<T>(data + block * (16 * T::kBytes), (block & 4u) != 0u);
  }
  // What from_shared gave, for a second use.
  __device__ __forceinline__ void keep_shared(char*, std::uint32_t, const device::Block<T>&) const {
  }
  __device__ __forceinline__ device::Block<T> kept_shared(const char* data,
                                                          std::uint32_t block) const {
    return from_shared(data, {data}, block);
  }
  __device__ __forceinline__ device::Block<T> load_flat(std::uint64_t b) const {
    return device::load_block<T, ALIGNED>(base + b * (16 * T::kBytes));
  }
  __device__ __forceinline__ device::Block<T> load(Row r, std::uint32_t block) const {
    return device::load_block<T, ALIGNED>(r.data +
                                          static_cast<std::int64_t>(block) * (16 * T::kBytes));
  }
};

namespace device {

__device__ __forceinline__ BlockPlace place_of(const QuantizeTarget& t, std::uint64_t b) {
  if (b >> 31 != 0u) return place_of_wide(b, t.row_blocks.divisor);
  const auto n = static_cast<std::uint32_t>(b);
  const std::uint32_t row = t.row_blocks.divide(n);
  return {static_cast<std::int64_t>(row), n - row * t.row_blocks.divisor};
}

// Loads a block; zeros for a row whose id is out of range, which is reported.
template <typename Source>
__device__ __forceinline__ Block<typename Source::Element> load_or_zero(
    const Source& source, const typename Source::Row& r, const QuantizeTarget& t, BlockPlace at) {
  if (!r.valid()) {
    if (at.block == 0) report(t.status, t.op, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, at.row, -1);
    Block<typename Source::Element> zero;
    zero.clear();
    return zero;
  }
  return source.load(r, at.block);
}

// Block b of the output's blocks in row-major order.
template <typename Source>
__device__ __forceinline__ Block<typename Source::Element> load_any(const Source& source,
                                                                    const QuantizeTarget& t,
                                                                    std::uint64_t b) {
  if (source.flat) return source.load_flat(b);
  const BlockPlace at = place_of(t, b);
  return load_or_zero(source, source.row(at.row), t, at);
}

// Largest finite magnitude of a block, in T's bits.
template <typename T>
__device__ __forceinline__ std::uint32_t finite_max(const Block<T>& x, const QuantizeTarget& t,
                                                    BlockPlace at) {
  std::uint32_t m = x.amax_bits();
  if (m >= T::kInfinity) {
    m = finite_amax_bits<T>(x, t.status, t.op, at.row, static_cast<long long>(at.block) * 16);
  }
  return m;
}

// `place` gives the block's row and column: asked only where they matter.
template <typename T, int RECIPE, typename Place>
__device__ __forceinline__ void encode_and_store(const Block<T>& x, const GlobalScale& g,
                                                 const QuantizeTarget& t, std::uint64_t b,
                                                 Place place) {
  const EncodedBlock e =
      encode_block<T, RECIPE>(x, x.amax_bits(), g, t.flush, [&](const Block<T>& v) {
        const BlockPlace at = place();
        return finite_amax_bits<T>(v, t.status, t.op, at.row,
                                   static_cast<long long>(at.block) * 16);
      });
  store_streaming(t.codes + b * 8, e.codes);
  if (t.tiles == 0u) {
    t.scales[b] = static_cast<std::uint8_t>(e.scale);
  } else {
    const BlockPlace at = place();
    const std::int64_t o = swizzled_offset(at.row, at.block, t.tiles);
    t.scales[o] = static_cast<std::uint8_t>(e.scale);
    // The last block of a row clears the rest of its word.
    if (at.block == t.row_blocks.divisor - 1u) {
#pragma unroll
      for (std::uint32_t i = 1; i < 4u; ++i) {
        if ((at.block & 3u) + i < 4u) t.scales[o + i] = 0u;
      }
    }
  }
}

// Zeros the rows that pad the last swizzled tile, by all threads of the grid. Out of line: rare, and short.
static __device__ __noinline__ void store_padding_rows(std::uint8_t* scales, std::int64_t rows,
                                                       std::uint32_t tiles) {
  const std::uint32_t padding = static_cast<std::uint32_t>(128 - (rows & 127));
#pragma unroll 1
  for (std::uint64_t i = static_cast<std::uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < static_cast<std::uint64_t>(padding) * tiles;
       i += static_cast<std::uint64_t>(gridDim.x) * blockDim.x) {
    const auto tile = static_cast<std::uint32_t>(i / padding);
    const std::int64_t row =
        rows + static_cast<std::uint32_t>(i - static_cast<std::uint64_t>(tile) * padding);
    *reinterpret_cast<std::uint32_t*>(scales + swizzled_offset(row, tile * 4u, tiles)) = 0u;
  }
}
__device__ __forceinline__ void zero_padding_rows(const QuantizeTarget& t) {
  if (t.tiles != 0u && (t.rows & 127) != 0) store_padding_rows(t.scales, t.rows, t.tiles);
}

// Given global scales: one pass, one block a thread.
template <typename Source, int RECIPE, int THREADS>
__global__ void __launch_bounds__(THREADS) quantize_given(Source source, QuantizeTarget t) {
  await_predecessor();
  zero_padding_rows(t);
  const std::uint64_t b = static_cast<std::uint64_t>(blockIdx.x) * THREADS + threadIdx.x;
  if (b >= t.total_blocks) return;
  std::int64_t scale_row = 0;
  if (t.per_row) scale_row = place_of(t, b).row;
  const float gs = load(t.global_scales + scale_row);
  const auto x = load_any(source, t, b);
  if (!global_scale_is_good(gs)) {
    const BlockPlace at = place_of(t, b);
    if (at.block == 0 && (t.per_row || at.row == 0)) {
      report(t.status, t.op, NVFP4J_CAUSE_BAD_GLOBAL_SCALE, t.per_row ? at.row : -1, -1);
    }
  }
  encode_and_store<typename Source::Element, RECIPE>(x, given_global_scale<RECIPE>(gs), t, b,
                                                     [&] { return place_of(t, b); });
}

// A global scale per row, rows of up to 32 blocks: `group` lanes (a power of two, at least the row's blocks) own a row.
template <typename Source, int RECIPE, int THREADS>
__global__ void __launch_bounds__(THREADS)
    quantize_short_rows(Source source, QuantizeTarget t, std::uint32_t group) {
  using T = typename Source::Element;
  await_predecessor();
  zero_padding_rows(t);
  const std::uint64_t thread = static_cast<std::uint64_t>(blockIdx.x) * THREADS + threadIdx.x;
  const BlockPlace at = {static_cast<std::int64_t>(thread / group),
                         static_cast<std::uint32_t>(thread) & (group - 1u)};
  const bool mine = at.row < t.rows && at.block < t.row_blocks.divisor;
  Block<T> x;
  x.clear();
  if (mine) x = load_or_zero(source, source.row(at.row), t, at);
  std::uint32_t m = finite_max<T>(x, t, at);
  for (std::uint32_t o = group >> 1; o != 0u; o >>= 1) {
    m = max(m, __shfl_xor_sync(0xffffffffu, m, o));
  }
  if (!mine) return;
  const GlobalScale g = dynamic_global_scale<RECIPE>(Block<T>::magnitude(m));
  if (at.block == 0) t.global_scales[at.row] = g.gs;
  encode_and_store<T, RECIPE>(x, g, t,
                              static_cast<std::uint64_t>(at.row) * t.row_blocks.divisor + at.block,
                              [&] { return at; });
}

// A global scale per row, a thread block a row: HOLD blocks a thread stay in registers between the maximum and the codes; what a longer row has beyond is read twice.
template <typename Source, int RECIPE, int HOLD, int MAX_THREADS>
__global__ void __launch_bounds__(MAX_THREADS) quantize_rows(Source source, QuantizeTarget t) {
  using T = typename Source::Element;
  __shared__ std::uint32_t scratch[2][32];
  await_predecessor();
  zero_padding_rows(t);
  const std::uint32_t row_blocks = t.row_blocks.divisor;
  const std::uint32_t held = HOLD * blockDim.x;
  int parity = 0;
  for (std::int64_t row = blockIdx.x; row < t.rows; row += gridDim.x, parity ^= 1) {
    const typename Source::Row r = source.row(row);
    const std::uint64_t first = static_cast<std::uint64_t>(row) * row_blocks;
    Block<T> x[HOLD];
#pragma unroll
    for (int j = 0; j < HOLD; ++j) {
      const std::uint32_t k = threadIdx.x + j * blockDim.x;
      if (k < row_blocks) {
        x[j] = load_or_zero(source, r, t, {row, k});
      } else {
        x[j].clear();
      }
    }
    std::uint32_t m = 0u;
    for (std::uint32_t k = threadIdx.x + held; k < row_blocks; k += blockDim.x) {
      m = max(m, finite_max<T>(load_or_zero(source, r, t, {row, k}), t, {row, k}));
    }
#pragma unroll
    for (int j = 0; j < HOLD; ++j)
      m = max(m, finite_max<T>(x[j], t, {row, threadIdx.x + j * blockDim.x}));
    m = block_max(m, scratch[parity]);  // two scratches in turn: one barrier a row
    const GlobalScale g = dynamic_global_scale<RECIPE>(Block<T>::magnitude(m));
    if (threadIdx.x == 0) t.global_scales[row] = g.gs;
#pragma unroll
    for (int j = 0; j < HOLD; ++j) {
      const std::uint32_t k = threadIdx.x + j * blockDim.x;
      if (k < row_blocks)
        encode_and_store<T, RECIPE>(x[j], g, t, first + k, [&] { return BlockPlace{row, k}; });
    }
    for (std::uint32_t k = threadIdx.x + held; k < row_blocks; k += blockDim.x) {
      encode_and_store<T, RECIPE>(load_or_zero(source, r, t, {row, k}), g, t, first + k,
                                  [&] { return BlockPlace{row, k}; });
    }
  }
}

// Few and small units, bound by latency: a unit is what shares a global scale, the tensor or a row. gridDim.x thread blocks share the unit blockIdx.y: each reads all of it, which costs less than agreeing on the
// maximum, and encodes the slice that its threads loaded first. HOLD * blockDim.x is at least the unit's blocks, blockDim.x at least a slice's.
template <typename Source, int RECIPE, int HOLD, int MAX_THREADS>
__global__ void __launch_bounds__(MAX_THREADS)
    quantize_slices(Source source, QuantizeTarget t, std::uint32_t slice) {
  using T = typename Source::Element;
  __shared__ std::uint32_t scratch[32];
  await_predecessor();
  const std::uint32_t unit_blocks =
      t.per_row ? t.row_blocks.divisor : static_cast<std::uint32_t>(t.total_blocks);
  const std::uint32_t base = blockIdx.y * unit_blocks;
  const std::uint32_t first = blockIdx.x * slice;
  // The unit's blocks in turn, this slice's first.
  const auto place = [&](int j) {
    const std::uint32_t k = first + threadIdx.x + j * blockDim.x;
    return k < unit_blocks ? k : k - unit_blocks;
  };
  Block<T> x[HOLD];
#pragma unroll
  for (int j = 0; j < HOLD; ++j) {
    x[j].clear();
    if (threadIdx.x + j * blockDim.x < unit_blocks) x[j] = load_any(source, t, base + place(j));
  }
  if (blockIdx.y == 0u) zero_padding_rows(t);
  std::uint32_t m = 0u;
#pragma unroll
  for (int j = 0; j < HOLD; ++j) {
    std::uint32_t a = x[j].amax_bits();
    if (a >= T::kInfinity) a = finite_max<T>(x[j], t, place_of(t, base + place(j)));
    m = max(m, a);
  }
  m = block_max(m, scratch);
  const GlobalScale g = dynamic_global_scale<RECIPE>(Block<T>::magnitude(m));
  const std::uint32_t k = first + threadIdx.x;
  if (k == 0u) t.global_scales[blockIdx.y] = g.gs;
  if (threadIdx.x < slice && k < unit_blocks) {
    const std::uint32_t b = base + k;
    encode_and_store<T, RECIPE>(x[0], g, t, b, [&] { return place_of(t, b); });
  }
}

// One scale for a tensor too large for that: one block of 16 elements a thread and nothing in its way, a cooperative grid that agrees on the maximum.
template <typename Source, int RECIPE, int MAX_THREADS>
__global__ void __launch_bounds__(MAX_THREADS, 1)
    quantize_small(Source source, QuantizeTarget t, GridExchange* exchange) {
  using T = typename Source::Element;
  __shared__ std::uint32_t scratch[64];
  const std::uint32_t epoch = grid_epoch(exchange);
  const auto total = static_cast<std::uint32_t>(t.total_blocks);
  const std::uint32_t b = blockIdx.x * blockDim.x + threadIdx.x;
  Block<T> x;
  x.clear();
  if (b < total) x = load_any(source, t, b);
  zero_padding_rows(t);
  std::uint32_t m = x.amax_bits();
  if (m >= T::kInfinity) m = finite_max<T>(x, t, place_of(t, b));
  m = grid_max(m, exchange, epoch, scratch);
  const GlobalScale g = dynamic_global_scale<RECIPE>(Block<T>::magnitude(m));
  if (b == 0u) t.global_scales[0] = g.gs;
  if (b < total) encode_and_store<T, RECIPE>(x, g, t, b, [&] { return place_of(t, b); });
}

// A thread's place in shared memory for a block of its own: planes of 16 bytes, so that neither side meets a bank conflict.
template <typename T, int THREADS>
__device__ __forceinline__ void park(uint4* shared, int slot, const Block<T>& x) {
#pragma unroll
  for (int i = 0; i < T::kBytes; ++i) {
    shared[(slot * T::kBytes + i) * THREADS + threadIdx.x] =
        make_uint4(x.w[4 * i], x.w[4 * i + 1], x.w[4 * i + 2], x.w[4 * i + 3]);
  }
}
template <typename T, int THREADS>
__device__ __forceinline__ Block<T> unpark(const uint4* shared, int slot) {
  Block<T> x;
#pragma unroll
  for (int i = 0; i < T::kBytes; ++i) {
    const uint4 v = shared[(slot * T::kBytes + i) * THREADS + threadIdx.x];
    set_packet(x, i, v);
  }
  return x;
}

// One global scale for the tensor, found and used in one launch. Iteration i of the grid covers gridDim * THREADS consecutive blocks, one a thread. The last iteration's stay in registers, those of `parked`
// iterations before it in shared memory; earlier ones are read (and, with SwiGLU, computed) again afterwards, the latest first, which L2 may still have.
template <typename Source, int RECIPE, int THREADS>
__global__ void __launch_bounds__(THREADS, 1)
    quantize_tensor(Source source, QuantizeTarget t, GridExchange* exchange, int parked) {
  using T = typename Source::Element;
  __shared__ std::uint32_t scratch[64];
  extern __shared__ uint4 parking[];
  const std::uint32_t epoch = grid_epoch(exchange);
  const std::uint64_t step = static_cast<std::uint64_t>(gridDim.x) * THREADS;
  const std::uint64_t thread = static_cast<std::uint64_t>(blockIdx.x) * THREADS + threadIdx.x;
  const int iterations = static_cast<int>((t.total_blocks + step - 1) / step);
  const int again = max(0, iterations - 1 - parked);  // first parked iteration

  const auto index = [&](int i) { return static_cast<std::uint64_t>(i) * step + thread; };
  const auto load = [&](int i) {
    Block<T> v;
    v.clear();
    if (index(i) < t.total_blocks) v = load_any(source, t, index(i));
    return v;
  };
  // Loads under way at once: what is computed needs the registers itself.
  constexpr int kAhead = Source::kComputed ? 1 : 2;
  Block<T> x[kAhead];
  std::uint32_t m = 0u;
#pragma unroll 1
  for (int i = 0; i < iterations; i += kAhead) {
#pragma unroll
    for (int u = 0; u < kAhead; ++u) x[u] = load(i + u);  // zeros beyond the last
#pragma unroll
    for (int u = 0; u < kAhead; ++u) {
      std::uint32_t a = x[u].amax_bits();
      if (a >= T::kInfinity) a = finite_max<T>(x[u], t, place_of(t, index(i + u)));
      m = max(m, a);
      if (i + u >= again && i + u < iterations - 1) park<T, THREADS>(parking, i + u - again, x[u]);
    }
  }
  if constexpr (kAhead == 2) {
    if (iterations & 1) x[1] = x[0];  // the last iteration's
  }
  zero_padding_rows(t);
  m = grid_max(m, exchange, epoch, scratch);

  const GlobalScale g = dynamic_global_scale<RECIPE>(Block<T>::magnitude(m));
  if (blockIdx.x == 0 && threadIdx.x == 0) t.global_scales[0] = g.gs;
  const auto encode = [&](const Block<T>& v, int i) {
    const std::uint64_t b = index(i);
    if (b < t.total_blocks) encode_and_store<T, RECIPE>(v, g, t, b, [&] { return place_of(t, b); });
  };
  if (kAhead == 2 && again > 0) x[0] = load(again - 1);
  int i = iterations - 1;
  Block<T> current = x[kAhead - 1];
#pragma unroll 1
  while (true) {
    encode(current, i);
    if (--i < 0) break;
    if (i >= again) {
      current = unpark<T, THREADS>(parking, i - again);
    } else if constexpr (kAhead == 2) {
      current = x[0];
      if (i > 0) x[0] = load(i - 1);
    } else {
      current = load(i);
    }
  }
}

}  // namespace device
}  // namespace nvfp4j
