// SPDX-License-Identifier: Apache-2.0
// sample on the GPU: every kernel token for token against scalar host code.
#include <set>

#include "common/workspace_layout.hpp"
#include "gpu_test.cuh"
#include "ops/sample/sample_cuda.hpp"
#include "ops/sample/sample_math.hpp"
#include "ops/sample/sample_plan.hpp"

namespace nvfp4j::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// ---- the definition --------------------------------------------------------------------------------------------------

enum class Logits { kGauss, kTies, kFlat, kWide, kInfinite, kZeros, kPeaked };

struct Case {
  SampleMode mode;
  int dtype;
  std::int64_t tokens;
  std::int64_t columns;
  float temperature = 1.0f;
  Logits logits = Logits::kGauss;
  std::int64_t gap = 0;
  int misalign = 0;  // elements
  bool more = false;

  std::string name() const {
    char text[200];
    std::snprintf(text, sizeof text,
                  "sample mode %d dtype %d [%lld, %lld] temperature %g logits %d gap %lld misalign "
                  "%d%s",
                  static_cast<int>(mode), dtype, static_cast<long long>(tokens),
                  static_cast<long long>(columns), temperature, static_cast<int>(logits),
                  static_cast<long long>(gap), misalign, more ? " offset tensor" : "");
    return text;
  }
};

float logit(std::mt19937& g, Logits kind, std::int64_t column) {
  switch (kind) {
    case Logits::kTies:
      return static_cast<float>(g() % 5) - 2.0f;
    case Logits::kFlat:
      return -1.5f;
    case Logits::kWide:
      return random_value(g, kWide) * 1e6f;
    case Logits::kInfinite:
      return g() % 3 == 0 ? -kInf : g() % 50 == 0 ? kInf : random_value(g, kGauss);
    case Logits::kZeros:
      return g() % 2 == 0 ? -0.0f : 0.0f;
    case Logits::kPeaked:
      return column % 1009 == 5 ? 30.0f : random_value(g, kTiny);
    default:
      return random_value(g, kGauss) * 3.0f;
  }
}

struct Fault {
  std::int64_t token;
  std::int64_t column;  // -1: all logits are -infinity
  float logit = 0;
  float noise = 1;  // where it is not usable: of the noise
};

// The data of a case and its call. Logits and noise lie in memory as they are on the device; between rows there are NaNs.
class Problem {
 public:
  Problem(std::mt19937& g, const Case& of, const std::vector<Fault>& faults)
      : c(of),
        stride(of.columns + of.gap),
        seed(static_cast<std::uint64_t>(g()) << 32 | g()),
        offset(static_cast<std::uint64_t>(g()) << 32 | g()),
        more(static_cast<std::uint64_t>(g()) << 32 | g()),
        logits(static_cast<std::size_t>(span() * element_bytes(of.dtype)), 0xFF),
        noise(of.mode == SampleMode::kGiven ? static_cast<std::size_t>(span() * 4) : 0, 0xFF),
        logits_at(static_cast<std::int64_t>(logits.size()), of.misalign * element_bytes(of.dtype)),
        noise_at(static_cast<std::int64_t>(noise.size()), of.misalign * 4),
        more_at(8),
        tokens_at(4 * of.tokens) {
    for (std::int64_t t = 0; t < c.tokens; ++t) {
      for (std::int64_t i = 0; i < c.columns; ++i) {
        set_logit(t, i, logit(g, c.logits, i));
        if (!noise.empty()) {
          const float e = -std::log((static_cast<float>(g() >> 9) + 0.5f) * 0x1p-23f);
          set_noise(t, i, g() % 100 == 0 ? e * 0x1p-140f : e);
        }
      }
    }
    for (const Fault& f : faults) {
      for (std::int64_t i = 0; f.column < 0 && i < c.columns; ++i) set_logit(f.token, i, -kInf);
      if (f.column < 0) continue;
      set_logit(f.token, f.column, f.logit);
      if (!noise.empty()) set_noise(f.token, f.column, f.noise);
    }
    logits_at.put(logits.data(), static_cast<std::int64_t>(logits.size()));
    if (!noise.empty()) noise_at.put(noise.data(), static_cast<std::int64_t>(noise.size()));
    more_at.put(&more, 8);
  }

  std::int64_t span() const { return (c.tokens - 1) * stride + c.columns; }
  void set_logit(std::int64_t t, std::int64_t i, float v) {
    const std::int64_t at = t * stride + i;
    if (c.dtype == NVFP4J_DTYPE_F32) {
      std::memcpy(&logits[static_cast<std::size_t>(4 * at)], &v, 4);
    } else {
      std::uint16_t h = f32_to_bf16(v);
      if (v != v && std::signbit(v)) h |= 0x8000;
      std::memcpy(&logits[static_cast<std::size_t>(2 * at)], &h, 2);
    }
  }
  void set_noise(std::int64_t t, std::int64_t i, float v) {
    std::memcpy(&noise[static_cast<std::size_t>(4 * (t * stride + i))], &v, 4);
  }
  float get_noise(std::int64_t t, std::int64_t i) const {
    return load_element(noise.data(), NVFP4J_DTYPE_F32, t * stride + i);
  }
  float get_logit(std::int64_t t, std::int64_t i) const {
    return load_element(logits.data(), c.dtype, t * stride + i);
  }

  // Of one row, with an offset.
  std::int32_t token(std::int64_t t, std::uint64_t o) const {
    bool bad = false;
    bool above = false;
    float best = 0;
    std::int32_t token = -1;
    PhiloxWords r = {};
    for (std::int64_t i = 0; i < c.columns; ++i) {
      const float l = get_logit(t, i);
      bad = bad || l != l;
      above = above || l != -kInf;
      float v = l;
      if (c.mode == SampleMode::kGiven) {
        const float e = get_noise(t, i);
        bad = bad || !(e > 0 && e < kInf);
        v = l / std::max(c.temperature, 1e-5f) - math::log(e);
      } else if (c.mode == SampleMode::kPhilox) {
        if (i % 4 == 0)
          r = philox({static_cast<std::uint32_t>(i / 4), static_cast<std::uint32_t>(t),
                      static_cast<std::uint32_t>(o), static_cast<std::uint32_t>(o >> 32)},
                     {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
        const std::uint32_t word = i % 4 == 0 ? r.x : i % 4 == 1 ? r.y : i % 4 == 2 ? r.z : r.w;
        const auto u = static_cast<float>((static_cast<double>(word / 512) + 0.5) * 0x1p-23);
        v = l / std::max(c.temperature, 1e-5f) - math::log(-math::log(u));
      }
      if (i == 0 || v > best) {
        best = v;
        token = static_cast<std::int32_t>(i);
      }
    }
    return bad || !above ? -1 : token;
  }
  std::vector<std::int32_t> expected(std::uint64_t o) const {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(c.tokens));
    parallel(c.tokens, [&](std::int64_t from, std::int64_t end) {
      for (std::int64_t t = from; t < end; ++t) tokens[static_cast<std::size_t>(t)] = token(t, o);
    });
    return tokens;
  }
  // Whether that is to be reported at that place.
  bool faulty(int cause, std::int64_t t, std::int64_t i) const {
    if (t < 0 || t >= c.tokens || i >= c.columns) return false;
    switch (cause) {
      case NVFP4J_CAUSE_NON_FINITE_INPUT:
        return i >= 0 && std::isnan(get_logit(t, i));
      case NVFP4J_CAUSE_BAD_NOISE:
        return i >= 0 && c.mode == SampleMode::kGiven &&
               !(get_noise(t, i) > 0 && get_noise(t, i) < kInf);
      case NVFP4J_CAUSE_NON_FINITE_RESULT:
        for (std::int64_t j = 0; j < c.columns; ++j) {
          if (get_logit(t, j) != -kInf) return false;
        }
        return i == -1;
      default:
        return false;
    }
  }
  // Of all rows.
  std::uint64_t causes() const {
    std::uint64_t all = 0;
    for (const int cause :
         {NVFP4J_CAUSE_NON_FINITE_INPUT, NVFP4J_CAUSE_BAD_NOISE, NVFP4J_CAUSE_NON_FINITE_RESULT}) {
      for (std::int64_t t = 0; t < c.tokens; ++t) {
        if (faulty(cause, t, -1)) all |= std::uint64_t{1} << cause;
        for (std::int64_t i = 0; cause != NVFP4J_CAUSE_NON_FINITE_RESULT && i < c.columns; ++i) {
          if (faulty(cause, t, i)) all |= std::uint64_t{1} << cause;
        }
      }
    }
    return all;
  }
  std::vector<std::int32_t> got(const std::string& what) const {
    const std::vector<std::uint8_t> bytes = tokens_at.get(what.c_str());
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(c.tokens));
    std::memcpy(tokens.data(), bytes.data(), bytes.size());
    return tokens;
  }

  SampleArgs args() const {
    return {c.mode,
            logits_at.data(),
            stride,
            c.dtype,
            c.tokens,
            static_cast<std::int32_t>(c.columns),
            c.mode == SampleMode::kGiven ? noise_at.as<float>() : nullptr,
            c.mode == SampleMode::kGiven ? stride : 0,
            std::max(c.temperature, 1e-5f),
            seed,
            offset,
            c.more ? more_at.as<std::uint64_t>() : nullptr,
            tokens_at.as<std::int32_t>()};
  }

  Case c;
  std::int64_t stride;
  std::uint64_t seed;
  std::uint64_t offset;
  std::uint64_t more;
  std::vector<std::uint8_t> logits;
  std::vector<std::uint8_t> noise;
  Buffer logits_at;
  Buffer noise_at;
  Buffer more_at;
  Buffer tokens_at;
};

// ---- runs ------------------------------------------------------------------------------------------------------------

std::set<std::string> reached;

std::string plan_name(const SamplePlan& p, SampleMode mode, int dtype) {
  return std::string(p.kernel == SampleKernel::kWarps ? "warps"
                     : p.splits == 1                  ? "a thread block a row"
                                                      : "several thread blocks a row") +
         " mode " + std::to_string(static_cast<int>(mode)) + " dtype " + std::to_string(dtype);
}

void check_all_reached(const Gpu& gpu) {
  for (const SampleMode mode : {SampleMode::kGreedy, SampleMode::kPhilox, SampleMode::kGiven}) {
    for (const int dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
      for (const std::int64_t columns : {3, 1000, 129280}) {
        const std::string what = plan_name(plan_sample(gpu.properties, 2, columns), mode, dtype);
        check(reached.count(what) != 0, "no case reaches " + what);
      }
    }
  }
}

// All causes, and a place of one of them: thread blocks do not wait for each other.
void check_status(Gpu& gpu, const Problem& p, std::uint64_t causes, const std::string& name) {
  const DeviceStatus s = gpu.take_status();
  bool right = (s.claimed != 0) == (causes != 0);
  for (int op = 0; op < NVFP4J_STATUS_WORDS; ++op)
    right = right && s.causes[op] == (op == NVFP4J_OP_SAMPLE ? causes : 0);
  if (causes != 0)
    right = right && s.first_op == NVFP4J_OP_SAMPLE &&
            p.faulty(s.first_cause, s.first_row, s.first_column);
  char text[160];
  std::snprintf(text, sizeof text,
                ": reported op %d cause %d at %lld, %lld, causes %llx, expected %llx", s.first_op,
                s.first_cause, s.first_row, s.first_column, s.causes[NVFP4J_OP_SAMPLE],
                static_cast<unsigned long long>(causes));
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

void check_tokens(const Problem& p, const std::vector<std::int32_t>& expected,
                  const std::string& name) {
  const std::vector<std::int32_t> got = p.got(name);
  for (std::size_t t = 0; t < got.size(); ++t) {
    if (got[t] == expected[t]) continue;
    check(false, name + ": token " + std::to_string(t) + " is " + std::to_string(got[t]) +
                     ", expected " + std::to_string(expected[t]));
    return;
  }
  check(true, name);
}

void launch(Gpu& gpu, const SampleArgs& args) {
  must(static_cast<cudaError_t>(sample_cuda(gpu.launch, args)), "sample_cuda");
}

void run_case(Gpu& gpu, std::mt19937& g, const Case& c, const std::vector<Fault>& faults = {}) {
  Problem p(g, c, faults);
  reached.insert(plan_name(plan_sample(gpu.properties, c.tokens, c.columns), c.mode, c.dtype));
  const SampleArgs args = p.args();
  const std::vector<std::int32_t> expected = p.expected(p.offset + (c.more ? p.more : 0));
  const std::uint64_t causes = p.causes();
  for (int run = 0; run < 2; ++run) {
    p.tokens_at.poison();
    if (run == 0) {
      launch(gpu, args);
      gpu.wait();
    } else {
      gpu.replay([&] { launch(gpu, args); }, 3);
    }
    check_tokens(p, expected, c.name());
    check_status(gpu, p, causes, c.name());
    check_workspace(gpu, c.name());
  }
}

constexpr SampleMode kModes[] = {SampleMode::kGreedy, SampleMode::kPhilox, SampleMode::kGiven};

void test_shapes(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::vector<std::int64_t> widths =
      quick ? std::vector<std::int64_t>{1, 3, 257, 1000, 5003}
            : std::vector<std::int64_t>{1,   2,   3,   4,    5,    7,    127,  128,  129,   252,
                                        255, 256, 257, 1000, 1023, 1024, 1025, 4099, 16384, 33001};
  const std::vector<std::int64_t> rows =
      quick ? std::vector<std::int64_t>{1, 9} : std::vector<std::int64_t>{1, 2, 9, 64, 300};
  for (const std::int64_t columns : widths) {
    for (const std::int64_t tokens : rows) {
      if (tokens * columns > 3000000) continue;
      for (const SampleMode mode : kModes) {
        for (const int dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
          Case c = {mode, dtype, tokens, columns};
          c.logits = static_cast<Logits>(g() % 7);
          c.temperature = g() % 2 == 0 ? 1.0f : 0.7f;
          c.more = g() % 2 == 0;
          run_case(gpu, g, c);
          c.gap = static_cast<std::int64_t>(g() % 5);
          c.misalign = static_cast<int>(g() % 4);
          c.logits = static_cast<Logits>(g() % 7);
          run_case(gpu, g, c);
        }
      }
    }
  }
}

// As many columns as DeepSeek-V4 has, and as many rows as go round.
void test_large(Gpu& gpu, std::mt19937& g, bool quick) {
  for (const SampleMode mode : kModes) {
    for (const int dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
      run_case(gpu, g, {mode, dtype, 2, 129280});
      // More thread blocks than a warp asks for at once.
      run_case(gpu, g, {mode, dtype, 1, 300001, 0.9f, Logits::kGauss, 0, 0, true});
      if (quick) continue;
      run_case(gpu, g, {mode, dtype, 1, 129280});
      run_case(gpu, g, {mode, dtype, 1, 129280, 0.6f, Logits::kFlat});
      run_case(gpu, g, {mode, dtype, 64, 129280, 0.6f, Logits::kPeaked, 0, 0, true});
      run_case(gpu, g, {mode, dtype, 1, 3000001, 1.0f, Logits::kGauss, 0, 1});
      run_case(gpu, g, {mode, dtype, 255, 300});
      run_case(gpu, g, {mode, dtype, 256, 1100, 1.0f, Logits::kTies});
      run_case(gpu, g, {mode, dtype, 257, 2000, 1.0f, Logits::kTies});
      run_case(gpu, g, {mode, dtype, 70001, 260});
    }
  }
}

void test_temperatures(Gpu& gpu, std::mt19937& g) {
  for (const float temperature : {0x1p-149f, 1e-30f, 1e-5f, 0.1f, 1.0f, 3.0f, 3e38f}) {
    for (const SampleMode mode : {SampleMode::kPhilox, SampleMode::kGiven}) {
      for (const Logits logits : {Logits::kGauss, Logits::kTies, Logits::kWide, Logits::kInfinite,
                                  Logits::kZeros, Logits::kPeaked}) {
        run_case(gpu, g, {mode, NVFP4J_DTYPE_F32, 5, 200, temperature, logits});
        run_case(gpu, g, {mode, NVFP4J_DTYPE_F32, 3, 2100, temperature, logits});
        run_case(gpu, g, {mode, NVFP4J_DTYPE_BF16, 3, 2100, temperature, logits, 3, 1});
      }
    }
  }
}

// A million draws: the host's tokens, whose distribution is tested where they are made.
void test_many_draws(Gpu& gpu, std::mt19937& g, bool quick) {
  const std::int64_t tokens = quick ? 1000 : 1000000;
  for (const float temperature : {0.5f, 1.0f, 2.0f})
    run_case(gpu, g, {SampleMode::kPhilox, NVFP4J_DTYPE_F32, tokens, 8, temperature});
}

// A captured step draws anew where the device advances the offset.
__global__ void advance(std::uint64_t* offset) { ++*offset; }

void test_replays(Gpu& gpu, std::mt19937& g) {
  for (const std::int64_t columns : {100, 5000}) {
    const Case c = {
        SampleMode::kPhilox, NVFP4J_DTYPE_F32, 3, columns, 1.0f, Logits::kFlat, 0, 0, true};
    const Problem p(g, c, {});
    const SampleArgs args = p.args();
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    MUST(cudaStreamBeginCapture(gpu.launch.stream, cudaStreamCaptureModeThreadLocal));
    launch(gpu, args);
    advance<<<1, 1, 0, gpu.launch.stream>>>(p.more_at.as<std::uint64_t>());
    MUST(cudaStreamEndCapture(gpu.launch.stream, &graph));
    MUST(cudaGraphInstantiate(&exec, graph, 0));
    std::set<std::vector<std::int32_t>> all;
    for (std::uint64_t step = 0; step < 20; ++step) {
      MUST(cudaGraphLaunch(exec, gpu.launch.stream));
      if (step % 4 == 1) continue;  // without a wait
      gpu.wait();
      check_tokens(p, p.expected(p.offset + p.more + step), "replays");
      all.insert(p.got("replays"));
    }
    check(all.size() >= 14, "replays draw anew");
    MUST(cudaGraphExecDestroy(exec));
    MUST(cudaGraphDestroy(graph));
    check_status(gpu, p, 0, "replays");
  }
}

void test_faults(Gpu& gpu, std::mt19937& g, bool quick) {
  const auto below = [&](std::int64_t end) {
    return static_cast<std::int64_t>(g() % static_cast<unsigned>(end));
  };
  for (const std::int64_t columns : {1, 5, 200, 1000, 9001}) {
    if (quick && columns == 200) continue;
    for (const SampleMode mode : kModes) {
      for (const int dtype : {NVFP4J_DTYPE_F32, NVFP4J_DTYPE_BF16}) {
        const Case c = {mode, dtype, 7, columns, 0.8f, Logits::kGauss, below(3)};
        for (const float nan : {kNaN, -kNaN}) {
          run_case(gpu, g, c, {{3, below(columns), nan}});
          run_case(gpu, g, c, {{6, columns - 1, nan}, {0, 0, nan}, {2, below(columns), nan}});
        }
        run_case(gpu, g, c, {{4, -1}});
        run_case(gpu, g, c, {{4, -1}, {5, below(columns), kNaN}});
        if (mode != SampleMode::kGiven) continue;
        for (const float noise : {0.0f, -0.0f, -1.0f, -0x1p-149f, kInf, -kInf, kNaN, -kNaN}) {
          run_case(gpu, g, c, {{1, below(columns), 0.5f, noise}});
          // Where the logit is -infinity, so that the value is NaN or infinite or nothing.
          if (columns > 1) run_case(gpu, g, c, {{1, columns - 1, -kInf, noise}});
          if (quick) break;
        }
      }
    }
  }
  // Finite logits whose quotients are all -infinity: the lowest column.
  Case c = {SampleMode::kPhilox, NVFP4J_DTYPE_F32, 2, 3000, 1e-30f};
  std::vector<Fault> low;
  for (std::int64_t i = 0; i < c.columns; ++i) low.push_back({1, i, -0x1p127f});
  run_case(gpu, g, c, low);
}

}  // namespace
}  // namespace nvfp4j::test

int main(int argc, char** argv) {
  using namespace nvfp4j::test;
  const bool quick = quick_option(argc, argv);
  Gpu gpu;
  std::printf("%s\n", nvfp4j::sample_cuda_path(gpu.properties));
  must(static_cast<cudaError_t>(nvfp4j::sample_cuda_warm_up(gpu.properties)),
       "sample_cuda_warm_up");
  std::mt19937 g(20261130);
  test_shapes(gpu, g, quick);
  test_large(gpu, g, quick);
  if (!quick) test_temperatures(gpu, g);
  test_many_draws(gpu, g, quick);
  test_replays(gpu, g);
  test_faults(gpu, g, quick);
  check_all_reached(gpu);
  return finish();
}
