// SPDX-License-Identifier: Apache-2.0
// What an op writes may not lie on what it reads or writes besides: refused to the byte, and not beyond.
#include "rejection_calls.hpp"

using namespace fixture;

namespace {

// The overlap sentence, whose addresses are not known beforehand.
void overlap(const char* written, const char* other, const std::function<Outcome(Call&)>& spoil) {
  Call call;
  const Outcome outcome = spoil(call);
  CHECK_EQ(outcome.status, kInvalid);
  const std::string& m = outcome.message;
  CHECK(m.find(std::string(": ") + written + " (") != std::string::npos);
  CHECK(m.find(std::string(" overlaps ") + other + " (") != std::string::npos);
  CHECK(m.ends_with("), expected separate memory"));
  if (!m.ends_with("), expected separate memory"))
    std::printf("  %s against %s: %s\n", written, other, m.c_str());
}

}  // namespace

TEST(every_output_against_every_other_buffer) {
  // By its first and by its last byte.
  for (const bool last : {false, true}) {
    const auto onto = [&](const Bytes& bytes, int64_t alignment) -> void* {
      return bytes.data() + (last ? (bytes.size() - 1) / alignment * alignment : 0);
    };
    overlap("output.codes", "input",
            [&](Call& c) { return c.q.descriptor.codes = onto(c.x, 16), c.quantize(); });
    overlap("output.scales", "input",
            [&](Call& c) { return c.q.descriptor.scales = onto(c.x, 16), c.quantize(); });
    overlap("output.global_scales", "input",
            [&](Call& c) { return c.q.descriptor.global_scales = onto(c.x, 4), c.quantize(); });
    overlap("output.codes", "rows",
            [&](Call& c) { return c.rows.data = onto(c.q.codes, 4), c.quantize(true); });
    overlap("output.scales", "rows",
            [&](Call& c) { return c.rows.data = onto(c.q.scales, 4), c.quantize(true); });
    overlap("output.global_scales", "rows",
            [&](Call& c) { return c.rows.data = onto(c.q.global_scales, 4), c.quantize(true); });
    overlap("output.scales", "output.codes",
            [&](Call& c) { return c.q.descriptor.scales = onto(c.q.codes, 16), c.quantize(); });
    overlap("output.global_scales", "output.codes", [&](Call& c) {
      return c.q.descriptor.global_scales = onto(c.q.codes, 4), c.quantize();
    });
    overlap("output.global_scales", "output.scales", [&](Call& c) {
      return c.q.descriptor.global_scales = onto(c.q.scales, 4), c.quantize();
    });
    overlap("output", "input.codes",
            [&](Call& c) { return c.q.descriptor.codes = onto(c.y, 16), c.dequantize(); });
    overlap("output", "input.scales",
            [&](Call& c) { return c.q.descriptor.scales = onto(c.y, 16), c.dequantize(); });
    overlap("output", "input.global_scales",
            [&](Call& c) { return c.q.descriptor.global_scales = onto(c.y, 4), c.dequantize(); });
    overlap("swizzled", "linear",
            [&](Call& c) { return c.linear_scales.data = onto(c.tiles, 1), c.swizzle(); });
    overlap("linear", "swizzled",
            [&](Call& c) { return c.linear_scales.data = onto(c.tiles, 1), c.unswizzle(); });
    overlap("output", "gate_up",
            [&](Call& c) { return c.h_tensor.data = onto(c.gate_up, 2), c.swiglu(); });
    overlap("output", "weight",
            [&](Call& c) { return c.weight_tensor.data = onto(c.h, 4), c.swiglu(); });
    overlap("output.codes", "gate_up", [&](Call& c) {
      return c.hq.descriptor.codes = onto(c.gate_up, 16), c.swiglu_quantize();
    });
    overlap("output.scales", "gate_up", [&](Call& c) {
      return c.hq.descriptor.scales = onto(c.gate_up, 16), c.swiglu_quantize();
    });
    overlap("output.global_scales", "gate_up", [&](Call& c) {
      return c.hq.descriptor.global_scales = onto(c.gate_up, 4), c.swiglu_quantize();
    });
    overlap("output.codes", "weight", [&](Call& c) {
      return c.weight_tensor.data = onto(c.hq.codes, 4), c.swiglu_quantize();
    });
    overlap("output.scales", "weight", [&](Call& c) {
      return c.weight_tensor.data = onto(c.hq.scales, 4), c.swiglu_quantize();
    });
    overlap("output.global_scales", "weight", [&](Call& c) {
      return c.weight_tensor.data = onto(c.hq.global_scales, 4), c.swiglu_quantize();
    });
  }
}

TEST(neighbouring_buffers_and_column_ranges_do_not_overlap) {
  // gate_up | output in one matrix of 96 columns, in both orders.
  const Context context;
  Bytes both(16 * 96 * 2);
  std::memset(both.data(), 0, static_cast<std::size_t>(both.size()));
  const nvfp4j_swiglu_options options = swiglu_options();
  const nvfp4j_tensor left = matrix(both.data(), NVFP4J_DTYPE_BF16, 16, 64, 96);
  const nvfp4j_tensor right = matrix(both.data() + 128, NVFP4J_DTYPE_BF16, 16, 32, 96);
  CHECK_OK(nvfp4j_swiglu(context, &left, nullptr, &options, &right, error));
  const nvfp4j_tensor first = matrix(both.data(), NVFP4J_DTYPE_BF16, 16, 32, 96);
  const nvfp4j_tensor second = matrix(both.data() + 64, NVFP4J_DTYPE_BF16, 16, 64, 96);
  CHECK_OK(nvfp4j_swiglu(context, &second, nullptr, &options, &first, error));
  // One column too many on either side.
  const nvfp4j_tensor touching = matrix(both.data() + 126, NVFP4J_DTYPE_BF16, 16, 32, 96);
  CHECK_EQ(nvfp4j_swiglu(context, &left, nullptr, &options, &touching, nullptr), kInvalid);
  const nvfp4j_tensor wrapping = matrix(both.data() + 130, NVFP4J_DTYPE_BF16, 15, 32, 96);
  nvfp4j_tensor fifteen = left;
  fifteen.shape[0] = 15;
  CHECK_EQ(nvfp4j_swiglu(context, &fifteen, nullptr, &options, &wrapping, nullptr), kInvalid);
  // Behind one another without a gap.
  Bytes block(4 * 32 + 4 * 16 * 2);
  std::memset(block.data(), 0, static_cast<std::size_t>(block.size()));
  const nvfp4j_tensor in = tensor(block.data(), NVFP4J_DTYPE_BF16, {1, 64});
  const nvfp4j_tensor out = tensor(block.data() + 128, NVFP4J_DTYPE_BF16, {1, 32});
  CHECK_OK(nvfp4j_swiglu(context, &in, nullptr, &options, &out, error));
}

int main(int count, char** arguments) { return check::main(count, arguments); }
