// SPDX-License-Identifier: Apache-2.0
// A run of the new residual's columns of one token on the CPU. Also used by hc_post_pre.
#pragma once
#include "common/names.hpp"
#include "ops/hc_pre/hc_args.hpp"
#include "ops/hc_pre/hc_kernels.hpp"

namespace nvfp4j {

/// Columns [from, from + count) of all streams, count <= kHcSegment.
inline void hc_post_columns(const HcKernels& kernels, const HcPostArgs& args, std::int64_t token,
                            std::int64_t from, int count) {
  const std::int64_t element = dtype_bytes(args.shape.dtype);
  const auto at = [&](void* data, std::int64_t stride) {
    return static_cast<std::uint8_t*>(data) + (token * stride + from) * element;
  };
  kernels.post(
      HcPostRun{at(args.x.data, args.x.token_stride), args.x.stream_stride,
                at(args.sub.data, args.sub.stride), args.post.data + token * args.post.stride,
                args.comb.data + token * args.comb.stride, at(args.out.data, args.out.token_stride),
                args.out.stream_stride, args.shape.n, args.shape.dtype, count});
}

}  // namespace nvfp4j
