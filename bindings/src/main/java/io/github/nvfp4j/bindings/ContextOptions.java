// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_context_options;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;

/// The struct `nvfp4j_context_options`: how a context is made.
public final class ContextOptions {
  private ContextOptions() {}

  /// A CPU context.
  ///
  /// @param threads of its pool; 0 = one per available core
  public static MemorySegment cpu(SegmentAllocator allocator, int threads, long workspaceBytes) {
    return allocate(allocator, Nvfp4jConstants.DEVICE_CPU, threads, false, 0, workspaceBytes);
  }

  /// A CUDA context that creates its own non-blocking stream.
  ///
  /// @param ordinal the CUDA device
  /// @param workspaceBytes of device memory; 0 = the default, enough for every op at any shape
  public static MemorySegment ownStream(
      SegmentAllocator allocator, int ordinal, long workspaceBytes) {
    return allocate(allocator, ordinal, 0, false, 0, workspaceBytes);
  }

  /// A CUDA context on a stream that the caller keeps alive.
  ///
  /// @param cudaStream a `cudaStream_t`; 0 is the legacy default stream
  public static MemorySegment foreignStream(
      SegmentAllocator allocator, int ordinal, long cudaStream, long workspaceBytes) {
    return allocate(allocator, ordinal, 0, true, cudaStream, workspaceBytes);
  }

  private static MemorySegment allocate(
      SegmentAllocator allocator,
      int device,
      int threads,
      boolean foreignStream,
      long cudaStream,
      long workspaceBytes) {
    MemorySegment options = nvfp4j_context_options.allocate(allocator);
    options.fill((byte) 0);
    nvfp4j_context_options.struct_size(options, (int) nvfp4j_context_options.sizeof());
    nvfp4j_context_options.device(options, device);
    nvfp4j_context_options.threads(options, threads);
    nvfp4j_context_options.foreign_stream(options, foreignStream ? 1 : 0);
    nvfp4j_context_options.cuda_stream(options, MemorySegment.ofAddress(cudaStream));
    nvfp4j_context_options.workspace_bytes(options, workspaceBytes);
    return options;
  }
}
