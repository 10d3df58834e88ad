// SPDX-License-Identifier: Apache-2.0
// hc_pre, hc_head and hc_post_pre for n = 4 and BF16: thread blocks share tokens.
//
// A group of thread blocks works through tiles of 16 tokens; each has a slice of the columns, of all four streams, and keeps its part of `fn` in registers for the whole launch. So the streams are read once from
// memory and stay in shared memory until they are mixed, and `fn` is read once a group. Each warp has its work, and none waits for all others:
//   service    asks for the weights of the module before, fetches `pre`, makes comb of the tokens that this thread block finishes
//   workers    have 16 columns of the slice each, of which nobody else reads: ask for them some tiles ahead, (hc_post_pre: make the new residual, in place,) multiply by fn, add up squares; add up the workers' sums of a token and send them: 25 numbers a token and slice;
//              some tiles later, when `pre` has come, mix and write
//   gatherers  add up the slices' sums of the tokens that this thread block finishes (they go round in the group), make the mixing weights, send `pre` to the group
//   tailers    (norm, quantisation) a further way through the group: sums of squares and maxima of the rows, then the normalised row and its codes
// All words go through global memory (hc_pre_exchange.cuh): the grid is cooperative.
//
// Products: x is BF16; a number of fn is the sum of three, h + m + l, to 2^-27 of it. A tensor core adds 16 products and what it is given, and cuts what does not fit F32: so l, m and h of one step of 16 columns go
// into a sum of their own, smallest first, and that is added to the others with rounding; across slices sums are in F64. What is cut is on average kCut of a step's sum, and given back on average.
//
// Bound by memory from some hundred tokens on; by the chain (fn, sums, two ways through other thread blocks, Sinkhorn) below.
#pragma once
#include <type_traits>

#include "device/cluster.cuh"
#include "device/mma.cuh"
#include "device/packet.cuh"
#include "device/scale_layout.cuh"
#include "ops/hc_post/hc_post_math.cuh"
#include "ops/hc_pre/hc_pre_exchange.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_plan.hpp"
#include "ops/quantize/quantize_kernels.cuh"
#include "ops/sinkhorn/sinkhorn_math.cuh"

namespace nvfp4j {

// Strides of `char` pointers are in bytes, of others in elements.
struct HcSplitArgs {
  const char* x;  // what is read: hc_post_pre's residual before
  std::int64_t x_token, x_stream;
  const char* sub;
  std::int64_t sub_token;
  const float* post_before;
  const float* comb_before;
  std::int64_t post_before_token, comb_before_token;
  char* out;
  std::int64_t out_token, out_stream;
  const float* fn;
  std::int64_t fn_row;
  const float* base;
  const float* scale;
  double inverse_count;  // 1 / (n D)
  double inverse_columns;
  float hc_eps, rms_eps;
  int iterations;
  char* collapsed;
  std::int64_t collapsed_token;
  float* post;
  float* comb;
  std::int64_t post_token, comb_token;
  const char* norm_weight;
  bool norm_f32;
  bool quantize;
  int recipe;
  QuantizeTarget quantized;
  std::int64_t tokens;
  int columns;
  int slice, slices, groups, workers, gatherers;
  HcSplitLayout layout;
  char* exchange;
  DeviceStatus* status;
  int op;
};

namespace device {

// The weights of eight neighbouring columns.
__device__ __forceinline__ void load_norm_weights(const HcSplitArgs& a, std::int64_t column,
                                                  float (&g)[8]) {
  if (a.norm_f32) {
    const uint4 u = load(reinterpret_cast<const uint4*>(a.norm_weight + column * 4));
    const uint4 v = load(reinterpret_cast<const uint4*>(a.norm_weight + column * 4) + 1);
    const std::uint32_t w[8] = {u.x, u.y, u.z, u.w, v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) g[i] = __uint_as_float(w[i]);
  } else {
    unpack<Bf16>(load(reinterpret_cast<const uint4*>(a.norm_weight + column * 2)), g);
  }
}

template <HcKind KIND>
struct HcSplit {
  static constexpr bool kHead = KIND == HcKind::kHead;
  static constexpr bool kTail = KIND == HcKind::kPostPreTail;
  static constexpr bool kPost = kTail || KIND == HcKind::kPostPre;
  static constexpr int kMixes = kHead ? kHcStreams : kHcMixes;  // rows of fn
  static constexpr int kTiles = kHead ? 1 : 3;                  // of eight rows
  static constexpr int kWords =
      kMixes / kTiles + 1;  // of a token's sums: kTiles mixes each, and the last one of squares
  static constexpr int kTailers = hc_tailers(KIND);
  static constexpr int kParked = hc_parked_steps(KIND);
  static constexpr int kLag = hc_lag(KIND);
  static constexpr int kAhead = kHcAhead;
  static constexpr int kStages = hc_stages(KIND);
  static constexpr double kCut = 0.36 * 0x1p-23;

  const HcSplitArgs& a;
  char* const smem;
  const int warp;
  const int lane;
  const int group;
  const int part;   // of the columns
  const int first;  // column
  const int width;  // columns, a multiple of 8
  const int waves;  // tiles of this group

  __device__ __forceinline__ HcSplit(const HcSplitArgs& a, char* smem)
      : a(a),
        smem(smem),
        warp(static_cast<int>(threadIdx.x) >> 5),
        lane(static_cast<int>(threadIdx.x) & 31),
        group(static_cast<int>(blockIdx.x) / a.slices),
        part(static_cast<int>(blockIdx.x) - group * a.slices),
        first(part * a.slice),
        width(min(a.slice, a.columns - first)),
        waves((tiles() - group + a.groups - 1) / a.groups) {}

  // No device has memory for 2^31 of them.
  __device__ __forceinline__ int tiles() const {
    return static_cast<int>((a.tokens + kHcTile - 1) / kHcTile);
  }

  // ---- what is where ---------------------------------------------------------------------------------------------------

  __device__ __forceinline__ std::uint64_t* bar(int i) const {
    return reinterpret_cast<std::uint64_t*>(smem) + i;
  }
  __device__ __forceinline__ std::uint64_t* sums_full(int half) const { return bar(half); }
  __device__ __forceinline__ std::uint64_t* sums_empty(int half) const { return bar(2 + half); }
  static constexpr int kQueue = 4;
  __device__ __forceinline__ std::uint64_t* queue_full(int i) const { return bar(kQueue + i); }
  __device__ __forceinline__ std::uint64_t* queue_empty(int i) const {
    return bar(kQueue + kHcQueue + i);
  }
  static constexpr int kPre = kQueue + 2 * kHcQueue;
  __device__ __forceinline__ std::uint64_t* pre_there(int i) const { return bar(kPre + i); }
  __device__ __forceinline__ std::uint64_t* weights_there(int i) const {
    return bar(kPre + kHcRing + i);
  }
  __device__ __forceinline__ std::uint64_t* mixed(int stage) const {
    return bar(kPre + 2 * kHcRing + stage);
  }
  __device__ __forceinline__ std::uint64_t* empty(int stage) const {
    return bar(kPre + 3 * kHcRing + stage);
  }
  static constexpr int kTag = kPre + 4 * kHcRing;
  static_assert(kTag + 2 == HcSplitLayout::kBarriers);
  __device__ __forceinline__ std::uint64_t* tag_there() const { return bar(kTag); }
  __device__ __forceinline__ std::uint32_t* shared_tag() const {
    return reinterpret_cast<std::uint32_t*>(bar(kTag + 1));
  }

  __device__ __forceinline__ char* stage(int s) const {
    return smem + a.layout.tiles + s * a.layout.stage;
  }
  // Workers' mixes [worker][row tile][token][8], then their sums of squares [worker][token].
  __device__ __forceinline__ float* sums(int half) const {
    return reinterpret_cast<float*>(smem + a.layout.sums + half * a.layout.sums_half);
  }
  __device__ __forceinline__ float* pre(char* tile, int token) const {
    return reinterpret_cast<float*>(tile + token * a.layout.row + a.layout.pre);
  }
  // Of a worker's 16 columns of a collapsed row: the sum of squares, and the largest product with the norm's weight.
  __device__ __forceinline__ float2* squares(int wave, int worker) const {
    return reinterpret_cast<float2*>(smem + a.layout.squares) +
           (wave % kHcRing * a.workers + worker) * kHcTile;
  }

  __device__ __forceinline__ std::int64_t first_token(int wave) const {
    return static_cast<std::int64_t>(wave * a.groups + group) * kHcTile;
  }
  __device__ __forceinline__ int tokens_of(int wave) const {
    return static_cast<int>(min(static_cast<std::int64_t>(kHcTile), a.tokens - first_token(wave)));
  }

  __device__ __forceinline__ int slot(int wave, int token) const {
    return (wave % kHcRing * a.groups + group) * kHcTile + token;
  }
  __device__ __forceinline__ char* sums_word(int wave, int token, int slice, int word) const {
    return a.exchange + HcExchange::kSums +
           ((slot(wave, token) * a.slices + slice) * kWords + word) * 16;
  }
  __device__ __forceinline__ std::uint64_t* pre_word(int wave, int token, int stream) const {
    return reinterpret_cast<std::uint64_t*>(a.exchange + HcExchange::kPre) +
           slot(wave, token) * kHcStreams + stream;
  }
  __device__ __forceinline__ char* norm_word(int wave, int token, int slice) const {
    return a.exchange + HcExchange::kNorms + (slot(wave, token) * a.slices + slice) * 16;
  }
  __device__ __forceinline__ std::uint64_t* epoch(int g) const {
    return reinterpret_cast<std::uint64_t*>(a.exchange + HcExchange::kEpochs) + g;
  }
  // Of this launch's first tile.
  __device__ __forceinline__ std::uint32_t first_tag() const {
    return static_cast<std::uint32_t>(load_shared_word(epoch(group))) + 1u;
  }
  // The same for workers, who have no register for it while fn comes: the service warp fetched it.
  __device__ __forceinline__ std::uint32_t fetched_tag() const {
    mbarrier_wait(tag_there(), 0u);
    return *shared_tag();
  }

  // ---- workers ---------------------------------------------------------------------------------------------------------

  // fn's part of this warp's columns, a step a stream: as it is in memory, and as B of the product: rows of fn are columns of B, its three parts apart.
  struct Raw {
    uint4 v[kHcStreams][kTiles];
  };
  struct Weights {
    std::uint32_t b[kHcStreams][kTiles][3][2];
  };

  // Along K a lane has four neighbouring columns, of fn as of x: their order does not matter.
  __device__ __forceinline__ void load_fn(Raw& raw) const {
    const int column = warp * 16 + (lane & 3) * 4;
    const float* from = a.fn + (lane >> 2) * a.fn_row + first + column;
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        raw.v[i][n] = make_uint4(0u, 0u, 0u, 0u);
        if (column < width && n * 8 + (lane >> 2) < kMixes) {
          raw.v[i][n] =
              load(reinterpret_cast<const uint4*>(from + n * 8 * a.fn_row + i * a.columns));
        }
      }
    }
  }

  // A lane's smallest parts of a step and a tile of rows: an offset.
  __device__ __forceinline__ int parked(int warp, int lane, int step, int tile) const {
    return a.layout.parked + ((warp * kParked + step) * kTiles + tile) * 256 + lane * 8;
  }

  __device__ __forceinline__ void split_fn(const Raw& raw, Weights& w) const {
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        const uint4 v = raw.v[i][n];
        float f[4] = {__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                      __uint_as_float(v.w)};
#pragma unroll
        for (int p = 0; p < 3; ++p) {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const std::uint32_t pair = Bf16::pack(f[2 * h], f[2 * h + 1]);
            w.b[i][n][p][h] = pair;
            f[2 * h] = __fadd_rn(f[2 * h], -__uint_as_float(pair << 16));
            f[2 * h + 1] = __fadd_rn(f[2 * h + 1], -__uint_as_float(pair & 0xFFFF0000u));
          }
        }
        if (i < kParked) {
          *reinterpret_cast<uint2*>(smem + parked(warp, lane, i, n)) =
              make_uint2(w.b[i][n][2][0], w.b[i][n][2][1]);
        }
      }
    }
  }

  // This thread's number, asked for anew: what is computed from it is not kept in registers from tile to tile, which fn needs.
  static __device__ __forceinline__ int thread() {
    int t;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(t));
    return t;
  }

  // Two lanes have a token, eight of the warp's columns each: whether there are any, and their offset in a token's row.
  struct Columns {
    int token;
    int offset;  // bytes
    bool mine;
  };
  __device__ __forceinline__ Columns my_columns(int count) const {
    const int t = thread();
    const int token = t >> 1 & 15;
    const int column = (t >> 5) * 16 + (t & 1) * 8;
    return {token, column * 2, token < count && column < width};
  }

  // Asks for this lane's part of a tile, as a group of copies, which is empty where there is no such tile.
  __device__ __forceinline__ void ask_for(int wave, int s) const {
    if (wave < waves) {
      const Columns at = my_columns(tokens_of(wave));
      if (at.mine) {
        const std::int64_t token = first_token(wave) + at.token;
        const std::uint32_t to = smem_address(stage(s));
        const char* from = a.x + token * a.x_token + first * 2 + at.offset;
#pragma unroll
        for (int j = 0; j < kHcStreams; ++j) {
          copy_async_16(to + static_cast<std::uint32_t>(at.token * a.layout.row + j * a.slice * 2 +
                                                        at.offset),
                        from + j * a.x_stream);
        }
        if constexpr (kPost) {
          copy_async_16(
              to + static_cast<std::uint32_t>(a.layout.sub + at.token * a.slice * 2 + at.offset),
              a.sub + token * a.sub_token + first * 2 + at.offset);
        }
      }
    }
    copy_async_commit();
  }

  // Of one stream of the new residual.
  struct StreamWeights {
    const float* of;  // a token's comb, then post
    __device__ __forceinline__ float post(int k) const { return of[16 + k]; }
    __device__ __forceinline__ float comb(int j, int k) const { return of[4 * j + k]; }
  };

  __device__ __forceinline__ float* weights_before(int wave, int token) const {
    return reinterpret_cast<float*>(smem + a.layout.weights +
                                    (wave % kHcRing * kHcTile + token) * HcSplitLayout::kWeights);
  }

  __device__ __forceinline__ void make_residual(int wave, char* tile) const {
    const Columns at = my_columns(tokens_of(wave));
    if (at.mine) {
      char* in = tile + at.token * a.layout.row + at.offset;
      std::uint32_t x[kHcStreams][4];
#pragma unroll
      for (int j = 0; j < kHcStreams; ++j) {
        const uint4 v = *reinterpret_cast<const uint4*>(in + j * a.slice * 2);
        x[j][0] = v.x;
        x[j][1] = v.y;
        x[j][2] = v.z;
        x[j][3] = v.w;
      }
      const uint4 v =
          *reinterpret_cast<const uint4*>(tile + a.layout.sub + at.token * a.slice * 2 + at.offset);
      const std::uint32_t f[4] = {v.x, v.y, v.z, v.w};
      const StreamWeights weights = {weights_before(wave, at.token)};
      char* out = a.out + (first_token(wave) + at.token) * a.out_token + first * 2 + at.offset;
#pragma unroll 1
      for (int k = 0; k < kHcStreams; ++k) {
        std::uint32_t y[4];
        post_columns<Bf16, kHcStreams, 4>(x, f, k, kHcStreams, weights, y);
        const uint4 packet = make_uint4(y[0], y[1], y[2], y[3]);
        *reinterpret_cast<uint4*>(out + k * a.out_stream) = packet;
        *reinterpret_cast<uint4*>(in + k * a.slice * 2) = packet;
      }
    }
    __syncwarp();
  }

  // Sums of squares of tokens g (u) and g + 8 (v). As the diagonal of x times itself where there are registers for it.
  struct DiagonalSquares {
    static constexpr double kCut =
        2.5 *
        HcSplit::kCut;  // one sum of four steps loses 1/4 + 2/4 + 3/4 + 1 times what a step loses
    float low[4] = {};
    float high[4] = {};
    __device__ __forceinline__ void add(uint2 u, uint2 v) {
      mma_16x8x16(low, u.x, v.x, u.y, v.y, u.x, u.y);
      mma_16x8x16(high, u.x, v.x, u.y, v.y, v.x, v.y);
    }
    __device__ __forceinline__ void store(float* of, int g, int q) const {
      if (g >> 1 == q) {
        of[g] = (g & 1) != 0 ? low[1] : low[0];
        of[g + 8] = (g & 1) != 0 ? high[3] : high[2];
      }
    }
  };
  struct PlainSquares {
    static constexpr double kCut = 0.0;
    float sum[2] = {};
    __device__ __forceinline__ void add(uint2 u, uint2 v) {
      const uint2 of[2] = {u, v};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float x[4];
        unpack<Bf16, 2>({of[i].x, of[i].y}, x);
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i] = __fmaf_rn(x[j], x[j], sum[i]);
      }
    }
    __device__ __forceinline__ void store(float* of, int g, int q) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        sum[i] = __fadd_rn(sum[i], __shfl_xor_sync(0xffffffffu, sum[i], 1));
        sum[i] = __fadd_rn(sum[i], __shfl_xor_sync(0xffffffffu, sum[i], 2));
        if (q == 0) of[g + 8 * i] = sum[i];
      }
    }
  };
  using Squares = std::conditional_t<kPost, PlainSquares, DiagonalSquares>;

  __device__ __forceinline__ void multiply(int half, const Weights& w, const char* tile) const {
    const int warp = thread() >> 5;
    const int lane = thread() & 31;
    const int g = lane >> 2;
    const int q = lane & 3;
    float acc[kTiles][4] = {};
    Squares squares;
    const std::uint32_t from =
        smem_address(tile) + static_cast<std::uint32_t>(g * a.layout.row + warp * 32 + q * 8);
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      const uint2 u = load_shared_8(from + i * a.slice * 2);
      const uint2 v = load_shared_8(from + i * a.slice * 2 + 8 * a.layout.row);
      // The tiles' chains are independent of each other.
      float c[kTiles][4] = {};
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        uint2 smallest = make_uint2(w.b[i][n][2][0], w.b[i][n][2][1]);
        if (i < kParked) {
          smallest = load_shared_8(smem_address(smem) +
                                   static_cast<std::uint32_t>(parked(warp, lane, i, n)));
        }
        mma_16x8x16(c[n], u.x, v.x, u.y, v.y, smallest.x, smallest.y);
      }
      squares.add(u, v);
#pragma unroll
      for (int p = 1; p >= 0; --p) {
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
          mma_16x8x16(c[n], u.x, v.x, u.y, v.y, w.b[i][n][p][0], w.b[i][n][p][1]);
      }
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) acc[n][e] = __fadd_rn(acc[n][e], c[n][e]);
      }
    }
    float* to = sums(half) + warp * (kHcTile * kHcMixes);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      *reinterpret_cast<float2*>(to + (n * kHcTile + g) * 8 + q * 2) =
          make_float2(acc[n][0], acc[n][1]);
      *reinterpret_cast<float2*>(to + (n * kHcTile + g + 8) * 8 + q * 2) =
          make_float2(acc[n][2], acc[n][3]);
    }
    squares.store(sums(half) + a.workers * (kHcTile * kHcMixes) + warp * kHcTile, g, q);
  }

  // The slice's sums, over its workers, to the thread block that finishes the token: a word a lane. Five warps have the words of a tile, others from tile to tile.
  __device__ __forceinline__ void send_sums(int wave) const {
    const int count = tokens_of(wave);
    const int lane = thread() & 31;
    for (int job = turn_of(wave); job < 5; job += a.workers) {
      const bool mixes = job < 4;
      const int t = mixes ? job * 4 + (lane >> 3) : lane;
      const int word = mixes ? lane & 7 : kWords - 1;
      if (t >= count || word >= kWords || (mixes && word == kWords - 1)) continue;
      const float* from =
          sums(wave & 1) + (mixes ? t * 8 + word : a.workers * (kHcTile * kHcMixes) + t);
      const int step = mixes ? kHcTile * kHcMixes : kHcTile;
      float v[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll 4
      for (int j = 0; j < a.workers; ++j) {
        v[0] = __fadd_rn(v[0], from[j * step]);
        if (kTiles == 3 && mixes) {
          v[1] = __fadd_rn(v[1], from[j * step + kHcTile * 8]);
          v[2] = __fadd_rn(v[2], from[j * step + 2 * kHcTile * 8]);
        }
      }
      send(sums_word(wave, t, part, word), v[0], v[1], v[2],
           fetched_tag() + static_cast<std::uint32_t>(wave));
    }
  }
  // This warp's place among the workers, which go round from tile to tile.
  __device__ __forceinline__ int turn_of(int wave) const {
    const int turn = (thread() >> 5) + 5 * wave % a.workers;
    return turn < a.workers ? turn : turn - a.workers;
  }

  __device__ __forceinline__ void mix(int wave, char* tile) const {
    const Columns at = my_columns(tokens_of(wave));
    float y[8] = {};
    if (at.mine) {
      const float* weights = pre(tile, at.token);
      char* in = tile + at.token * a.layout.row + at.offset;
#pragma unroll
      for (int j = 0; j < kHcStreams; ++j) {
        float v[8];
        unpack<Bf16>(*reinterpret_cast<const uint4*>(in + j * a.slice * 2), v);
        const float weight = weights[j];
#pragma unroll
        for (int i = 0; i < 8; ++i)
          y[i] = j == 0 ? __fmul_rn(weight, v[i]) : __fmaf_rn(weight, v[i], y[i]);
      }
      const uint4 c = pack<Bf16>(y);
      if constexpr (kTail) {
        *reinterpret_cast<uint4*>(in) = c;
        unpack<Bf16>(c, y);
      } else {
        *reinterpret_cast<uint4*>(a.collapsed + (first_token(wave) + at.token) * a.collapsed_token +
                                  first * 2 + at.offset) = c;
      }
    }
    if constexpr (kTail) {
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < 8; ++i) sum = __fmaf_rn(y[i], y[i], sum);
      if (a.norm_weight != nullptr && at.mine) {
        float g[8];
        load_norm_weights(a, first + at.offset / 2, g);
#pragma unroll
        for (int i = 0; i < 8; ++i) y[i] = __fmul_rn(g[i], y[i]);
      }
      std::uint32_t largest = 0u;  // of those that are finite
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const std::uint32_t magnitude = __float_as_uint(y[i]) & 0x7FFFFFFFu;
        if (magnitude < 0x7F800000u) largest = max(largest, magnitude);
      }
      sum = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 1));
      largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
      const int t = thread();
      if ((t & 1) == 0)
        squares(wave, t >> 5)[at.token] = make_float2(sum, __uint_as_float(largest));
    }
  }

  __device__ __forceinline__ void run_worker(const Raw& raw) const {
    Weights w;
    split_fn(raw, w);
    int s = 0;
    int m = 0;  // the stage that is mixed
    for (int wave = 0; wave - kLag < waves; ++wave) {
      const int half = wave & 1;
      const std::uint32_t turn = static_cast<std::uint32_t>(wave) >> 1 & 1u;
      if (wave < waves) {
        copy_async_wait<kAhead - 1>();
        __syncwarp();
        if constexpr (kPost) {
          mbarrier_wait(weights_there(wave % kHcRing),
                        static_cast<std::uint32_t>(wave) / kHcRing & 1u);
          make_residual(wave, stage(s));
        }
        if (wave >= 2) mbarrier_wait(sums_empty(half), turn ^ 1u);
        multiply(half, w, stage(s));
        __syncwarp();
        if ((thread() & 31) == 0) mbarrier_arrive(sums_full(half));
        s = s + 1 == kStages ? 0 : s + 1;
      }
      const int due = wave - kLag;
      if (due >= 0) {
        mbarrier_wait(pre_there(due % kHcRing), static_cast<std::uint32_t>(due) / kHcRing & 1u);
        mix(due, stage(m));
        __syncwarp();
        if constexpr (kTail) {
          if ((thread() & 31) == 0) mbarrier_arrive(mixed(m));
        }
        m = m + 1 == kStages ? 0 : m + 1;
      }
      if (wave < waves) {
        const int next = wave + kAhead;
        const int place = next % kStages;
        if constexpr (kTail) {
          // The rows of the tile that was there before have been written.
          if (next >= kStages && next < waves)
            mbarrier_wait(empty(place), static_cast<std::uint32_t>(next / kStages - 1) & 1u);
        }
        ask_for(next, place);
        mbarrier_wait(sums_full(half), turn);
        send_sums(wave);
        __syncwarp();
        if ((thread() & 31) == 0) mbarrier_arrive(sums_empty(half));
      }
    }
    // All thread blocks of the group have read its epoch: their sums came.
    if (part == 0 && warp == 0) {
      const std::uint32_t last =
          fetched_tag() - 1u + static_cast<std::uint32_t>((tiles() + a.groups - 1) / a.groups);
      if (lane == 0) store_shared_word(epoch(group), last);
      if (group == 0) {
        for (int g = a.groups + lane; g < kHcMaxBlocks; g += 32) store_shared_word(epoch(g), last);
      }
    }
  }

  // ---- gatherers -------------------------------------------------------------------------------------------------------

  // The tokens that this thread block finishes, in turn: they go round among the group's.
  struct Finished {
    int wave;
    int token;  // of the tile
  };
  __device__ __forceinline__ bool is_one(const Finished& f) const { return f.wave < waves; }
  __device__ __forceinline__ void skip_to_one(Finished& f) const {
    while (f.wave < waves && f.token >= tokens_of(f.wave)) {
      ++f.wave;
      const int turn = static_cast<int>(static_cast<std::int64_t>(f.wave) * kHcTile % a.slices);
      f.token = part >= turn ? part - turn : part - turn + a.slices;
    }
  }
  __device__ __forceinline__ Finished first_finished() const {
    Finished f = {0, part};
    skip_to_one(f);
    return f;
  }
  __device__ __forceinline__ void advance(Finished& f) const {
    f.token += a.slices;
    skip_to_one(f);
  }

  __device__ __forceinline__ void run_gatherer(int gatherer) const {
    constexpr int kLanes = 32 / kWords;     // that take a slice each
    constexpr int kLoads = kHead ? 6 : 12;  // a lane has under way
    const std::uint32_t tag = first_tag();
    const int word = lane % kWords;
    const int turn = lane / kWords;
    const int per = (a.slices + a.gatherers - 1) / a.gatherers;
    const int begin = gatherer * per;
    const int end = min(begin + per, a.slices);
    const int kind = lane < kHcStreams ? 0 : lane < 2 * kHcStreams ? 1 : 2;
    const float scale = lane < kMixes ? load(a.scale + kind) : 0.0f;
    const float base = lane < kMixes ? load(a.base + lane) : 0.0f;
    int n = 0;
    for (Finished f = first_finished(); is_one(f); advance(f)) {
      const std::uint32_t expected = tag + static_cast<std::uint32_t>(f.wave);
      double sum[3] = {0.0, 0.0, 0.0};
      for (int i0 = begin; i0 < end; i0 += kLanes * kLoads) {
        Word16 v[kLoads];
        for (bool there = false; !there;) {
          bool mine = true;
#pragma unroll
          for (int k = 0; k < kLoads; ++k) {
            const int i = i0 + turn + k * kLanes;
            v[k] = {{0.0f, 0.0f, 0.0f}, expected};
            if (turn < kLanes && i < end) v[k] = receive(sums_word(f.wave, f.token, i, word));
          }
#pragma unroll
          for (int k = 0; k < kLoads; ++k) mine = mine && v[k].tag == expected;
          there = __all_sync(0xffffffffu, mine);
        }
#pragma unroll
        for (int k = 0; k < kLoads; ++k) {
#pragma unroll
          for (int e = 0; e < 3; ++e) sum[e] += static_cast<double>(v[k].v[e]);
        }
      }
      double* parts = reinterpret_cast<double*>(smem + a.layout.parts) +
                      (n & 1) * (a.gatherers * 3 * kHcMixWords);
#pragma unroll
      for (int e = 0; e < 3; ++e) {
        double all = sum[e];
#pragma unroll
        for (int k = 1; k < kLanes; ++k)
          all += __shfl_sync(0xffffffffu, sum[e], (lane + k * kWords) & 31);
        if (lane < kWords && e < kTiles) {
          const bool mix = lane < kWords - 1;
          if (mix || e == 0)
            parts[gatherer * (3 * kHcMixWords) + (mix ? e * 8 + lane : kMixes)] = all;
        }
      }
      __syncwarp();
      if (a.gatherers > 1) named_barrier(1, a.gatherers * 32);
      if (gatherer == 0) finish_token(f, n, parts, scale, base, expected);
      ++n;
    }
  }

  // Lane i has the sum of mix i; that of squares is behind them.
  __device__ __forceinline__ void finish_token(Finished f, int n, const double* parts, float scale,
                                               float base, std::uint32_t tag) const {
    double sum = 0.0;
    if (lane <= kMixes) {
      for (int i = 0; i < a.gatherers; ++i) sum += parts[i * (3 * kHcMixWords) + lane];
    }
    double squares = __shfl_sync(0xffffffffu, sum, kMixes);
    squares += squares * Squares::kCut;
    const double mean = squares * a.inverse_count + static_cast<double>(a.rms_eps);
    const float logit = logit_of(sum + sum * kCut, mean, scale, base);
    const std::int64_t token = first_token(f.wave) + f.token;
    const bool good = is_finite(logit) && is_finite(static_cast<float>(mean));
    // Sinkhorn takes longest: it begins first.
    if constexpr (!kHead) {
      const int place = n % kHcQueue;
      if (n >= kHcQueue)
        mbarrier_wait(queue_empty(place), static_cast<std::uint32_t>(n / kHcQueue - 1) & 1u);
      if (lane >= 2 * kHcStreams && lane < kMixes) {
        reinterpret_cast<float*>(smem + a.layout.queue)[place * 16 + lane - 2 * kHcStreams] = logit;
      }
      __syncwarp();
      if (lane == 0) mbarrier_arrive(queue_full(place));
    }
    const float s = sigmoid(logit);
    if (lane < kHcStreams) {
      store_shared_word(
          pre_word(f.wave, f.token, lane),
          static_cast<std::uint64_t>(tag) << 32 | __float_as_uint(__fadd_rn(s, a.hc_eps)));
    }
    if (__any_sync(0xffffffffu, lane < kMixes && !good)) {
      if (lane == 0) report(a.status, a.op, NVFP4J_CAUSE_NON_FINITE_RESULT, token, -1);
    }
    if constexpr (!kHead) {
      if (lane >= kHcStreams && lane < 2 * kHcStreams)
        a.post[token * a.post_token + lane - kHcStreams] = math::canonical_nan(__fmul_rn(2.0f, s));
    }
  }

  // ---- service ---------------------------------------------------------------------------------------------------------

  // What other thread blocks make of a tile: asked for now, looked at later.
  struct PreWords {
    std::uint64_t v[2];
  };
  __device__ __forceinline__ PreWords ask_for_pre(int wave) const {
    PreWords p;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = i * 32 + lane;
      if (at / kHcStreams < tokens_of(wave))
        p.v[i] = load_shared_word(pre_word(wave, at / kHcStreams, at % kHcStreams));
    }
    return p;
  }
  // Whether all of it was there: then it is the workers'. (They have sent the tile's sums, so that its stage is no other's any more.)
  __device__ __forceinline__ bool take_pre(int wave, const PreWords& p, std::uint32_t tag) const {
    const int count = tokens_of(wave);
    bool there = true;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if ((i * 32 + lane) / kHcStreams < count)
        there = there && static_cast<std::uint32_t>(p.v[i] >> 32) == tag;
    }
    if (!__all_sync(0xffffffffu, there)) return false;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = i * 32 + lane;
      if (at / kHcStreams < count) {
        pre(stage(wave % kStages), at / kHcStreams)[at % kHcStreams] =
            __uint_as_float(static_cast<std::uint32_t>(p.v[i]));
      }
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(pre_there(wave % kHcRing));
    return true;
  }

  // comb and post of the module before, for a tile's tokens.
  __device__ __forceinline__ void ask_for_weights(int wave) const {
    const int count = tokens_of(wave);
    const std::int64_t token = first_token(wave);
    for (int i = lane; i < count * 5; i += 32) {
      const int t = i / 5;
      const int packet = i - t * 5;
      const float* from = packet < 4
                              ? a.comb_before + (token + t) * a.comb_before_token + packet * 4
                              : a.post_before + (token + t) * a.post_before_token;
      copy_async_16(smem_address(weights_before(wave, t)) + static_cast<std::uint32_t>(packet * 16),
                    from);
    }
    mbarrier_arrive_after_copies(weights_there(wave % kHcRing));
  }

  // Nothing here waits: Sinkhorn takes longer than a tile, so it goes on by some iterations at a time.
  __device__ __forceinline__ void run_service() const {
    int weighted = 0;  // waves of which the weights before have been asked for
    if constexpr (kPost) ask_for_weights(weighted++);
    const std::uint32_t tag = first_tag();
    if (lane == 0) {
      *shared_tag() = tag;
      mbarrier_arrive(tag_there());
    }
    int fetched = 0;  // waves of which pre came
    Finished next = first_finished();
    bool left = !kHead && is_one(next);
    int n = 0;      // tokens that have been taken from the queue
    int taken = 0;  // that are worked on, a token in two lanes
    int iterations = 0;
    std::int64_t token = 0;
    SinkhornPair m;
    while (fetched < waves || left || taken > 0) {
      PreWords words[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (fetched + i < waves) words[i] = ask_for_pre(fetched + i);
      }
      if constexpr (kPost) {
        // Of a tile whose pre has come, the residual is made.
        if (weighted < waves && weighted < fetched + kHcRing) ask_for_weights(weighted++);
      }
      if constexpr (!kHead) {
        if (taken == 0) {
          while (left && taken < kHcQueue) {
            const int at = n + taken;
            if (!mbarrier_test(queue_full(at % kHcQueue),
                               static_cast<std::uint32_t>(at / kHcQueue) & 1u))
              break;
            if (lane >> 1 == taken) token = first_token(next.wave) + next.token;
            ++taken;
            advance(next);
            left = is_one(next);
          }
          if (taken > 0) {
            // Lanes without a token go along on the first one's logits.
            const int place = (n + (lane >> 1 < taken ? lane >> 1 : 0)) % kHcQueue;
            const float* logits =
                reinterpret_cast<const float*>(smem + a.layout.queue) + place * 16 + (lane & 1) * 4;
#pragma unroll
            for (int j = 0; j < 2; ++j) {
              const float4 v = *reinterpret_cast<const float4*>(logits + 8 * j);
              m.c[j][0] = v.x;
              m.c[j][1] = v.y;
              m.c[j][2] = v.z;
              m.c[j][3] = v.w;
            }
            __syncwarp();
            if (lane >> 1 < taken && (lane & 1) == 0) mbarrier_arrive(queue_empty(place));
            m.begin(a.hc_eps);
            iterations = a.iterations - 1;
          }
        } else {
          constexpr int kAtOnce = 6;
          m.iterate(a.hc_eps, fetched < waves ? kAtOnce : iterations, iterations);
          if (iterations == 0) {
            if (lane >> 1 < taken) {
              float* out = a.comb + token * a.comb_token + (lane & 1) * 4;
#pragma unroll
              for (int i = 0; i < 8; ++i)
                out[i / 4 * 8 + i % 4] = math::canonical_nan(m.c[i / 4][i % 4]);
            }
            n += taken;
            taken = 0;
          }
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (fetched < waves &&
            !take_pre(fetched, words[i], tag + static_cast<std::uint32_t>(fetched)))
          break;
        fetched = min(fetched + 1, waves);
      }
    }
  }

  // ---- tailers ---------------------------------------------------------------------------------------------------------

  // Each has half of a tile's tokens, four lanes a token.
  __device__ __forceinline__ void run_tailer(int tailer) const {
    constexpr int kLoads = 11;  // a lane has under way
    const std::uint32_t tag = first_tag();
    const int turn = lane & 3;
    const int t = tailer * (kHcTile / kTailers) + (lane >> 2);
    int s = 0;
    std::uint32_t parity = 0u;
    for (int wave = 0; wave < waves; ++wave) {
      mbarrier_wait(mixed(s), parity);
      const bool mine = t < tokens_of(wave);
      const std::uint32_t expected = tag + static_cast<std::uint32_t>(wave);
      float slice_sum = 0.0f;
      std::uint32_t largest = 0u;
      for (int j = turn; j < a.workers; j += 4) {
        const float2 v = squares(wave, j)[t];
        slice_sum = __fadd_rn(slice_sum, v.x);
        largest = max(largest, __float_as_uint(v.y));
      }
#pragma unroll
      for (int h = 1; h < 4; h *= 2) {
        slice_sum = __fadd_rn(slice_sum, __shfl_xor_sync(0xffffffffu, slice_sum, h));
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, h));
      }
      if (turn == 0 && mine)
        send(norm_word(wave, t, part), slice_sum, __uint_as_float(largest), 0.0f, expected);
      double sum = 0.0;
      for (int i0 = 0; i0 < a.slices; i0 += 4 * kLoads) {
        Word16 v[kLoads];
        for (bool there = false; !there;) {
          bool all = true;
#pragma unroll
          for (int k = 0; k < kLoads; ++k) {
            const int i = i0 + turn + 4 * k;
            v[k] = {{0.0f, 0.0f, 0.0f}, expected};
            if (mine && i < a.slices) v[k] = receive(norm_word(wave, t, i));
          }
#pragma unroll
          for (int k = 0; k < kLoads; ++k) all = all && v[k].tag == expected;
          there = __all_sync(0xffffffffu, all);
        }
#pragma unroll
        for (int k = 0; k < kLoads; ++k) {
          sum += static_cast<double>(v[k].v[0]);
          largest = max(largest, __float_as_uint(v[k].v[1]));
        }
      }
#pragma unroll
      for (int h = 1; h < 4; h *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, h);
        largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, h));
      }
      if (mine) {
        const float norm = static_cast<float>(
            reciprocal_sqrt(sum * a.inverse_columns + static_cast<double>(a.rms_eps)));
        write_row(first_token(wave) + t, stage(s) + t * a.layout.row, norm,
                  __uint_as_float(largest));
      }
      __syncwarp();
      if (lane == 0) mbarrier_arrive(empty(s));
      if (++s == kStages) {
        s = 0;
        parity ^= 1u;
      }
    }
  }

  // The slice's part of a row, from its collapsed columns: four lanes have blocks of 16 in turn.
  __device__ __forceinline__ void write_row(std::int64_t token, const char* row, float norm,
                                            float largest) const {
    // Rounding keeps the order, so that the largest of the row comes from the largest product.
    std::uint32_t amax = Bf16::pack(largest, 0.0f) & 0xFFFFu;
    if (a.norm_weight != nullptr) amax = Bf16::pack(__fmul_rn(largest, norm), 0.0f) & 0xFFFFu;
#pragma unroll 1
    for (int b = lane & 3; b * 16 < width; b += 4) {
      Block<Bf16> y;
      y.clear();
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int column = b * 16 + h * 8;
        if (column < width) {
          uint4 c = *reinterpret_cast<const uint4*>(row + column * 2);
          if (a.norm_weight != nullptr) {
            float g[8];
            float v[8];
            load_norm_weights(a, first + column, g);
            unpack<Bf16>(c, v);
#pragma unroll
            for (int i = 0; i < 8; ++i) v[i] = __fmul_rn(__fmul_rn(g[i], v[i]), norm);
            c = pack<Bf16>(v);
          }
          if (a.collapsed != nullptr) {
            *reinterpret_cast<uint4*>(a.collapsed + token * a.collapsed_token +
                                      (first + column) * 2) = c;
          }
          y.w[4 * h] = c.x;
          y.w[4 * h + 1] = c.y;
          y.w[4 * h + 2] = c.z;
          y.w[4 * h + 3] = c.w;
        }
      }
      if (a.quantize) {
        const auto block = static_cast<std::uint32_t>(first / 16 + b);
        const float magnitude = Bf16::to_f32(amax);
        const std::uint64_t at =
            static_cast<std::uint64_t>(token) * a.quantized.row_blocks.divisor + block;
        const auto place = [&] { return BlockPlace{token, block}; };
        float gs;
        if (a.recipe == NVFP4J_RECIPE_EXACT) {
          const GlobalScale g = dynamic_global_scale<NVFP4J_RECIPE_EXACT>(magnitude);
          encode_and_store<Bf16, NVFP4J_RECIPE_EXACT>(y, g, a.quantized, at, place);
          gs = g.gs;
        } else {
          const GlobalScale g = dynamic_global_scale<NVFP4J_RECIPE_TE_EXACT>(magnitude);
          encode_and_store<Bf16, NVFP4J_RECIPE_TE_EXACT>(y, g, a.quantized, at, place);
          gs = g.gs;
        }
        if (block == 0) a.quantized.global_scales[token] = gs;
      }
    }
  }

  // ---- all -------------------------------------------------------------------------------------------------------------

  // By the service warp: the fence waits for the loads of whoever asks for it.
  __device__ __forceinline__ void make_barriers() const {
    for (int i = lane; i < HcSplitLayout::kBarriers - 1; i += 32) {
      std::uint32_t count = 1u;
      if (i < kQueue) count = static_cast<std::uint32_t>(a.workers);
      if (i >= kPre + kHcRing && i < kPre + 2 * kHcRing) count = 32u;  // weights_there
      if (kTail && i >= kPre + 2 * kHcRing && i < kTag)
        count = static_cast<std::uint32_t>(i < kPre + 3 * kHcRing ? a.workers : kTailers);
      mbarrier_init(bar(i), count);
    }
    mbarrier_init_fence();
  }

  // What no copy fills is multiplied by zeros, and must not be NaN.
  __device__ __forceinline__ void clear_behind_width() const {
    const int packets = (a.slice - width) / 8;
    for (int i = static_cast<int>(threadIdx.x); i < kStages * kHcTile * kHcStreams * packets;
         i += static_cast<int>(blockDim.x)) {
      const int place = i / packets;
      *reinterpret_cast<uint4*>(
          stage(place / (kHcTile * kHcStreams)) + place / kHcStreams % kHcTile * a.layout.row +
          place % kHcStreams * a.slice * 2 + (width + (i - place * packets) * 8) * 2) =
          make_uint4(0u, 0u, 0u, 0u);
    }
  }

  __device__ __forceinline__ void run() const {
    const bool worker = warp < a.workers;
    Raw raw;
    if (worker) {
      load_fn(raw);
      ask_for(0, 0);
    } else if (warp == a.workers) {
      make_barriers();
    }
    if (width < a.slice) clear_behind_width();
    if constexpr (kTail) {
      if (a.quantize) zero_padding_rows(a.quantized);
    }
    __syncthreads();
    if (worker) {
#pragma unroll
      for (int i = 1; i < kAhead; ++i) ask_for(i, i);
      run_worker(raw);
      return;
    }
    const int role = warp - a.workers;
    if (role == 0) {
      run_service();
    } else if (role <= a.gatherers) {
      run_gatherer(role - 1);
    } else if constexpr (kTail) {
      run_tailer(role - 1 - a.gatherers);
    }
  }
};

template <HcKind KIND>
__global__ void __launch_bounds__(kHcSplitThreads, 1)
    hc_pre_split_kernel(const __grid_constant__ HcSplitArgs a) {
  extern __shared__ __align__(128) char smem[];
  await_predecessor();
  HcSplit<KIND>(a, smem).run();
}

}  // namespace device
}  // namespace nvfp4j
