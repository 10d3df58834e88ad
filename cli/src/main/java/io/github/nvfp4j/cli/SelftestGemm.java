// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.BatchedGemm;
import io.github.nvfp4j.DType;
import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.GroupedGemm;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.PackActivations;
import io.github.nvfp4j.PrepareWeights;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.DequantizeReference;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.GemmProduct;
import io.github.nvfp4j.reference.GemmReference;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/// The selftest's cases of the matrix products. Where the sum is exact in every order, every bit is
/// compared; elsewhere the distance from the exact result, with the bound.
final class SelftestGemm {
  /// M, N, K: one row; odd rows; one block; more than a tile of anything; no row.
  private static final int[][] SHAPES = {
    {1, 16, 512},
    {3, 16, 16},
    {17, 48, 272},
    {70, 144, 336},
    {130, 32, 64},
    {0, 16, 64},
    {5, 32, 7168}
  };

  /// Block scales of one binade, and all of them.
  private static final int[] BINADE = {0x38, 0x3f};

  private static final int[] ALL = {0x01, 0x7e};

  private static final float LIMIT = 10;

  private SelftestGemm() {}

  /// What A is.
  private enum Form {
    BF16,
    NVFP4,
    PACKED
  }

  /// One product: its shape, what A is, what W's global scales cover, and how.
  private record Variant(
      String op, int[] shape, Form form, GlobalScale global, boolean prepared, boolean swiglu) {
    int rows() {
      return shape[0];
    }

    int groups() {
      return op.equals("gemm") ? 1 : 3;
    }

    /// Columns of A.
    int depth() {
      return op.equals("batched_gemm") ? groups() * shape[2] : shape[2];
    }

    /// Columns of D.
    int width() {
      return op.equals("batched_gemm") ? groups() * shape[1] : swiglu ? shape[1] / 2 : shape[1];
    }

    DType dtype() {
      return swiglu || form == Form.PACKED ? DType.BF16 : DType.F32;
    }

    int[] offsets() {
      return new int[] {rows() / 8, rows() / 2, rows() / 2, rows() - rows() / 8};
    }

    String name() {
      return op
          + " "
          + shape[0]
          + "x"
          + shape[1]
          + "x"
          + shape[2]
          + " "
          + (form + " " + global).toLowerCase(Locale.ROOT)
          + (prepared ? " prepared" : "")
          + (swiglu ? " swiglu" : "");
    }
  }

  static void add(BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add) {
    for (int[] shape : SHAPES) {
      for (Form form : Form.values()) {
        for (boolean prepared : new boolean[] {false, true}) {
          for (boolean swiglu : new boolean[] {false, true}) {
            GlobalScale one = swiglu ? GlobalScale.HALVES : GlobalScale.TENSOR;
            GlobalScale each = swiglu ? GlobalScale.HALVES : GlobalScale.GROUP;
            add(add, new Variant("gemm", shape, form, one, prepared, swiglu));
            add(add, new Variant("grouped_gemm", shape, form, each, prepared, swiglu));
          }
          add(add, new Variant("batched_gemm", shape, form, GlobalScale.GROUP, prepared, false));
        }
      }
      add.accept(
          "pack_activations " + shape[0] + "x" + shape[2],
          (b, r) -> pack(b, r, shape[0], shape[2]));
    }
    add.accept("prepare_weights twice", SelftestGemm::prepareTwice);
    add.accept("fault bad offsets", SelftestGemm::badOffsets);
  }

  private static void add(
      BiConsumer<String, BiFunction<Workbench, RandomData, @Nullable String>> add, Variant v) {
    add.accept(v.name(), (bench, random) -> product(bench, random, v));
  }

  private static @Nullable String product(Workbench bench, RandomData random, Variant v) {
    int[] scales = v.shape()[2] > 512 ? ALL : BINADE;
    Nvfp4Matrix a = random.operand(v.rows(), v.depth(), scales[0], scales[1], GlobalScale.ROW);
    float[] x = random.preActivations(v.rows(), v.depth(), DType.BF16);
    List<Nvfp4Matrix> w = new ArrayList<>();
    for (int g = 0; g < v.groups(); g++) {
      w.add(random.operand(v.shape()[1], v.shape()[2], scales[0], scales[1], v.global()));
    }
    float[] factors = v.swiglu() ? random.weights(v.rows()) : null;
    Tensor d = bench.result(v.dtype(), v.rows(), v.width());
    run(bench, v, a, x, w, SelftestData.upload(bench, factors), d);
    bench.stream().synchronize();
    return compare(bench, v, reference(v, a, x, w), factors, d);
  }

  private static void run(
      Workbench bench,
      Variant v,
      Nvfp4Matrix a,
      float[] x,
      List<Nvfp4Matrix> w,
      @Nullable Tensor factors,
      Tensor d) {
    Nvfp4Tensor weights = upload(bench, w);
    if (v.prepared()) {
      Nvfp4Tensor prepared =
          bench.result(
              w.size(), weights.rows(), weights.columns(), ScaleLayout.PREPARED, v.global());
      PrepareWeights.run(bench.stream(), weights, prepared);
      weights = prepared;
    }
    Gemm.Options options =
        v.swiglu() ? Gemm.Options.DEFAULT.withSwiglu(LIMIT) : Gemm.Options.DEFAULT;
    Tensor offsets = bench.upload(MemorySegment.ofArray(v.offsets()), DType.I32, 4);
    if (v.form() == Form.BF16) {
      Tensor bf16 = SelftestData.upload(bench, x, v.rows(), v.depth(), DType.BF16, true);
      switch (v.op()) {
        case "gemm" -> Gemm.run(bench.stream(), bf16, weights, factors, d, options);
        case "grouped_gemm" ->
            GroupedGemm.run(bench.stream(), bf16, weights, offsets, factors, d, options);
        default -> BatchedGemm.run(bench.stream(), bf16, weights, d);
      }
      return;
    }
    Nvfp4Tensor nvfp4 = upload(bench, List.of(a));
    if (v.form() == Form.PACKED) {
      Nvfp4Tensor packed = bench.result(v.rows(), v.depth(), ScaleLayout.PACKED, a.globalScale());
      PackActivations.run(bench.stream(), nvfp4, packed);
      nvfp4 = packed;
    }
    switch (v.op()) {
      case "gemm" -> Gemm.run(bench.stream(), nvfp4, weights, factors, d, options);
      case "grouped_gemm" ->
          GroupedGemm.run(bench.stream(), nvfp4, weights, offsets, factors, d, options);
      default -> BatchedGemm.run(bench.stream(), nvfp4, weights, d);
    }
  }

  private static GemmProduct reference(Variant v, Nvfp4Matrix a, float[] x, List<Nvfp4Matrix> w) {
    boolean bf16 = v.form() == Form.BF16;
    return switch (v.op()) {
      case "gemm" ->
          bf16
              ? GemmReference.gemm(x, v.rows(), v.depth(), w.getFirst())
              : GemmReference.gemm(a, w.getFirst());
      case "grouped_gemm" ->
          bf16
              ? GemmReference.grouped(x, v.rows(), v.depth(), w, v.offsets())
              : GemmReference.grouped(a, w, v.offsets());
      default ->
          bf16 ? GemmReference.batched(x, v.rows(), v.depth(), w) : GemmReference.batched(a, w);
    };
  }

  private static @Nullable String compare(
      Workbench bench, Variant v, GemmProduct product, float @Nullable [] factors, Tensor d) {
    double gamma =
        bench.device().isCuda()
            ? GemmReference.gammaOfTensorCores(product.depth())
            : GemmReference.gammaOfCpu(product.depth());
    GemmExpectation expected =
        v.swiglu() ? product.expectSwiglu(factors, LIMIT, gamma) : product.expect(v.dtype(), gamma);
    MemorySegment bytes = SelftestData.bytes(bench, d);
    float[] actual =
        v.dtype() == DType.F32
            ? bytes.toArray(ValueLayout.JAVA_FLOAT)
            : Bf16.decode(bytes.toArray(ValueLayout.JAVA_SHORT));
    if (v.op().equals("grouped_gemm")) {
      String touched = rowsOfNobody(bench, v, bytes, actual);
      if (touched != null) {
        return touched;
      }
    }
    return expected.difference(actual);
  }

  /// D must keep the rows of no expert; the reference calls them NaN.
  private static @Nullable String rowsOfNobody(
      Workbench bench, Variant v, MemorySegment bytes, float[] actual) {
    int[] offsets = v.offsets();
    long rowBytes = (long) v.width() * v.dtype().bytes();
    for (int row = 0; row < v.rows(); row++) {
      if (row >= offsets[0] && row < offsets[3]) {
        continue;
      }
      for (long i = row * rowBytes; i < (row + 1) * rowBytes; i++) {
        if (bytes.get(ValueLayout.JAVA_BYTE, i) != bench.pattern()) {
          return "row " + row + " belongs to no expert and was written";
        }
      }
      Arrays.fill(actual, row * v.width(), (row + 1) * v.width(), Float.NaN);
    }
    return null;
  }

  /// A stack of matrices on the device; one is a matrix.
  private static Nvfp4Tensor upload(Workbench bench, List<Nvfp4Matrix> stack) {
    Nvfp4Matrix first = stack.getFirst();
    Nvfp4Tensor tensor =
        bench.result(
            stack.size(), first.rows(), first.columns(), ScaleLayout.LINEAR, first.globalScale());
    int perGroup = first.globalScales().length;
    byte[] codes = new byte[stack.size() * first.codes().length];
    byte[] scales = new byte[stack.size() * first.scales().length];
    float[] gs = new float[stack.size() * perGroup];
    for (int g = 0; g < stack.size(); g++) {
      Nvfp4Matrix one = stack.get(g);
      System.arraycopy(one.codes(), 0, codes, g * one.codes().length, one.codes().length);
      System.arraycopy(one.scales(), 0, scales, g * one.scales().length, one.scales().length);
      System.arraycopy(one.globalScales(), 0, gs, g * perGroup, perGroup);
    }
    SelftestData.copyInto(bench, codes, tensor.codes());
    SelftestData.copyInto(bench, scales, tensor.scales());
    SelftestData.copyInto(bench, MemorySegment.ofArray(gs), tensor.globalScales());
    return tensor;
  }

  private static @Nullable String pack(Workbench bench, RandomData random, int rows, int columns) {
    Nvfp4Matrix a = random.operand(rows, columns, 0, 0x7e, GlobalScale.ROW);
    Nvfp4Tensor packed = bench.result(rows, columns, ScaleLayout.PACKED, GlobalScale.ROW);
    PackActivations.run(bench.stream(), upload(bench, List.of(a)), packed);
    bench.stream().synchronize();
    Nvfp4Matrix plain =
        new Nvfp4Matrix(rows, columns, a.codes(), a.scales(), GlobalScale.TENSOR, new float[] {1});
    float[] y = DequantizeReference.dequantize(plain, DType.BF16);
    String difference =
        SelftestData.compare(
            "value", SelftestData.bytes(bench, packed.codes()), RandomData.encode(y, DType.BF16));
    return difference != null
        ? difference
        : SelftestData.compare(
            "global scale",
            SelftestData.bytes(bench, packed.globalScales()),
            MemorySegment.ofArray(a.globalScales()));
  }

  /// Its order is the device's own: what a product makes of it is another case. Every byte is
  /// written.
  private static @Nullable String prepareTwice(Workbench bench, RandomData random) {
    List<Nvfp4Matrix> w = new ArrayList<>();
    for (int g = 0; g < 3; g++) {
      w.add(random.operand(40, 272, 1, 0x7e, GlobalScale.HALVES));
    }
    MemorySegment former = null;
    for (int pattern : new int[] {0xa5, 0x5a}) {
      Workbench other = new Workbench(bench.stream(), bench.arena(), (byte) pattern);
      Nvfp4Tensor prepared = other.result(3, 40, 272, ScaleLayout.PREPARED, GlobalScale.HALVES);
      PrepareWeights.run(bench.stream(), upload(bench, w), prepared);
      bench.stream().synchronize();
      MemorySegment bytes = SelftestData.bytes(bench, prepared.codes());
      String difference = former == null ? null : SelftestData.compare("byte", bytes, former);
      if (difference != null) {
        return difference;
      }
      former = bytes;
    }
    return null;
  }

  private static @Nullable String badOffsets(Workbench bench, RandomData random) {
    Nvfp4Tensor a = upload(bench, List.of(random.operand(4, 32, 1, 9, GlobalScale.ROW)));
    Nvfp4Matrix w = random.operand(8, 32, 1, 9, GlobalScale.GROUP);
    Tensor offsets = bench.upload(MemorySegment.ofArray(new int[] {0, 3, 2}), DType.I32, 3);
    Tensor d = bench.result(DType.F32, 4, 8);
    GroupedGemm.run(bench.stream(), a, upload(bench, List.of(w, w)), offsets, d);
    String silent = SelftestData.reported(bench);
    if (silent != null) {
      return silent;
    }
    byte[] untouched = new byte[4 * 8 * 4];
    Arrays.fill(untouched, bench.pattern());
    return SelftestData.compare(
        "d", SelftestData.bytes(bench, d), MemorySegment.ofArray(untouched));
  }
}
