// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import java.util.Locale;

/// What the memory of a card gives to a kernel that computes nothing, over the bytes of an op.
enum Ceiling {
  /// Reads all the op's bytes, those that it writes included: the fastest of several kernels.
  READ,
  /// Writes all the op's bytes, those that it reads included.
  WRITE,
  /// Reads half of the op's bytes and writes the other half.
  COPY,
  /// Reads what the op reads and writes what the op writes.
  MIX;

  /// @return the name in tables and files
  String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
