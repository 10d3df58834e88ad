// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.OpRequest.BF16_F32;
import static io.github.nvfp4j.cli.OpRequest.F32;
import static io.github.nvfp4j.cli.OpRequest.I32;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.IndexerTopk;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.cli.OpRequest.Input;
import io.github.nvfp4j.cli.RunOps.Prepared;
import java.util.Arrays;
import java.util.List;

/// indexer_topk of `nvfp4j run`.
final class RunIndexer {
  private static final int MAX_HEADS = 128;
  private static final int MAX_COLUMNS = 256;
  private static final int MAX_ROWS = 1 << 20;
  private static final int MAX_TOPK = 2048;
  private static final long TOPK = 512; // DeepSeek-V4 Flash's

  private RunIndexer() {}

  static Prepared indexerTopk(OpRequest request) {
    Input q = request.required("q", BF16_F32, "[T, H, d]");
    request.require(q.entry().rank() == 3, q, BF16_F32, "[T, H, d]");
    long queries = q.dim(0);
    if (q.dim(1) < 1 || q.dim(1) > MAX_HEADS) {
      throw request.fault("tensor q is " + q.describe() + ", expected H from 1 to " + MAX_HEADS);
    }
    if (q.dim(2) < 16 || q.dim(2) > MAX_COLUMNS || q.dim(2) % 16 != 0) {
      throw request.fault(
          "tensor q is "
              + q.describe()
              + ", expected d a multiple of 16 from 16 to "
              + MAX_COLUMNS);
    }
    List<SafetensorsDType> dtype = List.of(q.entry().dtype());
    String rows = "[C, " + q.dim(2) + "]";
    Input keys = request.matrix("k_comp", dtype, rows);
    request.require(keys.dim(1) == q.dim(2), keys, dtype, rows);
    if (keys.dim(0) > MAX_ROWS) {
      throw request.fault("tensor k_comp is " + keys.describe() + ", expected C up to 2^20");
    }
    Input weights = shaped(request, "weights", F32, queries, q.dim(1));
    Input valid = shaped(request, "valid", I32, queries);
    Long given = request.count("topk");
    long topk = given == null ? TOPK : given;
    if (topk < 1 || topk > MAX_TOPK) {
      throw request.fault("parameter topk is " + topk + ", expected 1 to " + MAX_TOPK);
    }
    boolean withScores = request.flag("scores");
    return (bench, outputs) -> {
      Tensor indices = bench.result(DType.I32, queries, topk);
      Tensor scores = withScores ? bench.result(DType.F32, queries, keys.dim(0)) : null;
      IndexerTopk.run(
          bench.stream(),
          RunOps.upload(bench, q),
          RunOps.upload(bench, keys),
          RunOps.upload(bench, weights),
          RunOps.upload(bench, valid),
          indices,
          scores);
      outputs.put("topk_idx", indices);
      if (scores != null) {
        outputs.put("scores", scores);
      }
    };
  }

  /// A tensor of exactly this shape.
  private static Input shaped(
      OpRequest request, String name, List<SafetensorsDType> dtypes, long... shape) {
    String text = Arrays.toString(shape);
    Input input = request.required(name, dtypes, text);
    request.require(Arrays.equals(input.entry().shape(), shape), input, dtypes, text);
    return input;
  }
}
