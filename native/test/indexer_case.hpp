// SPDX-License-Identifier: Apache-2.0
// Problems for indexer_topk, and what nvfp4j/indexer.h says about their results: scores in F64 with the header's bound, and the order that a result's own scores make. Written apart from the library, for the tests of every device.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "nvfp4j/nvfp4j.h"

namespace indexer {

enum class Kind {
  kNormal,
  kZero,      // q is 0: so are all scores
  kSmall,     // integers from -1 to 1: many scores are equal, some 0
  kNegative,  // no weight is positive
  kCopies,    // seven different rows
  kPeaks,     // the best rows are all in few runs of 16
  kFaults,    // some NaNs and infinities everywhere
  kStripes,   // every 66th run of 16 rows has the best: those of one or two of 132 thread blocks
};
inline constexpr int kKinds = 8;

struct Case {
  std::int64_t queries;
  std::int64_t rows;
  int heads;
  int columns;
  int k;
  std::int32_t dtype = NVFP4J_DTYPE_BF16;
  Kind kind = Kind::kNormal;
  std::int64_t visible =
      -1;  // rows that every query sees; -1: all for the first, any number for the others
  bool bad_visible = false;  // of the last query: beyond what is allowed
  int gap = 0;               // elements between rows, twice as many between queries
  int misalign = 0;          // elements

  std::string name() const {
    return "T " + std::to_string(queries) + " C " + std::to_string(rows) + " H " +
           std::to_string(heads) + " d " + std::to_string(columns) + " k " + std::to_string(k) +
           (dtype == NVFP4J_DTYPE_F32 ? " F32" : " BF16") + " kind " +
           std::to_string(static_cast<int>(kind)) + " visible " + std::to_string(visible) +
           (bad_visible ? " and a bad one" : "") + " gap " + std::to_string(gap) + " misalign " +
           std::to_string(misalign);
  }
};

/// Elements of a tensor in memory; what no element is has all bits set: who reads it has NaNs.
class Image {
 public:
  Image() = default;
  Image(std::int32_t dtype, std::int64_t elements)
      : bf16_(dtype == NVFP4J_DTYPE_BF16),
        bytes_(static_cast<std::size_t>(elements * (bf16_ ? 2 : 4)), 0xFF) {}
  void put(std::int64_t at, float x) {
    std::uint32_t b;
    std::memcpy(&b, &x, 4);
    if (bf16_) {
      const auto h =
          static_cast<std::uint16_t>(x != x ? 0x7FC0 : (b + 0x7FFF + (b >> 16 & 1)) >> 16);
      std::memcpy(&bytes_[static_cast<std::size_t>(at) * 2], &h, 2);
    } else {
      std::memcpy(&bytes_[static_cast<std::size_t>(at) * 4], &b, 4);
    }
  }
  float get(std::int64_t at) const {
    std::uint32_t b = 0;
    if (bf16_) {
      std::uint16_t h;
      std::memcpy(&h, &bytes_[static_cast<std::size_t>(at) * 2], 2);
      b = static_cast<std::uint32_t>(h) << 16;
    } else {
      std::memcpy(&b, &bytes_[static_cast<std::size_t>(at) * 4], 4);
    }
    float x;
    std::memcpy(&x, &b, 4);
    return x;
  }
  std::vector<std::uint8_t>& bytes() { return bytes_; }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  bool bf16_ = false;
  std::vector<std::uint8_t> bytes_;
};

struct Problem : Case {
  Problem(const Case& c, std::mt19937& g) : Case(c) {
    head_stride = columns + gap;
    query_stride = heads * head_stride + 2 * gap;
    keys_stride = columns + gap;
    weights_stride = heads + gap;
    indices_stride = k + gap;
    scores_stride = rows + gap;
    q = Image(dtype, queries * query_stride);
    keys = Image(dtype, rows * keys_stride);
    weights = Image(NVFP4J_DTYPE_F32, queries * weights_stride);
    for (std::int64_t s = 0; s < queries; ++s) {
      for (int h = 0; h < heads; ++h) {
        const float weight = value(g);
        weights.put(s * weights_stride + h, kind == Kind::kNegative  ? -std::fabs(weight)
                                            : kind == Kind::kStripes ? std::fabs(weight)
                                                                     : weight);
        for (int i = 0; i < columns; ++i)
          q.put(s * query_stride + h * head_stride + i, kind == Kind::kZero ? 0.0f : value(g));
      }
      std::int64_t v = visible >= 0 ? visible
                       : s == 0
                           ? rows
                           : static_cast<std::int64_t>(g() % static_cast<std::uint32_t>(rows + 1));
      if (bad_visible && s == queries - 1) v = g() % 2 != 0 ? rows + 1 : -1;
      valid.push_back(static_cast<std::int32_t>(v));
    }
    for (std::int64_t t = 0; t < rows; ++t) {
      const bool high = (kind == Kind::kPeaks && t / 16 % 37 == 0) ||
                        (kind == Kind::kStripes && t / 16 % 66 == 0);
      const float scale = high ? 100.0f : 1.0f;
      for (int i = 0; i < columns; ++i) {
        const bool copy = kind == Kind::kCopies && t >= 7;
        keys.put(t * keys_stride + i,
                 copy ? keys.get((t % 7) * keys_stride + i) : scale * value(g));
      }
    }
    if (kind == Kind::kFaults) {
      const float faults[] = {std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()};
      const auto any = [&](std::int64_t n) {
        return static_cast<std::int64_t>(g() % static_cast<std::uint32_t>(n));
      };
      for (std::int64_t t = any(40); t < rows; t += 1 + any(40))
        keys.put(t * keys_stride + any(columns), faults[any(3)]);
      // Of the last query only, so that others have finite scores.
      const std::int64_t s = queries - 1;
      if (s > 0) {
        q.put(s * query_stride + any(heads) * head_stride + any(columns), faults[any(3)]);
        weights.put(s * weights_stride + any(heads), faults[any(3)]);
      }
    }
  }

  /// Rows that query s sees.
  std::int64_t seen(std::int64_t s) const {
    const std::int32_t v = valid[static_cast<std::size_t>(s)];
    return v < 0 || v > rows ? 0 : v;
  }

  struct Exact {
    double score;
    double bound;
  };
  Exact exact(std::int64_t s, std::int64_t t) const {
    double score = 0.0;
    double absolute = 0.0;
    for (int h = 0; h < heads; ++h) {
      double dot = 0.0;
      double sum = 0.0;
      for (int i = 0; i < columns; ++i) {
        const double product = static_cast<double>(q.get(s * query_stride + h * head_stride + i)) *
                               static_cast<double>(keys.get(t * keys_stride + i));
        dot += product;
        sum += std::fabs(product);
      }
      const double weight = static_cast<double>(weights.get(s * weights_stride + h));
      score += weight * (dot < 0.0 ? 0.0 : dot);
      absolute += std::fabs(weight) * sum;
    }
    return {score, std::ldexp(4.0 * (columns / 16) + heads + 8, -24) * absolute};
  }

  std::int64_t head_stride;
  std::int64_t query_stride;
  std::int64_t keys_stride;
  std::int64_t weights_stride;
  std::int64_t indices_stride;
  std::int64_t scores_stride;
  Image q;
  Image keys;
  Image weights;
  std::vector<std::int32_t> valid;

 private:
  float value(std::mt19937& g) const {
    if (kind == Kind::kSmall) return static_cast<float>(g() % 3) - 1.0f;
    float s = 0;
    for (int i = 0; i < 4; ++i) s += static_cast<float>(g() >> 8) * 0x1p-24f - 0.5f;
    return s * 1.7f;
  }
};

/// The first k rows in the order of these scores, then -1.
inline std::vector<std::int32_t> order(const float* scores, std::int64_t seen, int k) {
  std::vector<std::int32_t> rows(static_cast<std::size_t>(seen));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
  std::stable_sort(rows.begin(), rows.end(), [&](std::int32_t a, std::int32_t b) {
    const float x = scores[a];
    const float y = scores[b];
    return x == x && (y != y || x > y);
  });
  rows.resize(static_cast<std::size_t>(k), -1);
  return rows;
}

/// What is wrong with the scores of rows `from` to `to` for query s, or nothing. `faults` is counted up by those that are to be reported.
inline std::string judge_scores(const Problem& p, std::int64_t s, std::int64_t from,
                                std::int64_t to, const float* scores, std::int64_t& faults) {
  const std::int64_t seen = p.seen(s);
  const auto at = [&](std::int64_t t) {
    return p.name() + ": query " + std::to_string(s) + " row " + std::to_string(t);
  };
  for (std::int64_t t = from; t < to; ++t) {
    const float got = scores[t];
    if (t >= seen) {
      if (got != -std::numeric_limits<float>::infinity())
        return at(t) + " is not seen, and has score " + std::to_string(got);
      continue;
    }
    const Problem::Exact exact = p.exact(s, t);
    faults += !std::isfinite(exact.score);
    const bool right =
        std::isfinite(exact.score)
            ? std::fabs(static_cast<double>(got) - exact.score) <= exact.bound
            : static_cast<double>(got) == exact.score || (got != got && exact.score != exact.score);
    std::uint32_t bits;
    std::memcpy(&bits, &got, 4);
    if (!right || (got != got && bits != 0x7FC00000u)) {
      return at(t) + " has score " + std::to_string(got) + ", expected " +
             std::to_string(exact.score) + " within " + std::to_string(exact.bound);
    }
  }
  return {};
}

/// Whether a query's indices are those that its own scores make.
inline std::string judge_indices(const Problem& p, std::int64_t s, const std::int32_t* indices,
                                 const float* scores) {
  const std::vector<std::int32_t> expected = order(scores, p.seen(s), p.k);
  for (int i = 0; i < p.k; ++i) {
    if (indices[i] != expected[static_cast<std::size_t>(i)]) {
      return p.name() + ": query " + std::to_string(s) + " index " + std::to_string(i) + " is " +
             std::to_string(indices[i]) + ", expected " +
             std::to_string(expected[static_cast<std::size_t>(i)]);
    }
  }
  return {};
}

}  // namespace indexer
