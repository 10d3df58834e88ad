// SPDX-License-Identifier: Apache-2.0
// A counting sort. Each part of the choices counts its own, then knows where they go.
#include "ops/expert_dispatch/expert_dispatch_cpu.hpp"

#include <algorithm>

#include "common/faults.hpp"
#include "nvfp4j/experts.h"
#include "ops/expert_dispatch/expert_checks.hpp"

namespace nvfp4j {
namespace {

// Choices that are worth waking a thread.
constexpr std::int64_t kGrain = 16384;

static_assert(kMaxExperts * sizeof(std::int32_t) <= kCpuScratchBytes);

/// Calls body(token, slot) for the choices [begin, end).
template <class Body>
void each_choice(const ExpertDispatchArgs& args, std::int64_t begin, std::int64_t end,
                 const Body& body) {
  std::int64_t token = begin / args.k;
  std::int64_t slot = begin % args.k;
  for (std::int64_t i = begin; i < end; ++i) {
    body(token, slot);
    if (++slot == args.k) {
      slot = 0;
      ++token;
    }
  }
}

bool in_range(std::int32_t id, int experts) {
  return static_cast<std::uint32_t>(id) < static_cast<std::uint32_t>(experts);
}

}  // namespace

void expert_dispatch_cpu(CpuPool& pool, DeviceStatus& status, const ExpertDispatchArgs& args) {
  const std::int64_t choices = args.tokens * args.k;
  const int experts = args.experts;
  if (choices == 0) {
    std::fill_n(args.offsets, experts + 1, 0);
    return;
  }
  const auto counts = [&](int part) { return static_cast<std::int32_t*>(pool.scratch(part)); };
  Faults faults;
  pool.run(choices, kGrain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
    std::int32_t* count = counts(part);
    std::fill_n(count, experts, 0);
    each_choice(args, begin, end, [&](std::int64_t token, std::int64_t slot) {
      const std::int32_t id = args.indices[token * args.indices_stride + slot];
      if (in_range(id, experts)) {
        ++count[id];
      } else {
        faults.report(NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, token, slot);
      }
    });
  });

  // Counts become the place of a part's first choice of an expert.
  const int parts = pool.parts(choices, kGrain);
  std::int32_t place = 0;
  for (int e = 0; e < experts; ++e) {
    args.offsets[e] = place;
    for (int part = 0; part < parts; ++part) {
      std::int32_t& count = counts(part)[e];
      const std::int32_t mine = count;
      count = place;
      place += mine;
    }
  }
  args.offsets[experts] = place;

  pool.run(choices, kGrain, [&](int part, std::int64_t begin, std::int64_t end) noexcept {
    std::int32_t* next = counts(part);
    each_choice(args, begin, end, [&](std::int64_t token, std::int64_t slot) {
      const std::int32_t id = args.indices[token * args.indices_stride + slot];
      std::int32_t to = -1;
      if (in_range(id, experts)) {
        to = next[id]++;
        args.rows[to] = static_cast<std::int32_t>(token);
        if (args.weights != nullptr)
          args.row_weights[to] = args.weights[token * args.weights_stride + slot];
      }
      args.positions[token * args.positions_stride + slot] = to;
    });
  });
  std::fill(args.rows + place, args.rows + choices, -1);
  if (args.weights != nullptr)
    std::fill(args.row_weights + place, args.row_weights + choices, 0.0f);
  faults.publish(status, NVFP4J_OP_EXPERT_DISPATCH);
}

const char* expert_dispatch_cpu_path() { return "cpu: expert_dispatch_cpu, a counting sort"; }

}  // namespace nvfp4j
