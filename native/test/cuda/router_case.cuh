// SPDX-License-Identifier: Apache-2.0
// What the tests of router_dense and router_hash share: a problem of router_model.hpp in device memory, what a choice must be,
// and what may have been reported.
#pragma once
#include <memory>

#include "ops/router_dense/router_args.hpp"
#include "router_model.hpp"
#include "strided.cuh"

namespace nvfp4j::test {

// How a problem lies in memory.
struct Places {
  std::int64_t x_gap = 0;
  std::int64_t w_gap = 0;
  std::int64_t out_gap = 0;
  int misalign = 0;  // elements
};

inline Places random_places(std::mt19937& g) {
  const auto below = [&](unsigned end) { return static_cast<int>(g() % end); };
  // Rows of 16-byte pieces, of odd lengths, and without gaps.
  const std::int64_t gaps[] = {0, 0, 8, 1, 3, 64};
  return {gaps[below(6)], gaps[below(6)], below(4), below(3) == 0 ? 1 + below(3) : 0};
}

inline std::vector<std::uint8_t> bytes_of(const std::vector<float>& values, int dtype) {
  std::vector<std::uint8_t> bytes(values.size() * static_cast<std::size_t>(element_bytes(dtype)));
  for (std::size_t i = 0; i < values.size(); ++i)
    store_element(bytes.data(), dtype, static_cast<std::int64_t>(i), values[i]);
  return bytes;
}

// x and W.
struct RouterOperands {
  RouterOperands(const router::Problem& p, const Places& at)
      : shape(p.shape),
        x(Role::kInput, p.shape.x_dtype, p.shape.tokens, 1, p.shape.columns, at.x_gap,
          at.misalign) {
    x.fill(bytes_of(p.x, p.shape.x_dtype));
    x.upload();
    if (!p.shape.nvfp4()) {
      w = std::make_unique<Strided>(Role::kInput, p.shape.w_dtype, p.shape.experts, 1,
                                    p.shape.columns, at.w_gap, at.misalign);
      w->fill(bytes_of(p.w, p.shape.w_dtype));
      w->upload();
      return;
    }
    codes = std::make_unique<Buffer>(static_cast<std::int64_t>(p.codes.size()));
    codes->put(p.codes.data(), codes->bytes());
    scales = std::make_unique<Buffer>(static_cast<std::int64_t>(p.scales.size()));
    scales->put(p.scales.data(), scales->bytes());
    global_scale = std::make_unique<Buffer>(4);
    global_scale->put(&p.global_scale, 4);
  }
  RouterActivations activations() const {
    const HcRows rows = x.rows();
    return {rows.data, rows.stride, shape.tokens, shape.columns, shape.x_dtype};
  }
  // W is uploaded before anything is launched: the promise may be made, or not.
  RouterGate gate(bool settled) const {
    if (!w) {
      return {codes->data(),   shape.columns, scales->data(), global_scale->as<float>(),
              NVFP4J_DTYPE_U8, shape.experts, settled};
    }
    const HcRows rows = w->rows();
    return {rows.data, rows.stride, nullptr, nullptr, shape.w_dtype, shape.experts, settled};
  }

  router::Shape shape;
  Strided x;
  std::unique_ptr<Strided> w;
  std::unique_ptr<Buffer> codes;
  std::unique_ptr<Buffer> scales;
  std::unique_ptr<Buffer> global_scale;
};

// Rows of four-byte elements that an op writes.
struct RouterOutput {
  RouterOutput(std::int64_t tokens, std::int64_t columns, const Places& at)
      : rows(tokens),
        width(columns),
        strided(Role::kOutput, NVFP4J_DTYPE_F32, tokens, 1, columns, at.out_gap, at.misalign) {}
  // The elements side by side; fails the test when bytes between them were written.
  template <class T>
  std::vector<T> get(const std::string& what) const {
    const std::vector<std::uint8_t> image = strided.download(what.c_str());
    check(strided.untouched_between(image), what + ": bytes between the rows were written");
    std::vector<T> values(static_cast<std::size_t>(rows * width));
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(&values[static_cast<std::size_t>(r * width)],
                  &image[static_cast<std::size_t>(4 * strided.at(r, 0, 0))],
                  static_cast<std::size_t>(4 * width));
    }
    return values;
  }
  bool is_poison(const std::string& what) const {
    for (const std::uint8_t byte : strided.download(what.c_str())) {
      if (byte != Buffer::kPoison) return false;
    }
    return true;
  }
  float* data() const { return strided.weights().data; }
  std::int64_t stride() const { return strided.weights().stride; }

  std::int64_t rows;
  std::int64_t width;
  Strided strided;
};

inline RouterChoice choice_of(const RouterOutput& indices, const RouterOutput& weights,
                              const router::Problem& p) {
  return {reinterpret_cast<std::int32_t*>(indices.data()),
          indices.stride(),
          weights.data(),
          weights.stride(),
          p.shape.topk,
          p.scale};
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// A fault that a problem has: its cause, and whether a row and a column may be named with it.
struct RouterFault {
  int cause;
  std::function<bool(long long row, long long column)> at;
};

// Of W, in the experts that are read.
inline std::vector<RouterFault> faults_of_gate(const router::Problem& p,
                                               const std::function<bool(int expert)>& is_read) {
  std::vector<RouterFault> faults;
  if (!p.shape.nvfp4()) return faults;
  const std::int64_t blocks = p.shape.columns / 16;
  bool bad = false;
  for (std::size_t i = 0; i < p.scales.size(); ++i)
    bad = bad || (p.scales[i] >= 0x7F && is_read(static_cast<int>(i) / static_cast<int>(blocks)));
  if (bad) {
    faults.push_back({NVFP4J_CAUSE_BAD_BLOCK_SCALE, [&p, blocks](long long row, long long column) {
                        return row >= 0 && row < p.shape.experts && column >= 0 &&
                               column < p.shape.columns &&
                               p.scales[static_cast<std::size_t>(row * blocks + column / 16)] >=
                                   0x7F;
                      }});
  }
  if (!(p.global_scale > 0.0f && std::isfinite(p.global_scale))) {
    faults.push_back(
        {NVFP4J_CAUSE_BAD_GLOBAL_SCALE, [](long long row, long long) { return row == -1; }});
  }
  return faults;
}

// Exactly these causes, and the first of them at a place where it is.
inline void check_reports(Gpu& gpu, int op, const std::vector<RouterFault>& faults,
                          const std::string& name) {
  const DeviceStatus s = gpu.take_status();
  std::uint64_t causes = 0;
  bool first = faults.empty() && s.claimed == 0;
  for (const RouterFault& f : faults) {
    causes |= std::uint64_t{1} << f.cause;
    first = first || (s.claimed != 0 && s.first_op == op && s.first_cause == f.cause &&
                      f.at(s.first_row, s.first_column));
  }
  bool right = first;
  for (int i = 0; i < NVFP4J_STATUS_WORDS; ++i)
    right = right && s.causes[i] == (i == op ? causes : 0);
  char text[200];
  std::snprintf(text, sizeof text,
                ": reported causes %llx (expected %llx), the first op %d cause %d at %lld, %lld",
                static_cast<unsigned long long>(s.causes[op]),
                static_cast<unsigned long long>(causes), s.first_op, s.first_cause,
                static_cast<long long>(s.first_row), static_cast<long long>(s.first_column));
  check(right, name + text);
}

}  // namespace nvfp4j::test
