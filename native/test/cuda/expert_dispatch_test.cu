// SPDX-License-Identifier: Apache-2.0
// expert_dispatch on the GPU: every kernel and plan, bit for bit against a sort on the host.
#include <numeric>
#include <set>

#include "gpu_test.cuh"
#include "ops/expert_dispatch/expert_dispatch_cuda.hpp"
#include "ops/expert_dispatch/expert_dispatch_plan.hpp"

namespace nvfp4j::test {
namespace {

using Ids = std::vector<std::int32_t>;
using Bytes = std::vector<std::uint8_t>;

// [tokens, k] words with gaps, at an address of any multiple of 4 bytes, and their image on the host.
class Slots {
 public:
  Slots(std::int64_t tokens, int k, std::int64_t gap, int misalign, int between)
      : k_(k),
        stride_(k + gap),
        image_(static_cast<std::size_t>(4 * std::max<std::int64_t>(1, tokens * stride_ - gap)),
               static_cast<std::uint8_t>(between)),
        device_(static_cast<std::int64_t>(image_.size()), 4 * misalign) {}

  void set(std::int64_t choice, std::uint32_t word) {
    std::memcpy(&image_[static_cast<std::size_t>(4 * (choice / k_ * stride_ + choice % k_))], &word,
                4);
  }
  const Bytes& image() const { return image_; }
  void upload() const { device_.put(image_.data(), static_cast<std::int64_t>(image_.size())); }
  Buffer& device() { return device_; }
  std::int64_t stride() const { return stride_; }

 private:
  int k_;
  std::int64_t stride_;
  Bytes image_;
  Buffer device_;
};

struct Case {
  std::int64_t tokens;
  int k;
  int experts;
  std::int64_t gap =
      0;             // behind the rows of indices; one more behind weights, two behind positions
  int misalign = 0;  // elements
  bool weighted = true;
};

std::string name_of(const Case& c) {
  char text[160];
  std::snprintf(text, sizeof text, "dispatch [%lld, %d] experts %d gap %lld misalign %d%s",
                static_cast<long long>(c.tokens), c.k, c.experts, static_cast<long long>(c.gap),
                c.misalign, c.weighted ? " weights" : "");
  return text;
}

// Of the plans that were launched.
std::set<std::string> reached;

void note_plan(const Gpu& gpu, const Case& c) {
  const ExpertDispatchPlan plan = plan_expert_dispatch(gpu.properties, c.tokens * c.k, c.experts);
  const char* ids = c.gap != 0 ? "gaps" : c.misalign != 0 ? "dense" : "packets";
  if (plan.few) {
    reached.insert(c.tokens == 0 ? "none" : "few");
    return;
  }
  reached.insert(std::string(plan.grid == 1 ? "one block, " : "blocks, ") + ids);
  reached.insert(plan.part > 32 ? "parts of several steps" : "parts of one step");
  if (plan.parts < plan.threads / 32) reached.insert("warps without a part");
  if (plan.chunk > 1024) reached.insert("as many blocks as multiprocessors");
  if (plan.grid > 1 && c.tokens * c.k % plan.chunk != 0) reached.insert("a last block with less");
}

void check_all_reached(bool quick) {
  for (const char* name : {"none", "few", "one block, packets", "one block, dense",
                           "one block, gaps", "blocks, packets", "blocks, dense", "blocks, gaps",
                           "parts of one step", "parts of several steps", "warps without a part",
                           "a last block with less", "as many blocks as multiprocessors"}) {
    if (quick && std::string(name) == "as many blocks as multiprocessors") continue;
    check(reached.count(name) != 0, std::string("no case reaches: ") + name);
  }
}

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(4 * values.size());
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void check_status(Gpu& gpu, const Case& c, const Ids& ids, const std::string& name) {
  const auto is_bad = [&](std::int32_t id) { return id < 0 || id >= c.experts; };
  const bool faulty = std::any_of(ids.begin(), ids.end(), is_bad);
  const DeviceStatus s = gpu.take_status();
  bool right = (s.claimed != 0) == faulty;
  for (int op = 0; op < NVFP4J_STATUS_WORDS; ++op) {
    const bool mine = op == NVFP4J_OP_EXPERT_DISPATCH && faulty;
    right = right && s.causes[op] == (mine ? 1ull << NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : 0);
  }
  if (faulty) {
    // Any of several: warps do not wait for each other.
    right = right && s.first_op == NVFP4J_OP_EXPERT_DISPATCH &&
            s.first_cause == NVFP4J_CAUSE_INDEX_OUT_OF_RANGE && s.first_row >= 0 &&
            s.first_row < c.tokens && s.first_column >= 0 && s.first_column < c.k &&
            is_bad(ids[static_cast<std::size_t>(s.first_row * c.k + s.first_column)]);
  }
  check(right, name + ": status");
}

void run_case(Gpu& gpu, const Case& c, const Ids& ids) {
  const std::int64_t choices = c.tokens * c.k;
  // Between the ids lies -1: who counts one has a fault too many.
  Slots indices(c.tokens, c.k, c.gap, c.misalign, 0xFF);
  Slots weights(c.tokens, c.k, c.gap == 0 ? 0 : c.gap + 1, c.misalign, 0xFF);
  Slots positions(c.tokens, c.k, c.gap == 0 ? 0 : c.gap + 2, c.misalign, Buffer::kPoison);
  Buffer offsets(4 * (c.experts + 1), 4 * c.misalign);
  Buffer rows(std::max<std::int64_t>(4, 4 * choices), 4 * c.misalign);
  Buffer row_weights(std::max<std::int64_t>(4, 4 * choices), 4 * c.misalign);

  Ids starts(static_cast<std::size_t>(c.experts + 1), 0);
  for (const std::int32_t id : ids) {
    if (id >= 0 && id < c.experts) ++starts[static_cast<std::size_t>(id) + 1];
  }
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  Ids next = starts;
  Ids sorted(static_cast<std::size_t>(choices), -1);
  std::vector<float> taken(static_cast<std::size_t>(choices), 0.0f);
  for (std::int64_t n = 0; n < choices; ++n) {
    const std::int32_t id = ids[static_cast<std::size_t>(n)];
    const float weight = static_cast<float>(n % 65521) + 0.25f;
    std::int32_t place = -1;
    if (id >= 0 && id < c.experts) {
      place = next[static_cast<std::size_t>(id)]++;
      sorted[static_cast<std::size_t>(place)] = static_cast<std::int32_t>(n / c.k);
      taken[static_cast<std::size_t>(place)] = weight;
    }
    indices.set(n, static_cast<std::uint32_t>(id));
    weights.set(n, bits_of(weight));
    positions.set(n, static_cast<std::uint32_t>(place));
  }
  indices.upload();
  weights.upload();

  const ExpertDispatchArgs args = {indices.device().as<std::int32_t>(),
                                   indices.stride(),
                                   c.weighted ? weights.device().as<float>() : nullptr,
                                   weights.stride(),
                                   offsets.as<std::int32_t>(),
                                   rows.as<std::int32_t>(),
                                   positions.device().as<std::int32_t>(),
                                   positions.stride(),
                                   c.weighted ? row_weights.as<float>() : nullptr,
                                   c.tokens,
                                   c.k,
                                   c.experts};
  note_plan(gpu, c);
  const std::string name = name_of(c);
  const Bytes poison(4, Buffer::kPoison);
  for (int run = 0; run < 2; ++run) {
    for (Buffer* b : {&offsets, &rows, &row_weights, &positions.device()}) b->poison();
    const auto call = [&] {
      must(static_cast<cudaError_t>(expert_dispatch_cuda(gpu.launch, args)),
           "expert_dispatch_cuda");
    };
    if (run == 0) {
      call();
      gpu.wait();
    } else {
      gpu.replay(call, 2);
    }
    check(offsets.get("offsets") == bytes_of(starts), name + ": offsets");
    check(rows.get("rows") == (choices == 0 ? poison : bytes_of(sorted)), name + ": rows");
    const Bytes w = row_weights.get("row_weights");
    check(c.weighted && choices != 0
              ? w == bytes_of(taken)
              : std::all_of(w.begin(), w.end(), [](auto b) { return b == Buffer::kPoison; }),
          name + ": row_weights");
    check(positions.device().get("positions") == positions.image(), name + ": positions");
    check_status(gpu, c, ids, name);
  }
}

Ids random_ids(std::mt19937& g, const Case& c) {
  Ids ids(static_cast<std::size_t>(c.tokens * c.k));
  for (std::int32_t& id : ids)
    id = static_cast<std::int32_t>(g() % static_cast<unsigned>(c.experts));
  return ids;
}

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  for (int k = 1; k <= 16; k += quick ? 5 : 1) {
    for (const int experts : {1, 8, 256, 384, 1024}) {
      if (quick && experts != 8 && experts != 1024) continue;
      for (const std::int64_t tokens : {0, 1, 2, 5, 16, 63, 128, 171, 400}) {
        if (quick && tokens != 0 && tokens != 2 && tokens != 63 && tokens != 400) continue;
        Case c = {tokens, k, experts};
        c.gap = static_cast<std::int64_t>(g() % 3);
        c.misalign = static_cast<int>(g() % 2);
        c.weighted = g() % 4 != 0;
        run_case(gpu, c, random_ids(g, c));
        const Case plain = {tokens, k, experts};
        run_case(gpu, plain, random_ids(g, plain));
      }
    }
  }
}

void test_many(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const int experts : {1, 37, 256, 384, 1000, 1024}) {
    if (quick && experts != 37) continue;
    for (const std::int64_t tokens : {8192, 10923, 40000}) {
      if (quick && tokens != 8192) continue;
      for (const int form : {0, 1, 2}) {
        const Case c = {tokens, form == 0 ? 8 : 6, experts, form == 2 ? 1 : 0, form == 1 ? 1 : 0};
        run_case(gpu, c, random_ids(g, c));
      }
    }
  }
}

void test_special(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const Case& c : {Case{100, 6, 256}, Case{100, 6, 256, 0, 1}, Case{100, 6, 256, 1}})
    run_case(gpu, c, random_ids(g, c));
  for (const std::int64_t tokens : {1, 100, 10923}) {
    if (quick && tokens != 100) continue;
    const Case c = {tokens, 6, 256};
    const auto count = static_cast<std::size_t>(tokens * 6);
    for (const std::int32_t only : {0, 77, 255}) run_case(gpu, c, Ids(count, only));
    Ids few(count, 3);
    for (std::size_t i = 0; i < count; i += 5) few[i] = 200;
    run_case(gpu, c, few);
    Ids in_turn(count);
    for (std::size_t i = 0; i < count; ++i) in_turn[i] = static_cast<std::int32_t>(255 - i % 256);
    run_case(gpu, c, in_turn);
  }
  for (const int k : {1, 16}) {
    Ids each(1024);
    std::iota(each.begin(), each.end(), 0);
    std::shuffle(each.begin(), each.end(), g);
    run_case(gpu, {1024 / k, k, 1024}, each);
  }
}

void test_bad_ids(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const std::int64_t tokens : {1, 40, 171, 10923}) {
    if (quick && tokens > 171) continue;
    for (const int experts : {1, 64, 1024}) {
      const Case c = {tokens, 6, experts, static_cast<std::int64_t>(g() % 2)};
      const auto count = static_cast<std::size_t>(tokens * 6);
      for (const std::int32_t wrong : {-1, experts, INT32_MIN, INT32_MAX}) {
        // The first, the last, one somewhere, and all of them.
        for (const std::size_t at : {std::size_t{0}, count - 1, g() % count}) {
          Ids ids = random_ids(g, c);
          ids[at] = wrong;
          run_case(gpu, c, ids);
          if (quick) break;
        }
        run_case(gpu, c, Ids(count, wrong));
      }
      Ids ids(count);
      for (std::int32_t& id : ids) id = static_cast<std::int32_t>(g());  // anything
      run_case(gpu, c, ids);
      for (std::int32_t& id : ids)  // one in three
        id = static_cast<std::int32_t>(g() % static_cast<unsigned>(3 * experts)) - experts;
      run_case(gpu, c, ids);
    }
  }
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  std::printf("%s\n", nvfp4j::expert_dispatch_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::expert_dispatch_cuda_warm_up(gpu.properties)),
       "expert_dispatch_cuda_warm_up");
  std::mt19937 g(20261130);
  test_shapes(gpu, g, quick);
  test_many(gpu, g, quick);
  test_special(gpu, g, quick);
  test_bad_ids(gpu, g, quick);
  check_all_reached(quick);
  return finish();
}
