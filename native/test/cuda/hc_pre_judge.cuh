// SPDX-License-Identifier: Apache-2.0
// What must be true of a result of hc_pre, hc_head or hc_post_pre: mixes, rows and norms against binary64 within the header's bounds, codes bit for bit, bytes that are nobody's, reports.
#pragma once
#include "hc_pre_problem.cuh"

namespace nvfp4j::test {

// A token's results: what is wrong, and how many elements of its row are not the nearest to the exact ones.
struct Verdict {
  bool post = false;
  bool comb = false;
  bool collapsed = false;
  std::int64_t inexact = 0;
};

inline bool is_nan(const Strided& t, const std::vector<std::uint8_t>& image, std::int64_t token) {
  std::vector<float> v(static_cast<std::size_t>(t.token_elements()));
  t.token(image, token, v.data());
  return std::all_of(v.begin(), v.end(), [](float x) { return bits_of(x) == kNanBits; });
}

inline bool nans_are_canonical(const Strided& t, const std::vector<std::uint8_t>& image) {
  std::vector<float> v(static_cast<std::size_t>(t.token_elements()));
  for (std::int64_t token = 0; token < t.tokens(); ++token) {
    t.token(image, token, v.data());
    for (const float x : v) {
      if (std::isnan(x) && bits_of(x) != kNanBits) return false;
    }
  }
  return true;
}

inline Verdict judge_token(HcPreProblem& p, const HcPreResult& r, std::int64_t token) {
  const HcPreCase& c = p.c;
  std::vector<float> x(static_cast<std::size_t>(p.parameters.width));
  p.mixed().token(p.mixed_image(), token, x.data());
  const Mixed m = mix_token(p.parameters, x.data());
  Verdict v;
  if (!c.head()) {
    float got[kMaxStreams * kMaxStreams];
    p.post.token(r.post, token, got);
    for (int i = 0; i < c.n; ++i) {
      v.post = v.post || !(std::fabs(static_cast<double>(got[i]) - m.post[i]) <= m.post_bound[i]);
    }
    p.comb.token(r.comb, token, got);
    for (int i = 0; i < c.n * c.n; ++i) {
      v.comb = v.comb || !(std::fabs(static_cast<double>(got[i]) - m.comb[i]) <= m.comb_bound);
    }
  }
  // Where sums are large or magnified, what a mix may be off by moves `pre` by more than rounding does.
  const bool moved = c.magnified || c.values == Values::kPositive;
  std::vector<float> row(static_cast<std::size_t>(c.columns));
  p.collapsed.token(r.collapsed, token, row.data());
  for (std::int64_t d = 0; d < c.columns; ++d) {
    double y = 0;
    double allowed = 0;
    for (int i = 0; i < c.n; ++i) {
      const double value = static_cast<double>(x[static_cast<std::size_t>(i * c.columns + d)]);
      y += m.pre[i] * value;
      allowed += (1e-6 * m.pre[i] + (moved ? m.pre_moved[i] : 0)) * std::fabs(value);
    }
    allowed +=
        c.dtype == NVFP4J_DTYPE_BF16 ? half_ulp(y, NVFP4J_DTYPE_BF16) : 0x1p-23 * std::fabs(y);
    const float got = row[static_cast<std::size_t>(d)];
    v.collapsed = v.collapsed || !(std::fabs(static_cast<double>(got) - y) <= allowed);
    if (c.dtype == NVFP4J_DTYPE_BF16 && !moved)
      v.inexact += got != bf16_to_f32(f32_to_bf16(static_cast<float>(y)));
  }
  return v;
}

// Everything but what a tail makes of the rows; `collapsed` holds collapsed rows.
inline void judge(HcPreProblem& p, const HcPreResult& r, const std::string& name) {
  const HcPreCase& c = p.c;
  if (c.post()) check(r.out == p.expected_out, name + ": out is not that of hc_post");
  std::vector<Verdict> verdicts(static_cast<std::size_t>(c.tokens));
  const bool one_bad = c.spoiled != Spoiled::kNothing && c.spoiled != Spoiled::kBase;
  if (c.spoiled == Spoiled::kBase) return;
  parallel(c.tokens, [&](std::int64_t from, std::int64_t end) {
    for (std::int64_t t = from; t < end; ++t) {
      if (!one_bad || t != c.spoiled_token())
        verdicts[static_cast<std::size_t>(t)] = judge_token(p, r, t);
    }
  });
  std::int64_t wrong[3] = {};
  std::int64_t inexact = 0;
  for (const Verdict& v : verdicts) {
    wrong[0] += v.post;
    wrong[1] += v.comb;
    wrong[2] += v.collapsed;
    inexact += v.inexact;
  }
  const char* const what[] = {"post", "comb", "collapsed"};
  for (int i = 0; i < 3; ++i) {
    check(wrong[i] == 0,
          name + ": " + what[i] + " of " + std::to_string(wrong[i]) + " tokens is out of bounds");
  }
  if (c.tokens * c.columns >= 4000) {
    check(
        inexact * 1000 <= c.tokens * c.columns,
        name + ": " + std::to_string(inexact) + " elements are not the nearest to the exact ones");
  }
  if (c.spoiled == Spoiled::kNan) {
    const std::int64_t t = c.spoiled_token();
    check(is_nan(p.collapsed, r.collapsed, t) &&
              (c.head() || (is_nan(p.post, r.post, t) && is_nan(p.comb, r.comb, t))),
          name + ": the spoiled token has results other than NaN");
  }
}

// What is the case of every result.
inline void judge_bytes(HcPreProblem& p, const HcPreResult& r, const Tail& tail,
                        const std::string& name) {
  check(p.collapsed.untouched_between(r.collapsed) && p.post.untouched_between(r.post) &&
            p.comb.untouched_between(r.comb),
        name + ": bytes between the results were written");
  check((!tail.collapsed || nans_are_canonical(p.collapsed, r.collapsed)) &&
            (p.c.head() ||
             (nans_are_canonical(p.post, r.post) && nans_are_canonical(p.comb, r.comb))),
        name + ": a NaN is another than that of results");
  const auto poison = [](const std::vector<std::uint8_t>& image) {
    return std::all_of(image.begin(), image.end(),
                       [](std::uint8_t b) { return b == Buffer::kPoison; });
  };
  if (!tail.collapsed) check(poison(r.collapsed), name + ": collapsed was written, which is NULL");
  if (p.c.head()) check(poison(r.post) && poison(r.comb), name + ": post or comb was written");
}

// `input`: whether a row that is quantised has an element that is not finite.
inline void judge_status(const HcPreCase& c, const DeviceStatus& s, bool input,
                         const std::string& name) {
  const bool result = c.spoiled != Spoiled::kNothing;
  const unsigned long long causes = (result ? 1ull << NVFP4J_CAUSE_NON_FINITE_RESULT : 0) |
                                    (input ? 1ull << NVFP4J_CAUSE_NON_FINITE_INPUT : 0);
  bool right = (s.claimed != 0) == (causes != 0);
  for (int op = 0; op < NVFP4J_STATUS_WORDS; ++op)
    right = right && s.causes[op] == (op == c.op ? causes : 0);
  if (causes != 0) {
    right = right && s.first_op == c.op && (causes >> s.first_cause & 1) != 0;
    right = right && (c.spoiled == Spoiled::kBase ? s.first_row >= 0 && s.first_row < c.tokens
                                                  : s.first_row == c.spoiled_token());
    right = right && (s.first_cause == NVFP4J_CAUSE_NON_FINITE_RESULT
                          ? s.first_column == -1
                          : s.first_column >= 0 && s.first_column < c.columns);
  }
  char text[160];
  std::snprintf(text, sizeof text,
                ": causes %llu, expected %llu; first op %d cause %d at %lld, %lld", s.causes[c.op],
                causes, s.first_op, s.first_cause, s.first_row, s.first_column);
  check(right, name + text);
}

// Rows in r.collapsed from the collapsed ones: (g * c) * s has three roundings, and s one besides what its sum is off by.
inline void judge_norm(HcPreProblem& p, const std::vector<std::uint8_t>& collapsed,
                       const HcPreResult& r, const Tail& tail, const std::string& name) {
  const HcPreCase& c = p.c;
  const std::vector<float>& weight = p.norm_weight(tail.norm);
  std::vector<std::int64_t> wrong(static_cast<std::size_t>(c.tokens));
  parallel(c.tokens, [&](std::int64_t from, std::int64_t end) {
    std::vector<float> row(static_cast<std::size_t>(c.columns));
    std::vector<float> got(static_cast<std::size_t>(c.columns));
    for (std::int64_t t = from; t < end; ++t) {
      if (c.spoiled != Spoiled::kNothing && t == c.spoiled_token()) continue;
      p.collapsed.token(collapsed, t, row.data());
      p.collapsed.token(r.collapsed, t, got.data());
      const double mean =
          sum_products(row.data(), row.data(), c.columns).sum / static_cast<double>(c.columns);
      const double s = 1.0 / std::sqrt(mean + static_cast<double>(p.parameters.rms_eps));
      for (std::int64_t d = 0; d < c.columns; ++d) {
        const double y = static_cast<double>(weight[d]) * static_cast<double>(row[d]) * s;
        const double allowed = half_ulp(y, c.dtype) + 4 * 0x1p-24 * std::fabs(y);
        wrong[t] += !(std::fabs(static_cast<double>(got[d]) - y) <= allowed);
      }
    }
  });
  std::int64_t all = 0;
  for (const std::int64_t w : wrong) all += w;
  check(all == 0, name + ": " + std::to_string(all) + " normalised elements are out of bounds");
  if (c.spoiled == Spoiled::kNan)
    check(is_nan(p.collapsed, r.collapsed, c.spoiled_token()), name + ": a normalised NaN is none");
}

// Codes, scales and global scales of the rows in r.collapsed. Whether one of them has an element that is not finite.
inline bool judge_codes(HcPreProblem& p, const HcPreResult& r, const Tail& tail,
                        const std::string& name) {
  const Quantised expected = quantise(
      p.c.tokens, p.c.columns, tail.quantize_recipe(), tail.layout, NVFP4J_GLOBAL_SCALE_ROW, {},
      [&](std::int64_t m, float* v) { p.collapsed.token(r.collapsed, m, v); });
  equal(expected, *p.codes, *p.scales, *p.global_scales, name);
  return expected.non_finite;
}

}  // namespace nvfp4j::test
