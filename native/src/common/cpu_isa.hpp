// SPDX-License-Identifier: Apache-2.0
// Function multi-versioning of the CPU ops: a file of plain loops is included once per
// instruction set, and the best one is chosen when the library is first used. Chosen by a table
// rather than by ifuncs, so that a test can run every version and compare their bits.
#pragma once

namespace nvfp4j {

/// The x86-64 micro-architecture levels that loops are compiled for.
enum class CpuIsa { baseline = 0, v3 = 1, v4 = 2 };
inline constexpr int kCpuIsaCount = 3;

/// The best one that this machine has.
inline CpuIsa cpu_isa() noexcept {
  static const CpuIsa isa = __builtin_cpu_supports("x86-64-v4")   ? CpuIsa::v4
                            : __builtin_cpu_supports("x86-64-v3") ? CpuIsa::v3
                                                                  : CpuIsa::baseline;
  return isa;
}

inline const char* cpu_isa_name(CpuIsa isa) noexcept {
  return isa == CpuIsa::v4   ? "x86-64-v4 (AVX-512)"
         : isa == CpuIsa::v3 ? "x86-64-v3 (AVX2)"
                             : "x86-64";
}

}  // namespace nvfp4j
