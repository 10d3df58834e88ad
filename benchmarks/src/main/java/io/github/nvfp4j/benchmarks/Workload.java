// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.List;
import org.jspecify.annotations.Nullable;

/// One op at one shape: what it reads, what it writes, and how it is called.
///
/// @param op the op's name, as everywhere
/// @param variant what distinguishes two rows of the same op and shape, for example `dynamic,
///   tensor`
/// @param rows rows of the output
/// @param columns elements in a row of the output
/// @param inputs buffers that the call reads
/// @param outputs buffers that the call writes
/// @param binding makes the call
/// @param goal what it should reach, or null
record Workload(
    String op,
    String variant,
    long rows,
    long columns,
    List<Buffer> inputs,
    List<Buffer> outputs,
    Binding binding,
    @Nullable Goal goal) {

  /// Makes a call from tensors, in the order of the buffers. Everything that a call needs is made
  /// here, once; the returned action allocates nothing.
  @FunctionalInterface
  interface Binding {
    Runnable bind(Stream stream, Arena arena, List<Tensor> inputs, List<Tensor> outputs);
  }

  /// @return bytes that a call has to read
  long bytesRead() {
    return inputs.stream().mapToLong(Buffer::bytes).sum();
  }

  /// @return bytes that a call has to write
  long bytesWritten() {
    return outputs.stream().mapToLong(Buffer::bytes).sum();
  }

  /// @return bytes that a call moves
  long bytes() {
    return bytesRead() + bytesWritten();
  }

  @Override
  public String toString() {
    return op + (variant.isEmpty() ? "" : " (" + variant + ")") + " " + rows + "x" + columns;
  }
}
