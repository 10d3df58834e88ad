// SPDX-License-Identifier: Apache-2.0
// cache_append_window and cache_append on the GPU: every kernel, byte for byte against host code, at positions and lengths that the device advances itself.
#include <set>

#include "common/workspace_layout.hpp"
#include "gpu_test.cuh"
#include "ops/cache_append/cache_append_cuda.hpp"
#include "ops/cache_append/cache_plan.hpp"
#include "ops/cache_append_window/cache_append_window_cuda.hpp"

namespace nvfp4j::test {
namespace {

constexpr std::int64_t kHighest = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kLowest = std::numeric_limits<std::int64_t>::min();

// All sizes in bytes.
struct Case {
  std::int64_t row_bytes;
  std::int64_t slots;  // of the ring, or the capacity
  std::int64_t tokens;
  std::int64_t value = 0;  // position or length
  bool wide = false;
  std::int64_t cache_gap = 0;
  std::int64_t rows_gap = 0;
  int misalign = 0;

  std::string name(const char* op) const {
    char text[200];
    std::snprintf(text, sizeof text,
                  "%s of %lld rows of %lld bytes into %lld at %lld%s gaps %lld %lld misalign %d",
                  op, static_cast<long long>(tokens), static_cast<long long>(row_bytes),
                  static_cast<long long>(slots), static_cast<long long>(value), wide ? " I64" : "",
                  static_cast<long long>(cache_gap), static_cast<long long>(rows_gap), misalign);
    return text;
  }
};

// Of the plans that were launched.
std::set<std::string> reached;

void note_plan(const char* op, const CacheRows& copy, std::int64_t count) {
  const CachePlan p = plan_cache(copy, count);
  reached.insert(std::string(op) + " unit " + std::to_string(p.unit));
  reached.insert(std::string(op) + (p.blocks() == 1 ? " one thread block" : " thread blocks"));
  if (std::int64_t{p.grid_x} * p.rows < count) reached.insert("rows left over by the grid");
  if (std::int64_t{p.grid_y} * p.lanes < p.units) reached.insert("units left over by the grid");
}

void check_all_reached(bool quick) {
  for (const char* op : {"window", "append"}) {
    for (const int unit : {1, 2, 4, 8, 16}) {
      const std::string what = std::string(op) + " unit " + std::to_string(unit);
      check(reached.count(what) != 0, "no case reaches " + what);
    }
    for (const char* blocks : {" one thread block", " thread blocks"})
      check(reached.count(op + std::string(blocks)) != 0,
            std::string("no case reaches ") + op + blocks);
  }
  if (quick) return;
  for (const char* what : {"rows left over by the grid", "units left over by the grid"})
    check(reached.count(what) != 0, std::string("no case reaches ") + what);
}

std::vector<std::uint8_t> random_bytes(std::mt19937& g, std::int64_t count) {
  std::vector<std::uint8_t> v(static_cast<std::size_t>(count));
  for (std::uint8_t& b : v) b = static_cast<std::uint8_t>(g());
  return v;
}

__global__ void advance(void* counter, bool wide, std::int64_t by) {
  if (wide) {
    *static_cast<std::int64_t*>(counter) += by;
  } else {
    *static_cast<std::int32_t*>(counter) += static_cast<std::int32_t>(by);
  }
}

// A cache, rows and a counter in device memory, and what the host says of them.
class Data {
 public:
  Data(std::mt19937& g, const Case& of)
      : c(of),
        image(random_bytes(g, span(of.slots, of.cache_gap))),
        rows(random_bytes(g, span(of.tokens, of.rows_gap))),
        cache_at(static_cast<std::int64_t>(image.size()), of.misalign),
        rows_at(static_cast<std::int64_t>(rows.size()), of.misalign),
        counter_at(of.wide ? 8 : 4) {
    reset();
    rows_at.put(rows.data(), static_cast<std::int64_t>(rows.size()));
    set(of.value);
  }

  void reset() const { cache_at.put(image.data(), static_cast<std::int64_t>(image.size())); }
  void set(std::int64_t value) const {
    const auto narrow = static_cast<std::int32_t>(value);
    counter_at.put(c.wide ? static_cast<const void*>(&value) : &narrow, c.wide ? 8 : 4);
  }
  std::int64_t value(const char* what) const {
    const std::vector<std::uint8_t> bytes = counter_at.get(what);
    std::int64_t wide = 0;
    std::int32_t narrow = 0;
    std::memcpy(c.wide ? static_cast<void*>(&wide) : &narrow, bytes.data(), bytes.size());
    return c.wide ? wide : narrow;
  }
  // Row i of rows to row `slot` of an image.
  void put(std::vector<std::uint8_t>& of, std::int64_t i, std::int64_t slot) const {
    std::memcpy(&of[static_cast<std::size_t>(slot * (c.row_bytes + c.cache_gap))],
                &rows[static_cast<std::size_t>(i * (c.row_bytes + c.rows_gap))],
                static_cast<std::size_t>(c.row_bytes));
  }
  // Row after row: the definition.
  void ring(std::vector<std::uint8_t>& of, std::int64_t position) const {
    for (std::int64_t i = 0; i < c.tokens; ++i) {
      put(of, i,
          static_cast<std::int64_t>(
              (static_cast<unsigned __int128>(position) + static_cast<unsigned __int128>(i)) %
              static_cast<unsigned __int128>(c.slots)));
    }
  }
  void check_cache(const std::vector<std::uint8_t>& expected, const std::string& name) const {
    const std::vector<std::uint8_t> got = cache_at.get(name.c_str());
    std::size_t i = 0;
    while (i < got.size() && got[i] == expected[i]) ++i;
    check(i == got.size(), name + ": byte " + std::to_string(i) + " of the cache differs");
    if (rows_at.get(name.c_str()) != rows) check(false, name + ": rows were written");
  }

  CacheAppendWindowArgs window_args() const {
    const std::int64_t written = std::min(c.tokens, c.slots);
    const std::int64_t skipped = c.tokens - written;
    CacheRows r = copy();
    r.rows += skipped * r.rows_stride;
    return {r, written, static_cast<std::uint32_t>(skipped % c.slots),
            static_cast<std::uint32_t>(c.slots), counter()};
  }
  CacheAppendArgs append_args() const { return {copy(), c.tokens, c.slots, counter()}; }

  Case c;
  std::vector<std::uint8_t> image;
  std::vector<std::uint8_t> rows;
  Buffer cache_at;
  Buffer rows_at;
  Buffer counter_at;

 private:
  std::int64_t span(std::int64_t count, std::int64_t gap) const {
    return (count - 1) * (c.row_bytes + gap) + c.row_bytes;
  }
  CacheRows copy() const {
    return {rows_at.data(), c.row_bytes + c.rows_gap, cache_at.data(), c.row_bytes + c.cache_gap,
            c.row_bytes};
  }
  CacheCounter counter() const { return {counter_at.data(), c.wide}; }
};

void check_status(Gpu& gpu, int op, int cause, std::int64_t row, const std::string& name) {
  const DeviceStatus s = gpu.take_status();
  bool right = (s.claimed != 0) == (cause >= 0);
  for (int other = 0; other < NVFP4J_STATUS_WORDS; ++other)
    right = right && s.causes[other] == (cause >= 0 && other == op ? 1ull << cause : 0);
  if (cause >= 0)
    right = right && s.first_op == op && s.first_cause == cause && s.first_row == row &&
            s.first_column == -1;
  char text[120];
  std::snprintf(text, sizeof text, ": reported op %d cause %d at %lld, %lld", s.first_op,
                s.first_cause, s.first_row, s.first_column);
  check(right, name + text);
}

// What launches leave for the next.
void check_workspace(Gpu& gpu, const std::string& name) {
  std::vector<std::uint8_t> words(static_cast<std::size_t>(kWorkspaceCounterBytes));
  MUST(cudaMemcpy(words.data(), static_cast<char*>(gpu.launch.workspace) + kWorkspaceCountersAt,
                  words.size(), cudaMemcpyDeviceToHost));
  check(std::all_of(words.begin(), words.end(), [](std::uint8_t b) { return b == 0; }),
        name + ": left words in the workspace");
}

void window(Gpu& gpu, const CacheAppendWindowArgs& args) {
  must(static_cast<cudaError_t>(cache_append_window_cuda(gpu.launch, args)),
       "cache_append_window_cuda");
}
void append(Gpu& gpu, const CacheAppendArgs& args) {
  must(static_cast<cudaError_t>(cache_append_cuda(gpu.launch, args)), "cache_append_cuda");
}

// ---- cache_append_window ---------------------------------------------------------------------------------------------

void run_window(Gpu& gpu, std::mt19937& g, const Case& c) {
  const std::string name = c.name("window");
  const Data d(g, c);
  const CacheAppendWindowArgs args = d.window_args();
  note_plan("window", args.copy, args.written);
  std::vector<std::uint8_t> expected = d.image;
  const bool bad = c.value < 0;
  if (!bad) d.ring(expected, c.value);
  window(gpu, args);
  gpu.wait();
  d.check_cache(expected, name);
  check(d.value(name.c_str()) == c.value, name + ": position was written");
  check_status(gpu, NVFP4J_OP_CACHE_APPEND_WINDOW, bad ? NVFP4J_CAUSE_INDEX_OUT_OF_RANGE : -1, -1,
               name);
}

void test_window(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int64_t> sizes =
      quick ? std::vector<std::int64_t>{7, 64, 1026, 1024}
            : std::vector<std::int64_t>{1, 2, 7, 16, 20, 24, 64, 1000, 1026, 1024, 4096, 28672};
  const std::vector<std::int64_t> rings =
      quick ? std::vector<std::int64_t>{1, 128} : std::vector<std::int64_t>{1, 2, 3, 127, 128, 300};
  for (const std::int64_t row_bytes : sizes) {
    for (const std::int64_t slots : rings) {
      for (const std::int64_t tokens :
           {std::int64_t{1}, slots - 1, slots, slots + 1, 3 * slots + 2}) {
        if (tokens < 1) continue;
        for (const std::int64_t value :
             {std::int64_t{0}, slots - 1, 5 * slots - 1, static_cast<std::int64_t>(g() % 100000)}) {
          if (quick && value != 0 && value != slots - 1) continue;
          Case c = {row_bytes, slots, tokens, value, g() % 2 == 0};
          c.cache_gap = static_cast<std::int64_t>(g() % 3) * (1 << g() % 5);
          c.rows_gap = static_cast<std::int64_t>(g() % 3) * (1 << g() % 5);
          c.misalign = static_cast<int>(g() % 3 == 0 ? 1u << g() % 4 : 0u);
          run_window(gpu, g, c);
        }
        run_window(gpu, g, {row_bytes, slots, tokens, static_cast<std::int64_t>(g() % 1000)});
      }
    }
  }
  // Each unit, in one thread block and in several.
  for (const std::int64_t unit : {1, 2, 4, 8, 16}) {
    run_window(gpu, g, {3 * unit, 5, 3, 4});
    run_window(gpu, g, {301 * unit, 40, 50, 4, true, unit, 3 * unit});
  }
  for (const std::int64_t slots : {1, 3, 127, 128}) {
    for (const std::int64_t value :
         {kHighest, kHighest - 1, kHighest - 100, std::int64_t{1} << 62, std::int64_t{1} << 32,
          (std::int64_t{1} << 32) - 1, (std::int64_t{1} << 32) + 3})
      run_window(gpu, g, {32, slots, 130, value, true});
    run_window(gpu, g, {32, slots, 130, 0x7fffffff, false});
  }
  for (const std::int64_t value :
       {std::int64_t{-1}, std::int64_t{-128}, -std::int64_t{0x80000000}, kLowest}) {
    for (const std::int64_t tokens : {1, 300}) {
      run_window(gpu, g, {1024, 128, tokens, value, true});
      if (value != kLowest) run_window(gpu, g, {1024, 128, tokens, value, false});
    }
  }
  if (quick) return;
  // More than a grid has.
  run_window(gpu, g, {1, 17000000, 17000000, 5, false});
  run_window(gpu, g, {300001, 3, 2, 2, false});
  run_window(gpu, g, {1024, 128, 100000, 77, true});
}

// A captured step whose position the device advances, in the graph and between replays.
void test_window_replays(Gpu& gpu, std::mt19937& g) {
  for (const bool in_graph : {false, true}) {
    for (const bool wide : {false, true}) {
      for (const std::int64_t tokens : {1, 3, 200}) {
        const Case c = {1024, 128, tokens, 120, wide};
        const std::string name = c.name("replayed window");
        const Data d(g, c);
        const CacheAppendWindowArgs args = d.window_args();
        cudaGraph_t graph;
        cudaGraphExec_t exec;
        MUST(cudaStreamBeginCapture(gpu.launch.stream, cudaStreamCaptureModeThreadLocal));
        window(gpu, args);
        if (in_graph) advance<<<1, 1, 0, gpu.launch.stream>>>(d.counter_at.data(), wide, tokens);
        MUST(cudaStreamEndCapture(gpu.launch.stream, &graph));
        MUST(cudaGraphInstantiate(&exec, graph, 0));
        std::vector<std::uint8_t> expected = d.image;
        std::int64_t position = 120;
        for (int step = 0; step < 12; ++step) {
          MUST(cudaGraphLaunch(exec, gpu.launch.stream));
          d.ring(expected, position);
          position += tokens;
          if (in_graph && step % 3 != 2) continue;  // several replays without a wait
          gpu.wait();
          d.check_cache(expected, name);
          if (!in_graph) d.set(position);
          check(d.value(name.c_str()) == position, name + ": position");
        }
        MUST(cudaGraphExecDestroy(exec));
        MUST(cudaGraphDestroy(graph));
        check_status(gpu, NVFP4J_OP_CACHE_APPEND_WINDOW, -1, -1, name);
      }
    }
  }
}

// ---- cache_append ----------------------------------------------------------------------------------------------------

void run_append(Gpu& gpu, std::mt19937& g, const Case& c) {
  const std::string name = c.name("append");
  const Data d(g, c);
  const CacheAppendArgs args = d.append_args();
  note_plan("append", args.copy, args.tokens);
  std::vector<std::uint8_t> expected = d.image;
  const int cause = c.value < 0 || c.value > c.slots ? NVFP4J_CAUSE_INDEX_OUT_OF_RANGE
                    : c.tokens > c.slots - c.value   ? NVFP4J_CAUSE_CACHE_OVERFLOW
                                                     : -1;
  for (std::int64_t i = 0; cause < 0 && i < c.tokens; ++i) d.put(expected, i, c.value + i);
  append(gpu, args);
  gpu.wait();
  d.check_cache(expected, name);
  const std::int64_t length = d.value(name.c_str());
  check(length == (cause < 0 ? c.value + c.tokens : c.value),
        name + ": length is " + std::to_string(length));
  check_status(gpu, NVFP4J_OP_CACHE_APPEND, cause,
               cause == NVFP4J_CAUSE_CACHE_OVERFLOW ? c.slots : -1, name);
  check_workspace(gpu, name);
}

void test_append(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int64_t> sizes =
      quick ? std::vector<std::int64_t>{7, 64, 1026, 1024}
            : std::vector<std::int64_t>{1, 2, 7, 16, 20, 24, 64, 256, 1000, 1026, 1024, 28672};
  for (const std::int64_t row_bytes : sizes) {
    for (const std::int64_t tokens : {1, 2, 5, 64, 300}) {
      if (quick && tokens > 64) continue;
      const std::int64_t capacity = tokens + static_cast<std::int64_t>(g() % 50);
      for (const std::int64_t value : {std::int64_t{0}, capacity - tokens, capacity - tokens + 1,
                                       capacity, capacity + 1, std::int64_t{-1}}) {
        Case c = {row_bytes, capacity, tokens, value, g() % 2 == 0};
        c.cache_gap = static_cast<std::int64_t>(g() % 3) * (1 << g() % 5);
        c.rows_gap = static_cast<std::int64_t>(g() % 3) * (1 << g() % 5);
        c.misalign = static_cast<int>(g() % 3 == 0 ? 1u << g() % 4 : 0u);
        run_append(gpu, g, c);
      }
      run_append(gpu, g, {row_bytes, capacity, tokens, capacity - tokens});
    }
  }
  for (const std::int64_t unit : {1, 2, 4, 8, 16}) {
    run_append(gpu, g, {3 * unit, 5, 3, 2});
    run_append(gpu, g, {301 * unit, 60, 50, 4, true, unit, 3 * unit});
  }
  for (const std::int64_t value : {kHighest, kLowest, kHighest - 1})
    run_append(gpu, g, {1024, 100, 20, value, true});
  for (const std::int64_t value : {std::int64_t{0x7fffffff}, -std::int64_t{0x80000000}})
    run_append(gpu, g, {1024, 100, 20, value, false});
  if (quick) return;
  run_append(gpu, g, {1, 17000000, 16999990, 7, false});
  run_append(gpu, g, {300001, 3, 2, 1, false});
  run_append(gpu, g, {1024, 40000, 32768, 7000, true});
}

// A captured step that appends until the cache is full, and then says so.
void test_append_replays(Gpu& gpu, std::mt19937& g) {
  for (const bool wide : {false, true}) {
    for (const std::int64_t tokens : {1, 3, 64}) {  // in one thread block, and in several
      const std::int64_t capacity = 7 * tokens + (tokens > 1 ? 1 : 0);
      const Case c = {1024, capacity, tokens, 0, wide};
      const std::string name = c.name("replayed append");
      const Data d(g, c);
      const CacheAppendArgs args = d.append_args();
      cudaGraph_t graph;
      cudaGraphExec_t exec;
      MUST(cudaStreamBeginCapture(gpu.launch.stream, cudaStreamCaptureModeThreadLocal));
      append(gpu, args);
      MUST(cudaStreamEndCapture(gpu.launch.stream, &graph));
      MUST(cudaGraphInstantiate(&exec, graph, 0));
      std::vector<std::uint8_t> expected = d.image;
      std::int64_t length = 0;
      for (int step = 0; step < 10; ++step) {
        MUST(cudaGraphLaunch(exec, gpu.launch.stream));
        const bool fits = length + tokens <= capacity;
        for (std::int64_t i = 0; fits && i < tokens; ++i) d.put(expected, i, length + i);
        if (fits) length += tokens;
        if (step == 2 || step == 3) continue;  // replays without a wait
        gpu.wait();
        d.check_cache(expected, name);
        check(d.value(name.c_str()) == length, name + ": length");
        check_status(gpu, NVFP4J_OP_CACHE_APPEND, fits ? -1 : NVFP4J_CAUSE_CACHE_OVERFLOW, capacity,
                     name);
        check_workspace(gpu, name);
      }
      MUST(cudaGraphExecDestroy(exec));
      MUST(cudaGraphDestroy(graph));
    }
  }
}

// Launch upon launch without a wait, of grids of many sizes: the length counts them all, and the rows lie side by side.
void test_appends_in_a_row(Gpu& gpu, std::mt19937& g, bool quick) {
  constexpr std::int64_t kRowBytes = 512;
  const Case c = {kRowBytes, 4000, 400, 0, true};
  const Data d(g, c);
  std::vector<std::uint8_t> expected = d.image;
  std::int64_t length = 0;
  for (int step = 0; step < (quick ? 8 : 60); ++step) {
    const std::int64_t tokens = step % 2 == 0 ? 1 : 1 + static_cast<std::int64_t>(g() % 100);
    CacheAppendArgs args = d.append_args();
    args.tokens = tokens;
    if (length + tokens > c.slots) break;
    append(gpu, args);
    for (std::int64_t i = 0; i < tokens; ++i) d.put(expected, i, length + i);
    length += tokens;
  }
  gpu.wait();
  d.check_cache(expected, "appends in a row");
  check(d.value("appends in a row") == length, "appends in a row: length");
  check_status(gpu, NVFP4J_OP_CACHE_APPEND, -1, -1, "appends in a row");
  check_workspace(gpu, "appends in a row");
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  std::printf("%s\n%s\n", nvfp4j::cache_append_window_cuda_path(gpu.properties),
              nvfp4j::cache_append_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::cache_append_window_cuda_warm_up(gpu.properties)),
       "cache_append_window_cuda_warm_up");
  must(static_cast<cudaError_t>(nvfp4j::cache_append_cuda_warm_up(gpu.properties)),
       "cache_append_cuda_warm_up");
  std::mt19937 g(20261130);
  test_window(gpu, g, quick);
  test_window_replays(gpu, g);
  test_append(gpu, g, quick);
  test_append_replays(gpu, g);
  test_appends_in_a_row(gpu, g, quick);
  check_all_reached(quick);
  return finish();
}
