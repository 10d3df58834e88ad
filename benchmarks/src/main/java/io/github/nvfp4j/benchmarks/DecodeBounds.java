// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.Bf16;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// Compares what the indexer chose with binary64, and a cache that calls were made on many times
/// with what it then holds.
enum DecodeBounds implements Workload.Bounds {
  INDEXER(
      Set.of("indices"),
      "indices where scores are apart by more than the bounds of indexer.h, of at most "
          + DecodeBounds.QUERIES
          + " queries spread evenly; of all others that they are different rows") {
    @Override
    public @Nullable String differs(List<Tensor> inputs, List<Tensor> written) {
      return new Indexed(inputs, written.getFirst()).differs();
    }
  },
  APPENDED(
      Set.of("cache", "length"),
      "the length, and each row of the cache bit for bit: the given ones as often as the length"
          + " says, then what was there before") {
    @Override
    public @Nullable String differs(List<Tensor> inputs, List<Tensor> written) {
      return appendedDiffers(inputs.getFirst(), written.get(0), written.get(1));
    }
  };

  /// Queries of a call whose scores are computed: 64 sums of 128 products for each row of the
  /// cache.
  private static final int QUERIES = 4;

  private static final double U = 0x1.004p-24;

  private final Set<String> outputs;
  private final String compared;

  DecodeBounds(Set<String> outputs, String compared) {
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

  /// A call of the indexer.
  private static final class Indexed {
    private final Tensor q;
    private final float[] keys;
    private final float[] weights;
    private final int[] valid;
    private final int[] indices;

    Indexed(List<Tensor> inputs, Tensor indices) {
      this.q = inputs.get(0);
      this.keys = Bf16.decode(inputs.get(1).segment().toArray(ValueLayout.JAVA_SHORT));
      this.weights = inputs.get(2).segment().toArray(ValueLayout.JAVA_FLOAT);
      this.valid = inputs.get(3).segment().toArray(ValueLayout.JAVA_INT);
      this.indices = indices.segment().toArray(ValueLayout.JAVA_INT);
    }

    @Nullable String differs() {
      int queries = valid.length;
      for (int query = 0; query < queries; query++) {
        double[] any = new double[valid[query]];
        String difference = Selection.differs(chosen(query), any, any, valid[query]);
        if (difference != null) {
          return "indices of query " + query + ": " + difference;
        }
      }
      int compared = Math.min(queries, QUERIES);
      for (int i = 0; i < compared; i++) {
        int query = RouterBounds.spread(i, compared, queries);
        String difference = differs(query);
        if (difference != null) {
          return "indices of query " + query + ": " + difference;
        }
      }
      return null;
    }

    private int[] chosen(int query) {
      int topk = indices.length / valid.length;
      int[] chosen = new int[topk];
      System.arraycopy(indices, query * topk, chosen, 0, topk);
      return chosen;
    }

    private @Nullable String differs(int query) {
      double[] low = new double[valid[query]];
      double[] high = new double[valid[query]];
      float[] heads = heads(query);
      IntStream.range(0, valid[query])
          .parallel()
          .forEach(row -> score(query, heads, row, low, high));
      return Selection.differs(chosen(query), low, high, valid[query]);
    }

    private void score(int query, float[] queries, int row, double[] low, double[] high) {
      int heads = DecodeWorkloads.HEADS;
      int columns = DecodeWorkloads.HEAD_COLUMNS;
      double score = 0;
      double magnitude = 0;
      for (int h = 0; h < heads; h++) {
        double dot = 0;
        double sum = 0;
        for (int i = 0; i < columns; i++) {
          double product = (double) queries[h * columns + i] * keys[row * columns + i];
          dot += product;
          sum += Math.abs(product);
        }
        double weight = weights[query * heads + h];
        score += weight * Math.max(dot, 0);
        magnitude += Math.abs(weight) * sum;
      }
      double bound = U * (4 * (columns / 16) + heads + 8) * magnitude;
      low[row] = score - bound;
      high[row] = score + bound;
    }

    private float[] heads(int query) {
      long bytes = q.shape(1) * Short.BYTES;
      return Bf16.decode(q.segment().asSlice(query * bytes, bytes).toArray(ValueLayout.JAVA_SHORT));
    }
  }

  /// The length was 0 and the cache poisoned before the first of the calls, each with these rows.
  private static @Nullable String appendedDiffers(Tensor rows, Tensor cache, Tensor length) {
    long appended = length.segment().get(ValueLayout.JAVA_LONG, 0);
    long each = rows.shape(0);
    if (appended < each || appended > cache.shape(0) || appended % each != 0) {
      return String.format(
          "length is %d, expected a multiple of %d up to %d", appended, each, cache.shape(0));
    }
    long bytes = rows.segment().byteSize();
    for (long call = 0; call < appended / each; call++) {
      MemorySegment written = cache.segment().asSlice(call * bytes, bytes);
      long at = written.mismatch(rows.segment());
      if (at >= 0) {
        return String.format(
            "cache differs from the rows of call %d of %d at byte %d", call, appended / each, at);
      }
    }
    for (long at = appended / each * bytes; at < cache.segment().byteSize(); at++) {
      if (cache.segment().get(ValueLayout.JAVA_BYTE, at) != Buffer.POISON) {
        return "cache was written behind its length, at byte " + at;
      }
    }
    return null;
  }
}
