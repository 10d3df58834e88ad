// SPDX-License-Identifier: Apache-2.0
// A case of the tests of hc_pre, hc_head and hc_post_pre: shapes, layouts, kinds of data, and what hc_post_pre does besides. No data, and nothing of a device.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>

#include "nvfp4j/nvfp4j.h"
#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j::test {

enum class Values {
  kRandom,  // Gaussian; some tokens are all zero, large or small
  kPositive,
  // The same products again and again, so that one rounding error is that of all.
  kConstant,
  // Two of them, whose sum nearly vanishes.
  kCancelling,         // eight columns each
  kCancellingStreams,  // a stream each
  kCancellingHalves,   // half of the columns each
  kOneColumn,          // all others are zero
  // Sixteen products again and again, whose sum has many bits.
  kPattern,
  kCancellingPatterns,  // two of them, half of the columns each
  kCancellingSteps,     // two of them, sixteen columns each in turn, of more magnitudes
};

enum class Spoiled { kNothing, kNan, kInfinity, kHuge, kBase };

struct HcPreCase {
  int op;
  int dtype;
  std::int64_t tokens;
  int n;
  std::int64_t columns;
  Values values = Values::kRandom;
  // Scales of 4096, and bases that take the logits back to where sigmoids are steepest: results show what the mixes are off by.
  bool magnified = false;
  Spoiled spoiled = Spoiled::kNothing;
  std::int64_t gap = 0;
  std::int64_t weights_gap = 0;  // of post and comb
  int misalign = 0;
  bool in_place = false;
  int iterations = 20;

  bool post() const { return op == NVFP4J_OP_HC_POST_PRE; }
  bool head() const { return op == NVFP4J_OP_HC_HEAD; }
  int rows() const { return head() ? n : n * (n + 2); }
  // Whether tokens are the first one, times a power of two: their mixes are the same.
  bool copies() const { return magnified; }
  std::int64_t spoiled_token() const { return tokens * 2 / 3; }
  std::string name() const {
    char text[240];
    std::snprintf(text, sizeof text,
                  "op %d dtype %d [%lld, %d, %lld] values %d%s spoiled %d gaps %lld %lld misalign "
                  "%d%s iterations %d",
                  op, dtype, static_cast<long long>(tokens), n, static_cast<long long>(columns),
                  static_cast<int>(values), magnified ? " magnified" : "",
                  static_cast<int>(spoiled), static_cast<long long>(gap),
                  static_cast<long long>(weights_gap), misalign, in_place ? " in place" : "",
                  iterations);
    return text;
  }
};

// What hc_post_pre does besides.
struct Tail {
  int norm = -1;  // type of the weight
  bool quantize = false;
  int recipe = NVFP4J_RECIPE_EXACT;
  int layout = NVFP4J_SCALE_LAYOUT_LINEAR;
  bool collapsed = true;

  QuantizeRecipe quantize_recipe() const {
    return {NVFP4J_GLOBAL_SCALE_DYNAMIC, recipe, NVFP4J_ZERO_SCALE_MIN};
  }
  std::string name() const {
    char text[100];
    std::snprintf(text, sizeof text, " norm %d quantize %d recipe %d layout %d%s", norm, quantize,
                  recipe, layout, collapsed ? "" : " collapsed NULL");
    return text;
  }
};

}  // namespace nvfp4j::test
