// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.HcOptions;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.HcExpectation;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/// Compares every element that hc_pre, hc_head and hc_post_pre wrote with binary64, within the
/// distance that follows from the header's bound of the mixes ([HcExpectation]).
///
/// hc_post_pre is compared with what hc_pre may make of its own `out`, which has the bits of the
/// CPU device; its codes and scales with those that quantize makes of its own row, bit for bit.
enum HcBounds implements Workload.Bounds {
  PRE(
      Set.of("collapsed", "post", "comb"),
      "collapsed, post and comb within the bounds of hyper_connections.h"),
  HEAD(Set.of("collapsed"), "collapsed within the bounds of hyper_connections.h"),
  POST_PRE(
      Set.of("collapsed", "next_post", "next_comb"),
      "out bit for bit; collapsed, next_post and next_comb within the bounds of"
          + " hyper_connections.h"),
  POST_PRE_QUANTIZED(
      Set.of("collapsed", "next_post", "next_comb", "codes", "scales", "global_scales"),
      "out bit for bit; collapsed, next_post and next_comb within the bounds of"
          + " hyper_connections.h; codes and scales bit for bit what quantize makes of collapsed");

  /// Tokens that one thread compares at a time: their residual has about a megabyte.
  private static final int CHUNK = 8;

  private static final int STREAMS = HcWorkloads.STREAMS;
  private static final int ITERATIONS = HcOptions.DEFAULT.iterations();
  private static final float HC_EPS = HcOptions.DEFAULT.hcEps();
  private static final float RMS_EPS = HcOptions.DEFAULT.rmsEps();

  private final Set<String> outputs;
  private final String compared;

  HcBounds(Set<String> outputs, String compared) {
    this.outputs = outputs;
    this.compared = compared;
  }

  @Override
  public Set<String> outputs() {
    return outputs;
  }

  @Override
  public @Nullable String differs(List<Tensor> inputs, List<Tensor> written) {
    int module = fused() ? 4 : 1;
    int made = fused() ? 1 : 0;
    Call call =
        new Call(
            this,
            fused() ? written.getFirst() : inputs.getFirst(),
            floats(inputs.get(module)),
            floats(inputs.get(module + 1)),
            floats(inputs.get(module + 2)),
            this == POST_PRE_QUANTIZED ? bf16(inputs.getLast()) : null,
            written.subList(made, this == HEAD ? 1 : made + 3));
    int tokens = Math.toIntExact(call.x.shape(0));
    String difference =
        IntStream.range(0, Math.ceilDiv(tokens, CHUNK))
            .parallel()
            .mapToObj(i -> call.differs(i * CHUNK, Math.min(CHUNK, tokens - i * CHUNK)))
            .filter(Objects::nonNull)
            .findFirst()
            .orElse(null);
    return difference == null && this == POST_PRE_QUANTIZED
        ? differsFromQuantize(written.get(1), written.subList(4, 7))
        : difference;
  }

  @Override
  public String toString() {
    return compared;
  }

  /// Whether hc_post was made before, in the same launch.
  private boolean fused() {
    return this == POST_PRE || this == POST_PRE_QUANTIZED;
  }

  /// What a call read and wrote, in host memory.
  ///
  /// @param op which
  /// @param x the residual that was mixed, `[T, n * D]`
  /// @param normWeight null without RMSNorm
  /// @param made collapsed, and but for hc_head post and comb
  private record Call(
      HcBounds op,
      Tensor x,
      float[] fn,
      float[] base,
      float[] scale,
      float @Nullable [] normWeight,
      List<Tensor> made) {

    /// Compares some of the tokens.
    @Nullable String differs(int from, int count) {
      float[] residual = bf16(x, from, count);
      int columns = Math.toIntExact(x.shape(1)) / STREAMS;
      if (op == HEAD) {
        GemmExpectation row =
            HcExpectation.head(
                residual, fn, base, scale, count, STREAMS, columns, HC_EPS, RMS_EPS, DType.BF16);
        return differs("collapsed", from, row, bf16(made.getFirst(), from, count));
      }
      HcExpectation expected =
          HcExpectation.pre(
              residual,
              fn,
              base,
              scale,
              count,
              STREAMS,
              columns,
              ITERATIONS,
              HC_EPS,
              RMS_EPS,
              DType.BF16);
      GemmExpectation row =
          normWeight == null
              ? expected.collapsed()
              : HcExpectation.norm(
                  expected.collapsed(), normWeight, count, columns, RMS_EPS, DType.BF16);
      String difference = differs("collapsed", from, row, bf16(made.get(0), from, count));
      String which = op.fused() ? "next_" : "";
      if (difference == null) {
        float[] post = floats(made.get(1), from, count);
        difference = differs(which + "post", from, expected.post(), post);
      }
      if (difference == null) {
        float[] comb = floats(made.get(2), from, count);
        difference = differs(which + "comb", from, expected.comb(), comb);
      }
      return difference;
    }

    private static @Nullable String differs(
        String what, int from, GemmExpectation expected, float[] actual) {
      String difference = expected.difference(actual);
      return difference == null ? null : what + " from token " + from + " on: " + difference;
    }
  }

  private static @Nullable String differsFromQuantize(Tensor row, List<Tensor> actual) {
    try (Device cpu = Device.cpu();
        Stream stream = cpu.openStream();
        Arena arena = Arena.ofConfined()) {
      Nvfp4Tensor expected =
          cpu.allocateNvfp4(arena, row.shape(0), row.shape(1), ScaleLayout.LINEAR, GlobalScale.ROW);
      Quantize.run(stream, row, null, expected, Quantize.Options.DYNAMIC);
      stream.synchronize();
      List<Tensor> parts = List.of(expected.codes(), expected.scales(), expected.globalScales());
      List<String> names = List.of("codes", "scales", "global_scales");
      for (int i = 0; i < parts.size(); i++) {
        long at = parts.get(i).segment().mismatch(actual.get(i).segment());
        if (at >= 0) {
          return names.get(i) + " differs from what quantize makes of collapsed at byte " + at;
        }
      }
      return null;
    }
  }

  private static float[] floats(Tensor tensor) {
    return tensor.segment().toArray(ValueLayout.JAVA_FLOAT);
  }

  private static float[] bf16(Tensor tensor) {
    return Bf16.decode(tensor.segment().toArray(ValueLayout.JAVA_SHORT));
  }

  private static float[] floats(Tensor tensor, int fromRow, int rows) {
    long bytes = tensor.shape(1) * Float.BYTES;
    return tensor.segment().asSlice(fromRow * bytes, rows * bytes).toArray(ValueLayout.JAVA_FLOAT);
  }

  private static float[] bf16(Tensor tensor, int fromRow, int rows) {
    long bytes = tensor.shape(1) * Short.BYTES;
    return Bf16.decode(
        tensor.segment().asSlice(fromRow * bytes, rows * bytes).toArray(ValueLayout.JAVA_SHORT));
  }
}
