// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.PrepareWeights;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/// Random weights of one shape for all products with it: as many sets as together exceed the
/// last-level cache, as a checkpoint has them and, when asked for, prepared.
final class GemmWeights {
  /// One stack of experts that is larger than this is a set that needs no other.
  private static final long ENOUGH_BYTES = 1L << 30;

  private final Stream stream;
  private final Arena arena;
  private final GemmCase shape;
  private final int sets;
  private final BufferSet buffers;
  private final List<Nvfp4Tensor> linear = new ArrayList<>();
  private final List<Nvfp4Tensor> prepared = new ArrayList<>();

  /// @param stream a stream of the device that gets them
  /// @param arena frees them
  /// @param shape any product with these weights
  /// @param quick few of them
  /// @param data contents
  GemmWeights(Stream stream, Arena arena, GemmCase shape, boolean quick, HostData data) {
    this.stream = stream;
    this.arena = arena;
    this.shape = shape;
    this.sets = sets(shape.weightBytes(), quick);
    long rows = shape.groups() * shape.n();
    this.buffers =
        BufferSet.allocate(
            stream,
            arena,
            List.of(
                new Buffer("codes", DType.U8, rows, shape.k() / 2, Buffer.Fill.BYTES),
                new Buffer("scales", DType.U8, rows, shape.k() / 16, Buffer.Fill.BLOCK_SCALES),
                new Buffer(
                    "global_scales", DType.F32, shape.groups(), 0, Buffer.Fill.GLOBAL_SCALES)),
            sets,
            data);
    for (int i = 0; i < sets; i++) {
      List<Tensor> set = buffers.of(i);
      linear.add(
          Nvfp4Tensor.of(
              arena,
              stack(set.get(0)),
              stack(set.get(1)),
              set.get(2),
              ScaleLayout.LINEAR,
              covers()));
    }
  }

  /// @return how many sets of so many bytes are rotated
  static int sets(long bytes, boolean few) {
    return few ? 2 : bytes > ENOUGH_BYTES ? 1 : Plan.buffers(bytes);
  }

  /// @return whether a product has these weights
  boolean serve(GemmCase product) {
    return product.op() == shape.op()
        && product.shape().equals(shape.shape())
        && product.groups() == shape.groups();
  }

  /// @param layout LINEAR or PREPARED
  /// @param call counts through all sets
  Nvfp4Tensor of(ScaleLayout layout, int call) {
    return (layout == ScaleLayout.PREPARED ? prepared() : linear).get(call % sets);
  }

  /// @return codes `[G * N, K/2]`, block scales `[G * N, K/16]` and global scales `[G]` of a call
  List<Tensor> source(int call) {
    return buffers.of(call % sets);
  }

  /// @return owns what [#source] returns
  Arena arena() {
    return arena;
  }

  private List<Nvfp4Tensor> prepared() {
    if (prepared.isEmpty()) {
      for (Nvfp4Tensor weights : linear) {
        Nvfp4Tensor result =
            stream
                .device()
                .allocateNvfp4(
                    arena, shape.groups(), shape.n(), shape.k(), ScaleLayout.PREPARED, covers());
        PrepareWeights.run(stream, weights, result);
        prepared.add(result);
      }
      stream.synchronize();
    }
    return prepared;
  }

  private GlobalScale covers() {
    return shape.groups() == 1 ? GlobalScale.TENSOR : GlobalScale.GROUP;
  }

  private Tensor stack(Tensor tensor) {
    return shape.groups() == 1
        ? tensor
        : tensor.reshaped(arena, shape.groups(), shape.n(), tensor.shape(1));
  }
}
