// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// cache_append_window: rows into a ring, at a position that is read on the device, so that a
/// captured graph advances; bits are copied as they are.
///
/// ```
/// for i = 0 .. T-1:  cache[(p + i) mod W] = rows[i]        p = position[0]
/// ```
///
/// Of more than W rows only the last W are written, so that no slot is written twice: the order of
/// threads shows nowhere. p may be anything from 0 to 2^63 - 1. Source: the window of 128 rows
/// (slot = position mod 128) of DeepSeek-V4's attention.
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. A negative position is reported ([Cause#INDEX_OUT_OF_RANGE], row -1,
/// column -1), and nothing is written.
public final class CacheAppendWindow {
  private CacheAppendWindow() {}

  /// Writes the rows of positions p to p + T - 1 to their slots.
  ///
  /// @param stream where to run
  /// @param cache written: `[W, d]` F32, BF16, F16 or U8, any row stride of at least d; W from 1 to
  ///   2^31 - 1, d at least 1. Slots that get no row keep theirs
  /// @param rows `[T, d]` of the cache's dtype, any row stride of at least d. T may be 0. Overlaps
  ///   the cache nowhere
  /// @param position I32 or I64 `[1]`: p, the position of the first row. Read on the device, and
  ///   left as it is; overlaps the cache nowhere
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Tensor cache, Tensor rows, Tensor position) {
    stream.enter("cache_append_window");
    try {
      stream.writes(Op.CACHE_APPEND_WINDOW, "cache", cache);
      stream.reads(Op.CACHE_APPEND_WINDOW, "rows", rows);
      stream.reads(Op.CACHE_APPEND_WINDOW, "position", position);
      int status =
          Nvfp4jNative.cacheAppendWindow(
              stream.context(),
              cache.descriptor,
              rows.descriptor,
              position.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.CACHE_APPEND_WINDOW,
            status,
            Shapes.of("cache", cache, "rows", rows, "position", position));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, cache, rows, position));
      }
    } finally {
      stream.exit();
    }
  }
}
