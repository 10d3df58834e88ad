// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static io.github.nvfp4j.cli.OpRequest.BF16_F32;
import static io.github.nvfp4j.cli.OpRequest.F32;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Sample;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.cli.OpRequest.Input;
import io.github.nvfp4j.cli.RunOps.Prepared;
import java.util.Arrays;

/// sample of `nvfp4j run`.
final class RunSample {
  private RunSample() {}

  static Prepared sample(OpRequest request) {
    Input logits = request.matrix("logits", BF16_F32, "[T, V]");
    if (logits.dim(1) < 1 || logits.dim(1) > Integer.MAX_VALUE) {
      throw request.fault(
          "tensor logits is "
              + logits.describe()
              + ", expected 1 to "
              + Integer.MAX_VALUE
              + " columns");
    }
    String shape = Arrays.toString(logits.entry().shape());
    Input noise = request.optional("noise", F32, shape);
    if (noise != null) {
      boolean same = Arrays.equals(noise.entry().shape(), logits.entry().shape());
      request.require(same, noise, F32, shape);
    }
    Sample.Options options =
        Sample.Options.of(
            request.limit("temperature", 0), request.word("seed"), request.word("offset"));
    return (bench, outputs) -> {
      Tensor tokens = bench.result(DType.I32, logits.dim(0));
      Sample.run(
          bench.stream(),
          RunOps.upload(bench, logits),
          noise == null ? null : RunOps.upload(bench, noise),
          null,
          tokens,
          options);
      outputs.put("token", tokens);
    };
  }
}
