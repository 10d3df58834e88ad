// SPDX-License-Identifier: Apache-2.0
// Copies through the CUDA runtime's engines: there is no kernel of ours to do it better.
#include "ops/copy/copy_cuda.hpp"

#if NVFP4J_WITH_CUDA
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

namespace nvfp4j {

int copy_cuda(const CudaLaunch& launch, const CopyArgs& args, bool wait) {
  const cudaStream_t stream = launch.stream;
  const std::size_t width = static_cast<std::size_t>(args.row_bytes);
  const std::size_t rows = static_cast<std::size_t>(args.rows);
  cudaError_t error;
  // cudaMemcpyDefault: the runtime knows which addresses are whose.
  if (args.rows == 1 ||
      (args.source_pitch == args.row_bytes && args.destination_pitch == args.row_bytes)) {
    error = cudaMemcpyAsync(args.destination, args.source, rows * width, cudaMemcpyDefault, stream);
  } else if (std::max(args.source_pitch, args.destination_pitch) > INT32_MAX) {
    // Beyond cudaDevAttrMaxPitch the runtime refuses. Rows that far apart are few.
    error = cudaSuccess;
    for (std::int64_t row = 0; row < args.rows && error == cudaSuccess; ++row) {
      error = cudaMemcpyAsync(
          static_cast<std::uint8_t*>(args.destination) + row * args.destination_pitch,
          static_cast<const std::uint8_t*>(args.source) + row * args.source_pitch, width,
          cudaMemcpyDefault, stream);
    }
  } else {
    error = cudaMemcpy2DAsync(args.destination, static_cast<std::size_t>(args.destination_pitch),
                              args.source, static_cast<std::size_t>(args.source_pitch), width, rows,
                              cudaMemcpyDefault, stream);
  }
  if (error == cudaSuccess && wait) error = cudaStreamSynchronize(stream);
  return error;
}

const char* copy_cuda_path(const CudaDeviceProperties&) {
  return "cuda runtime: cudaMemcpyAsync, cudaMemcpy2DAsync";
}

}  // namespace nvfp4j
#endif
