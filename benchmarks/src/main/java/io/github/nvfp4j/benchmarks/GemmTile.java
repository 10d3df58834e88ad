// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.E4m3;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.SequencedSet;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/// Compares a tile of D, sampled rows by sampled columns, with the products of the same rows of A
/// and W in exact or double arithmetic. (The whole D would take the host minutes.)
final class GemmTile {
  private static final int ROWS = 6;
  private static final int COLUMNS = 40;
  private static final long SEED = 20_250_102;

  private GemmTile() {}

  /// Compares one call.
  ///
  /// @return null when every sampled element is one that it may be, else where the first is not
  static @Nullable String differs(Stream stream, GemmOperands operands, int call) {
    GemmCase product = operands.product();
    for (int group : groups(product, call)) {
      String found = differs(stream, operands, call, group);
      if (found != null) {
        return product + ": call " + call + ", matrix " + group + " of w: " + found;
      }
    }
    return null;
  }

  /// The first and the last matrix of weights that a call uses.
  private static SequencedSet<Integer> groups(GemmCase product, int call) {
    int first =
        product.op() == GemmCase.Kind.GROUPED_GEMM ? GemmOperands.firstExpert(product, call) : 0;
    return new LinkedHashSet<>(List.of(first, first + product.active() - 1));
  }

  private static @Nullable String differs(
      Stream stream, GemmOperands operands, int call, int group) {
    GemmCase product = operands.product();
    boolean batched = product.op() == GemmCase.Kind.BATCHED_GEMM;
    boolean grouped = product.op() == GemmCase.Kind.GROUPED_GEMM;
    int depth = Math.toIntExact(product.k());
    int width = Math.toIntExact(product.swiglu() ? product.n() / 2 : product.n());
    long fromRow = grouped ? operands.offsetsOf(call)[group] : 0;
    int fromA = batched ? group * depth : 0;
    int fromD = batched ? group * width : 0;
    int[] rows = sample(Math.toIntExact(product.rows()), ROWS);
    int[] columns = sample(width, COLUMNS);

    Rows source = new Rows(stream, operands.weights().arena());
    Nvfp4Matrix w = weights(source, operands.weights().source(call), product, group, columns);
    source = new Rows(stream, operands.arena());
    GemmProduct exact =
        activations(source, operands.activations(call), product, rows, fromRow, fromA, w);
    double gamma =
        stream.device().isCuda()
            ? GemmReference.gammaOfTensorCores(depth)
            : GemmReference.gammaOfCpu(depth);
    GemmExpectation expected =
        product.swiglu()
            ? exact.expectSwiglu(null, GemmCase.LIMIT, gamma)
            : exact.expect(DType.BF16, gamma);

    float[] actual = new float[rows.length * columns.length];
    Tensor d = operands.result(call);
    for (int r = 0; r < rows.length; r++) {
      float[] row = source.bf16(d, fromRow + rows[r]);
      for (int c = 0; c < columns.length; c++) {
        actual[r * columns.length + c] = row[fromD + columns[c]];
      }
    }
    return expected.difference(actual);
  }

  /// The sampled rows of one matrix of weights; with SwiGLU those of gate, then those of up.
  private static Nvfp4Matrix weights(
      Rows source, List<Tensor> w, GemmCase product, int group, int[] columns) {
    int parts = product.swiglu() ? 2 : 1;
    int depth = Math.toIntExact(product.k());
    int count = parts * columns.length;
    byte[] codes = new byte[count * depth / 2];
    byte[] scales = new byte[count * depth / 16];
    for (int i = 0; i < count; i++) {
      long half = i / columns.length * (product.n() / 2);
      long row = group * product.n() + half + columns[i % columns.length];
      source.copy(w.get(0), row, codes, i * depth / 2);
      source.copy(w.get(1), row, scales, i * depth / 16);
    }
    float[] global = {source.floats(w.get(2))[group]};
    return new Nvfp4Matrix(count, depth, codes, scales, GlobalScale.TENSOR, global);
  }

  private static GemmProduct activations(
      Rows source,
      List<Tensor> a,
      GemmCase product,
      int[] rows,
      long fromRow,
      int fromColumn,
      Nvfp4Matrix w) {
    int depth = w.columns();
    if (product.activations() == Gemm.Activations.BF16) {
      float[] values = new float[rows.length * depth];
      for (int r = 0; r < rows.length; r++) {
        float[] row = source.bf16(a.getFirst(), fromRow + rows[r]);
        System.arraycopy(row, fromColumn, values, r * depth, depth);
      }
      return GemmReference.gemm(values, rows.length, depth, w);
    }
    byte[] codes = new byte[rows.length * depth / 2];
    byte[] scales = new byte[rows.length * depth / 16];
    for (int r = 0; r < rows.length; r++) {
      byte[] row = source.bytes(a.get(0), fromRow + rows[r]);
      System.arraycopy(row, fromColumn / 2, codes, r * depth / 2, depth / 2);
      row = source.bytes(a.get(1), fromRow + rows[r]);
      System.arraycopy(row, fromColumn / 16, scales, r * depth / 16, depth / 16);
    }
    float[] global = source.floats(a.get(2));
    Nvfp4Matrix matrix =
        new Nvfp4Matrix(rows.length, depth, codes, scales, GlobalScale.TENSOR, global);
    return GemmReference.gemm(matrix, w);
  }

  /// Compares one product of cuBLASLt, whose order and precision of sums are its own: a bound that
  /// only a wrong product exceeds. In FP8 Hopper's tensor cores keep 14 bits of a sum, so each of
  /// its K/32 steps may lose 2^-13 of the magnitudes.
  ///
  /// @param arenaOfW owns w; `arena` owns a and d
  /// @param w weights, of which the first N rows `[N, K]` are used
  /// @param a activations `[M, K]`
  /// @param d result `[M, N]`
  /// @return null, or where the first difference is
  static @Nullable String differs(
      Stream stream,
      Arena arenaOfW,
      Tensor w,
      Arena arena,
      CublasLt.Type type,
      Tensor a,
      Tensor d) {
    Rows weights = new Rows(stream, arenaOfW);
    Rows source = new Rows(stream, arena);
    int[] columns = sample(Math.toIntExact(d.shape(1)), COLUMNS / 2);
    for (int m : sample(Math.toIntExact(d.shape(0)), ROWS / 2)) {
      float[] x = source.values(type, a, m);
      float[] actual = source.bf16(d, m);
      for (int n : columns) {
        float[] y = weights.values(type, w, n);
        double sum = 0;
        double magnitude = 0;
        for (int k = 0; k < y.length; k++) {
          double term = (double) x[k] * y[k];
          sum += term;
          magnitude += Math.abs(term);
        }
        double lost = type == CublasLt.Type.BF16 ? 0x1p-9 : Math.ceil(y.length / 32.0) * 0x1p-13;
        if (!(Math.abs(actual[n] - sum) <= 0x1p-8 * Math.abs(sum) + lost * magnitude)) {
          return "row " + m + ", column " + n + " is " + actual[n] + ", expected about " + sum;
        }
      }
    }
    return null;
  }

  /// Up to `count` different indices below `size`, ascending: the first, the last, and random ones.
  static int[] sample(int size, int count) {
    if (size <= count) {
      int[] all = new int[size];
      Arrays.setAll(all, i -> i);
      return all;
    }
    SplittableRandom random = new SplittableRandom(SEED);
    LinkedHashSet<Integer> chosen = new LinkedHashSet<>(List.of(0, size - 1));
    while (chosen.size() < count) {
      chosen.add(random.nextInt(size));
    }
    return chosen.stream().mapToInt(Integer::intValue).sorted().toArray();
  }

  /// Copies rows of tensors of one arena to the host.
  private record Rows(Stream stream, Arena arena) {

    byte[] bytes(Tensor tensor, long row) {
      Tensor slice = tensor.slice(arena, row, 1);
      try (Arena host = Arena.ofConfined()) {
        MemorySegment segment = host.allocate(slice.byteSize(), 64);
        slice.copyTo(stream, Tensor.of(host, segment, slice.dtype(), slice.shape()));
        stream.synchronize();
        return segment.toArray(ValueLayout.JAVA_BYTE);
      }
    }

    void copy(Tensor tensor, long row, byte[] to, int at) {
      byte[] bytes = bytes(tensor, row);
      System.arraycopy(bytes, 0, to, at, bytes.length);
    }

    float[] bf16(Tensor tensor, long row) {
      byte[] bytes = bytes(tensor, row);
      float[] values = new float[bytes.length / 2];
      for (int i = 0; i < values.length; i++) {
        int bits = (bytes[2 * i] & 0xff) | bytes[2 * i + 1] << 8;
        values[i] = Float.intBitsToFloat(bits << 16);
      }
      return values;
    }

    float[] floats(Tensor tensor) {
      try (Arena host = Arena.ofConfined()) {
        return tensor.toHost(stream, host).segment().toArray(ValueLayout.JAVA_FLOAT);
      }
    }

    float[] values(CublasLt.Type type, Tensor tensor, long row) {
      if (type == CublasLt.Type.BF16) {
        return bf16(tensor, row);
      }
      byte[] bytes = bytes(tensor, row);
      float[] values = new float[bytes.length];
      for (int i = 0; i < values.length; i++) {
        values[i] = E4m3.decode(bytes[i] & 0xff);
      }
      return values;
    }
  }
}
