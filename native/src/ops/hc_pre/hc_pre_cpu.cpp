// SPDX-License-Identifier: Apache-2.0
// A token's columns are cut into slices whose sums are added in order: its bits depend neither on the
// number of threads nor on the tokens beside it. Of many tokens a thread has its own; of few it has
// slices, so that fn is read once.
#include "ops/hc_pre/hc_pre_cpu.hpp"

#include <algorithm>
#include <cmath>

#include "common/faults.hpp"
#include "common/float_formats.hpp"
#include "common/math.hpp"
#include "common/names.hpp"
#include "nvfp4j/hyper_connections.h"
#include "ops/hc_post/hc_post_row.hpp"
#include "ops/hc_pre/hc_kernels.hpp"
#include "ops/quantize/quantize_rows.hpp"
#include "ops/sinkhorn/sinkhorn_kernels.hpp"

namespace nvfp4j {
namespace {

constexpr int kTokens = 32;  // that share a reading of fn
constexpr int kMaxSlices = 16;
constexpr int kMaxMixes = NVFP4J_MAX_STREAMS * (NVFP4J_MAX_STREAMS + 2);
constexpr std::int64_t kRowColumns = kTokens * kHcSegment;
constexpr std::int64_t kSums = 13312;
constexpr std::int64_t kGrainProducts = 524288;  // worth waking a thread

/// Of a part; too large for a stack.
struct Scratch {
  union {
    alignas(64) float x[kTokens][kHcSegment];  // a segment of a stream
    float row[kRowColumns];                    // a collapsed row
  };
  float comb[NVFP4J_MAX_STREAMS * NVFP4J_MAX_STREAMS][kSinkhornLanes];
  float pre[kSinkhornLanes][NVFP4J_MAX_STREAMS];
  double sums[kSums];
};
static_assert(sizeof(Scratch) <= kCpuScratchBytes);

class HcPre {
 public:
  HcPre(CpuPool& pool, const HcPreArgs& args)
      : pool_(pool),
        args_(args),
        kernels_(hc_kernels[static_cast<int>(cpu_isa())]),
        element_(dtype_bytes(args.shape.dtype)),
        columns_(args.shape.columns),
        n_(args.shape.n),
        mixes_(args.module.iterations == 0 ? n_ : n_ * (n_ + 2)) {
    const std::int64_t segments = (columns_ + kHcSegment - 1) / kHcSegment;
    slice_columns_ = (segments + kMaxSlices - 1) / kMaxSlices * kHcSegment;
    slices_ = static_cast<int>((columns_ + slice_columns_ - 1) / slice_columns_);
  }

  void run(DeviceStatus& status) {
    const std::int64_t products = n_ * columns_ * (mixes_ + 4);  // about the time of the rest
    const std::int64_t token_grain = std::max<std::int64_t>(1, kGrainProducts / products);
    const std::int64_t tokens = args_.shape.tokens;
    const std::int64_t slice_grain = std::max<std::int64_t>(
        1, kGrainProducts / std::max<std::int64_t>(1, products * tokens / slices_));
    const int parts = pool_.parts(slices_, slice_grain);
    const int in_part = (slices_ + parts - 1) / parts;
    if (tokens <= kTokens && parts > 1 && parts >= pool_.parts(tokens, token_grain) &&
        in_part * tokens * width() <= kSums) {
      run_slices(slice_grain);
    } else {
      run_tokens(token_grain);
    }
    if (args_.quantize && args_.quantized.scale_layout == NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4)
      zero_padding_rows(args_.quantized, tokens, columns_ / 16);
    faults_.publish(status, args_.op);
  }

 private:
  // A token's sums: its mixes and, last, its squares.
  std::int64_t width() const { return mixes_ + 1; }

  Scratch& scratch(int part) const { return *static_cast<Scratch*>(pool_.scratch(part)); }

  void run_tokens(std::int64_t grain) {
    const std::int64_t most = std::min<std::int64_t>(kTokens, kSums / (2 * width()));
    pool_.run(args_.shape.tokens, grain,
              [&](int part, std::int64_t begin, std::int64_t end) noexcept {
                Scratch& s = scratch(part);
                for (std::int64_t first = begin; first < end; first += most) {
                  const int count = static_cast<int>(std::min(most, end - first));
                  const std::int64_t size = count * width();
                  double* totals = s.sums + size;
                  std::fill_n(totals, size, 0.0);
                  for (int slice = 0; slice < slices_; ++slice) {
                    sum_slice(s, slice, first, count, s.sums);
                    for (std::int64_t i = 0; i < size; ++i) totals[i] += s.sums[i];
                  }
                  finish(s, first, count, totals);
                }
              });
  }

  void run_slices(std::int64_t grain) {
    const int tokens = static_cast<int>(args_.shape.tokens);
    const std::int64_t size = tokens * width();
    const double* sums[kMaxSlices];
    pool_.run(slices_, grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
      Scratch& s = scratch(part);
      for (std::int64_t slice = begin; slice < end; ++slice) {
        double* to = s.sums + (slice - begin) * size;
        sum_slice(s, static_cast<int>(slice), 0, tokens, to);
        sums[slice] = to;
      }
    });
    const std::int64_t token_grain = std::max<std::int64_t>(1, kGrainProducts / (n_ * columns_));
    pool_.run(tokens, token_grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
      Scratch& s = scratch(part);
      double totals[kSinkhornLanes * (kMaxMixes + 1)];
      for (std::int64_t first = begin; first < end; first += kSinkhornLanes) {
        const int count = static_cast<int>(std::min<std::int64_t>(kSinkhornLanes, end - first));
        for (std::int64_t i = 0; i < count * width(); ++i) {
          totals[i] = 0.0;
          for (int slice = 0; slice < slices_; ++slice)
            totals[i] += sums[slice][first * width() + i];
        }
        finish(s, first, count, totals);
      }
    });
  }

  const void* stream(std::int64_t token, int j, std::int64_t column) const {
    return static_cast<const std::uint8_t*>(args_.x.data) +
           (token * args_.x.token_stride + j * args_.x.stream_stride + column) * element_;
  }

  static int length(std::int64_t from, std::int64_t end) {
    return static_cast<int>(std::min<std::int64_t>(kHcSegment, end - from));
  }

  // Behind a module the slice's part of the new residual is made first.
  void sum_slice(Scratch& s, int slice, std::int64_t first, int tokens,
                 double* sums) const noexcept {
    std::fill_n(sums, tokens * width(), 0.0);
    const std::int64_t end = std::min(columns_, (slice + 1) * slice_columns_);
    for (std::int64_t from = slice * slice_columns_; from < end; from += kHcSegment) {
      const int count = length(from, end);
      if (args_.op == NVFP4J_OP_HC_POST_PRE) {
        for (int t = 0; t < tokens; ++t)
          hc_post_columns(kernels_, args_.before, first + t, from, count);
      }
      for (int j = 0; j < n_; ++j) {
        for (int t = 0; t < tokens; ++t) {
          kernels_.widen(stream(first + t, j, from), args_.shape.dtype, count, s.x[t]);
          sums[t * width() + mixes_] += kernels_.squares(s.x[t], count);
        }
        kernels_.products(s.x, tokens, args_.module.fn + j * columns_ + from,
                          args_.module.fn_stride, mixes_, count, sums, width());
      }
    }
  }

  void finish(Scratch& s, std::int64_t first, int tokens, const double* totals) noexcept {
    for (int t = 0; t < tokens; t += kSinkhornLanes) {
      const int count = std::min(kSinkhornLanes, tokens - t);
      make_weights(s, first + t, count, totals + t * width());
      for (int i = 0; i < count; ++i) write_row(s, first + t + i, s.pre[i]);
    }
  }

  // Of at most kSinkhornLanes tokens.
  void make_weights(Scratch& s, std::int64_t first, int tokens, const double* totals) noexcept {
    const HcModule& module = args_.module;
    const double columns = static_cast<double>(n_) * static_cast<double>(columns_);
    for (int t = 0; t < tokens; ++t) {
      const double* sums = totals + t * width();
      const double mean = sums[mixes_] / columns + static_cast<double>(module.rms_eps);
      bool good = math::is_finite(static_cast<float>(sums[mixes_]));
      const double r = 1.0 / std::sqrt(mean);
      float logits[kMaxMixes];
      for (int i = 0; i < mixes_; ++i) {
        const int kind = i < n_ ? 0 : i < 2 * n_ ? 1 : 2;
        logits[i] = static_cast<float>(sums[i] * r * static_cast<double>(module.scale[kind]) +
                                       static_cast<double>(module.base[i]));
        good = good && math::is_finite(logits[i]);
      }
      if (!good) faults_.report(NVFP4J_CAUSE_NON_FINITE_RESULT, first + t, -1);
      kernels_.sigmoid(logits, std::min(mixes_, 2 * n_));
      for (int i = 0; i < n_; ++i) s.pre[t][i] = logits[i] + module.hc_eps;
      if (module.iterations == 0) continue;
      float* post = args_.post.data + (first + t) * args_.post.stride;
      for (int i = 0; i < n_; ++i) post[i] = math::canonical_nan(2.0f * logits[n_ + i]);
      for (int i = 0; i < n_ * n_; ++i) s.comb[i][t] = logits[2 * n_ + i];
    }
    if (module.iterations == 0) return;
    for (int i = 0; i < n_ * n_; ++i)
      std::fill(s.comb[i] + tokens, s.comb[i] + kSinkhornLanes, 0.0f);
    sinkhorn_cpu_kernels[static_cast<int>(cpu_isa())](s.comb, n_, module.iterations, module.hc_eps);
    for (int t = 0; t < tokens; ++t) {
      float* out = args_.comb.data + (first + t) * args_.comb.stride;
      for (int i = 0; i < n_ * n_; ++i) out[i] = math::canonical_nan(s.comb[i][t]);
    }
  }

  void* collapsed(std::int64_t token, std::int64_t column) const {
    return static_cast<std::uint8_t*>(args_.collapsed.data) +
           (token * args_.collapsed.stride + column) * element_;
  }

  void collapse(std::int64_t token, const float* pre, std::int64_t from, int count, void* out,
                bool as_f32) const noexcept {
    kernels_.collapse(stream(token, 0, from), args_.x.stream_stride, n_, args_.shape.dtype, pre,
                      count, out, as_f32);
  }

  template <class Body>
  void each_segment(const Body& body) const noexcept {
    for (std::int64_t from = 0; from < columns_; from += kHcSegment)
      body(from, length(from, columns_));
  }

  void write_row(Scratch& s, std::int64_t token, const float* pre) noexcept {
    if (args_.norm_weight == nullptr && !args_.quantize) {
      each_segment([&](std::int64_t from, int count) {
        collapse(token, pre, from, count, collapsed(token, from), false);
      });
      return;
    }
    // A row that is too long to be kept is made again whenever it is read.
    const bool kept = columns_ <= kRowColumns;
    const auto run = [&](std::int64_t from) { return kept ? s.row + from : s.row; };
    const bool normalised = args_.norm_weight != nullptr;
    double squares = 0.0;
    each_segment([&](std::int64_t from, int count) {
      if (!kept && !normalised) return;
      collapse(token, pre, from, count, run(from), true);
      if (normalised) squares += kernels_.squares(run(from), count);
    });
    const float norm =
        static_cast<float>(1.0 / std::sqrt(squares / static_cast<double>(columns_) +
                                           static_cast<double>(args_.module.rms_eps)));
    const auto make = [&](std::int64_t from, int count) {
      if (!kept) collapse(token, pre, from, count, run(from), true);
      if (normalised) {
        kernels_.normalise(static_cast<const std::uint8_t*>(args_.norm_weight) +
                               from * dtype_bytes(args_.norm_dtype),
                           args_.norm_dtype, norm, count, args_.shape.dtype, run(from));
      }
    };
    const QuantizeKernels& quantize = quantize_kernels[static_cast<int>(cpu_isa())];
    std::uint32_t maximum = 0;
    each_segment([&](std::int64_t from, int count) {
      make(from, count);
      if (args_.collapsed.data != nullptr)
        kernels_.narrow(run(from), args_.shape.dtype, count, collapsed(token, from));
      if (args_.quantize)
        maximum = std::max(maximum, quantize.maximum(run(from), NVFP4J_DTYPE_F32, count).finite);
    });
    if (!args_.quantize) return;
    const float scale = dynamic_global_scale(args_.recipe.recipe, maximum);
    args_.quantized.global_scales[token] = scale;
    const BlockScaling scaling = block_scaling(args_.recipe, scale, true, maximum);
    each_segment([&](std::int64_t from, int count) {
      if (!kept) make(from, count);
      std::uint8_t scales[kHcSegment / 16];
      if (quantize.encode(run(from), NVFP4J_DTYPE_F32, count, scaling,
                          args_.quantized.codes + token * (columns_ / 2) + from / 2, scales)) {
        faults_.report(NVFP4J_CAUSE_NON_FINITE_INPUT, token,
                       from + first_non_finite(run(from), NVFP4J_DTYPE_F32, count));
      }
      store_scales(args_.quantized, columns_ / 16, token, from / 16, count / 16, scales);
    });
  }

  CpuPool& pool_;
  const HcPreArgs& args_;
  const HcKernels& kernels_;
  const std::int64_t element_;
  const std::int64_t columns_;
  const int n_;
  const int mixes_;
  std::int64_t slice_columns_;
  int slices_;
  Faults faults_;
};

const char* path(const char* const (&paths)[kCpuIsaCount]) {
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace

void hc_pre_cpu(CpuPool& pool, DeviceStatus& status, const HcPreArgs& args) {
  HcPre(pool, args).run(status);
}

const char* hc_pre_cpu_path() {
  return path({"cpu: hc_pre_cpu, x86-64 baseline (no AVX2)", "cpu: hc_pre_cpu, x86-64-v3 (AVX2)",
               "cpu: hc_pre_cpu, x86-64-v4 (AVX-512)"});
}
const char* hc_head_cpu_path() {
  return path({"cpu: hc_head_cpu, x86-64 baseline (no AVX2)", "cpu: hc_head_cpu, x86-64-v3 (AVX2)",
               "cpu: hc_head_cpu, x86-64-v4 (AVX-512)"});
}
const char* hc_post_pre_cpu_path() {
  return path({"cpu: hc_post_pre_cpu, x86-64 baseline (no AVX2)",
               "cpu: hc_post_pre_cpu, x86-64-v3 (AVX2)",
               "cpu: hc_post_pre_cpu, x86-64-v4 (AVX-512)"});
}

}  // namespace nvfp4j
