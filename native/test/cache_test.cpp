// SPDX-License-Identifier: Apache-2.0
// cache_append_window and cache_append: their plans, their results on the CPU device, what they report and what they refuse.
#include <functional>
#include <limits>
#include <set>

#include "common/workspace_layout.hpp"
#include "device/tagged_words_layout.hpp"
#include "fixture.hpp"
#include "ops/cache_append/cache_plan.hpp"
#include "ops/cache_append_window/cache_append_window_slot.hpp"

using namespace fixture;
using namespace nvfp4j;

namespace {

constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();

// ---- plans -----------------------------------------------------------------------------------------------------------

alignas(64) std::uint8_t memory[1];

CacheRows rows_of(std::int64_t row_bytes, std::int64_t gap = 0, std::int64_t misalign = 0) {
  return {memory + misalign, row_bytes + gap, memory + misalign, row_bytes + 2 * gap, row_bytes};
}

/// Each unit of each row is one thread's, once: what CacheWalk does.
void check_covers(const CachePlan& p, std::int64_t count) {
  std::vector<int> seen(static_cast<std::size_t>(count * p.units), 0);
  for (std::int64_t x = 0; x < p.grid_x; ++x) {
    for (std::int64_t y = 0; y < p.grid_y; ++y) {
      for (int thread = 0; thread < p.threads; ++thread) {
        for (std::int64_t row = x * p.rows + thread / p.lanes; row < count;
             row += std::int64_t{p.grid_x} * p.rows) {
          for (std::int64_t unit = y * p.lanes + thread % p.lanes; unit < p.units;
               unit += std::int64_t{p.grid_y} * p.lanes)
            ++seen[static_cast<std::size_t>(row * p.units + unit)];
        }
      }
    }
  }
  for (const int times : seen) CHECK_EQ(times, 1);
}

// ---- a model ---------------------------------------------------------------------------------------------------------

/// A cache and rows of random bytes, with gaps, and a position or length.
struct Case {
  std::int32_t dtype = NVFP4J_DTYPE_BF16;
  std::int64_t slots = 8;
  std::int64_t tokens = 1;
  std::int64_t columns = 24;
  std::int64_t value = 0;
  bool wide = false;
  std::int64_t cache_gap = 0;
  std::int64_t rows_gap = 0;
  std::int64_t misalign = 0;  // elements
};

std::int64_t span(std::int64_t rows, std::int64_t columns, std::int64_t gap) {
  return rows == 0 ? 0 : (rows - 1) * (columns + gap) + columns;
}

class Data {
 public:
  explicit Data(const Case& of)
      : c(of),
        element(element_bytes(of.dtype)),
        cache((span(of.slots, of.columns, of.cache_gap) + of.misalign) * element),
        rows((span(of.tokens, of.columns, of.rows_gap) + of.misalign) * element),
        counter(8) {
    for (const Bytes* b : {&cache, &rows}) {
      for (std::int64_t i = 0; i < b->size(); ++i) (*b)[i] = static_cast<std::uint8_t>(g());
    }
    set(of.value);
    cache_t = matrix(cache.data() + of.misalign * element, of.dtype, of.slots, of.columns,
                     of.columns + of.cache_gap);
    rows_t = matrix(rows.data() + of.misalign * element, of.dtype, of.tokens, of.columns,
                    of.columns + of.rows_gap);
    counter_t = tensor(counter.data(), of.wide ? NVFP4J_DTYPE_I64 : NVFP4J_DTYPE_I32, {1});
  }

  void set(std::int64_t value) const {
    if (c.wide) {
      std::memcpy(counter.data(), &value, 8);
    } else {
      const auto narrow = static_cast<std::int32_t>(value);
      std::memcpy(counter.data(), &narrow, 4);
    }
  }
  std::int64_t value() const {
    std::int64_t wide;
    std::int32_t narrow;
    std::memcpy(&wide, counter.data(), 8);
    std::memcpy(&narrow, counter.data(), 4);
    return c.wide ? wide : narrow;
  }
  std::vector<std::uint8_t> image() const { return {cache.data(), cache.data() + cache.size()}; }
  /// Row i of rows to row `slot` of an image.
  void put(std::vector<std::uint8_t>& image, std::int64_t i, std::int64_t slot) const {
    std::memcpy(
        &image[static_cast<std::size_t>((c.misalign + slot * (c.columns + c.cache_gap)) * element)],
        rows.data() + (c.misalign + i * (c.columns + c.rows_gap)) * element,
        static_cast<std::size_t>(c.columns * element));
  }
  Outcome window(nvfp4j_context* context) const {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_cache_append_window(context, &cache_t, &rows_t, &counter_t, error);
    });
  }
  Outcome append(nvfp4j_context* context) const {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_cache_append(context, &cache_t, &rows_t, &counter_t, error);
    });
  }

  std::mt19937_64& g = generator();
  Case c;
  std::int64_t element;
  Bytes cache;
  Bytes rows;
  Bytes counter;
  nvfp4j_tensor cache_t, rows_t, counter_t;
};

/// Row after row, each slot written as often as it comes round: the definition.
std::vector<std::uint8_t> ring(const Data& d) {
  std::vector<std::uint8_t> image = d.image();
  for (std::int64_t i = 0; i < d.c.tokens; ++i) {
    const auto slot = static_cast<std::int64_t>(
        (static_cast<unsigned __int128>(d.c.value) + static_cast<unsigned __int128>(i)) %
        static_cast<unsigned __int128>(d.c.slots));
    d.put(image, i, slot);
  }
  return image;
}

void run_window(nvfp4j_context* context, const Case& c) {
  const Data d(c);
  const std::vector<std::uint8_t> expected = ring(d);
  CHECK_EQ(d.window(context).message, "");
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  CHECK(d.image() == expected);
  CHECK_EQ(d.value(), c.value);
}

/// Nothing is written, and this is reported.
void check_reported(nvfp4j_context* context, std::int32_t op, std::int32_t cause, std::int64_t row,
                    const std::string& sentence) {
  nvfp4j_status_record record = status_record();
  CHECK_FAILS(nvfp4j_context_synchronize(context, &record, error), NVFP4J_ERROR_REPORTED, sentence);
  CHECK_EQ(record.first_op, op);
  CHECK_EQ(record.first_cause, cause);
  CHECK_EQ(record.first_row, row);
  CHECK_EQ(record.first_column, -1);
  for (std::int32_t other = 0; other < NVFP4J_STATUS_WORDS; ++other)
    CHECK_EQ(record.causes[other], other == op ? std::uint64_t{1} << cause : std::uint64_t{0});
}

constexpr const char* kOutOfRange = "INDEX_OUT_OF_RANGE: an index is out of range";
const std::int32_t kTypes[] = {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16, NVFP4J_DTYPE_F16,
                               NVFP4J_DTYPE_U8};

}  // namespace

TEST(plans_cover_every_row_once) {
  for (const std::int64_t row_bytes : {1, 2, 6, 16, 17, 36, 96, 1024, 1026, 5000, 28672}) {
    for (const std::int64_t count : {1, 2, 3, 5, 31, 100}) {
      for (const std::int64_t misalign : {0, 1, 2, 4, 8}) {
        const CacheRows c = rows_of(row_bytes, misalign * 3, misalign);
        const CachePlan p = plan_cache(c, count);
        CHECK(p.unit == 1 || p.unit == 2 || p.unit == 4 || p.unit == 8 || p.unit == 16);
        for (const std::uintptr_t x :
             {reinterpret_cast<std::uintptr_t>(c.rows), reinterpret_cast<std::uintptr_t>(c.cache),
              static_cast<std::uintptr_t>(c.rows_stride),
              static_cast<std::uintptr_t>(c.cache_stride), static_cast<std::uintptr_t>(row_bytes)})
          CHECK_EQ(x % static_cast<std::uintptr_t>(p.unit), std::uintptr_t{0});
        CHECK_EQ(p.units * p.unit, row_bytes);
        CHECK(p.threads >= 32 && p.threads <= kCacheThreads && p.threads % 32 == 0);
        CHECK_EQ(p.rows * p.lanes, p.threads);
        CHECK(p.grid_x >= 1 && p.grid_y >= 1);
        check_covers(p, count);
      }
    }
  }
}

TEST(a_decode_step_is_one_small_thread_block) {
  for (const int row_bytes : {512, 1024, 2048, 4096}) {
    const CachePlan p = plan_cache(rows_of(row_bytes), 1);
    CHECK_EQ(p.unit, 16);
    CHECK_EQ(p.threads, row_bytes / 16);
    CHECK_EQ(p.blocks(), 1);
  }
}

TEST(large_plans_stay_within_their_grid) {
  const CachePlan p = plan_cache(rows_of(std::int64_t{1} << 40), std::int64_t{1} << 40);
  CHECK(p.grid_x <= 1 << 16);
  CHECK(p.grid_y <= 1 << 10);
  CHECK(p.blocks() < std::int64_t{1} << 32);  // what a counter of thread blocks can say
  const CachePlan narrow = plan_cache(rows_of(3), 70000 * 256);
  CHECK_EQ(narrow.grid_x, 1 << 16);
}

TEST(words_of_the_workspace_are_apart) {
  CHECK(kWorkspaceCountersAt >= kWorkspaceGridBytes);
  CHECK(kWorkspaceCacheAppendAt + 256 <= kWorkspaceSampleAt);
  CHECK(kWorkspaceSampleAt < kWorkspaceHcAt);
  CHECK_EQ(kWorkspaceHcAt % 1024, 0);
  CHECK_EQ(kWorkspaceTaggedAt % 256, 0);
  CHECK_EQ(kWorkspaceRouterAt % 256, 0);
  CHECK(TaggedWords::kWords + 8 * TaggedWords::kMaxWords <= kWorkspaceTaggedBytes);
}

TEST(slots_are_remainders_at_every_position) {
  auto& g = generator();
  const std::uint32_t counts[] = {1, 2, 3, 127, 128, 129, 65537, 0x7fffffff};
  for (const std::uint32_t slots : counts) {
    for (int n = 0; n < 2000; ++n) {
      const std::int64_t edges[] = {0,
                                    1,
                                    slots - 1,
                                    slots,
                                    std::int64_t{1} << 31,
                                    (std::int64_t{1} << 32) - 1,
                                    std::int64_t{1} << 32,
                                    kHighest - 1,
                                    kHighest};
      const std::int64_t position =
          n < 9 ? edges[n] : static_cast<std::int64_t>(g() >> (1 + n % 62));
      const auto skipped = static_cast<std::uint32_t>(g() % slots);
      const auto i = static_cast<std::int64_t>(g() % slots);
      const std::uint32_t first = first_slot(position, skipped, slots);
      CHECK(first < slots);
      const auto expected = static_cast<std::int64_t>(
          (static_cast<unsigned __int128>(position) + skipped + static_cast<unsigned __int128>(i)) %
          slots);
      CHECK_EQ(slot_of(first, i, slots), expected);
    }
  }
}

TEST(window_equals_the_definition) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    auto& g = generator();
    for (const std::int32_t dtype : kTypes) {
      for (const std::int64_t slots : {1, 2, 5, 128}) {
        // Fewer than the window, as many, more, and many times as many.
        for (const std::int64_t tokens :
             {std::int64_t{1}, slots - 1, slots, slots + 1, 2 * slots, 7 * slots + 3}) {
          for (const std::int64_t value :
               {std::int64_t{0}, std::int64_t{1}, slots - 1, slots, 3 * slots - 1,
                static_cast<std::int64_t>(g() % 100000)}) {
            Case c = {dtype, slots, tokens, 7, value, g() % 2 == 0};
            c.cache_gap = static_cast<std::int64_t>(g() % 3);
            c.rows_gap = static_cast<std::int64_t>(g() % 3);
            c.misalign = static_cast<std::int64_t>(g() % 2);
            run_window(context, c);
          }
        }
      }
    }
    run_window(context, {NVFP4J_DTYPE_BF16, 128, 1000, 512, 123});
    run_window(context, {NVFP4J_DTYPE_U8, 3, 2, (1 << 21) + 5, 2});  // a row in pieces
  }
}

TEST(window_at_huge_positions) {
  const Context context;
  for (const std::int64_t slots : {1, 3, 127, 128}) {
    for (const std::int64_t tokens : {1, 2, 127, 300}) {
      for (const std::int64_t value :
           {kHighest, kHighest - 1, kHighest - 200, std::int64_t{1} << 62,
            (std::int64_t{1} << 32) - 1, std::int64_t{1} << 32, (std::int64_t{1} << 32) + 5}) {
        run_window(context, {NVFP4J_DTYPE_F32, slots, tokens, 3, value, true});
      }
      run_window(context, {NVFP4J_DTYPE_F32, slots, tokens, 3, 0x7fffffff, false});
    }
  }
}

TEST(window_at_a_negative_position_writes_nothing) {
  const Context context(2);
  for (const std::int64_t value : {std::int64_t{-1}, std::int64_t{-5}, -std::int64_t{0x80000000}}) {
    for (const bool wide : {false, true}) {
      const Data d({NVFP4J_DTYPE_BF16, 8, 3, 24, value, wide});
      const std::vector<std::uint8_t> before = d.image();
      CHECK_EQ(d.window(context).message, "");
      CHECK(d.image() == before);
      CHECK_EQ(d.value(), value);
      check_reported(context, NVFP4J_OP_CACHE_APPEND_WINDOW, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, -1,
                     std::string("cache_append_window: ") + kOutOfRange);
      CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
    }
  }
  const Data lowest({NVFP4J_DTYPE_BF16, 8, 3, 24, std::numeric_limits<int64_t>::min(), true});
  CHECK_EQ(lowest.window(context).message, "");
  check_reported(context, NVFP4J_OP_CACHE_APPEND_WINDOW, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, -1,
                 std::string("cache_append_window: ") + kOutOfRange);
}

TEST(append_until_full_and_not_beyond) {
  for (const std::int32_t threads : {1, 3}) {
    const Context context(threads);
    for (const std::int32_t dtype : kTypes) {
      for (const bool wide : {false, true}) {
        Case c = {dtype, 10, 3, 5, 0, wide};
        c.cache_gap = wide ? 2 : 0;
        c.rows_gap = wide ? 0 : 1;
        c.misalign = wide ? 1 : 0;
        const Data d(c);
        std::vector<std::uint8_t> expected = d.image();
        for (std::int64_t length = 0; length + 3 <= 10; length += 3) {
          for (std::int64_t i = 0; i < 3; ++i) d.put(expected, i, length + i);
          CHECK_EQ(d.append(context).message, "");
          CHECK_EQ(d.value(), length + 3);
          CHECK(d.image() == expected);
        }
        CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
        CHECK_EQ(d.append(context).message, "");
        CHECK_EQ(d.value(), 9);
        CHECK(d.image() == expected);
        check_reported(context, NVFP4J_OP_CACHE_APPEND, NVFP4J_CAUSE_CACHE_OVERFLOW, 10,
                       "cache_append: CACHE_OVERFLOW: a cache has no room for the rows, first seen "
                       "at row 10");
      }
    }
  }
}

TEST(append_of_exactly_what_is_left) {
  const Context context;
  const Data d({NVFP4J_DTYPE_F32, 10, 10, 3, 0});
  std::vector<std::uint8_t> expected = d.image();
  for (std::int64_t i = 0; i < 10; ++i) d.put(expected, i, i);
  CHECK_EQ(d.append(context).message, "");
  CHECK(d.image() == expected);
  CHECK_EQ(d.value(), 10);
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  // Full, and not a row more.
  CHECK_EQ(d.append(context).message, "");
  CHECK_EQ(d.value(), 10);
  CHECK_EQ(nvfp4j_context_synchronize(context, nullptr, nullptr), NVFP4J_ERROR_REPORTED);
}

TEST(append_with_a_length_that_cannot_be) {
  const Context context;
  for (const bool wide : {false, true}) {
    for (const std::int64_t value :
         {std::int64_t{-1}, std::int64_t{11}, -std::int64_t{0x80000000}, std::int64_t{0x7fffffff},
          wide ? kHighest : 12, wide ? std::numeric_limits<int64_t>::min() : -2}) {
      const Data d({NVFP4J_DTYPE_F32, 10, 3, 3, value, wide});
      const std::vector<std::uint8_t> before = d.image();
      CHECK_EQ(d.append(context).message, "");
      CHECK(d.image() == before);
      CHECK_EQ(d.value(), value);
      check_reported(context, NVFP4J_OP_CACHE_APPEND, NVFP4J_CAUSE_INDEX_OUT_OF_RANGE, -1,
                     std::string("cache_append: ") + kOutOfRange);
    }
  }
  // No row fits into a cache of none.
  const Data none({NVFP4J_DTYPE_F32, 0, 1, 3, 0});
  CHECK_EQ(none.append(context).message, "");
  check_reported(context, NVFP4J_OP_CACHE_APPEND, NVFP4J_CAUSE_CACHE_OVERFLOW, 0,
                 "cache_append: CACHE_OVERFLOW: a cache has no room for the rows, first seen at "
                 "row 0");
}

TEST(no_rows_are_no_work) {
  const Context context;
  const Data d({NVFP4J_DTYPE_F32, 10, 0, 3, -7});
  const std::vector<std::uint8_t> before = d.image();
  CHECK_EQ(d.window(context).message, "");
  CHECK_EQ(d.append(context).message, "");
  CHECK(d.image() == before);
  CHECK_EQ(d.value(), -7);
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
}

// ---- what is refused -------------------------------------------------------------------------------------------------

namespace {

using Op = Outcome (Data::*)(nvfp4j_context*) const;
struct Named {
  const char* name;
  Op run;
  const char* counter;
};
constexpr Named kOps[] = {{"cache_append_window", &Data::window, "position"},
                          {"cache_append", &Data::append, "length"}};

/// Spoils a good call, which must then be refused with the sentence, and write nothing.
void refused(const Named& op, const std::string& sentence,
             const std::function<void(Data&)>& spoil) {
  const Context context;
  Data d({NVFP4J_DTYPE_BF16, 8, 3, 24, 2});
  const std::vector<std::uint8_t> before = d.image();
  spoil(d);
  const Outcome said = (d.*op.run)(context);
  check::equal(__FILE__, __LINE__, sentence.c_str(), said.message,
               std::string(op.name) + ": " + sentence);
  CHECK_EQ(said.status, kInvalid);
  CHECK(d.image() == before);
  CHECK_EQ(d.value(), 2);
}

/// The same for a sentence with addresses, of which the beginning is told.
void refused_overlap(const Named& op, const std::string& written, const std::string& other,
                     const std::function<void(Data&)>& spoil) {
  const Context context;
  Data d({NVFP4J_DTYPE_BF16, 8, 3, 24, 2});
  spoil(d);
  const Outcome said = (d.*op.run)(context);
  CHECK_EQ(said.status, kInvalid);
  CHECK_EQ(said.message.rfind(std::string(op.name) + ": " + written + " (", 0), std::size_t{0});
  CHECK(said.message.find("overlaps " + other + " (") != std::string::npos);
}

}  // namespace

TEST(wrong_tensors_are_refused_by_name) {
  for (const Named& op : kOps) {
    struct Argument {
      std::string name;
      nvfp4j_tensor Data::* tensor;
    };
    for (const Argument& a : {Argument{"cache", &Data::cache_t}, Argument{"rows", &Data::rows_t}}) {
      refused(op, a.name + " has dtype I32, expected F32, BF16, F16 or U8",
              [&](Data& d) { (d.*a.tensor).dtype = NVFP4J_DTYPE_I32; });
      refused(op, a.name + " has dtype I64, expected F32, BF16, F16 or U8",
              [&](Data& d) { (d.*a.tensor).dtype = NVFP4J_DTYPE_I64; });
      refused(op,
              a.name + " has column stride 2 (shape [" + std::to_string(a.name == "cache" ? 8 : 3) +
                  ", 24]), expected 1",
              [&](Data& d) { (d.*a.tensor).stride[1] = 2; });
      refused(op,
              a.name + " has row stride 23 (shape [" + std::to_string(a.name == "cache" ? 8 : 3) +
                  ", 24]), expected 24 or more",
              [&](Data& d) { (d.*a.tensor).stride[0] = 23; });
    }
    for (const Argument& a : {Argument{"cache", &Data::cache_t}, Argument{"rows", &Data::rows_t},
                              Argument{op.counter, &Data::counter_t}}) {
      refused(op,
              a.name + ".struct_size is 7, expected " + std::to_string(sizeof(nvfp4j_tensor)) +
                  " (ABI version " NVFP4J_ABI_TEXT ")",
              [&](Data& d) { (d.*a.tensor).struct_size = 7; });
      refused(
          op,
          a.name + " is in DEVICE memory, expected HOST or PINNED (the context's device is cpu)",
          [&](Data& d) { (d.*a.tensor).memory = NVFP4J_MEMORY_DEVICE; });
      refused(op, a.name + ".shape[0] is -1, expected 0 or more",
              [&](Data& d) { (d.*a.tensor).shape[0] = -1; });
    }
    refused(op, "rows has dtype F16, expected BF16 (the dtype of cache)",
            [](Data& d) { d.rows_t.dtype = NVFP4J_DTYPE_F16; });
    refused(op, "rows has shape [3, 23], expected [3, 24] (the columns of cache)",
            [](Data& d) { d.rows_t.shape[1] = 23; });
    refused(op, "cache has 0 columns, expected 1 or more",
            [](Data& d) { d.cache_t.shape[1] = d.rows_t.shape[1] = 0; });
    const std::string counter = op.counter;
    refused(op, counter + " has dtype F32, expected I32 or I64",
            [](Data& d) { d.counter_t.dtype = NVFP4J_DTYPE_F32; });
    refused(op, counter + " has 2 elements, expected 1 (a scalar)",
            [](Data& d) { d.counter_t.shape[0] = 2; });
    refused(op, counter + " has 0 elements, expected 1 (a scalar)",
            [](Data& d) { d.counter_t.shape[0] = 0; });
    refused(op, counter + " has rank 2 (shape [1, 1]), expected rank 1", [](Data& d) {
      d.counter_t.rank = 2;
      d.counter_t.shape[1] = d.counter_t.stride[1] = 1;
    });
    // Of a hazard nothing is allowed, not even rows onto themselves.
    refused_overlap(op, "cache", "rows", [](Data& d) { d.rows_t.data = d.cache_t.data; });
    refused_overlap(op, "cache", "rows", [](Data& d) {
      d.rows_t.data = static_cast<std::uint8_t*>(d.cache_t.data) + d.cache.size() - 2;
    });
    refused_overlap(op, "cache", counter, [](Data& d) {
      d.counter_t.data = static_cast<std::uint8_t*>(d.cache_t.data) + d.cache.size() - 4;
    });
    const Context context;
    const Data d({});
    CHECK_FAILS((op.run == kOps[0].run
                     ? nvfp4j_cache_append_window(context, nullptr, &d.rows_t, &d.counter_t, error)
                     : nvfp4j_cache_append(context, nullptr, &d.rows_t, &d.counter_t, error)),
                kInvalid, std::string(op.name) + ": cache is NULL, expected a structure");
    CHECK_FAILS(
        (op.run == kOps[0].run
             ? nvfp4j_cache_append_window(nullptr, &d.cache_t, &d.rows_t, &d.counter_t, error)
             : nvfp4j_cache_append(nullptr, &d.cache_t, &d.rows_t, &d.counter_t, error)),
        kInvalid, std::string(op.name) + ": context is NULL, expected a context");
  }
}

TEST(what_only_one_of_them_refuses) {
  refused(kOps[0], "cache has 0 rows, expected 1 to 2147483647",
          [](Data& d) { d.cache_t.shape[0] = 0; });
  // So far away that nothing of the test lies in it.
  const auto large = [](Data& d) {
    d.cache_t.shape[0] = std::int64_t{1} << 31;
    d.cache_t.data = reinterpret_cast<void*>(std::uintptr_t{1} << 56);
  };
  refused(kOps[0], "cache has 2147483648 rows, expected 1 to 2147483647", large);
  refused(kOps[1], "length has dtype I32, expected I64: cache has 2147483648 rows", large);
  refused_overlap(kOps[1], "length", "rows", [](Data& d) {
    d.counter_t.data = static_cast<std::uint8_t*>(d.rows_t.data) + 8;
  });
}

TEST(columns_of_one_matrix_may_be_cache_and_rows) {
  const Context context;
  Bytes all(6 * 8 * 2);
  for (std::int64_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint8_t>(i);
  const nvfp4j_tensor cache = matrix(all.data(), NVFP4J_DTYPE_BF16, 6, 4, 8);
  const nvfp4j_tensor rows = matrix(all.data() + 8, NVFP4J_DTYPE_BF16, 2, 4, 8);
  std::int32_t at = 5;
  const nvfp4j_tensor position = tensor(&at, NVFP4J_DTYPE_I32, {1});
  CHECK_OK(nvfp4j_cache_append_window(context, &cache, &rows, &position, error));
  CHECK(std::memcmp(all.data() + 5 * 16, all.data() + 8, 8) == 0);
  CHECK(std::memcmp(all.data(), all.data() + 16 + 8, 8) == 0);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
