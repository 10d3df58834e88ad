// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.RouterReference;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/// What the tests of the routers share: gates, problems and shapes, outputs with gaps, and the
/// goldens.
abstract class RouterOnDevice extends HcOnDevice {
  static final float SCALE = 1.5f;
  static final Gaps GAPPED = new Gaps(3, 0);

  RouterOnDevice(String id) {
    super(id);
  }

  /// What the gate's weight is.
  enum Gate {
    BF16,
    F32,
    NVFP4
  }

  /// x and the gate, as the reference takes them.
  record Problem(
      DType dtype,
      Gate gate,
      int tokens,
      int experts,
      int columns,
      float[] x,
      float[] weight,
      Nvfp4Matrix quantized,
      float[] bias) {
    static Problem of(Values values, DType dtype, Gate gate, int tokens, int experts, int columns) {
      float[] x = new float[tokens * columns];
      for (int i = 0; i < x.length; i++) {
        x[i] = Values.round(dtype, (float) values.random().nextGaussian());
      }
      DType of = gate == Gate.BF16 ? DType.BF16 : DType.F32;
      float[] weight = new float[gate == Gate.NVFP4 ? 0 : experts * columns];
      for (int i = 0; i < weight.length; i++) {
        double w = values.random().nextGaussian() * 2 / Math.sqrt(columns);
        weight[i] = Values.round(of, (float) w);
      }
      int blocks = gate == Gate.NVFP4 ? experts * columns / 16 : 0;
      byte[] scales = new byte[blocks];
      for (int i = 0; i < scales.length; i++) {
        scales[i] = (byte) (0x30 + values.random().nextInt(16));
      }
      Nvfp4Matrix quantized =
          new Nvfp4Matrix(
              gate == Gate.NVFP4 ? experts : 0,
              gate == Gate.NVFP4 ? columns : 16,
              values.bytes(8 * blocks),
              scales,
              GlobalScale.TENSOR,
              new float[] {0.7f / (float) Math.sqrt(columns)});
      float[] bias = new float[experts];
      for (int e = 0; e < experts; e++) {
        bias[e] = (float) values.random().nextGaussian();
      }
      return new Problem(dtype, gate, tokens, experts, columns, x, weight, quantized, bias);
    }

    Problem withX(float[] other) {
      return new Problem(dtype, gate, tokens, experts, columns, other, weight, quantized, bias);
    }

    Problem withBias(float[] other) {
      return new Problem(dtype, gate, tokens, experts, columns, x, weight, quantized, other);
    }

    /// The problem of one of the tokens.
    Problem token(int t) {
      float[] its = Arrays.copyOfRange(x, t * columns, (t + 1) * columns);
      return new Problem(dtype, gate, 1, experts, columns, its, weight, quantized, bias);
    }

    RouterReference.Logits logits() {
      return gate == Gate.NVFP4
          ? RouterReference.logits(x, quantized, tokens)
          : RouterReference.logits(x, weight, tokens, experts, columns);
    }
  }

  record Made(Strided indices, Strided weights, Strided logits) {}

  Made outputs(int tokens, int topk, int experts, Gaps gaps) {
    return new Made(
        integers(tokens, topk, gaps),
        strided(DType.F32, null, gaps, tokens, topk),
        strided(DType.F32, null, gaps, tokens, experts));
  }

  private Strided integers(int rows, int columns, Gaps gaps) {
    Tensor whole = device.allocate(arena, DType.I32, rows, columns + gaps.columns());
    poison(whole);
    return new Strided(whole, whole.slice(arena, 1, 0, columns));
  }

  /// The integers of a result; nothing between them may have been written.
  int[] ints(Strided result) {
    int columns = (int) result.view().shape(1);
    int width = (int) result.whole().shape(1);
    int[] whole = result.whole().toHost(stream, arena).segment().toArray(ValueLayout.JAVA_INT);
    int[] ints = new int[(int) result.view().elements()];
    int count = 0;
    for (int i = 0; i < whole.length; i++) {
      if (i % width < columns) {
        ints[count++] = whole[i];
      } else {
        assertThat(whole[i]).as("between rows").isEqualTo(0xA5A5A5A5);
      }
    }
    return ints;
  }

  Tensor weight(Problem p, Gaps gaps) {
    DType dtype = p.gate() == Gate.F32 ? DType.F32 : DType.BF16;
    return strided(dtype, p.weight(), gaps, p.experts(), p.columns()).view();
  }

  /// Experts, columns, k: each number of columns on its own, as many experts as there may be.
  private static final int[][] SHAPES = {
    {1, 1, 1},
    {2, 3, 2},
    {7, 17, 6},
    {16, 16, 16},
    {64, 100, 6},
    {100, 512, 1},
    {256, 1040, 6},
    {384, 64, 6},
    {385, 32, 16},
    {1024, 48, 8}
  };

  record Case(DType dtype, Gate gate, int experts, int columns, int topk) {}

  static List<Case> cases() {
    List<Case> cases = new ArrayList<>();
    for (DType dtype : List.of(DType.F32, DType.BF16)) {
      for (Gate gate : Gate.values()) {
        for (int[] shape : SHAPES) {
          if (gate != Gate.NVFP4 || shape[1] % 16 == 0) {
            cases.add(new Case(dtype, gate, shape[0], shape[1], shape[2]));
          }
        }
      }
    }
    return cases;
  }

  static int[] ints(Golden golden, String name) {
    return golden.file().data(name).toArray(ValueLayout.JAVA_INT_UNALIGNED);
  }

  static Problem problem(Golden golden, int tokens, int experts, int columns) {
    Nvfp4Matrix none =
        new Nvfp4Matrix(0, 16, new byte[0], new byte[0], GlobalScale.TENSOR, new float[1]);
    return new Problem(
        DType.F32,
        Gate.BF16,
        tokens,
        experts,
        columns,
        golden.floats("x"),
        golden.floats("weight"),
        none,
        new float[experts]);
  }

  /// The tokens to compare with binary64, which takes its time: of many every seventh, so that they
  /// lie at different places of a kernel's tiles.
  static int[] someOf(int tokens) {
    return IntStream.iterate(0, t -> t < tokens, t -> t + (tokens > 64 ? 7 : 1)).toArray();
  }

  /// A token's weights, as near those that binary64 makes of its exact logits as
  /// [RouterReference#weightBound] says: nearer than a logit's bound would allow.
  static void requireWeights(RouterReference.Logits logits, int[] indices, float[] weights) {
    int experts = logits.exact().length;
    double[] exact =
        RouterReference.weightsExact(logits.exact(), indices, 1, experts, indices.length, SCALE);
    double largest =
        Arrays.stream(indices).mapToDouble(e -> logits.magnitudes()[e]).max().orElse(0);
    requireClose(exact, weights, RouterReference.weightBound(largest));
  }

  static void requireClose(double[] exact, float[] weights, double relative) {
    assertThat(weights).hasSameSizeAs(exact);
    for (int i = 0; i < exact.length; i++) {
      // Scores of logits below -104 are 0 in F32.
      if (!(Math.abs(weights[i] - exact[i]) <= 1e-18 + relative * exact[i])) {
        throw new AssertionError("weight " + i + " is " + weights[i] + ", expected " + exact[i]);
      }
    }
  }
}
