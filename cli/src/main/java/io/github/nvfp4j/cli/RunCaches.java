// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.CacheAppend;
import io.github.nvfp4j.CacheAppendWindow;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.cli.OpRequest.Input;
import io.github.nvfp4j.cli.RunOps.Prepared;
import java.util.List;

/// cache_append_window and cache_append of `nvfp4j run`.
final class RunCaches {
  private static final List<SafetensorsDType> ELEMENTS =
      List.of(
          SafetensorsDType.F32, SafetensorsDType.BF16, SafetensorsDType.F16, SafetensorsDType.U8);
  private static final List<SafetensorsDType> COUNTERS =
      List.of(SafetensorsDType.I32, SafetensorsDType.I64);

  private RunCaches() {}

  static Prepared appendWindow(OpRequest request) {
    Input cache = cache(request, "[W, d]");
    if (cache.dim(0) == 0) {
      throw request.fault("tensor cache is " + cache.describe() + ", expected 1 row or more");
    }
    Input rows = rows(request, "kv", cache);
    Input position = counter(request, "position");
    return (bench, outputs) -> {
      Tensor to = RunOps.upload(bench, cache);
      CacheAppendWindow.run(
          bench.stream(), to, RunOps.upload(bench, rows), counter(bench, position));
      outputs.put("cache", to);
    };
  }

  static Prepared append(OpRequest request) {
    Input cache = cache(request, "[C, d]");
    Input rows = rows(request, "rows", cache);
    Input length = counter(request, "length");
    return (bench, outputs) -> {
      Tensor to = RunOps.upload(bench, cache);
      Tensor n = counter(bench, length);
      CacheAppend.run(bench.stream(), to, RunOps.upload(bench, rows), n);
      outputs.put("cache", to);
      outputs.put("length", n);
    };
  }

  private static Input cache(OpRequest request, String shape) {
    Input cache = request.matrix("cache", ELEMENTS, shape);
    if (cache.dim(1) == 0) {
      throw request.fault("tensor cache is " + cache.describe() + ", expected 1 column or more");
    }
    return cache;
  }

  /// Of the cache's type and columns.
  private static Input rows(OpRequest request, String name, Input cache) {
    List<SafetensorsDType> dtype = List.of(cache.entry().dtype());
    String shape = "[T, " + cache.dim(1) + "]";
    Input rows = request.matrix(name, dtype, shape);
    request.require(rows.dim(1) == cache.dim(1), rows, dtype, shape);
    return rows;
  }

  private static Input counter(OpRequest request, String name) {
    Input counter = request.required(name, COUNTERS, "[1]");
    boolean scalar = counter.entry().rank() <= 1 && counter.entry().elements() == 1;
    request.require(scalar, counter, COUNTERS, "[1]");
    return counter;
  }

  private static Tensor counter(Workbench bench, Input counter) {
    return bench.upload(counter.data(), RunOps.dtype(counter.entry().dtype()), 1);
  }
}
