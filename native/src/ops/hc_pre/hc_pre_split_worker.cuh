// SPDX-License-Identifier: Apache-2.0
// hc_pre_split's workers: each has 16 columns of the slice, which it multiplies by fn, and mixes when `pre` has come.
#pragma once
#include <type_traits>

#include "device/mma.cuh"
#include "device/packet.cuh"
#include "ops/hc_post/hc_post_math.cuh"
#include "ops/hc_pre/hc_pre_math.cuh"
#include "ops/hc_pre/hc_pre_split_places.cuh"

namespace nvfp4j::device {

template <HcKind KIND>
struct HcSplitWorker : HcSplitPlaces<KIND> {
  using Base = HcSplitPlaces<KIND>;
  using Base::a;
  using Base::empty;
  using Base::end_epoch;
  using Base::fetched_tag;
  using Base::first;
  using Base::first_token;
  using Base::kAhead;
  using Base::kLag;
  using Base::kMixes;
  using Base::kParked;
  using Base::kPost;
  using Base::kStages;
  using Base::kTail;
  using Base::kTiles;
  using Base::kWords;
  using Base::lane;
  using Base::mixed;
  using Base::part;
  using Base::pre;
  using Base::pre_there;
  using Base::smem;
  using Base::squares;
  using Base::stage;
  using Base::sums;
  using Base::sums_empty;
  using Base::sums_full;
  using Base::sums_word;
  using Base::tokens_of;
  using Base::warp;
  using Base::waves;
  using Base::weights_before;
  using Base::weights_there;
  using Base::width;

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

  // To L2, whoever may still write it.
  __device__ __forceinline__ void prefetch_fn() const {
    const int column = warp * 16 + (lane & 3) * 4;
    const float* from = a.fn + (lane >> 2) * a.fn_row + first + column;
    if (column >= width || (lane & 1) != 0) return;
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        if (n * 8 + (lane >> 2) < kMixes) prefetch_l2(from + n * 8 * a.fn_row + i * a.columns);
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
  using Squares = std::conditional_t<Base::kDiagonalSquares, DiagonalSquares, PlainSquares>;

  __device__ __forceinline__ void multiply(int half, const Weights& w, const char* tile) const {
    const int warp = thread() >> 5;
    const int lane = thread() & 31;
    const int g = lane >> 2;
    const int q = lane & 3;
    // Of two streams each: steps that are alike are added without rounding.
    float sum[2][kTiles][4] = {};
    // Of fn's smaller parts, of which what is cut is less than 2^-5 of what is cut of the first.
    float smaller[kTiles][4] = {};
    Squares squares;
    const std::uint32_t from =
        smem_address(tile) + static_cast<std::uint32_t>(g * a.layout.row + warp * 32 + q * 8);
#pragma unroll
    for (int i = 0; i < kHcStreams; ++i) {
      const uint2 u = load_shared_8(from + i * a.slice * 2);
      const uint2 v = load_shared_8(from + i * a.slice * 2 + 8 * a.layout.row);
      float c[kTiles][4] = {};
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
        mma_16x8x16(c[n], u.x, v.x, u.y, v.y, w.b[i][n][0][0], w.b[i][n][0][1]);
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
        mma_16x8x16(smaller[n], u.x, v.x, u.y, v.y, w.b[i][n][1][0], w.b[i][n][1][1]);
      squares.add(u, v);
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        uint2 smallest = make_uint2(w.b[i][n][2][0], w.b[i][n][2][1]);
        if (i < kParked) {
          smallest = load_shared_8(smem_address(smem) +
                                   static_cast<std::uint32_t>(parked(warp, lane, i, n)));
        }
        mma_16x8x16(smaller[n], u.x, v.x, u.y, v.y, smallest.x, smallest.y);
      }
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[i / 2][n][e] = __fadd_rn(sum[i / 2][n][e], c[n][e]);
      }
    }
    float* to = sums(half) + warp * (kHcTile * kHcMixes);
    const float dither = hc_dither(part * a.workers + warp);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float v[4];
#pragma unroll
      for (int e = 0; e < 4; ++e)
        v[e] = hc_round(__fadd_rn(sum[0][n][e], sum[1][n][e]), smaller[n][e], dither);
      *reinterpret_cast<float2*>(to + (n * kHcTile + g) * 8 + q * 2) = make_float2(v[0], v[1]);
      *reinterpret_cast<float2*>(to + (n * kHcTile + g + 8) * 8 + q * 2) = make_float2(v[2], v[3]);
    }
    squares.store(sums(half) + a.workers * (kHcTile * kHcMixes) + warp * kHcTile, g, q);
  }

  // Sums of so few workers, rounded as they are in multiply(), may be rounded again without being alike; of more they would be, as their last places add up to much the same in each slice.
  static constexpr int kFewWorkers = 4;
  // The slice's sums, over its workers, to the thread block that finishes the token: a word a lane. Five warps have the words of a tile, others from tile to tile.
  __device__ __forceinline__ void send_sums(int wave) const {
    const int count = tokens_of(wave);
    const int lane = thread() & 31;
    const float dither = hc_dither(part);
    for (int job = turn_of(wave); job < 5; job += a.workers) {
      const bool mixes = job < 4;
      const int t = mixes ? job * 4 + (lane >> 3) : lane;
      const int word = mixes ? lane & 7 : kWords - 1;
      if (t >= count || word >= kWords || (mixes && word == kWords - 1)) continue;
      const float* from =
          sums(wave & 1) + (mixes ? t * 8 + word : a.workers * (kHcTile * kHcMixes) + t);
      const int step = mixes ? kHcTile * kHcMixes : kHcTile;
      float v[3] = {0.0f, 0.0f, 0.0f};
      if (a.workers <= kFewWorkers || !mixes) {
#pragma unroll 4
        for (int j = 0; j < a.workers; ++j) {
          v[0] = __fadd_rn(v[0], from[j * step]);
          if (kTiles == 3 && mixes) {
            v[1] = __fadd_rn(v[1], from[j * step + kHcTile * 8]);
            v[2] = __fadd_rn(v[2], from[j * step + 2 * kHcTile * 8]);
          }
        }
      } else {
        HcExactSum sum[3];
#pragma unroll 4
        for (int j = 0; j < a.workers; ++j) {
          sum[0].add(from[j * step]);
          if constexpr (kTiles == 3) {
            sum[1].add(from[j * step + kHcTile * 8]);
            sum[2].add(from[j * step + 2 * kHcTile * 8]);
          }
        }
#pragma unroll
        for (int e = 0; e < 3; ++e) v[e] = hc_round(sum[e].sum, sum[e].off, dither);
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
      float sum = squares_of(y);
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

  __device__ __forceinline__ void run(const Raw& raw) const {
#pragma unroll
    for (int i = 1; i < kAhead; ++i) ask_for(i, i);
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
        if ((thread() & 31) == 0) mbarrier_arrive(mixed(due % kHcRing));
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
    if (part == 0 && warp == 0) end_epoch(fetched_tag());
  }
};

}  // namespace nvfp4j::device
