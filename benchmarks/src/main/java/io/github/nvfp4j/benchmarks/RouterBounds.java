// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.E2m1;
import io.github.nvfp4j.reference.E4m3;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// Compares what a router chose with binary64: the intervals of the scores follow from the header's
/// bound of the logits, those of the weights from the scores'.
///
/// ```
/// z     the exact logit, off by at most (D/64 + 32) * 2^-24 * sum over d of |x[d] * W[e,d]|
/// s     sqrt(softplus(z)), which ascends with z: from the least z to the highest, and 4 u of itself
///       for the roundings of exp (1.8 u), log1p (2 u) and the square root (u, of half of these)
/// b     s + bias, and u of itself
/// w[j]  ascends with s[j] and descends with the others
/// ```
///
/// where u is 2^-24. A choice is right when no expert that was left at that point has a higher
/// score for certain.
enum RouterBounds implements Workload.Bounds {
  DENSE(
      Set.of("indices", "weights"),
      "indices where scores are apart by more than the bounds of router.h, and weights within"
          + " them, of at most "
          + RouterBounds.TOKENS
          + " tokens spread evenly; of all others that indices are different experts and weights"
          + " add up"),
  DENSE_NVFP4(DENSE.outputs, DENSE.compared),
  HASH(
      Set.of("weights"),
      "indices bit for bit; weights within the bounds of router.h, of all tokens");

  /// Tokens of a call of router_dense whose scores are computed: 384 sums of 7168 products each.
  private static final int TOKENS = 256;

  /// `RouterOptions.PRO`.
  private static final double SCALE = 2.5;

  private static final double U = 0x1.004p-24;

  private final Set<String> outputs;
  private final String compared;

  RouterBounds(Set<String> outputs, String compared) {
    this.outputs = outputs;
    this.compared = compared;
  }

  @Override
  public Set<String> outputs() {
    return outputs;
  }

  @Override
  public String toString() {
    return compared;
  }

  @Override
  public @Nullable String differs(List<Tensor> inputs, List<Tensor> written) {
    Tensor indices = written.get(0);
    Call call =
        new Call(
            inputs.getFirst(),
            switch (this) {
              case DENSE -> bf16(inputs.get(2));
              case DENSE_NVFP4 -> nvfp4(inputs.get(2), inputs.get(3));
              case HASH -> bf16(inputs.get(1));
            },
            this == DENSE_NVFP4 ? inputs.get(4).segment().get(ValueLayout.JAVA_FLOAT, 0) : 1,
            this == HASH ? null : inputs.get(1).segment().toArray(ValueLayout.JAVA_FLOAT),
            indices.segment().toArray(ValueLayout.JAVA_INT),
            written.get(1).segment().toArray(ValueLayout.JAVA_FLOAT));
    int tokens = Math.toIntExact(indices.shape(0));
    int compared = this == HASH ? tokens : Math.min(tokens, TOKENS);
    String difference = call.differsFromAnyChoice();
    return difference != null
        ? difference
        : IntStream.range(0, compared)
            .map(i -> spread(i, compared, tokens))
            .parallel()
            .mapToObj(call::differs)
            .filter(Objects::nonNull)
            .findFirst()
            .orElse(null);
  }

  /// The i-th of `count` of `all` that are spread evenly, the first and the last among them.
  static int spread(int i, int count, int all) {
    return count == 1 ? 0 : Math.toIntExact((long) i * (all - 1) / (count - 1));
  }

  /// What a call read and wrote.
  ///
  /// @param x `[T, D]`
  /// @param gate `[E, D]`, without the global scale
  /// @param globalScale of it
  /// @param bias null where the choice was given
  /// @param indices `[T, k]`
  /// @param weights `[T, k]`
  private record Call(
      Tensor x,
      float[] gate,
      float globalScale,
      float @Nullable [] bias,
      int[] indices,
      float[] weights) {

    private int columns() {
      return Math.toIntExact(x.shape(1));
    }

    private int experts() {
      return gate.length / columns();
    }

    private int topk() {
      return Math.toIntExact(indices.length / x.shape(0));
    }

    /// What holds of every token, whatever its logits are.
    @Nullable String differsFromAnyChoice() {
      int k = topk();
      for (int token = 0; token < indices.length / k; token++) {
        double sum = 0;
        for (int j = 0; j < k; j++) {
          int choice = indices[token * k + j];
          if (choice < 0 || choice >= experts()) {
            return String.format(
                "indices of token %d: choice %d is %d of %d", token, j, choice, experts());
          }
          for (int i = 0; i < j; i++) {
            if (indices[token * k + i] == choice) {
              return String.format(
                  "indices of token %d: choice %d, %d, was made before", token, j, choice);
            }
          }
          sum += weights[token * k + j];
        }
        if (!(Math.abs(sum / SCALE - 1) <= 2 * k * U)) {
          return String.format(
              Locale.ROOT, "weights of token %d add up to %s, expected %s", token, sum, SCALE);
        }
      }
      return null;
    }

    /// Compares one token.
    @Nullable String differs(int token) {
      int k = topk();
      int[] chosen = new int[k];
      System.arraycopy(indices, token * k, chosen, 0, k);
      double[] low = new double[experts()];
      double[] high = new double[experts()];
      float[] row = row(token);
      if (bias == null) {
        for (int choice : chosen) {
          score(row, choice, low, high);
        }
      } else {
        for (int e = 0; e < experts(); e++) {
          score(row, e, low, high);
        }
        String difference = differs(chosen, low, high, bias);
        if (difference != null) {
          return "indices of token " + token + ": " + difference;
        }
      }
      for (int j = 0; j < k; j++) {
        double lowest = weight(chosen, j, low, high) * (1 - (k + 4) * U);
        double highest = weight(chosen, j, high, low) * (1 + (k + 4) * U);
        float weight = weights[token * k + j];
        if (!(weight >= lowest && weight <= highest)) {
          return String.format(
              Locale.ROOT,
              "weights of token %d: that of choice %d is %s, expected %s to %s",
              token,
              j,
              weight,
              lowest,
              highest);
        }
      }
      return null;
    }

    private static @Nullable String differs(
        int[] chosen, double[] low, double[] high, float[] bias) {
      double[] lowest = new double[low.length];
      double[] highest = new double[low.length];
      for (int e = 0; e < low.length; e++) {
        lowest[e] = low[e] + bias[e] - U * Math.abs(low[e] + bias[e]);
        highest[e] = high[e] + bias[e] + U * Math.abs(high[e] + bias[e]);
      }
      return Selection.differs(chosen, lowest, highest, low.length);
    }

    /// The weight of choice j with the scores of `its`, of the others with those of `others`.
    private static double weight(int[] chosen, int j, double[] its, double[] others) {
      double sum = 1e-20;
      for (int i = 0; i < chosen.length; i++) {
        sum += i == j ? its[chosen[i]] : others[chosen[i]];
      }
      return its[chosen[j]] / sum * SCALE;
    }

    /// The interval of an expert's unbiased score.
    private void score(float[] row, int expert, double[] low, double[] high) {
      int from = expert * row.length;
      double z = 0;
      double magnitude = 0;
      for (int d = 0; d < row.length; d++) {
        double product = (double) row[d] * gate[from + d];
        z += product;
        magnitude += Math.abs(product);
      }
      z *= globalScale;
      double bound = (row.length / 64.0 + 32) * U * magnitude * globalScale;
      low[expert] = score(z - bound) * (1 - 4 * U);
      high[expert] = score(z + bound) * (1 + 4 * U);
    }

    private static double score(double z) {
      return Math.sqrt(z > 20 ? z : Math.log1p(Math.exp(z)));
    }

    private float[] row(int token) {
      long bytes = x.shape(1) * Short.BYTES;
      return Bf16.decode(x.segment().asSlice(token * bytes, bytes).toArray(ValueLayout.JAVA_SHORT));
    }
  }

  private static float[] bf16(Tensor tensor) {
    return Bf16.decode(tensor.segment().toArray(ValueLayout.JAVA_SHORT));
  }

  /// Codes times block scales, which is exact.
  private static float[] nvfp4(Tensor codes, Tensor scales) {
    byte[] pairs = codes.segment().toArray(ValueLayout.JAVA_BYTE);
    byte[] blocks = scales.segment().toArray(ValueLayout.JAVA_BYTE);
    float[] values = new float[2 * pairs.length];
    for (int i = 0; i < values.length; i++) {
      int code = i % 2 == 0 ? pairs[i / 2] & 0xF : (pairs[i / 2] & 0xFF) >> 4;
      values[i] = E2m1.decode(code) * E4m3.decode(blocks[i / 16] & 0xFF);
    }
    return values;
  }
}
