// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.BatchedGemm;
import io.github.nvfp4j.CacheAppend;
import io.github.nvfp4j.CacheAppendWindow;
import io.github.nvfp4j.DType;
import io.github.nvfp4j.Dequantize;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.ExpertCombine;
import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.GroupedGemm;
import io.github.nvfp4j.HcHead;
import io.github.nvfp4j.HcModule;
import io.github.nvfp4j.HcOptions;
import io.github.nvfp4j.HcPost;
import io.github.nvfp4j.HcPostPre;
import io.github.nvfp4j.HcPre;
import io.github.nvfp4j.IndexerTopk;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Nvfp4j;
import io.github.nvfp4j.PackActivations;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.RouterDense;
import io.github.nvfp4j.RouterHash;
import io.github.nvfp4j.RouterOptions;
import io.github.nvfp4j.Sample;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Sinkhorn;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Swiglu;
import io.github.nvfp4j.SwigluQuantize;
import io.github.nvfp4j.Swizzle;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.Unswizzle;
import java.lang.foreign.Arena;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// What a call costs before any work is done: an op with zero rows is checked by Java and by C,
/// completely, and launches nothing. (`expert_dispatch` is not here: it has offsets to write
/// without any row, on a CUDA device by a launch.)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Fork(value = 2, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@State(Scope.Thread)
public class CallOverhead {
  private static final long COLUMNS = 7168;
  private static final long ROWS = 64;
  private static final long STREAMS = 4;
  private static final long EXPERTS = 384;
  private static final long TOPK = 6;

  /// The device; `cuda:0` needs a GPU.
  @Param({"cpu"})
  public String device = "cpu";

  private Device opened;
  private Stream stream;
  private Arena arena;
  private Tensor values;
  private Tensor gateUp;
  private Tensor linear;
  private Tensor swizzled;
  private Nvfp4Tensor quantized;
  private Nvfp4Tensor packed;
  private Nvfp4Tensor weights;
  private Nvfp4Tensor prepared;
  private Nvfp4Tensor experts;
  private Tensor offsets;
  private Tensor product;
  private Tensor residual;
  private Tensor post;
  private Tensor comb;
  private HcModule module;
  private HcModule head;
  private Tensor gate;
  private Tensor bias;
  private Tensor table;
  private Tensor ids;
  private Tensor indices;
  private Tensor routed;
  private Tensor queries;
  private Tensor keys;
  private Tensor visible;
  private Tensor chosen;
  private Tensor cache;
  private Tensor length;
  private Tensor tokens;

  /// Creates empty tensors on the measuring thread, to which their arena belongs.
  @Setup
  public void open() {
    opened = Device.of(device);
    stream = opened.openStream();
    arena = Arena.ofConfined();
    values = opened.allocate(arena, DType.BF16, 0, COLUMNS);
    gateUp = opened.allocate(arena, DType.BF16, 0, 2 * COLUMNS);
    linear = opened.allocate(arena, DType.U8, 0, COLUMNS / 16);
    swizzled = opened.allocate(arena, DType.U8, 0);
    quantized = opened.allocateNvfp4(arena, 0, COLUMNS);
    packed = opened.allocateNvfp4(arena, 0, COLUMNS, ScaleLayout.PACKED, GlobalScale.TENSOR);
    weights = opened.allocateNvfp4(arena, ROWS, COLUMNS);
    prepared = opened.allocateNvfp4(arena, ROWS, COLUMNS, ScaleLayout.PREPARED, GlobalScale.TENSOR);
    experts =
        opened.allocateNvfp4(arena, 2, ROWS, COLUMNS, ScaleLayout.PREPARED, GlobalScale.GROUP);
    offsets = opened.allocate(arena, DType.I32, 3);
    product = opened.allocate(arena, DType.BF16, 0, ROWS);
    residual = opened.allocate(arena, DType.BF16, 0, STREAMS, COLUMNS);
    post = opened.allocate(arena, DType.F32, 0, STREAMS);
    comb = opened.allocate(arena, DType.F32, 0, STREAMS, STREAMS);
    module = module(STREAMS * (STREAMS + 2), 3);
    head = module(STREAMS, 1);
    gate = opened.allocate(arena, DType.BF16, EXPERTS, COLUMNS);
    bias = opened.allocate(arena, DType.F32, EXPERTS);
    table = opened.allocate(arena, DType.I32, ROWS, TOPK);
    ids = opened.allocate(arena, DType.I32, 0);
    indices = opened.allocate(arena, DType.I32, 0, TOPK);
    routed = opened.allocate(arena, DType.F32, 0, TOPK);
    queries = opened.allocate(arena, DType.BF16, 0, STREAMS, 128);
    keys = opened.allocate(arena, DType.BF16, ROWS, 128);
    visible = opened.allocate(arena, DType.I32, 0);
    chosen = opened.allocate(arena, DType.I32, 0, 512);
    cache = opened.allocate(arena, DType.BF16, ROWS, COLUMNS);
    length = opened.allocate(arena, DType.I32, 1);
    tokens = opened.allocate(arena, DType.I32, 0);
  }

  private HcModule module(long mixes, long scales) {
    return new HcModule(
        opened.allocate(arena, DType.F32, mixes, STREAMS * COLUMNS),
        opened.allocate(arena, DType.F32, mixes),
        opened.allocate(arena, DType.F32, scales));
  }

  /// Closes in the reverse order.
  @TearDown
  public void close() {
    arena.close();
    stream.close();
    opened.close();
  }

  /// The shortest downcall of the library: no argument, a constant back.
  @Benchmark
  public int abiVersion() {
    return Nvfp4j.abiVersion();
  }

  /// `quantize`, dynamic scale.
  @Benchmark
  public void quantize() {
    Quantize.dynamic(stream, values, quantized);
  }

  /// `dequantize`.
  @Benchmark
  public void dequantize() {
    Dequantize.run(stream, quantized, values);
  }

  /// `swizzle`.
  @Benchmark
  public void swizzle() {
    Swizzle.run(stream, linear, swizzled);
  }

  /// `unswizzle`.
  @Benchmark
  public void unswizzle() {
    Unswizzle.run(stream, swizzled, linear);
  }

  /// `swiglu`.
  @Benchmark
  public void swiglu() {
    Swiglu.run(stream, gateUp, null, values, Swiglu.Options.DEFAULT);
  }

  /// `swiglu_quantize`, dynamic scale.
  @Benchmark
  public void swigluQuantize() {
    SwigluQuantize.run(stream, gateUp, null, quantized, Swiglu.Options.DEFAULT, HostCost.DYNAMIC);
  }

  /// `gemm`, BF16 activations.
  @Benchmark
  public void gemmBf16() {
    Gemm.run(stream, values, weights, product);
  }

  /// `gemm`, NVFP4 activations and prepared weights.
  @Benchmark
  public void gemmNvfp4() {
    Gemm.run(stream, quantized, prepared, product);
  }

  /// `grouped_gemm`, NVFP4 activations.
  @Benchmark
  public void groupedGemm() {
    GroupedGemm.run(stream, quantized, experts, offsets, product);
  }

  /// `batched_gemm`, packed activations of one group.
  @Benchmark
  public void batchedGemm() {
    BatchedGemm.run(stream, packed, weights, product);
  }

  /// `pack_activations`.
  @Benchmark
  public void packActivations() {
    PackActivations.run(stream, quantized, packed);
  }

  /// `sinkhorn`.
  @Benchmark
  public void sinkhorn() {
    Sinkhorn.run(stream, comb, comb, Sinkhorn.Options.DEFAULT);
  }

  /// `hc_pre`.
  @Benchmark
  public void hcPre() {
    HcPre.run(stream, residual, module, values, post, comb, HcOptions.DEFAULT);
  }

  /// `hc_post`, in place.
  @Benchmark
  public void hcPost() {
    HcPost.run(stream, residual, values, post, comb, residual);
  }

  /// `hc_head`.
  @Benchmark
  public void hcHead() {
    HcHead.run(stream, residual, head, values, HcOptions.DEFAULT);
  }

  /// `hc_post_pre`, in place.
  @Benchmark
  public void hcPostPre() {
    HcPostPre.run(
        stream,
        residual,
        values,
        post,
        comb,
        module,
        residual,
        values,
        post,
        comb,
        HcOptions.DEFAULT);
  }

  /// `router_dense`, without logits.
  @Benchmark
  public void routerDense() {
    RouterDense.run(stream, values, gate, bias, indices, routed, null, RouterOptions.PRO);
  }

  /// `router_hash`.
  @Benchmark
  public void routerHash() {
    RouterHash.run(stream, values, gate, table, ids, indices, routed, RouterOptions.PRO);
  }

  /// `expert_combine`, in place.
  @Benchmark
  public void expertCombine() {
    ExpertCombine.run(stream, values, indices, routed, values, values);
  }

  /// `indexer_topk`, without scores.
  @Benchmark
  public void indexerTopk() {
    IndexerTopk.run(stream, queries, keys, post, visible, chosen, null);
  }

  /// `cache_append_window`.
  @Benchmark
  public void cacheAppendWindow() {
    CacheAppendWindow.run(stream, cache, values, length);
  }

  /// `cache_append`.
  @Benchmark
  public void cacheAppend() {
    CacheAppend.run(stream, cache, values, length);
  }

  /// `sample`.
  @Benchmark
  public void sample() {
    Sample.run(stream, values, tokens, Sample.Options.GREEDY);
  }

  /// `copy`.
  @Benchmark
  public void copy() {
    values.copyTo(stream, values);
  }
}
