// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// An op call allocates nothing: measured with zero rows, so that the op has nothing to do.
final class AllocationFreeTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }
  }

  @Nested
  @Gpu
  final class Cuda extends Contract {
    Cuda() {
      super("cuda:0");
    }
  }

  abstract static class Contract extends OnDevice {
    private static final int CALLS = 100_000;

    // com.sun.management.ThreadMXBean by name: the module under test does not read it. Bound, so
    // that asking allocates nothing.
    private static final MethodHandle ALLOCATED;

    static {
      try {
        Object bean =
            Class.forName("java.lang.management.ManagementFactory")
                .getMethod("getThreadMXBean")
                .invoke(null);
        ALLOCATED =
            MethodHandles.publicLookup()
                .findVirtual(
                    Class.forName("com.sun.management.ThreadMXBean"),
                    "getCurrentThreadAllocatedBytes",
                    MethodType.methodType(long.class))
                .bindTo(bean);
      } catch (ReflectiveOperationException e) {
        throw new ExceptionInInitializerError(e);
      }
    }

    private static long allocatedBytes() {
      try {
        return (long) ALLOCATED.invokeExact();
      } catch (Throwable e) {
        throw new AssertionError(e);
      }
    }

    Contract(String id) {
      super(id);
    }

    @Test
    void theMeasurementSeesAllocations() {
      long before = allocatedBytes();
      Object kept = new long[1000];
      assertThat(allocatedBytes() - before).isBetween(8000L, 1_000_000L);
      assertThat(kept).isNotNull();
    }

    @Test
    void opCallsAllocateNothing() {
      Tensor x = device.allocate(arena, DType.BF16, 0, 64);
      Tensor half = device.allocate(arena, DType.BF16, 0, 32);
      Tensor rows = device.allocate(arena, DType.I32, 0);
      Tensor weight = device.allocate(arena, DType.F32, 0);
      Tensor scales = device.allocate(arena, DType.U8, 0, 4);
      Tensor tiles = device.allocate(arena, DType.U8, 0);
      Tensor copy = device.allocate(arena, DType.BF16, 0, 64);
      Nvfp4Tensor q = device.allocateNvfp4(arena, 0, 64);
      Nvfp4Tensor q32 = device.allocateNvfp4(arena, 0, 32);
      Swiglu.Options swiglu = Swiglu.Options.DEFAULT;
      Nvfp4Tensor w = device.allocateNvfp4(arena, 32, 64);
      Nvfp4Tensor prepared =
          device.allocateNvfp4(arena, 32, 64, ScaleLayout.PREPARED, GlobalScale.TENSOR);
      Nvfp4Tensor packed =
          device.allocateNvfp4(arena, 0, 64, ScaleLayout.PACKED, GlobalScale.TENSOR);
      Nvfp4Tensor experts =
          device.allocateNvfp4(arena, 2, 32, 64, ScaleLayout.LINEAR, GlobalScale.HALVES);
      Nvfp4Tensor slices =
          device.allocateNvfp4(arena, 2, 16, 32, ScaleLayout.LINEAR, GlobalScale.GROUP);
      Tensor offsets = device.allocate(arena, DType.I32, 3);
      Tensor d16 = device.allocate(arena, DType.BF16, 0, 16);
      Gemm.Options gated = Gemm.Options.DEFAULT.withSwiglu(10);
      Tensor streams = device.allocate(arena, DType.BF16, 0, 4, 64);
      Tensor post = device.allocate(arena, DType.F32, 0, 4);
      Tensor comb = device.allocate(arena, DType.F32, 0, 4, 4);
      Tensor nextPost = device.allocate(arena, DType.F32, 0, 4);
      Tensor nextComb = device.allocate(arena, DType.F32, 0, 4, 4);
      Tensor norm = device.allocate(arena, DType.BF16, 64);
      Nvfp4Tensor perRow = device.allocateNvfp4(arena, 0, 64, ScaleLayout.LINEAR, GlobalScale.ROW);
      HcModule module =
          new HcModule(
              device.allocate(arena, DType.F32, 24, 256),
              device.allocate(arena, DType.F32, 24),
              device.allocate(arena, DType.F32, 3));
      HcModule head =
          new HcModule(
              device.allocate(arena, DType.F32, 4, 256),
              device.allocate(arena, DType.F32, 4),
              device.allocate(arena, DType.F32, 1));
      HcOptions hc = HcOptions.DEFAULT;
      Tensor gate = device.allocate(arena, DType.BF16, 32, 64);
      Tensor gateBias = device.allocate(arena, DType.F32, 32);
      Tensor expertTable = device.allocate(arena, DType.I64, 10, 6);
      Tensor indices = device.allocate(arena, DType.I32, 0, 6);
      Tensor routed = device.allocate(arena, DType.F32, 0, 6);
      Tensor logits = device.allocate(arena, DType.F32, 0, 32);
      RouterOptions router = RouterOptions.FLASH;
      Tensor positions = device.allocate(arena, DType.I32, 0, 6);
      Tensor indexed = device.allocate(arena, DType.I32, 0, 8);
      Tensor allScores = device.allocate(arena, DType.F32, 0, 7);
      Tensor keys = device.allocate(arena, DType.BF16, 7, 64);
      Tensor cache = device.allocate(arena, DType.BF16, 4, 64);
      Tensor counter = device.allocate(arena, DType.I32, 1);
      Tensor counter64 = device.allocate(arena, DType.I64, 1);
      Tensor noise = device.allocate(arena, DType.F32, 0, 64);
      Sample.Options draw = Sample.Options.of(1, 2, 3);
      Map<String, Runnable> calls = new LinkedHashMap<>();
      calls.put("quantize", () -> Quantize.dynamic(stream, x, q));
      calls.put(
          "quantize with rows",
          () ->
              Quantize.run(
                  stream,
                  x,
                  rows,
                  q,
                  Quantize.Options.of(Quantize.Source.GIVEN, Recipe.TE_EXACT, ZeroScale.FLUSH)));
      calls.put("dequantize", () -> Dequantize.run(stream, q, x));
      calls.put("swizzle", () -> Swizzle.run(stream, scales, tiles));
      calls.put("unswizzle", () -> Unswizzle.run(stream, tiles, scales));
      calls.put("swiglu", () -> Swiglu.run(stream, x, weight, half, swiglu));
      calls.put(
          "swiglu_quantize",
          () -> SwigluQuantize.run(stream, x, weight, q32, swiglu, Quantize.Options.DYNAMIC));
      calls.put("copy", () -> x.copyTo(stream, copy));
      calls.put("gemm of BF16", () -> Gemm.run(stream, x, w, half));
      calls.put("gemm of NVFP4", () -> Gemm.run(stream, q, prepared, half));
      calls.put("gemm with SwiGLU", () -> Gemm.run(stream, packed, w, weight, d16, gated));
      calls.put("grouped_gemm", () -> GroupedGemm.run(stream, q, experts, offsets, half));
      calls.put("batched_gemm", () -> BatchedGemm.run(stream, x, slices, half));
      calls.put("pack_activations", () -> PackActivations.run(stream, q, packed));
      calls.put("sinkhorn", () -> Sinkhorn.run(stream, comb, comb, Sinkhorn.Options.DEFAULT));
      calls.put("hc_pre", () -> HcPre.run(stream, streams, module, x, post, comb, hc));
      calls.put("hc_post", () -> HcPost.run(stream, streams, x, post, comb, streams));
      calls.put("hc_head", () -> HcHead.run(stream, streams, head, x, hc));
      calls.put(
          "hc_post_pre",
          () ->
              HcPostPre.run(
                  stream, streams, x, post, comb, module, streams, copy, nextPost, nextComb, hc));
      calls.put(
          "hc_post_pre with norm and codes",
          () ->
              HcPostPre.run(
                  stream,
                  streams,
                  x,
                  post,
                  comb,
                  module,
                  norm,
                  streams,
                  null,
                  nextPost,
                  nextComb,
                  perRow,
                  hc,
                  Quantize.Options.DYNAMIC));
      calls.put(
          "router_dense",
          () -> RouterDense.run(stream, x, gate, gateBias, indices, routed, logits, router));
      calls.put(
          "router_dense of NVFP4",
          () -> RouterDense.run(stream, x, w, gateBias, indices, routed, null, router));
      calls.put(
          "router_hash",
          () -> RouterHash.run(stream, x, gate, expertTable, rows, indices, routed, router));
      calls.put(
          "router_hash of NVFP4",
          () -> RouterHash.run(stream, x, w, expertTable, rows, indices, routed, router));
      calls.put(
          "expert_dispatch",
          () -> ExpertDispatch.run(stream, indices, routed, offsets, rows, positions, weight));
      calls.put("expert_combine", () -> ExpertCombine.run(stream, x, indices, routed, x, x));
      calls.put(
          "indexer_topk", () -> IndexerTopk.run(stream, streams, keys, post, rows, indexed, null));
      calls.put(
          "indexer_topk with scores",
          () -> IndexerTopk.run(stream, streams, keys, post, rows, indexed, allScores));
      calls.put("cache_append_window", () -> CacheAppendWindow.run(stream, cache, x, counter));
      calls.put("cache_append", () -> CacheAppend.run(stream, cache, x, counter));
      calls.put("sample", () -> Sample.run(stream, x, noise, counter64, rows, draw));
      calls.forEach((name, call) -> {
        // Until it is compiled by C2, a call may allocate: at most a few rounds are allowed for
        // that.
        long bytes = -1;
        for (int round = 0; round < 20 && bytes != 0; round++) {
          long before = allocatedBytes();
          for (int i = 0; i < CALLS; i++) {
            call.run();
          }
          bytes = allocatedBytes() - before;
        }
        assertThat(bytes).as("%s: bytes of %d calls", name, CALLS).isZero();
      });
      stream.synchronize();
    }
  }
}
