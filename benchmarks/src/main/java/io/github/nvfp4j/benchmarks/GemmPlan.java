// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.ScaleLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// The measured matrix products, with their goals.
///
/// Shapes are those of DeepSeek-V4: `w13` (gate and up) and `w2` of an expert, `q_a`, `q_b` and
/// `o_b` of the attention of Pro, `o_a` of its 16 groups, and `fl13`, gate and up of an expert of
/// Flash.
final class GemmPlan {
  private static final String H100 = "H100";
  private static final String CUBLASLT = CublasLt.Type.BF16.peer();
  private static final String TORCH = "torch_grouped_mm";
  private static final String MARLIN = "marlin";

  private static final long[] ROWS = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 8192};

  /// A shape of weights, and the goals of few rows.
  ///
  /// @param name as in tables
  /// @param n rows
  /// @param k columns
  /// @param decode percent of read up to 8 rows
  /// @param chain microseconds with one row, launched programmatically
  /// @param sixteen percent of read with 16 rows
  private record Shape(String name, long n, long k, int decode, double chain, int sixteen) {
    GemmCase with(long m) {
      return GemmCase.gemm(name, m, n, k);
    }
  }

  private static final Shape W13 = new Shape("w13", 6144, 7168, 95, 8.3, 87);
  private static final Shape W2 = new Shape("w2", 7168, 3072, 91, 5.0, 80);
  private static final Shape Q_A = new Shape("q_a", 1536, 7168, 82, 3.3, 68);
  private static final Shape Q_B = new Shape("q_b", 65536, 1536, 98, 18.1, 95);
  private static final Shape O_B = new Shape("o_b", 7168, 16384, 97, 21.3, 91);
  private static final Shape FL13 = new Shape("fl13", 4096, 4096, 93, 4.0, 81);
  private static final List<Shape> SHAPES = List.of(W13, W2, Q_A, Q_B, O_B, FL13);

  /// Percent of read straight from a checkpoint's layout, up to 8 rows.
  private static final Map<String, Integer> DIRECT =
      Map.of("w13", 88, "w2", 80, "q_b", 92, "o_b", 90);

  /// Microseconds with 32 and with 64 rows.
  private static final Map<String, double[]> MICROS =
      Map.of(
          "w13", new double[] {12, 14}, "w2", new double[] {7.7, 9}, "q_b", new double[] {22, 25});

  private GemmPlan() {}

  /// The products, those of one shape's weights one after the other.
  ///
  /// @param quick small shapes, one of each kind
  /// @param cuda for a CUDA device; the CPU device gets a few small ones
  static List<GemmCase> all(boolean quick, boolean cuda) {
    if (quick) {
      return quick();
    }
    return cuda ? cuda() : List.of(FL13.with(1), FL13.with(8), FL13.with(64));
  }

  private static List<GemmCase> quick() {
    GemmCase gemm = GemmCase.gemm("small", 5, 512, 256);
    return List.of(
        gemm,
        gemm.direct(),
        gemm.of(Gemm.Activations.NVFP4),
        gemm.of(Gemm.Activations.PACKED),
        gemm.withSwiglu(),
        gemm.batchInvariant(),
        GemmCase.grouped("small", 4, 2, 3, 256, 256),
        GemmCase.batched("small", 2, 3, 256, 256));
  }

  private static List<GemmCase> cuda() {
    List<GemmCase> all = new ArrayList<>();
    for (Shape shape : SHAPES) {
      for (long m : ROWS) {
        all.add(shape.with(m));
      }
      all.add(shape.with(1).direct());
      if (shape == W13) {
        for (long m : new long[] {8, 16, 32, 64, 1024}) {
          all.add(shape.with(m).direct());
        }
        for (long m : new long[] {1, 8, 16, 32, 64, 128, 1024}) {
          all.add(shape.with(m).of(Gemm.Activations.NVFP4));
        }
        for (long m : new long[] {1, 16, 32, 64, 128, 1024}) {
          all.add(shape.with(m).of(Gemm.Activations.PACKED));
        }
        all.add(shape.with(1).withSwiglu());
        all.add(shape.with(1024).withSwiglu());
        all.add(shape.with(1).batchInvariant());
        all.add(shape.with(256).batchInvariant());
      }
      if (shape == W2) {
        for (long m : new long[] {16, 32, 64}) {
          all.add(shape.with(m).of(Gemm.Activations.NVFP4));
          all.add(shape.with(m).of(Gemm.Activations.PACKED));
        }
      }
    }
    all.add(GemmCase.grouped(W13.name, 64, 6, 1, W13.n, W13.k));
    all.add(GemmCase.grouped(W13.name, 64, 48, 2, W13.n, W13.k));
    all.add(GemmCase.grouped(W13.name, 64, 64, 96, W13.n, W13.k));
    all.add(GemmCase.grouped(W13.name, 64, 64, 384, W13.n, W13.k));
    all.add(GemmCase.batched("o_a", 16, 1, 1024, 4096));
    all.add(GemmCase.batched("o_a", 16, 128, 1024, 4096));
    return List.copyOf(all);
  }

  /// @return what a product should reach, as far as it was said
  static List<GemmGoal> goals(GemmCase product) {
    List<GemmGoal> goals = new ArrayList<>();
    switch (product.op()) {
      case GEMM -> gemm(goals, product);
      case GROUPED_GEMM -> grouped(goals, product);
      case BATCHED_GEMM -> {}
    }
    return List.copyOf(goals);
  }

  private static void gemm(List<GemmGoal> goals, GemmCase product) {
    Shape shape =
        SHAPES.stream().filter(s -> s.name.equals(product.shape())).findFirst().orElse(null);
    if (shape == null || product.swiglu() || product.invariant()) {
      return;
    }
    long m = product.m();
    if (product.weights() == ScaleLayout.LINEAR) {
      Integer percent = DIRECT.get(shape.name);
      if (m <= 8 && percent != null) {
        goals.add(new GemmGoal.OfRead(percent / 100.0));
      }
      return;
    }
    if (product.activations() == Gemm.Activations.NVFP4) {
      if (m >= 16 && m <= 64) {
        goals.add(new GemmGoal.Within(1.5, product.of(Gemm.Activations.PACKED).toString()));
      }
      return;
    }
    if (m <= 8) {
      goals.add(new GemmGoal.OfRead(shape.decode / 100.0));
      if (m == 1 && product.activations() == Gemm.Activations.BF16) {
        goals.add(new GemmGoal.Chain(shape.chain, H100));
      }
    } else if (m == 16) {
      goals.add(new GemmGoal.OfRead(shape.sixteen / 100.0));
    } else if (m <= 64) {
      double[] micros = MICROS.get(shape.name);
      if (micros != null) {
        goals.add(new GemmGoal.Micros(micros[m == 32 ? 0 : 1], H100));
      }
    } else if (m <= 512) {
      goals.add(new GemmGoal.OfFloor(m == 128 ? 0.65 : 0.80));
      goals.add(new GemmGoal.TimesPeer(1, CUBLASLT));
      goals.add(new GemmGoal.TimesPeer(1, MARLIN));
    } else {
      goals.add(new GemmGoal.TimesPeer(0.9, CUBLASLT));
      goals.add(new GemmGoal.TimesPeer(1.8, MARLIN));
    }
  }

  private static void grouped(List<GemmGoal> goals, GemmCase product) {
    if (product.rows() <= 2) {
      goals.add(new GemmGoal.OfRead(product.rows() == 1 ? 0.98 : 0.99));
      goals.add(new GemmGoal.TimesPeer(1.9, MARLIN));
    } else {
      goals.add(new GemmGoal.TimesPeer(product.rows() <= 128 ? 2.2 : 1.05, TORCH));
    }
  }
}
