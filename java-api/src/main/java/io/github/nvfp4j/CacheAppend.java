// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// cache_append: rows behind those that a cache has, with the length read and advanced on the
/// device, so that a captured graph advances; bits are copied as they are.
///
/// ```
/// for i = 0 .. T-1:  cache[n + i] = rows[i]        n = length[0]
/// length[0] = n + T
/// ```
///
/// Source: the compressed rows of DeepSeek-V4's attention, and those of its indexer.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. Where n + T > C, [Cause#CACHE_OVERFLOW] is reported (row: C); where n
/// is negative or greater than C, [Cause#INDEX_OUT_OF_RANGE] (row -1). Either way nothing is
/// written, the length included.
public final class CacheAppend {
  private CacheAppend() {}

  /// Appends rows.
  ///
  /// @param stream where to run
  /// @param cache written: `[C, d]` F32, BF16, F16 or U8, any row stride of at least d; d at least
  ///   1. Rows before n and from n + T on keep theirs
  /// @param rows `[T, d]` of the cache's dtype, any row stride of at least d. T may be 0. Overlaps
  ///   the cache nowhere
  /// @param length I32 or I64 `[1]`: n, rows that the cache has; read, and n + T written, on the
  ///   device. Overlaps neither cache nor rows. I64 where the cache has more than 2^31 - 1 rows
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Tensor cache, Tensor rows, Tensor length) {
    stream.enter("cache_append");
    try {
      stream.writes(Op.CACHE_APPEND, "cache", cache);
      stream.reads(Op.CACHE_APPEND, "rows", rows);
      stream.writes(Op.CACHE_APPEND, "length", length);
      int status =
          Nvfp4jNative.cacheAppend(
              stream.context(),
              cache.descriptor,
              rows.descriptor,
              length.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.CACHE_APPEND, status, Shapes.of("cache", cache, "rows", rows, "length", length));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, cache, rows, length));
      }
    } finally {
      stream.exit();
    }
  }
}
