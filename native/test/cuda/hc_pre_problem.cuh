// SPDX-License-Identifier: Apache-2.0
// A call of hc_pre, hc_head or hc_post_pre: its data in device memory, what is known of its results, and its launch.
#pragma once
#include <memory>
#include <set>
#include <utility>

#include "hc_expected.cuh"
#include "hc_pre_case.cuh"
#include "ops/hc_pre/hc_pre_cuda.hpp"
#include "ops/hc_pre/hc_pre_plan.hpp"
#include "quantize_reference.cuh"
#include "strided.cuh"

namespace nvfp4j::test {

// Images of what a launch wrote.
struct HcPreResult {
  std::vector<std::uint8_t> out, collapsed, post, comb, codes, scales, global_scales;
  DeviceStatus status;

  bool operator==(const HcPreResult& o) const {
    return out == o.out && collapsed == o.collapsed && post == o.post && comb == o.comb &&
           codes == o.codes && scales == o.scales && global_scales == o.global_scales;
  }
};

// ---- which kernels were launched ---------------------------------------------------------------------------------------

inline std::set<std::string> reached;

// Of a kernel whose thread blocks share tokens.
inline std::string shared_name(HcPreKernel kernel, HcKind kind, int slice) {
  const std::string of_kind = ", kind " + std::to_string(static_cast<int>(kind));
  if (kernel == HcPreKernel::kSplit) return "hc_pre_split" + of_kind;
  return "hc_pre_wgmma" + of_kind + ", slices of " + std::to_string(slice);
}
inline std::string generic_name(int dtype, bool four, bool several, bool aligned) {
  char text[80];
  std::snprintf(text, sizeof text, "hc_pre_generic, dtype %d%s%s%s", dtype, four ? ", n = 4" : "",
                several ? ", several tokens" : "", aligned ? ", aligned" : "");
  return text;
}

inline void note_kernel(const CudaDeviceProperties& device, const HcPreArgs& args) {
  const HcPrePlan plan = plan_hc_pre(device, args);
  if (plan.kernel != HcPreKernel::kGeneric) {
    reached.insert(shared_name(plan.kernel, plan.kind, plan.slice));
    return;
  }
  reached.insert(generic_name(args.shape.dtype, args.shape.n == 4, plan.tokens > 1, plan.aligned));
}

inline void check_all_reached(bool split) {
  std::set<std::string> all;
  for (const HcKind kind : {HcKind::kHead, HcKind::kPre, HcKind::kPostPre, HcKind::kPostPreTail}) {
    if (!split) continue;
    all.insert(shared_name(HcPreKernel::kSplit, kind, 0));
    if (kind == HcKind::kHead) continue;
    for (const int slice : {kHcGranule, kHcWgmmaMaxSlice})
      all.insert(shared_name(HcPreKernel::kWgmma, kind, slice));
  }
  for (int i = 0; i < 16; ++i) {
    all.insert(generic_name(i & 1 ? NVFP4J_DTYPE_F32 : NVFP4J_DTYPE_BF16, (i & 2) != 0,
                            (i & 4) != 0, (i & 8) != 0));
  }
  for (const std::string& name : all) check(reached.count(name) != 0, "no case reaches " + name);
}

// ---- a call ----------------------------------------------------------------------------------------------------------

class HcPreProblem {
 public:
  HcPreProblem(std::mt19937& g, const HcPreCase& of)
      : c(of),
        x(Role::kInput, c.dtype, c.tokens, c.n, c.columns, c.gap, c.misalign),
        sub(Role::kInput, c.dtype, c.post() ? c.tokens : 1, 1, c.columns, c.gap, c.misalign),
        post_before(Role::kInput, NVFP4J_DTYPE_F32, c.post() ? c.tokens : 1, 1, c.n, c.weights_gap),
        comb_before(Role::kInput, NVFP4J_DTYPE_F32, c.post() ? c.tokens : 1, 1, c.n * c.n,
                    c.weights_gap),
        fn(Role::kInput, NVFP4J_DTYPE_F32, c.rows(), 1, c.n * c.columns, c.gap, c.misalign),
        base(c.rows() * 4),
        scale(3 * 4),
        separate(Role::kOutput, c.dtype, c.post() && !c.in_place ? c.tokens : 1, c.n, c.columns,
                 c.gap == 0 ? 0 : c.gap + 8, c.misalign),
        collapsed(Role::kOutput, c.dtype, c.tokens, 1, c.columns, c.gap, c.misalign),
        post(Role::kOutput, NVFP4J_DTYPE_F32, c.tokens, 1, c.n, c.weights_gap),
        comb(Role::kOutput, NVFP4J_DTYPE_F32, c.tokens, 1, c.n * c.n, c.weights_gap) {
    make_streams(g);
    if (c.post()) {
      make_step_before(g);
      expect_out();
    }
    make_module(g);
    make_norm_weights(g);
    for (const Strided* t : {&x, &sub, &post_before, &comb_before, &fn}) t->upload();
  }

  Strided& out() { return c.in_place ? x : separate; }
  // What is mixed: the streams, or the new ones.
  const Strided& mixed() { return c.post() ? out() : x; }
  const std::vector<std::uint8_t>& mixed_image() { return c.post() ? expected_out : x.image(); }
  const std::vector<float>& norm_weight(int dtype) const {
    return dtype == NVFP4J_DTYPE_BF16 ? weight_bf16 : weight_f32;
  }

  HcPreArgs args(const Tail& tail) {
    HcPreArgs a{};
    a.op = c.op;
    a.shape = {c.tokens, c.n, c.columns, c.dtype};
    a.x = c.post() ? out().streams() : x.streams();
    a.module = {fn.weights().data, fn.weights().stride,         base.as<float>(),
                scale.as<float>(), c.head() ? 0 : c.iterations, parameters.hc_eps,
                parameters.rms_eps};
    if (tail.collapsed) a.collapsed = collapsed.rows();
    if (!c.head()) {
      a.post = post.weights();
      a.comb = comb.weights();
    }
    if (c.post()) {
      a.before = {a.shape, x.streams(), sub.rows(), post_before.weights(), comb_before.weights(),
                  a.x};
      if (tail.norm >= 0) {
        a.norm_weight = (tail.norm == NVFP4J_DTYPE_BF16 ? norm_bf16 : norm_f32)->data();
        a.norm_dtype = tail.norm;
      }
      if (tail.quantize) {
        a.quantize = true;
        a.recipe = tail.quantize_recipe();
        a.quantized = {codes->data(), scales->data(), global_scales->as<float>(), tail.layout,
                       NVFP4J_GLOBAL_SCALE_ROW};
      }
    }
    return a;
  }

  // Launches once, or captures and replays.
  HcPreResult launch(Gpu& gpu, const Tail& tail = {}, bool in_graph = false) {
    if (c.post()) out().reset();
    for (Strided* t : {&collapsed, &post, &comb}) t->reset();
    if (tail.quantize) {
      codes = std::make_unique<Buffer>(c.tokens * c.columns / 2);
      scales = std::make_unique<Buffer>(scale_bytes(tail.layout, c.tokens, c.columns / 16));
      global_scales = std::make_unique<Buffer>(c.tokens * 4);
    }
    const HcPreArgs a = args(tail);
    note_kernel(gpu.properties, a);
    const auto start = [&] {
      must(static_cast<cudaError_t>(hc_pre_cuda(gpu.launch, a)), (c.name() + tail.name()).c_str());
    };
    if (in_graph) {
      gpu.replay(start, c.in_place ? 1 : 2);
    } else {
      start();
      gpu.wait();
    }
    HcPreResult r;
    if (c.post()) r.out = out().download("out");
    r.collapsed = collapsed.download("collapsed");
    r.post = post.download("post");
    r.comb = comb.download("comb");
    if (tail.quantize) {
      r.codes = codes->get("codes");
      r.scales = scales->get("scales");
      r.global_scales = global_scales->get("global scales");
    }
    r.status = gpu.take_status();
    return r;
  }

  const HcPreCase c;
  Strided x;
  Strided sub;
  Strided post_before;
  Strided comb_before;
  Strided fn;
  Buffer base;
  Buffer scale;
  Strided separate;
  Strided collapsed;
  Strided post;
  Strided comb;
  std::unique_ptr<Buffer> norm_f32;
  std::unique_ptr<Buffer> norm_bf16;
  std::vector<float> weight_f32;
  std::vector<float> weight_bf16;
  std::unique_ptr<Buffer> codes;
  std::unique_ptr<Buffer> scales;
  std::unique_ptr<Buffer> global_scales;
  Module parameters{};
  std::vector<std::uint8_t> expected_out;

 private:
  bool repeats() const { return c.values != Values::kRandom && c.values != Values::kPositive; }
  bool patterns() const {
    return c.values == Values::kPattern || c.values == Values::kCancellingPatterns ||
           c.values == Values::kCancellingSteps;
  }
  struct Patterns {
    float of[2][16];
    // Of so many magnitudes.
    Patterns(std::mt19937& g, unsigned magnitudes) {
      for (float (&p)[16] : of) {
        for (float& v : p) v = std::ldexp(between_1_and_2(g), -static_cast<int>(g() % magnitudes));
      }
    }
  };
  unsigned magnitudes() const { return c.values == Values::kCancellingSteps ? 9u : 4u; }
  // Of a residual's column: which of two products it belongs to.
  bool second(std::int64_t stream, std::int64_t column) const {
    return c.values == Values::kCancelling          ? column % 16 >= 8
           : c.values == Values::kCancellingSteps   ? column % 32 >= 16
           : c.values == Values::kCancellingStreams ? stream % 2 != 0
           : c.values == Values::kCancellingHalves || c.values == Values::kCancellingPatterns
               ? column >= c.columns / 2
               : false;
  }

  std::vector<std::uint8_t> random(std::mt19937& g, int dtype, std::int64_t elements) const {
    std::vector<std::uint8_t> v = random_part(g, dtype, elements, kGauss);
    if (c.values == Values::kPositive) {
      const auto bytes = static_cast<std::size_t>(element_bytes(dtype));
      for (std::size_t i = bytes - 1; i < v.size(); i += bytes) v[i] &= 0x7F;
    }
    return v;
  }
  static float between_1_and_2(std::mt19937& g) {
    return 1.0f + static_cast<float>(g() >> 8) * 0x1p-24f;
  }

  // Makes f(element, value) of each of a token's elements.
  template <typename F>
  void change(Strided& t, std::int64_t token, const F& f) const {
    std::vector<float> v(static_cast<std::size_t>(t.token_elements()));
    t.token(t.image(), token, v.data());
    const std::int64_t width = c.columns;
    for (std::int64_t i = 0; i < t.token_elements(); ++i)
      t.set(token, i / width, i % width, f(i, v[static_cast<std::size_t>(i)]));
  }
  void copy_first(Strided& t, float factor_of_third) const {
    std::vector<float> first(static_cast<std::size_t>(t.token_elements()));
    t.token(t.image(), 0, first.data());
    for (std::int64_t token = 1; token < t.tokens(); ++token) {
      const float factor = token % 3 == 0 ? 1.0f : token % 3 == 1 ? 2.0f : factor_of_third;
      change(t, token,
             [&](std::int64_t i, float) { return first[static_cast<std::size_t>(i)] * factor; });
    }
  }

  void make_streams(std::mt19937& g) {
    x.fill(random(g, c.dtype, c.tokens * c.n * c.columns));
    if (c.post()) sub.fill(random(g, c.dtype, c.tokens * c.columns));
    if (patterns()) {
      const Patterns p(g, magnitudes());
      change(x, 0, [&](std::int64_t i, float) {
        const std::int64_t column = i % c.columns;
        return p.of[second(i / c.columns, column)][column % 16];
      });
    } else if (repeats()) {
      const auto value = [&] {
        const float v = between_1_and_2(g);
        return c.dtype == NVFP4J_DTYPE_BF16 ? bf16_to_f32(f32_to_bf16(v)) : v;
      };
      const float two[2] = {value(), -value()};
      pair_ratio = -two[0] / two[1];
      const auto hot = static_cast<std::int64_t>(g() % static_cast<std::uint32_t>(c.n * c.columns));
      change(x, 0, [&](std::int64_t i, float value) {
        if (c.values == Values::kOneColumn) return i == hot ? value : 0.0f;
        return two[second(i / c.columns, i % c.columns)];
      });
    }
    if (c.copies()) {
      copy_first(x, 4.0f);
      if (c.post()) copy_first(sub, 4.0f);
    } else if (c.values == Values::kRandom) {
      for (std::int64_t t = 0; t < c.tokens; ++t) {
        const float factor = t % 11 == 7  ? 0.0f
                             : t % 5 == 4 ? std::ldexp(1.0f, static_cast<int>(t / 5 % 7) * 4 - 12)
                                          : 1.0f;
        if (factor == 1.0f) continue;
        const auto times = [&](std::int64_t, float v) { return v * factor; };
        change(x, t, times);
        if (c.post()) change(sub, t, times);
      }
    }
    const std::int64_t bad = c.spoiled_token();
    if (c.spoiled == Spoiled::kNan) x.set(bad, c.n - 1, 5, float_of(0xFFC00001u));  // with a sign
    if (c.spoiled == Spoiled::kInfinity) x.set(bad, 0, 3, -std::numeric_limits<float>::infinity());
    if (c.spoiled == Spoiled::kHuge) change(x, bad, [](std::int64_t, float) { return 1e30f; });
  }

  // The weights of the module before: around what they are in a model. Where products repeat, the streams stay as they are.
  void make_step_before(std::mt19937& g) {
    for (std::int64_t t = 0; t < c.tokens; ++t) {
      for (int k = 0; k < c.n; ++k) {
        const float p = 1.0f + 0.3f * random_value(g, kGauss);
        post_before.set(t, 0, k,
                        repeats()                       ? 0.0f
                        : c.values == Values::kPositive ? std::fabs(p)
                                                        : p);
      }
      for (int i = 0; i < c.n * c.n; ++i) {
        const float w = 1.0f / static_cast<float>(c.n) + 0.2f * random_value(g, kGauss);
        const float identity = i / c.n == i % c.n ? 1.0f : 0.0f;
        comb_before.set(t, 0, i,
                        repeats()                       ? identity
                        : c.values == Values::kPositive ? std::fabs(w)
                                                        : w);
      }
    }
    if (!c.copies()) return;
    std::vector<float> first(static_cast<std::size_t>(c.n * c.n));
    for (Strided* s : {&post_before, &comb_before}) {
      s->token(s->image(), 0, first.data());
      for (std::int64_t t = 1; t < c.tokens; ++t) {
        for (std::int64_t i = 0; i < s->token_elements(); ++i)
          s->set(t, 0, i, first[static_cast<std::size_t>(i)]);
      }
    }
  }

  void expect_out() {
    const Strided& to = out();
    expected_out = to.image();
    parallel(c.tokens, [&](std::int64_t from, std::int64_t end) {
      const std::int64_t all = c.n * c.columns;
      std::vector<float> in(static_cast<std::size_t>(all));
      std::vector<float> y(static_cast<std::size_t>(all));
      std::vector<float> result(static_cast<std::size_t>(c.columns));
      float p[kMaxStreams];
      float m[kMaxStreams * kMaxStreams];
      for (std::int64_t t = from; t < end; ++t) {
        x.token(x.image(), t, in.data());
        sub.token(sub.image(), t, result.data());
        post_before.token(post_before.image(), t, p);
        comb_before.token(comb_before.image(), t, m);
        hc_post_token(in.data(), result.data(), p, m, c.n, c.columns, y.data());
        for (std::int64_t i = 0; i < all; ++i) {
          to.set(expected_out, t, i / c.columns, i % c.columns, y[static_cast<std::size_t>(i)]);
        }
      }
    });
  }

  void make_module(std::mt19937& g) {
    parameters.n = c.n;
    parameters.width = c.n * c.columns;
    parameters.iterations = c.iterations;
    parameters.hc_eps = 1e-6f;
    parameters.rms_eps = 1e-6f;
    const std::vector<std::uint8_t> values =
        random(g, NVFP4J_DTYPE_F32, c.rows() * parameters.width);
    parameters.fn.resize(values.size() / 4);
    std::memcpy(parameters.fn.data(), values.data(), values.size());
    const float deviation = 1.0f / std::sqrt(static_cast<float>(parameters.width));
    for (std::int64_t i = 0; i < c.rows() * parameters.width; ++i)
      parameters.fn[i] = parameters.fn[i] * deviation;
    if (patterns()) {
      make_patterns(g, deviation);
    } else if (repeats() && c.values != Values::kOneColumn) {
      for (int row = 0; row < c.rows(); ++row) {
        const float f = between_1_and_2(g) * deviation;
        for (std::int64_t i = 0; i < parameters.width; ++i) {
          parameters.fn[row * parameters.width + i] =
              second(i / c.columns, i % c.columns) ? f * pair_ratio : f;
        }
      }
    }
    fn.fill(bytes_of(parameters.fn));
    parameters.scale = {0.7f, 0.9f, 1.3f};
    if (c.head()) parameters.scale.resize(1);
    if (c.magnified) std::fill(parameters.scale.begin(), parameters.scale.end(), 4096.0f);
    parameters.base.resize(static_cast<std::size_t>(c.rows()));
    // Around the middle of the sigmoids, where sums are far from zero.
    const bool centred = c.magnified || c.values == Values::kPositive;
    std::vector<float> first(static_cast<std::size_t>(parameters.width));
    mixed().token(mixed_image(), 0, first.data());
    const double r = reciprocal_root(parameters, first.data());
    for (int row = 0; row < c.rows(); ++row) {
      double b = c.magnified ? 0.0 : static_cast<double>(random_value(g, kGauss));
      if (centred)
        b -= mix_of(parameters, row, first.data(), r).m *
             static_cast<double>(parameters.scale_of(row));
      parameters.base[row] = static_cast<float>(b);
    }
    if (c.spoiled == Spoiled::kBase)
      parameters.base.back() = std::numeric_limits<float>::infinity();
    base.put(parameters.base.data(), c.rows() * 4);
    scale.put(parameters.scale.data(), static_cast<std::int64_t>(parameters.scale.size()) * 4);
  }

  // The second one's products take the first one's sum back.
  void make_patterns(std::mt19937& g, float deviation) {
    std::vector<float> first(static_cast<std::size_t>(parameters.width));
    mixed().token(mixed_image(), 0, first.data());
    for (int row = 0; row < c.rows(); ++row) {
      const Patterns p(g, magnitudes());
      double sums[2] = {};
      const auto at = [&](std::int64_t i) {
        const std::int64_t column = i % c.columns;
        return std::pair<int, float>(second(i / c.columns, column),
                                     p.of[second(i / c.columns, column)][column % 16]);
      };
      for (std::int64_t i = 0; i < parameters.width; ++i) {
        const auto [which, f] = at(i);
        sums[which] += static_cast<double>(f) * static_cast<double>(first[i]);
      }
      const float back = static_cast<float>(-sums[0] / (sums[1] != 0.0 ? sums[1] : 1.0));
      for (std::int64_t i = 0; i < parameters.width; ++i) {
        const auto [which, f] = at(i);
        parameters.fn[row * parameters.width + i] = f * deviation * (which == 1 ? back : 1.0f);
      }
    }
  }

  void make_norm_weights(std::mt19937& g) {
    if (!c.post()) return;
    std::vector<std::uint16_t> narrow;
    for (std::int64_t d = 0; d < c.columns; ++d) {
      weight_f32.push_back(1.0f + 0.4f * random_value(g, kGauss));
      narrow.push_back(f32_to_bf16(1.0f + 0.4f * random_value(g, kGauss)));
      weight_bf16.push_back(bf16_to_f32(narrow.back()));
    }
    norm_f32 = std::make_unique<Buffer>(c.columns * 4, c.misalign * 4);
    norm_bf16 = std::make_unique<Buffer>(c.columns * 2, c.misalign * 2);
    norm_f32->put(weight_f32.data(), c.columns * 4);
    norm_bf16->put(narrow.data(), c.columns * 2);
  }

  float pair_ratio = 1.0f;
};

}  // namespace nvfp4j::test
