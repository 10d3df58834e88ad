// SPDX-License-Identifier: Apache-2.0
#include "ops/swiglu_quantize/swiglu_quantize_cpu.hpp"

#include "ops/quantize/quantize_rows.hpp"
#include "ops/swiglu/swiglu_kernels.hpp"

namespace nvfp4j {
namespace {

// SwiGLU's results, rounded to the input's type and widened again: what swiglu would have stored
// and quantize read.
class SwigluRows {
 public:
  explicit SwigluRows(const SwigluInput& input)
      : input_(input), kernel_(swiglu_kernels[static_cast<int>(cpu_isa())]) {}

  int dtype() const noexcept { return NVFP4J_DTYPE_F32; }
  bool has_row(std::int64_t) const noexcept { return true; }
  const void* segment(std::int64_t row, std::int64_t from, std::int64_t n,
                      float* buffer) const noexcept {
    kernel_(input_, row, from, n, buffer, true);
    return buffer;
  }

 private:
  const SwigluInput& input_;
  const SwigluKernel kernel_;
};

}  // namespace

void swiglu_quantize_cpu(CpuPool& pool, DeviceStatus& status, const SwigluQuantizeArgs& args) {
  const SwigluRows rows(args.input);
  RowQuantizer(pool, rows, args.input.rows, args.input.columns, args.recipe, args.output)
      .run(status, NVFP4J_OP_SWIGLU_QUANTIZE);
}

const char* swiglu_quantize_cpu_path() {
  static constexpr const char* paths[kCpuIsaCount] = {
      "cpu: swiglu_quantize_cpu, x86-64 baseline (no AVX2)",
      "cpu: swiglu_quantize_cpu, x86-64-v3 (AVX2)",
      "cpu: swiglu_quantize_cpu, x86-64-v4 (AVX-512)"};
  return paths[static_cast<int>(cpu_isa())];
}

}  // namespace nvfp4j
