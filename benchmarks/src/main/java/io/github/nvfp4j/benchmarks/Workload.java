// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// One op at one shape: what it reads, what it writes, and how it is called.
///
/// @param op the op's name, as everywhere
/// @param variant what distinguishes two rows of the same op and shape, for example `dynamic,
///   tensor`
/// @param rows rows of the output, of the hyper-connections and sinkhorn tokens
/// @param columns elements in a row of the output, where a row is several streams in one of them;
///   where the output is a choice (routers, indexer_topk, sample), in a row of what it is made from
/// @param inputs buffers that the call reads
/// @param outputs buffers that the call writes
/// @param binding makes the call
/// @param bounds how outputs are compared that need not be bit-equal to the CPU device's, or null:
///   all of them are bit-equal
/// @param goal what it should reach, or null
record Workload(
    String op,
    String variant,
    long rows,
    long columns,
    List<Buffer> inputs,
    List<Buffer> outputs,
    Binding binding,
    @Nullable Bounds bounds,
    @Nullable Goal goal) {

  /// A workload whose outputs are bit-equal on every device.
  Workload(
      String op,
      String variant,
      long rows,
      long columns,
      List<Buffer> inputs,
      List<Buffer> outputs,
      Binding binding,
      @Nullable Goal goal) {
    this(op, variant, rows, columns, inputs, outputs, binding, null, goal);
  }

  /// Makes a call from tensors, in the order of the buffers. Everything that a call needs is made
  /// here, once; the returned action allocates nothing.
  @FunctionalInterface
  interface Binding {
    Runnable bind(Stream stream, Arena arena, List<Tensor> inputs, List<Tensor> outputs);
  }

  /// Compares outputs that depend on the order of sums, which is the device's.
  interface Bounds {
    /// @return names of these outputs; the others are compared with the CPU device bit for bit
    Set<String> outputs();

    /// @return null when all of them are what they may be, else a sentence about the first that is
    ///   not
    /// @param inputs of one call, in host memory
    /// @param outputs that it wrote, in host memory; those that are bit-equal were compared before
    @Nullable String differs(List<Tensor> inputs, List<Tensor> outputs);

    /// What was compared with what, for the result file.
    @Override
    String toString();
  }

  /// @return bytes that a call has to read
  long bytesRead() {
    return inputs.stream().mapToLong(Buffer::needed).sum();
  }

  /// @return bytes that a call has to write
  long bytesWritten() {
    return outputs.stream().mapToLong(Buffer::needed).sum();
  }

  /// @return bytes that a call moves
  long bytes() {
    return bytesRead() + bytesWritten();
  }

  /// @return bytes of the buffers of a call, needed or not
  long allocated() {
    return java.util.stream.Stream.concat(inputs.stream(), outputs.stream())
        .mapToLong(Buffer::bytes)
        .sum();
  }

  @Override
  public String toString() {
    return op + (variant.isEmpty() ? "" : " (" + variant + ")") + " " + rows + "x" + columns;
  }
}
