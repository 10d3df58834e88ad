// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.ScaleLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/// One matrix product to be measured. D is BF16.
///
/// @param op which of the three
/// @param shape the name of the weights' shape, such as `w13`
/// @param groups matrices of weights: 1, the experts, or the groups of `batched_gemm`
/// @param active groups that have rows: the experts in use, else all
/// @param rows rows of A for each active expert; else all rows of A
/// @param n rows of one matrix of weights
/// @param k its columns
/// @param activations what A is
/// @param weights how the weights lie
/// @param swiglu D is the SwiGLU of the product
/// @param invariant batch invariance is asked for
record GemmCase(
    Kind op,
    String shape,
    int groups,
    int active,
    long rows,
    long n,
    long k,
    Gemm.Activations activations,
    ScaleLayout weights,
    boolean swiglu,
    boolean invariant) {

  /// The clamp of SwiGLU, as the model has it.
  static final float LIMIT = 10f;

  /// About what a H100 does, for plans; no figure depends on it.
  private static final double BYTES_PER_MICRO = 2.5e6;

  private static final double FLOPS_PER_MICRO = 6e8;

  /// The op.
  enum Kind {
    GEMM,
    GROUPED_GEMM,
    BATCHED_GEMM;

    /// @return the op's name, as everywhere
    String opName() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /// `gemm` with BF16 activations and prepared weights.
  static GemmCase gemm(String shape, long m, long n, long k) {
    return new GemmCase(
        Kind.GEMM, shape, 1, 1, m, n, k, Gemm.Activations.BF16, ScaleLayout.PREPARED, false, false);
  }

  /// `grouped_gemm` with BF16 activations and prepared weights, the same number of rows for each
  /// active expert.
  static GemmCase grouped(String shape, int experts, int active, long rows, long n, long k) {
    return new GemmCase(
        Kind.GROUPED_GEMM,
        shape,
        experts,
        active,
        rows,
        n,
        k,
        Gemm.Activations.BF16,
        ScaleLayout.PREPARED,
        false,
        false);
  }

  /// `batched_gemm` with BF16 activations and prepared weights.
  static GemmCase batched(String shape, int groups, long m, long n, long k) {
    return new GemmCase(
        Kind.BATCHED_GEMM,
        shape,
        groups,
        groups,
        m,
        n,
        k,
        Gemm.Activations.BF16,
        ScaleLayout.PREPARED,
        false,
        false);
  }

  /// @return the same with other activations
  GemmCase of(Gemm.Activations other) {
    return new GemmCase(op, shape, groups, active, rows, n, k, other, weights, swiglu, invariant);
  }

  /// @return the same straight from the layout of a checkpoint
  GemmCase direct() {
    return new GemmCase(
        op, shape, groups, active, rows, n, k, activations, ScaleLayout.LINEAR, swiglu, invariant);
  }

  /// @return the same with SwiGLU
  GemmCase withSwiglu() {
    return new GemmCase(
        op, shape, groups, active, rows, n, k, activations, weights, true, invariant);
  }

  /// @return the same, batch invariant
  GemmCase batchInvariant() {
    return new GemmCase(op, shape, groups, active, rows, n, k, activations, weights, swiglu, true);
  }

  /// @return rows of A and D
  long m() {
    return op == Kind.GROUPED_GEMM ? active * rows : rows;
  }

  /// @return columns of A
  long columnsOfA() {
    return op == Kind.BATCHED_GEMM ? groups * k : k;
  }

  /// @return columns of D
  long columnsOfD() {
    return op == Kind.BATCHED_GEMM ? groups * n : swiglu ? n / 2 : n;
  }

  /// @return bytes of codes and block scales of all groups, used or not
  long weightBytes() {
    return groups * weightBytesOfGroup();
  }

  private long weightBytesOfGroup() {
    return n * k / 16 * 9;
  }

  /// @return bytes that a call has to read: the weights in use, and A
  long bytesRead() {
    long elements = m() * columnsOfA();
    return active * weightBytesOfGroup()
        + (activations == Gemm.Activations.NVFP4 ? elements / 16 * 9 : 2 * elements);
  }

  /// @return bytes that a call has to write
  long bytesWritten() {
    return 2 * m() * columnsOfD();
  }

  /// @return bytes that a call moves
  long bytes() {
    return bytesRead() + bytesWritten();
  }

  /// @return multiplications and additions
  double flops() {
    return 2.0 * m() * n * k * (op == Kind.BATCHED_GEMM ? groups : 1);
  }

  /// @return about the microseconds of a call, for planning
  double estimate() {
    return Math.max(1, Math.max(bytes() / BYTES_PER_MICRO, flops() / FLOPS_PER_MICRO));
  }

  /// @return options of the call
  Gemm.Options options() {
    Gemm.Options options =
        Gemm.Options.DEFAULT.withBatchInvariant(invariant).withWeightsSettled(true);
    return swiglu ? options.withSwiglu(LIMIT) : options;
  }

  /// @return the rows in words: `M=16`, of experts `48x2`
  String rowsText() {
    return op == Kind.GROUPED_GEMM ? active + "x" + rows : "M=" + rows;
  }

  /// @return what distinguishes two products of the same op, shape and rows
  String variant() {
    List<String> words = new ArrayList<>();
    words.add(
        activations.name().toLowerCase(Locale.ROOT)
            + " x "
            + weights.name().toLowerCase(Locale.ROOT));
    if (swiglu) {
      words.add("swiglu");
    }
    if (invariant) {
      words.add("batch invariant");
    }
    return String.join(", ", words);
  }

  /// For example `gemm w13 M=16 (bf16 x prepared)`: what `--only` matches.
  @Override
  public String toString() {
    return op.opName() + " " + shape + " " + rowsText() + " (" + variant() + ")";
  }
}
