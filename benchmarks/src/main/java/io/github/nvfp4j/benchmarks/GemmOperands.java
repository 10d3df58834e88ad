// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.BatchedGemm;
import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.GroupedGemm;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.PackActivations;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// What many calls of one product read and write besides the weights: random activations, poisoned
/// results, and offsets, which give the rows to other experts in each call.
final class GemmOperands {
  private final Arena arena;
  private final GemmCase product;
  private final GemmWeights weights;
  private final BufferSet inputs;
  private final BufferSet outputs;
  private final List<@Nullable Nvfp4Tensor> quantized = new ArrayList<>();
  private final List<Tensor> offsets = new ArrayList<>();

  /// @param stream a stream of the device
  /// @param arena frees them
  /// @param product what is called
  /// @param weights of its shape
  /// @param calls for how many calls
  /// @param data contents
  GemmOperands(
      Stream stream, Arena arena, GemmCase product, GemmWeights weights, int calls, HostData data) {
    this.arena = arena;
    this.product = product;
    this.weights = weights;
    inputs = BufferSet.allocate(stream, arena, activations(), calls, data);
    outputs =
        BufferSet.allocate(
            stream,
            arena,
            List.of(
                new Buffer("d", DType.BF16, product.m(), product.columnsOfD(), Buffer.Fill.POISON)),
            calls,
            data);
    for (int call = 0; call < calls; call++) {
      quantized.add(quantized(stream, call));
      if (product.op() == GemmCase.Kind.GROUPED_GEMM) {
        offsets.add(upload(stream, offsetsOf(call)));
      }
    }
    stream.synchronize();
  }

  private List<Buffer> activations() {
    long m = product.m();
    long k = product.columnsOfA();
    return product.activations() == Gemm.Activations.BF16
        ? List.of(new Buffer("a", DType.BF16, m, k, Buffer.Fill.VALUES))
        : List.of(
            new Buffer("codes", DType.U8, m, k / 2, Buffer.Fill.BYTES),
            new Buffer("scales", DType.U8, m, k / 16, Buffer.Fill.BLOCK_SCALES),
            new Buffer("global_scales", DType.F32, 1, 0, Buffer.Fill.GLOBAL_SCALES));
  }

  private @Nullable Nvfp4Tensor quantized(Stream stream, int call) {
    if (product.activations() == Gemm.Activations.BF16) {
      return null;
    }
    List<Tensor> set = inputs.of(call);
    Nvfp4Tensor linear =
        Nvfp4Tensor.of(
            arena, set.get(0), set.get(1), set.get(2), ScaleLayout.LINEAR, GlobalScale.TENSOR);
    if (product.activations() == Gemm.Activations.NVFP4) {
      return linear;
    }
    Device device = stream.device();
    Nvfp4Tensor packed =
        device.allocateNvfp4(
            arena, product.m(), product.columnsOfA(), ScaleLayout.PACKED, GlobalScale.TENSOR);
    PackActivations.run(stream, linear, packed);
    return packed;
  }

  /// The first expert that has rows in a call: the next of those that fit side by side.
  static int firstExpert(GemmCase product, int call) {
    return call % (product.groups() / product.active()) * product.active();
  }

  /// @return `[groups + 1]`
  int[] offsetsOf(int call) {
    int first = firstExpert(product, call);
    int[] rows = new int[product.groups() + 1];
    for (int e = 0; e < product.groups(); e++) {
      boolean active = e >= first && e < first + product.active();
      rows[e + 1] = rows[e] + (active ? Math.toIntExact(product.rows()) : 0);
    }
    return rows;
  }

  private Tensor upload(Stream stream, int[] values) {
    Tensor tensor = stream.device().allocate(arena, DType.I32, values.length);
    try (Arena host = Arena.ofConfined()) {
      MemorySegment segment = host.allocateFrom(ValueLayout.JAVA_INT, values);
      Tensor.of(host, segment, DType.I32, values.length).copyTo(stream, tensor);
      stream.synchronize();
    }
    return tensor;
  }

  /// @return the product of one call, which allocates nothing
  Runnable call(Stream stream, int call) {
    Nvfp4Tensor w = weights.of(product.weights(), call);
    Tensor d = result(call);
    Gemm.Options options = product.options();
    if (product.activations() == Gemm.Activations.BF16) {
      Tensor a = inputs.of(call).getFirst();
      return switch (product.op()) {
        case GEMM -> () -> Gemm.run(stream, a, w, null, d, options);
        case GROUPED_GEMM -> {
          Tensor rows = offsets.get(call);
          yield () -> GroupedGemm.run(stream, a, w, rows, null, d, options);
        }
        case BATCHED_GEMM -> () -> BatchedGemm.run(stream, a, w, d, options);
      };
    }
    Nvfp4Tensor a = Objects.requireNonNull(quantized.get(call));
    return switch (product.op()) {
      case GEMM -> () -> Gemm.run(stream, a, w, null, d, options);
      case GROUPED_GEMM -> {
        Tensor rows = offsets.get(call);
        yield () -> GroupedGemm.run(stream, a, w, rows, null, d, options);
      }
      case BATCHED_GEMM -> () -> BatchedGemm.run(stream, a, w, d, options);
    };
  }

  /// @return activations of a call: BF16, or codes, block scales and global scale
  List<Tensor> activations(int call) {
    return inputs.of(call);
  }

  /// @return D of a call
  Tensor result(int call) {
    return outputs.of(call).getFirst();
  }

  /// @return the product
  GemmCase product() {
    return product;
  }

  /// @return its weights
  GemmWeights weights() {
    return weights;
  }

  /// @return owns the tensors
  Arena arena() {
    return arena;
  }
}
