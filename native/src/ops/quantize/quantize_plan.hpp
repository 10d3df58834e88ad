// SPDX-License-Identifier: Apache-2.0
// Which kernel and grid a quantising launch gets: pure functions of device and shape, shared by quantize and swiglu_quantize.
#pragma once
#include <cstdint>

#include "common/cuda_launch.hpp"
#include "ops/quantize/quantize_args.hpp"

namespace nvfp4j {

enum class QuantizeKernel {
  kGiven,      // one pass, a block a thread
  kShortRows,  // a scale per row, several rows a warp
  kRows,       // a scale per row, a thread block a row
  kSlices,     // few small units of one scale each: thread blocks read a unit and encode a slice
  kSmallGrid,  // one scale, a block a thread, a cooperative grid
  kRowsBulk,   // a scale per row, a thread block a row in shared memory (sm_90)
  kTensorGrid,  // one scale, a cooperative grid that keeps its elements in registers and shared memory
  kTensorRing,  // one scale, a cooperative grid with a shared-memory ring (sm_90)
};

struct QuantizePlan {
  QuantizeKernel kernel;
  int threads;
  int hold;  // blocks a thread keeps in registers. kRows: 1 or quantize_max_hold(); kSlices: 1 or kQuantizeSliceHold
  std::int64_t grid;
  std::int64_t units;   // kSlices: the grid's other dimension; else 1
  std::uint32_t group;  // kShortRows: lanes of a row. kSlices: blocks of a slice
  int shared_bytes;     // dynamic shared memory
  int parked;           // kTensorGrid: blocks a thread keeps in shared memory besides
};

// What the choice depends on, besides the device.
struct QuantizeProblem {
  std::int64_t rows;
  std::int64_t columns;
  bool dynamic;
  bool per_row;
  int element_bytes;  // of what is quantised: 2 or 4
  bool aligned;       // rows start at multiples of 16 bytes: what bulk copies need
  bool flat;          // and no gather and no gaps: the input is one piece, which only quantize has
  std::int64_t
      row_bytes;  // of an input row: more than the columns' where the elements are computed (swiglu_quantize)

  bool computed() const { return row_bytes > columns * element_bytes; }
};

inline constexpr int kQuantizeGivenThreads = 128;
inline constexpr int kQuantizeShortRowThreads = 256;
inline constexpr int kQuantizeRowThreads = 512;    // at most
inline constexpr int kQuantizeSliceThreads = 512;  // kSlices, at most
inline constexpr int kQuantizeSliceHold = 4;       // kSlices: blocks a thread reads of larger units
inline constexpr int kQuantizeGridThreads = 512;   // kSmallGrid, at most

inline constexpr int kQuantizeRingThreads = 512;  // kTensorRing: threads, and blocks in a chunk

// Threads of kTensorGrid's thread blocks, of which one is resident on a multiprocessor: as many as registers allow.
// `computed`: swiglu_quantize.
constexpr int quantize_tensor_threads(int element_bytes, bool computed) {
  return element_bytes == 4 ? 512 : computed ? 896 : 1024;
}

// Blocks a thread of kRows can keep in registers.
constexpr int quantize_max_hold(int element_bytes) { return element_bytes == 2 ? 4 : 2; }

// Shared memory for parked blocks; the rest is the kernels' own.
constexpr int quantize_parking_bytes(const CudaDeviceProperties& device) {
  return device.shared_memory_per_block_optin - 1024;
}

inline constexpr int kQuantizeBulkThreads = 256;  // kRowsBulk, at most

QuantizePlan plan_quantize(const CudaDeviceProperties& device, const QuantizeProblem& problem);

// The grid exchange of the cooperative kernels.
std::int64_t quantize_exchange_bytes(const CudaDeviceProperties& device);

// Why a device has no implementation of a quantising op, or nullptr when it has one. `name` is not needed: the caller puts it in front.
const char* quantize_refusal(const CudaDeviceProperties& device);

}  // namespace nvfp4j
