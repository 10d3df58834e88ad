// SPDX-License-Identifier: Apache-2.0
// Calls of sinkhorn and the hyper-connection ops through the C ABI, on host or device memory, compared with hc_model.hpp.
#pragma once
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "fixture.hpp"
#include "hc_model.hpp"

namespace hc {

using fixture::outcome;

/// Where a call runs.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual nvfp4j_context* context() = 0;
  virtual std::int32_t memory() const = 0;
  virtual std::shared_ptr<void> allocate(std::size_t bytes) = 0;
  virtual void put(void* to, const void* from, std::size_t bytes) = 0;
  virtual void get(void* to, const void* from, std::size_t bytes) = 0;
};

/// A tensor's memory with poison around and between its rows: element (i, j, k) is at i*strides[0] + j*strides[1] + k elements behind the begin.
class Tensor {
 public:
  Tensor(Machine& machine, std::int32_t dtype, std::vector<std::int64_t> shape,
         std::int64_t stream_gap = 0, std::int64_t token_gap = 0, std::int64_t misaligned = 0)
      : machine_(machine), dtype_(dtype), shape_(std::move(shape)) {
    const std::size_t rank = shape_.size();
    strides_.assign(rank, 1);
    if (rank == 3) {
      strides_[1] = shape_[2] + stream_gap;
      strides_[0] = strides_[1] * shape_[1] + token_gap;
    } else if (rank == 2) {
      strides_[0] = shape_[1] + token_gap;
    }
    const std::int64_t span = rank == 0 ? 1 : std::max<std::int64_t>(1, shape_[0]) * strides_[0];
    begin_ = kGuard + misaligned * bytes();
    host_.assign(static_cast<std::size_t>(begin_ + span * bytes() + kGuard), kPoison);
    memory_ = machine.allocate(host_.size());
    machine.put(memory_.get(), host_.data(), host_.size());
  }

  void set(const std::vector<float>& values) {
    std::size_t i = 0;
    each([&](std::int64_t at) { store(at, values[i++]); });
    machine_.put(memory_.get(), host_.data(), host_.size());
  }

  /// The values, and whether nothing beside them was written.
  std::vector<float> values(bool* beside_untouched) {
    std::vector<std::uint8_t> got(host_.size());
    machine_.get(got.data(), memory_.get(), got.size());
    host_ = got;
    std::vector<float> result;
    each([&](std::int64_t at) {
      result.push_back(value(at));
      std::memset(got.data() + at, kPoison, static_cast<std::size_t>(bytes()));
    });
    *beside_untouched =
        std::all_of(got.begin(), got.end(), [](std::uint8_t b) { return b == kPoison; });
    return result;
  }
  std::vector<float> values() {
    bool untouched;
    std::vector<float> result = values(&untouched);
    CHECK(untouched);
    return result;
  }

  nvfp4j_tensor descriptor() const {
    nvfp4j_tensor t{};
    t.struct_size = sizeof t;
    t.dtype = dtype_;
    t.memory = machine_.memory();
    t.rank = static_cast<std::int32_t>(shape_.size());
    t.data = static_cast<std::uint8_t*>(memory_.get()) + begin_;
    for (std::size_t i = 0; i < shape_.size(); ++i) {
      t.shape[i] = shape_[i];
      t.stride[i] = strides_[i];
    }
    return t;
  }

 private:
  static constexpr std::uint8_t kPoison = 0xA5;
  static constexpr std::int64_t kGuard = 256;

  std::int64_t bytes() const { return fixture::element_bytes(dtype_); }
  template <class Body>
  void each(Body body) const {
    const std::int64_t a = shape_.size() == 3 ? shape_[0] : 1;
    const std::int64_t b = shape_.size() == 3 ? shape_[1] : shape_.size() == 2 ? shape_[0] : 1;
    const std::int64_t c = shape_.back();
    const std::int64_t outer = shape_.size() == 3 ? strides_[0] : 0;
    const std::int64_t inner = shape_.size() == 3   ? strides_[1]
                               : shape_.size() == 2 ? strides_[0]
                                                    : 0;
    for (std::int64_t i = 0; i < a; ++i) {
      for (std::int64_t j = 0; j < b; ++j) {
        for (std::int64_t k = 0; k < c; ++k) body(begin_ + (i * outer + j * inner + k) * bytes());
      }
    }
  }
  void store(std::int64_t at, float x) {
    if (dtype_ == NVFP4J_DTYPE_F32) {
      std::memcpy(host_.data() + at, &x, 4);
    } else {
      const std::uint16_t h = nvfp4j::f32_to_bf16(x);
      std::memcpy(host_.data() + at, &h, 2);
    }
  }
  float value(std::int64_t at) const {
    if (dtype_ == NVFP4J_DTYPE_F32) {
      float x;
      std::memcpy(&x, host_.data() + at, 4);
      return x;
    }
    std::uint16_t h;
    std::memcpy(&h, host_.data() + at, 2);
    return nvfp4j::bf16_to_f32(h);
  }

  Machine& machine_;
  std::int32_t dtype_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> strides_;
  std::int64_t begin_;
  std::vector<std::uint8_t> host_;
  std::shared_ptr<void> memory_;
};

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 4) == 0);
}

/// Calls body(t) for tokens, on all processors: the models are slow.
inline void each_token(std::int64_t tokens, const std::function<void(std::int64_t)>& body) {
  const std::int64_t count = std::max<std::int64_t>(
      1, std::min<std::int64_t>(tokens, std::thread::hardware_concurrency()));
  std::vector<std::thread> threads;
  for (std::int64_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      for (std::int64_t t = i; t < tokens; t += count) body(t);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

inline std::vector<float> normal(std::mt19937_64& g, std::int64_t count, float deviation,
                                 float mean = 0.0f, bool bf16 = false, bool positive = false) {
  std::normal_distribution<float> d(mean, deviation);
  std::vector<float> v(static_cast<std::size_t>(count));
  for (float& x : v) {
    x = positive ? std::fabs(d(g)) : d(g);
    if (bf16) x = rounded(x, true);
  }
  return v;
}

// ---- sinkhorn --------------------------------------------------------------------------------------------------------

struct SinkhornCase {
  std::int64_t tokens;
  int n;
  int iterations;
  float eps;
  float deviation;  // of the logits
  std::int64_t gap = 0;
  bool in_place = false;
  std::int64_t bad = -1;  // element that is not finite, of all
};

inline std::string name(const SinkhornCase& c) {
  return "sinkhorn T=" + std::to_string(c.tokens) + " n=" + std::to_string(c.n) +
         " iterations=" + std::to_string(c.iterations) +
         " deviation=" + std::to_string(c.deviation);
}

inline void run(Machine& machine, std::mt19937_64& g, const SinkhornCase& c) {
  const int elements = c.n * c.n;
  std::vector<float> logits = normal(g, c.tokens * elements, c.deviation);
  // Tokens of a kind: equal logits, one-hot rows, one hot column.
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    float* token = logits.data() + t * elements;
    for (int i = 0; i < elements; ++i) {
      if (t % 7 == 3) token[i] = 1.5f;
      if (t % 7 == 4) token[i] = i / c.n == i % c.n ? 80.0f : -80.0f;
      if (t % 7 == 5) token[i] = i % c.n == 0 ? 80.0f : -80.0f;
      if (t % 7 == 6) token[i] = std::clamp(token[i] * 1e37f, -3e38f, 3e38f);
    }
  }
  if (c.bad >= 0) logits[static_cast<std::size_t>(c.bad)] = c.bad % 2 == 0 ? NAN : -INFINITY;
  Tensor in(machine, NVFP4J_DTYPE_F32, {c.tokens, c.n, c.n}, 0, c.gap);
  in.set(logits);
  Tensor out(machine, NVFP4J_DTYPE_F32, {c.tokens, c.n, c.n}, 0, c.gap);
  const nvfp4j_tensor from = in.descriptor();
  const nvfp4j_tensor to = c.in_place ? from : out.descriptor();
  const nvfp4j_sinkhorn_options options = {sizeof options, c.iterations, c.eps, 0};
  CHECK_OK(nvfp4j_sinkhorn(machine.context(), &from, &options, &to, error));
  nvfp4j_status_record record = fixture::status_record();
  const std::int32_t status = nvfp4j_context_synchronize(machine.context(), &record, nullptr);
  CHECK_EQ(status, c.bad >= 0 ? NVFP4J_ERROR_REPORTED : NVFP4J_OK);
  if (c.bad >= 0) {
    CHECK_EQ(record.first_op, NVFP4J_OP_SINKHORN);
    CHECK_EQ(record.first_cause, NVFP4J_CAUSE_NON_FINITE_INPUT);
    CHECK_EQ(record.first_row, c.bad / elements);
    CHECK_EQ(record.first_column, c.bad % elements);
  }
  const std::vector<float> got = (c.in_place ? in : out).values();
  std::vector<int> wrong(static_cast<std::size_t>(c.tokens));
  each_token(c.tokens, [&](std::int64_t t) {
    const auto first = logits.begin() + t * elements;
    std::vector<float> expected =
        sinkhorn(std::vector<float>(first, first + elements), c.n, c.iterations, c.eps);
    if (c.bad >= 0 && t == c.bad / elements)
      expected.assign(static_cast<std::size_t>(elements), nvfp4j::float_of(nvfp4j::kNan));
    wrong[static_cast<std::size_t>(t)] = std::memcmp(expected.data(), got.data() + t * elements,
                                                     static_cast<std::size_t>(elements) * 4) != 0;
  });
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    if (wrong[static_cast<std::size_t>(t)] != 0)
      check::failed(__FILE__, __LINE__, name(c) + " differs at token " + std::to_string(t));
  }
}

// ---- hyper-connections -------------------------------------------------------------------------------------------------

enum class Op { kPre, kPost, kHead, kPostPre };

struct Case {
  Op op;
  std::int64_t tokens;
  int n;
  std::int64_t columns;
  std::int32_t dtype = NVFP4J_DTYPE_BF16;
  std::int64_t gap = 0;         // between streams, tokens and rows, in elements
  std::int64_t misaligned = 0;  // elements
  bool in_place = false;
  bool coherent = false;   // all of x and fn positive
  std::int32_t norm = -1;  // dtype of the norm's weight
  bool quantize = false;
  std::int32_t scale_layout = NVFP4J_SCALE_LAYOUT_LINEAR;
  bool no_collapsed = false;
  std::int64_t zero_token = -1;
  std::int64_t bad_token = -1;   // has a NaN
  std::int64_t huge_token = -1;  // overflows
};

inline std::string name(const Case& c) {
  constexpr const char* ops[] = {"hc_pre", "hc_post", "hc_head", "hc_post_pre"};
  return std::string(ops[static_cast<int>(c.op)]) + " T=" + std::to_string(c.tokens) +
         " n=" + std::to_string(c.n) + " D=" + std::to_string(c.columns) +
         (c.dtype == NVFP4J_DTYPE_F32 ? " F32" : " BF16") + " gap=" + std::to_string(c.gap) +
         " misaligned=" + std::to_string(c.misaligned) + (c.coherent ? " coherent" : "") +
         (c.norm >= 0 ? " norm" : "") + (c.quantize ? " quantize" : "") +
         (c.in_place ? " in place" : "");
}

/// What a call wrote.
struct Written {
  std::vector<float> out, collapsed, post, comb;
  std::vector<std::uint8_t> codes, scales;
  std::vector<float> global_scales;
  std::int32_t status = NVFP4J_OK;
  nvfp4j_status_record record{};
  bool operator==(const Written& o) const {
    return same_bits(out, o.out) && same_bits(collapsed, o.collapsed) && same_bits(post, o.post) &&
           same_bits(comb, o.comb) && codes == o.codes && scales == o.scales &&
           same_bits(global_scales, o.global_scales);
  }
};

/// A case's inputs.
struct Inputs {
  std::vector<float> x, sub, post, comb, weight;
  Module module;
};

inline Inputs inputs(std::mt19937_64& g, const Case& c) {
  const bool bf16 = c.dtype == NVFP4J_DTYPE_BF16;
  const std::int64_t all = c.n * c.columns;
  const std::int64_t rows = c.op == Op::kHead ? c.n : c.n * (c.n + 2);
  Inputs in;
  in.x = normal(g, c.tokens * all, 2.0f, 0.0f, bf16, c.coherent);
  const auto fill = [&](std::int64_t token, float value) {
    if (token >= 0) std::fill_n(in.x.begin() + token * all, all, value);
  };
  fill(c.zero_token, 0.0f);
  fill(c.huge_token, bf16 ? rounded(1e30f, true) : 1e30f);
  if (c.bad_token >= 0) in.x[static_cast<std::size_t>(c.bad_token * all + 5)] = NAN;
  in.sub = normal(g, c.tokens * c.columns, 1.0f, 0.0f, bf16);
  in.post = normal(g, c.tokens * c.n, 0.3f, 1.0f);
  in.comb = normal(g, c.tokens * c.n * c.n, 0.2f, 1.0f / static_cast<float>(c.n));
  in.module.fn =
      normal(g, rows * all, 1.0f / std::sqrt(static_cast<float>(all)), 0.0f, false, c.coherent);
  in.module.base = normal(g, rows, 1.0f);
  in.module.scale =
      c.op == Op::kHead ? std::vector<float>{0.8f} : std::vector<float>{0.7f, 0.9f, 1.3f};
  if (c.op == Op::kHead) in.module.iterations = 0;
  in.weight = normal(g, c.columns, 0.2f, 1.0f, c.norm == NVFP4J_DTYPE_BF16);
  return in;
}

inline Written call(Machine& machine, const Case& c, const Inputs& in) {
  const std::int64_t rows = static_cast<std::int64_t>(in.module.base.size());
  const std::int64_t all = c.n * c.columns;
  const auto f32 = [&](std::vector<std::int64_t> shape, const std::vector<float>& v,
                       std::int64_t gap = 0, std::int64_t misaligned = 0) {
    Tensor t(machine, NVFP4J_DTYPE_F32, std::move(shape), 0, gap, misaligned);
    if (!v.empty()) t.set(v);
    return t;
  };
  const auto typed = [&](std::vector<std::int64_t> shape, const std::vector<float>& v) {
    Tensor t(machine, c.dtype, std::move(shape), c.gap, c.gap, c.misaligned);
    if (!v.empty()) t.set(v);
    return t;
  };
  Tensor x = typed({c.tokens, c.n, c.columns}, in.x);
  Tensor out_memory = typed({c.tokens, c.n, c.columns}, {});
  Tensor& out = c.in_place ? x : out_memory;
  Tensor sub = typed({c.tokens, c.columns}, in.sub);
  Tensor collapsed = typed({c.tokens, c.columns}, {});
  Tensor post_before = f32({c.tokens, c.n}, in.post, c.gap),
         comb_before = f32({c.tokens, c.n, c.n}, in.comb, c.gap);
  Tensor post = f32({c.tokens, c.n}, {}, c.gap), comb = f32({c.tokens, c.n, c.n}, {}, c.gap);
  Tensor fn = f32({rows, all}, in.module.fn, c.gap, c.misaligned);
  Tensor base = f32({rows}, in.module.base),
         scale = f32({static_cast<std::int64_t>(in.module.scale.size())}, in.module.scale);
  Tensor weight(machine, c.norm >= 0 ? c.norm : NVFP4J_DTYPE_F32, {c.columns});
  weight.set(in.weight);
  const nvfp4j_tensor dx = x.descriptor(), dout = out.descriptor(), dsub = sub.descriptor(),
                      dcollapsed = collapsed.descriptor(), dpb = post_before.descriptor(),
                      dcb = comb_before.descriptor(), dpost = post.descriptor(),
                      dcomb = comb.descriptor(), dfn = fn.descriptor(), dbase = base.descriptor(),
                      dscale = scale.descriptor(), dweight = weight.descriptor();
  const nvfp4j_hc_options options = {sizeof options, in.module.iterations, in.module.hc_eps,
                                     in.module.rms_eps};
  const nvfp4j_quantize_options quantize = fixture::quantize_options();
  nvfp4j_nvfp4_tensor q{};
  std::shared_ptr<void> codes, scales, global_scales;
  if (c.quantize) {
    q.struct_size = sizeof q;
    q.memory = machine.memory();
    q.scale_layout = c.scale_layout;
    q.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW;
    q.groups = 1;
    q.rows = c.tokens;
    q.columns = c.columns;
    q.codes_bytes = c.tokens * c.columns / 2;
    q.scales_bytes = fixture::scale_bytes(c.tokens, c.columns, c.scale_layout);
    q.global_scales_count = c.tokens;
    codes = machine.allocate(static_cast<std::size_t>(q.codes_bytes));
    scales = machine.allocate(static_cast<std::size_t>(q.scales_bytes));
    global_scales = machine.allocate(static_cast<std::size_t>(4 * c.tokens));
    q.codes = codes.get();
    q.scales = scales.get();
    q.global_scales = global_scales.get();
    const std::vector<std::uint8_t> poison(static_cast<std::size_t>(q.codes_bytes + q.scales_bytes),
                                           0xA5);
    machine.put(q.codes, poison.data(), static_cast<std::size_t>(q.codes_bytes));
    machine.put(q.scales, poison.data(), static_cast<std::size_t>(q.scales_bytes));
  }
  Written w;
  const fixture::Outcome said = outcome([&](nvfp4j_error* error) {
    switch (c.op) {
      case Op::kPre:
        return nvfp4j_hc_pre(machine.context(), &dx, &dfn, &dbase, &dscale, &options, &dcollapsed,
                             &dpost, &dcomb, error);
      case Op::kPost:
        return nvfp4j_hc_post(machine.context(), &dx, &dsub, &dpb, &dcb, &dout, error);
      case Op::kHead:
        return nvfp4j_hc_head(machine.context(), &dx, &dfn, &dbase, &dscale, &options, &dcollapsed,
                              error);
      default:
        return nvfp4j_hc_post_pre(machine.context(), &dx, &dsub, &dpb, &dcb, &dfn, &dbase, &dscale,
                                  c.norm >= 0 ? &dweight : nullptr, &options,
                                  c.quantize ? &quantize : nullptr, &dout,
                                  c.no_collapsed ? nullptr : &dcollapsed, &dpost, &dcomb,
                                  c.quantize ? &q : nullptr, error);
    }
  });
  if (said.status != NVFP4J_OK) check::failed(__FILE__, __LINE__, name(c) + ": " + said.message);
  w.record = fixture::status_record();
  w.status = nvfp4j_context_synchronize(machine.context(), &w.record, nullptr);
  if (c.op == Op::kPost || c.op == Op::kPostPre) w.out = out.values();
  if (c.op != Op::kPost && !c.no_collapsed) w.collapsed = collapsed.values();
  if (c.op == Op::kPre || c.op == Op::kPostPre) {
    w.post = post.values();
    w.comb = comb.values();
  }
  if (c.quantize) {
    w.codes.resize(static_cast<std::size_t>(q.codes_bytes));
    w.scales.resize(static_cast<std::size_t>(q.scales_bytes));
    w.global_scales.resize(static_cast<std::size_t>(c.tokens));
    machine.get(w.codes.data(), q.codes, w.codes.size());
    machine.get(w.scales.data(), q.scales, w.scales.size());
    machine.get(w.global_scales.data(), q.global_scales, w.global_scales.size() * 4);
  }
  return w;
}

/// What nvfp4j_quantize makes of rows, with a global scale for each.
inline Written quantized(Machine& machine, const Case& c, const std::vector<float>& rows) {
  Tensor input(machine, c.dtype, {c.tokens, c.columns});
  input.set(rows);
  const nvfp4j_tensor from = input.descriptor();
  nvfp4j_nvfp4_tensor q{};
  q.struct_size = sizeof q;
  q.memory = machine.memory();
  q.scale_layout = c.scale_layout;
  q.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW;
  q.groups = 1;
  q.rows = c.tokens;
  q.columns = c.columns;
  q.codes_bytes = c.tokens * c.columns / 2;
  q.scales_bytes = fixture::scale_bytes(c.tokens, c.columns, c.scale_layout);
  q.global_scales_count = c.tokens;
  const std::shared_ptr<void> codes = machine.allocate(static_cast<std::size_t>(q.codes_bytes));
  const std::shared_ptr<void> scales = machine.allocate(static_cast<std::size_t>(q.scales_bytes));
  const std::shared_ptr<void> global_scales =
      machine.allocate(static_cast<std::size_t>(4 * c.tokens));
  q.codes = codes.get();
  q.scales = scales.get();
  q.global_scales = global_scales.get();
  const nvfp4j_quantize_options options = fixture::quantize_options();
  CHECK_OK(nvfp4j_quantize(machine.context(), &from, nullptr, &options, &q, error));
  (void)nvfp4j_context_synchronize(machine.context(), nullptr, nullptr);
  Written w;
  w.codes.resize(static_cast<std::size_t>(q.codes_bytes));
  w.scales.resize(static_cast<std::size_t>(q.scales_bytes));
  w.global_scales.resize(static_cast<std::size_t>(c.tokens));
  machine.get(w.codes.data(), q.codes, w.codes.size());
  machine.get(w.scales.data(), q.scales, w.scales.size());
  machine.get(w.global_scales.data(), q.global_scales, w.global_scales.size() * 4);
  return w;
}

/// Whether a token's values are what they may be: empty, or what is wrong.
inline std::string judge(const Case& c, const Inputs& in, const Written& w, std::int64_t t,
                         std::int64_t* inexact) {
  const bool bf16 = c.dtype == NVFP4J_DTYPE_BF16;
  const std::int64_t all = c.n * c.columns;
  const bool spoiled = t == c.bad_token || t == c.huge_token;
  std::vector<float> x(in.x.begin() + t * all, in.x.begin() + (t + 1) * all);
  if (!w.out.empty()) {
    x = post(x.data(), in.sub.data() + t * c.columns, in.post.data() + t * c.n,
             in.comb.data() + t * c.n * c.n, c.n, c.columns, bf16);
    if (std::memcmp(x.data(), w.out.data() + t * all, static_cast<std::size_t>(all) * 4) != 0)
      return "out";
  }
  if (c.op == Op::kPost || spoiled) return "";
  const Mixed m = mix(x.data(), in.module, c.n, c.columns);
  for (std::size_t i = 0; i < m.post.size(); ++i) {
    const double got = static_cast<double>(w.post[static_cast<std::size_t>(t * c.n) + i]);
    if (!(std::fabs(got - m.post[i]) <= m.post_bound[i])) return "post";
  }
  for (std::size_t i = 0; i < m.comb.size(); ++i) {
    const double got = static_cast<double>(w.comb[static_cast<std::size_t>(t * c.n * c.n) + i]);
    if (!(std::fabs(got - m.comb[i]) <= m.comb_bound[i])) return "comb";
  }
  if (w.collapsed.empty() || c.norm >= 0) return "";
  for (std::int64_t d = 0; d < c.columns; ++d) {
    double y = 0.0;
    double magnitudes = 0.0;
    for (int i = 0; i < c.n; ++i) {
      const double p = m.pre[static_cast<std::size_t>(i)] *
                       static_cast<double>(x[static_cast<std::size_t>(i * c.columns + d)]);
      y += p;
      magnitudes += std::fabs(p);
    }
    const float got = w.collapsed[static_cast<std::size_t>(t * c.columns + d)];
    // F32: some more roundings than one.
    const double allowed = half_ulp(y, bf16) + 1e-6 * magnitudes;
    if (!(std::fabs(static_cast<double>(got) - y) <= allowed)) return "collapsed";
    if (bf16) *inexact += got != rounded(static_cast<float>(y), true);
  }
  return "";
}

inline void run(Machine& machine, std::mt19937_64& g, const Case& c) {
  const Inputs in = inputs(g, c);
  const Written w = call(machine, c, in);
  CHECK(call(machine, c, in) == w);  // the same bits in every run
  const std::int64_t first_bad = std::min(c.bad_token < 0 ? INT64_MAX : c.bad_token,
                                          c.huge_token < 0 ? INT64_MAX : c.huge_token);
  if (c.op != Op::kPost && first_bad != INT64_MAX) {
    CHECK_EQ(w.status, NVFP4J_ERROR_REPORTED);
    const std::int32_t op = c.op == Op::kPre    ? NVFP4J_OP_HC_PRE
                            : c.op == Op::kHead ? NVFP4J_OP_HC_HEAD
                                                : NVFP4J_OP_HC_POST_PRE;
    CHECK_EQ(w.record.first_op, op);
    CHECK(w.record.causes[op] >> NVFP4J_CAUSE_NON_FINITE_RESULT & 1);
    CHECK(w.record.first_row == c.bad_token || w.record.first_row == c.huge_token);
  } else {
    CHECK_EQ(w.status, NVFP4J_OK);
  }
  std::vector<std::string> wrong(static_cast<std::size_t>(c.tokens));
  std::vector<std::int64_t> inexact(static_cast<std::size_t>(c.tokens));
  each_token(c.tokens, [&](std::int64_t t) {
    wrong[static_cast<std::size_t>(t)] = judge(c, in, w, t, &inexact[static_cast<std::size_t>(t)]);
  });
  std::int64_t all_inexact = 0;
  for (std::int64_t t = 0; t < c.tokens; ++t) {
    all_inexact += inexact[static_cast<std::size_t>(t)];
    if (!wrong[static_cast<std::size_t>(t)].empty())
      check::failed(__FILE__, __LINE__,
                    name(c) + ": " + wrong[static_cast<std::size_t>(t)] + " is wrong at token " +
                        std::to_string(t));
  }
  // At most one of a thousand elements is another than the rounded exact one. Not so where x and fn are positive: there pre is next to 1, and sums of a few BF16 numbers often lie next to the middle of two.
  if (c.tokens * c.columns >= 4000 && !c.coherent)
    CHECK(all_inexact * 1000 <= c.tokens * c.columns);
  if (c.norm >= 0 && !c.no_collapsed) {
    // From the collapsed row that the same call makes without the norm.
    Case plain = c;
    plain.norm = -1;
    plain.quantize = false;
    const Written without = call(machine, plain, in);
    CHECK(same_bits(without.out, w.out) && same_bits(without.post, w.post));
    std::int64_t off = 0;
    for (std::int64_t t = 0; t < c.tokens; ++t) {
      if (t == c.bad_token || t == c.huge_token) continue;
      const float* row = without.collapsed.data() + t * c.columns;
      double squares = 0.0;
      for (std::int64_t d = 0; d < c.columns; ++d)
        squares += static_cast<double>(row[d]) * static_cast<double>(row[d]);
      const double s = 1.0 / std::sqrt(squares / static_cast<double>(c.columns) +
                                       static_cast<double>(in.module.rms_eps));
      for (std::int64_t d = 0; d < c.columns; ++d) {
        const double y = static_cast<double>(in.weight[static_cast<std::size_t>(d)]) *
                         static_cast<double>(row[d]) * s;
        const double got =
            static_cast<double>(w.collapsed[static_cast<std::size_t>(t * c.columns + d)]);
        off += !(std::fabs(got - y) <=
                 half_ulp(y, c.dtype == NVFP4J_DTYPE_BF16) + 0x1p-21 * std::fabs(y));
      }
    }
    if (off != 0)
      check::failed(__FILE__, __LINE__,
                    name(c) + ": " + std::to_string(off) + " normalised elements are wrong");
  }
  if (c.quantize && first_bad == INT64_MAX) {
    Case with = c;
    with.no_collapsed = false;
    const Written rows = c.no_collapsed ? call(machine, with, in) : w;
    const Written expected = quantized(machine, c, rows.collapsed);
    if (expected.codes != w.codes || expected.scales != w.scales ||
        !same_bits(expected.global_scales, w.global_scales))
      check::failed(__FILE__, __LINE__, name(c) + ": is not what quantize makes of its rows");
  }
}

}  // namespace hc
