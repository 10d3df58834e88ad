// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.Gemm;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class GemmPlanTest {
  private static final List<GemmCase> ALL = GemmPlan.all(false, true);

  @Test
  void everyProductIsThereOnceAndThoseOfOneShapeTogether() {
    Set<String> names = new TreeSet<>();
    Set<String> closed = new TreeSet<>();
    String last = "";
    for (GemmCase product : ALL) {
      assertThat(names.add(product.toString())).as(product.toString()).isTrue();
      String shape = product.op() + product.shape();
      if (!shape.equals(last)) {
        assertThat(closed.add(shape)).as("weights made twice: " + shape).isTrue();
      }
      last = shape;
    }
    assertThat(names)
        .hasSize(ALL.size())
        .contains(
            "gemm w13 M=1 (bf16 x prepared)",
            "gemm w2 M=8192 (bf16 x prepared)",
            "gemm q_b M=1 (bf16 x linear)",
            "gemm w13 M=16 (nvfp4 x prepared)",
            "gemm w13 M=64 (packed x prepared)",
            "gemm w13 M=1024 (bf16 x prepared, swiglu)",
            "gemm w13 M=256 (bf16 x prepared, batch invariant)",
            "grouped_gemm w13 6x1 (bf16 x prepared)",
            "grouped_gemm w13 64x384 (bf16 x prepared)",
            "batched_gemm o_a M=128 (bf16 x prepared)");
  }

  @Test
  void bytesAndOperationsAreThoseOfTheProduct() {
    GemmCase w13 = GemmCase.gemm("w13", 16, 6144, 7168);
    assertThat(w13.weightBytes()).isEqualTo(6144L * 7168 * 9 / 16);
    assertThat(w13.bytesRead()).isEqualTo(w13.weightBytes() + 2 * 16 * 7168);
    assertThat(w13.bytesWritten()).isEqualTo(2 * 16 * 6144);
    assertThat(w13.withSwiglu().bytesWritten()).isEqualTo(16 * 6144);
    assertThat(w13.of(Gemm.Activations.NVFP4).bytesRead())
        .isEqualTo(w13.weightBytes() + 16 * 7168 * 9 / 16);
    assertThat(w13.flops()).isEqualTo(2.0 * 16 * 6144 * 7168);
    GemmCase grouped = GemmCase.grouped("w13", 64, 6, 2, 6144, 7168);
    assertThat(grouped.m()).isEqualTo(12);
    assertThat(grouped.bytesRead()).isEqualTo(6 * w13.weightBytes() + 2 * 12 * 7168);
    assertThat(grouped.flops()).isEqualTo(2.0 * 12 * 6144 * 7168);
    GemmCase batched = GemmCase.batched("o_a", 16, 3, 1024, 4096);
    assertThat(batched.columnsOfA()).isEqualTo(65536);
    assertThat(batched.columnsOfD()).isEqualTo(16384);
    assertThat(batched.flops()).isEqualTo(2.0 * 3 * 16 * 1024 * 4096);
  }

  @Test
  void theRunFitsALentMachine() {
    double seconds = 0;
    for (GemmCase product : ALL) {
      Plan plan = Plan.cuda(product.bytes(), product.estimate());
      // Ours on two streams and four readers; each graph once more, and each replay twice.
      double replays = plan.graphs() + 2.0 * plan.replays();
      seconds += 6 * replays * plan.nodes() * product.estimate() / 1e6;
      long weights = GemmWeights.sets(product.weightBytes(), false) * product.weightBytes();
      long peers = 4 * Math.max(208L << 20, product.groups() * product.n() * product.k());
      long operands = 4L * plan.buffers() * (product.bytesRead() + product.bytesWritten());
      assertThat(2 * weights + peers + operands).as(product.toString()).isLessThan(60L << 30);
    }
    assertThat(seconds).isLessThan(75);
  }

  @Test
  void goalsAreThoseOfTheRows() {
    GemmCase w13 = GemmCase.gemm("w13", 1, 6144, 7168);
    assertThat(goals(w13)).containsExactly(">= 95 % of read", "<= 8.3 us in a chain (H100)");
    assertThat(goals(w13.direct())).containsExactly(">= 88 % of read");
    assertThat(goals(w13.withSwiglu())).isEmpty();
    assertThat(goals(w13.batchInvariant())).isEmpty();
    assertThat(goals(rows(16))).containsExactly(">= 87 % of read");
    assertThat(goals(rows(32))).containsExactly("<= 12.0 us (H100)");
    assertThat(goals(rows(64).of(Gemm.Activations.NVFP4)))
        .containsExactly("<= 1.5 us more than gemm w13 M=64 (packed x prepared)");
    assertThat(goals(rows(128)))
        .containsExactly(">= 65 % of floor", ">= 1 x cublaslt_bf16", ">= 1 x marlin");
    assertThat(goals(rows(512))).contains(">= 80 % of floor");
    assertThat(goals(rows(8192))).containsExactly(">= 0.9 x cublaslt_bf16", ">= 1.8 x marlin");
    assertThat(goals(GemmCase.grouped("w13", 64, 6, 1, 6144, 7168))).contains(">= 98 % of read");
    assertThat(goals(GemmCase.grouped("w13", 64, 64, 96, 6144, 7168)))
        .containsExactly(">= 2.2 x torch_grouped_mm");
    assertThat(goals(GemmCase.batched("o_a", 16, 1, 1024, 4096))).isEmpty();
  }

  @Test
  void whatAGoalRefersToIsMeasured() {
    Set<String> names = new TreeSet<>(ALL.stream().map(GemmCase::toString).toList());
    for (GemmCase product : ALL) {
      for (GemmGoal goal : GemmPlan.goals(product)) {
        if (goal instanceof GemmGoal.Within within) {
          assertThat(names).contains(within.other());
        }
      }
    }
  }

  private static GemmCase rows(long m) {
    return GemmCase.gemm("w13", m, 6144, 7168);
  }

  private static List<String> goals(GemmCase product) {
    return GemmPlan.goals(product).stream().map(GemmGoal::toString).toList();
  }
}
