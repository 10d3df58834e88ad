// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

/// Rows into caches, the definition that [io.github.nvfp4j.CacheAppendWindow] and
/// [io.github.nvfp4j.CacheAppend] equal byte for byte. Elements are bytes here: of every type they
/// are copied as they are.
///
/// ```
/// appendWindow:  for i = 0 .. T-1:  cache[(p + i) mod W] = rows[i]
/// append:        for i = 0 .. T-1:  cache[n + i]         = rows[i]
/// ```
///
/// Source: the window and the compressed rows of DeepSeek-V4's attention.
public final class CacheReference {
  private CacheReference() {}

  /// Writes rows into a ring, in order: of those that share a slot the last stays.
  ///
  /// @param cache `[W, rowBytes]`, W 1 or more
  /// @param rows `[T, rowBytes]`
  /// @param rowBytes bytes of a row, 1 or more
  /// @param position p, of the first row, 0 or more
  /// @return the cache afterwards
  /// @throws IllegalArgumentException if an array has no whole number of rows, the cache has none,
  ///   or the position is negative
  public static byte[] appendWindow(byte[] cache, byte[] rows, int rowBytes, long position) {
    int slots = count("cache_append_window", "cache", cache, rowBytes);
    int tokens = count("cache_append_window", "rows", rows, rowBytes);
    if (slots == 0) {
      throw new IllegalArgumentException(
          "cache_append_window: cache has 0 rows, expected 1 or more");
    }
    if (position < 0) {
      throw new IllegalArgumentException(
          "cache_append_window: position is " + position + ", expected 0 or more");
    }
    byte[] after = cache.clone();
    for (int i = 0; i < tokens; i++) {
      // Of the remainder: the sum with the position itself need not fit.
      int slot = (int) ((position % slots + i) % slots);
      System.arraycopy(rows, i * rowBytes, after, slot * rowBytes, rowBytes);
    }
    return after;
  }

  /// Appends rows.
  ///
  /// @param cache `[C, rowBytes]`
  /// @param rows `[T, rowBytes]`
  /// @param rowBytes bytes of a row, 1 or more
  /// @param length n, rows that the cache has: from 0 to C - T. The length afterwards is n + T
  /// @return the cache afterwards
  /// @throws IllegalArgumentException if an array has no whole number of rows, or the rows do not
  ///   fit
  public static byte[] append(byte[] cache, byte[] rows, int rowBytes, long length) {
    int capacity = count("cache_append", "cache", cache, rowBytes);
    int tokens = count("cache_append", "rows", rows, rowBytes);
    if (length < 0 || length > capacity - tokens) {
      throw new IllegalArgumentException(
          "cache_append: length is "
              + length
              + ", expected 0 to "
              + (capacity - tokens)
              + " (a cache of "
              + capacity
              + " rows, and "
              + tokens
              + " more)");
    }
    byte[] after = cache.clone();
    System.arraycopy(rows, 0, after, (int) length * rowBytes, rows.length);
    return after;
  }

  private static int count(String op, String name, byte[] array, int rowBytes) {
    if (rowBytes < 1) {
      throw new IllegalArgumentException(op + ": rowBytes is " + rowBytes + ", expected 1 or more");
    }
    if (array.length % rowBytes != 0) {
      throw new IllegalArgumentException(
          op + ": " + name + " has " + array.length + " bytes, expected a multiple of " + rowBytes);
    }
    return array.length / rowBytes;
  }
}
