// SPDX-License-Identifier: Apache-2.0
// The order of work of a quantisation on the CPU, for whatever gives the rows: an input tensor
// (quantize), or SwiGLU's results as they are computed (swiglu_quantize).
//
// A Source has
//   int dtype() const                        what segment() returns
//   bool has_row(row) const                  false: the row's id is out of range
//   const void* segment(row, from, n, buffer) const
//       elements [from, from + n) of a row, n <= kQuantizeSegment, either where they are
//       or in `buffer` (kQuantizeSegment floats)
#pragma once
#include <algorithm>
#include <cstring>

#include "common/cpu_pool.hpp"
#include "common/faults.hpp"
#include "common/tensor_checks.hpp"
#include "nvfp4j/quantize.h"
#include "ops/quantize/quantize_kernels.hpp"

namespace nvfp4j {

/// Column of the first element that is not finite, n when there is none.
std::int64_t first_non_finite(const void* x, int dtype, std::int64_t n);

/// Puts `count` scales of row `m`, from block `first` (a multiple of 4) on, into a scale
/// buffer; zeroes the row's padding behind its last.
void store_scales(const QuantizeOutput& output, std::int64_t blocks, std::int64_t m,
                  std::int64_t first, std::int64_t count, const std::uint8_t* scales);

/// Zeroes the scales of the rows that fill the last tile.
void zero_padding_rows(const QuantizeOutput& output, std::int64_t rows, std::int64_t blocks);

template <class Source>
class RowQuantizer {
 public:
  RowQuantizer(CpuPool& pool, const Source& source, std::int64_t rows, std::int64_t columns,
               const QuantizeRecipe& recipe, const QuantizeOutput& output)
      : pool_(pool),
        source_(source),
        rows_(rows),
        columns_(columns),
        segments_((columns + kQuantizeSegment - 1) / kQuantizeSegment),
        recipe_(recipe),
        output_(output),
        kernels_(quantize_kernels[static_cast<int>(cpu_isa())]) {}

  void run(DeviceStatus& status, std::int32_t op) {
    const bool dynamic = recipe_.global_scale == NVFP4J_GLOBAL_SCALE_DYNAMIC;
    if (output_.global_scale_kind == NVFP4J_GLOBAL_SCALE_ROW) {
      run_rows(dynamic);
    } else {
      run_tensor(dynamic);
    }
    if (output_.scale_layout == NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4)
      zero_padding_rows(output_, rows_, columns_ / 16);
    faults_.publish(status, op);
  }

 private:
  // Enough work for a thread to be worth waking.
  static constexpr std::int64_t kGrainElements = 32768;

  struct alignas(64) SegmentBuffer {
    float values[kQuantizeSegment];
  };

  std::int64_t length(std::int64_t segment) const {
    return std::min(kQuantizeSegment, columns_ - segment * kQuantizeSegment);
  }

  void run_tensor(bool dynamic) {
    const std::int64_t units = rows_ * segments_;
    const std::int64_t grain =
        std::max<std::int64_t>(1, kGrainElements / std::min(columns_, kQuantizeSegment));
    float scale;
    std::uint32_t maximum = 0;
    if (dynamic) {
      pool_.run(units, grain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
        SegmentBuffer buffer;
        std::uint32_t part_maximum = 0;
        for (std::int64_t unit = begin; unit < end; ++unit) {
          part_maximum =
              std::max(part_maximum, segment_maximum(unit / segments_, unit % segments_, buffer));
        }
        pool_.word(part) = part_maximum;
      });
      for (int part = 0; part < pool_.parts(units, grain); ++part)
        maximum = std::max(maximum, pool_.word(part));
      scale = dynamic_global_scale(recipe_.recipe, maximum);
      output_.global_scales[0] = scale;
    } else {
      scale = given_scale(0, -1);
    }
    const BlockScaling scaling = block_scaling(recipe_, scale, dynamic, maximum);
    pool_.run(units, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
      SegmentBuffer buffer;
      for (std::int64_t unit = begin; unit < end; ++unit)
        encode(unit / segments_, unit % segments_, scaling, buffer);
    });
  }

  void run_rows(bool dynamic) {
    const std::int64_t grain = std::max<std::int64_t>(1, kGrainElements / columns_);
    pool_.run(rows_, grain, [&](int, std::int64_t begin, std::int64_t end) noexcept {
      SegmentBuffer buffer;
      for (std::int64_t row = begin; row < end; ++row) {
        float scale;
        std::uint32_t maximum = 0;
        if (dynamic) {
          for (std::int64_t s = 0; s < segments_; ++s)
            maximum = std::max(maximum, segment_maximum(row, s, buffer));
          scale = source_.has_row(row) ? dynamic_global_scale(recipe_.recipe, maximum) : 1.0f;
          output_.global_scales[row] = scale;
        } else {
          scale = given_scale(row, row);
        }
        const BlockScaling scaling = block_scaling(recipe_, scale, dynamic, maximum);
        for (std::int64_t s = 0; s < segments_; ++s) encode(row, s, scaling, buffer);
      }
    });
  }

  float given_scale(std::int64_t index, std::int64_t row) noexcept {
    const float scale = output_.global_scales[index];
    if (usable_global_scale(scale)) [[likely]]
      return scale;
    faults_.report(NVFP4J_CAUSE_BAD_GLOBAL_SCALE, row, -1);
    return 1.0f;
  }

  std::uint32_t segment_maximum(std::int64_t row, std::int64_t segment,
                                SegmentBuffer& buffer) const noexcept {
    if (!source_.has_row(row)) [[unlikely]]
      return 0;
    const std::int64_t n = length(segment);
    const void* x = source_.segment(row, segment * kQuantizeSegment, n, buffer.values);
    return kernels_.maximum(x, source_.dtype(), n).finite;
  }

  void encode(std::int64_t row, std::int64_t segment, const BlockScaling& scaling,
              SegmentBuffer& buffer) noexcept {
    const std::int64_t from = segment * kQuantizeSegment;
    const std::int64_t n = length(segment);
    std::uint8_t* codes = output_.codes + row * (columns_ / 2) + from / 2;
    std::uint8_t scales[kQuantizeSegment / 16];
    if (source_.has_row(row)) [[likely]] {
      const void* x = source_.segment(row, from, n, buffer.values);
      if (kernels_.encode(x, source_.dtype(), n, scaling, codes, scales)) [[unlikely]] {
        faults_.report(NVFP4J_CAUSE_NON_FINITE_INPUT, row,
                       from + first_non_finite(x, source_.dtype(), n));
      }
    } else {
      if (segment == 0) faults_.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, row, -1);
      std::memset(codes, 0, static_cast<std::size_t>(n / 2));
      std::memset(scales, 0, static_cast<std::size_t>(n / 16));
    }
    store_scales(output_, columns_ / 16, row, from / 16, n / 16, scales);
  }

  CpuPool& pool_;
  const Source& source_;
  const std::int64_t rows_;
  const std::int64_t columns_;
  const std::int64_t segments_;
  const QuantizeRecipe recipe_;
  const QuantizeOutput output_;
  const QuantizeKernels& kernels_;
  Faults faults_;
};

}  // namespace nvfp4j
