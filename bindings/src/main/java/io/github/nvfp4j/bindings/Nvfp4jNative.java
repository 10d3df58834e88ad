// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_h;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// The functions of `nvfp4j.h`, one static method each, named without the `nvfp4j_` prefix. The
/// header is their specification: shapes, types, what each call validates and what it returns.
///
/// - An `int` result is the status, [Nvfp4jConstants#OK] or `Nvfp4jConstants.ERROR_*`; the last
///   parameter is a [NativeError]'s segment, or [MemorySegment#NULL].
/// - A parameter that C calls a pointer is a native segment; [MemorySegment#NULL] where C allows
///   NULL. Heap segments are refused by the JVM with an [IllegalArgumentException].
/// - A context or graph is the zero-length segment that was read from the `..Out` parameter that
///   received it.
/// - A segment's arena cannot close while a call that has it as an argument runs, and a confined
///   one belongs to its thread. Nothing is allocated per call.
///
/// Every method throws [NativeLibraryException] when the library is not loadable.
public final class Nvfp4jNative {
  // A constant to the compiler: a successful load costs a call nothing.
  private static final @Nullable NativeLibraryException FAILURE = NativeLibrary.failure();

  private Nvfp4jNative() {}

  private static void require() {
    if (FAILURE != null) {
      throw FAILURE.again();
    }
  }

  /// `nvfp4j_abi_version`.
  public static int abiVersion() {
    require();
    return nvfp4j_h.nvfp4j_abi_version();
  }

  /// `nvfp4j_build_info`: one JSON object.
  public static String buildInfo() {
    require();
    return nvfp4j_h.nvfp4j_build_info().getString(0);
  }

  /// `nvfp4j_op_name`, or null when there is no such op.
  public static @Nullable String opName(int op) {
    require();
    MemorySegment name = nvfp4j_h.nvfp4j_op_name(op);
    return name.address() == 0 ? null : name.getString(0);
  }

  /// `nvfp4j_path`; the text's size is the segment's.
  public static int path(int op, int device, MemorySegment text, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_path(op, device, text, text.byteSize(), error);
  }

  /// `nvfp4j_context_create`.
  ///
  /// @param contextOut room for one pointer
  public static int contextCreate(
      MemorySegment options, MemorySegment contextOut, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_create(options, contextOut, error);
  }

  /// `nvfp4j_context_destroy`. Waits for the context's work.
  public static int contextDestroy(MemorySegment context, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_destroy(context, error);
  }

  /// `nvfp4j_context_stream`.
  ///
  /// @param cudaStreamOut room for one pointer
  public static int contextStream(
      MemorySegment context, MemorySegment cudaStreamOut, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_stream(context, cudaStreamOut, error);
  }

  /// `nvfp4j_context_warm_up`.
  public static int contextWarmUp(MemorySegment context, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_warm_up(context, error);
  }

  /// `nvfp4j_context_synchronize`. Waits: a virtual thread keeps its carrier meanwhile.
  ///
  /// @param record a [StatusRecord]'s segment, or [MemorySegment#NULL]
  public static int contextSynchronize(
      MemorySegment context, MemorySegment record, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_synchronize(context, record, error);
  }

  /// `nvfp4j_context_request_report`.
  public static int contextRequestReport(MemorySegment context, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_request_report(context, error);
  }

  /// `nvfp4j_context_report`.
  ///
  /// @param record a [StatusRecord]'s segment, or [MemorySegment#NULL]
  public static int contextReport(
      MemorySegment context, MemorySegment record, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_report(context, record, error);
  }

  /// `nvfp4j_context_cancel_report`. Waits for the copy: a virtual thread keeps its carrier
  /// meanwhile.
  public static int contextCancelReport(MemorySegment context, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_context_cancel_report(context, error);
  }

  /// `nvfp4j_device_enter`, of the calling operating system thread.
  ///
  /// @param formerOut room for one pointer
  public static int deviceEnter(int device, MemorySegment formerOut, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_device_enter(device, formerOut, error);
  }

  /// `nvfp4j_device_leave`, of the same thread.
  ///
  /// @param former what [#deviceEnter] wrote
  public static int deviceLeave(int device, MemorySegment former, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_device_leave(device, former, error);
  }

  /// `nvfp4j_cpu_capture_begin`.
  public static int cpuCaptureBegin(MemorySegment context, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_cpu_capture_begin(context, error);
  }

  /// `nvfp4j_cpu_capture_end`.
  ///
  /// @param graphOut room for one pointer, or [MemorySegment#NULL] to drop what was recorded
  public static int cpuCaptureEnd(
      MemorySegment context, MemorySegment graphOut, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_cpu_capture_end(context, graphOut, error);
  }

  /// `nvfp4j_cpu_graph_launch`.
  public static int cpuGraphLaunch(
      MemorySegment context, MemorySegment graph, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_cpu_graph_launch(context, graph, error);
  }

  /// `nvfp4j_cpu_graph_destroy`.
  public static int cpuGraphDestroy(MemorySegment graph, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_cpu_graph_destroy(graph, error);
  }

  /// `nvfp4j_workspace_bytes`.
  ///
  /// @param bytesOut room for one `int64_t`
  public static int workspaceBytes(
      int op, int device, long rows, long columns, MemorySegment bytesOut, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_workspace_bytes(op, device, rows, columns, bytesOut, error);
  }

  /// `nvfp4j_codes_bytes`.
  ///
  /// @param bytesOut room for one `int64_t`
  public static int codesBytes(
      long rows, long columns, int scaleLayout, MemorySegment bytesOut, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_codes_bytes(rows, columns, scaleLayout, bytesOut, error);
  }

  /// `nvfp4j_scale_bytes`.
  ///
  /// @param bytesOut room for one `int64_t`
  public static int scaleBytes(
      long rows, long columns, int scaleLayout, MemorySegment bytesOut, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_scale_bytes(rows, columns, scaleLayout, bytesOut, error);
  }

  /// `nvfp4j_copy`.
  public static int copy(
      MemorySegment context, MemorySegment source, MemorySegment destination, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_copy(context, source, destination, error);
  }

  /// `nvfp4j_quantize`.
  ///
  /// @param rows a tensor descriptor, or [MemorySegment#NULL]
  public static int quantize(
      MemorySegment context,
      MemorySegment input,
      MemorySegment rows,
      MemorySegment options,
      MemorySegment output,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_quantize(context, input, rows, options, output, error);
  }

  /// `nvfp4j_dequantize`.
  public static int dequantize(
      MemorySegment context, MemorySegment input, MemorySegment output, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_dequantize(context, input, output, error);
  }

  /// `nvfp4j_swizzle`.
  public static int swizzle(
      MemorySegment context, MemorySegment linear, MemorySegment swizzled, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_swizzle(context, linear, swizzled, error);
  }

  /// `nvfp4j_unswizzle`.
  public static int unswizzle(
      MemorySegment context, MemorySegment swizzled, MemorySegment linear, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_unswizzle(context, swizzled, linear, error);
  }

  /// `nvfp4j_swiglu`.
  ///
  /// @param weight a tensor descriptor, or [MemorySegment#NULL]
  public static int swiglu(
      MemorySegment context,
      MemorySegment gateUp,
      MemorySegment weight,
      MemorySegment options,
      MemorySegment output,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_swiglu(context, gateUp, weight, options, output, error);
  }

  /// `nvfp4j_swiglu_quantize`.
  ///
  /// @param weight a tensor descriptor, or [MemorySegment#NULL]
  public static int swigluQuantize(
      MemorySegment context,
      MemorySegment gateUp,
      MemorySegment weight,
      MemorySegment swigluOptions,
      MemorySegment quantizeOptions,
      MemorySegment output,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_swiglu_quantize(
        context, gateUp, weight, swigluOptions, quantizeOptions, output, error);
  }

  /// `nvfp4j_sinkhorn`.
  public static int sinkhorn(
      MemorySegment context,
      MemorySegment logits,
      MemorySegment options,
      MemorySegment comb,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_sinkhorn(context, logits, options, comb, error);
  }

  /// `nvfp4j_hc_pre`.
  public static int hcPre(
      MemorySegment context,
      MemorySegment x,
      MemorySegment fn,
      MemorySegment base,
      MemorySegment scale,
      MemorySegment options,
      MemorySegment collapsed,
      MemorySegment post,
      MemorySegment comb,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_hc_pre(
        context, x, fn, base, scale, options, collapsed, post, comb, error);
  }

  /// `nvfp4j_hc_post`.
  public static int hcPost(
      MemorySegment context,
      MemorySegment x,
      MemorySegment sub,
      MemorySegment post,
      MemorySegment comb,
      MemorySegment out,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_hc_post(context, x, sub, post, comb, out, error);
  }

  /// `nvfp4j_hc_head`.
  public static int hcHead(
      MemorySegment context,
      MemorySegment x,
      MemorySegment fn,
      MemorySegment base,
      MemorySegment scale,
      MemorySegment options,
      MemorySegment collapsed,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_hc_head(context, x, fn, base, scale, options, collapsed, error);
  }

  /// `nvfp4j_hc_post_pre`.
  ///
  /// @param normWeight a tensor descriptor, or [MemorySegment#NULL]
  /// @param quantizeOptions options, or [MemorySegment#NULL] exactly where `quantized` is
  /// @param collapsed a tensor descriptor, or [MemorySegment#NULL] where `quantized` is given
  /// @param quantized an NVFP4 tensor descriptor, or [MemorySegment#NULL]
  public static int hcPostPre(
      MemorySegment context,
      MemorySegment x,
      MemorySegment sub,
      MemorySegment post,
      MemorySegment comb,
      MemorySegment fn,
      MemorySegment base,
      MemorySegment scale,
      MemorySegment normWeight,
      MemorySegment options,
      MemorySegment quantizeOptions,
      MemorySegment out,
      MemorySegment collapsed,
      MemorySegment nextPost,
      MemorySegment nextComb,
      MemorySegment quantized,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_hc_post_pre(
        context,
        x,
        sub,
        post,
        comb,
        fn,
        base,
        scale,
        normWeight,
        options,
        quantizeOptions,
        out,
        collapsed,
        nextPost,
        nextComb,
        quantized,
        error);
  }

  /// `nvfp4j_router_dense`.
  ///
  /// @param weight a tensor descriptor, or [MemorySegment#NULL]: one of `weight` and `weightNvfp4`
  ///   is given
  /// @param weightNvfp4 an NVFP4 tensor descriptor, or [MemorySegment#NULL]
  /// @param logits a tensor descriptor, or [MemorySegment#NULL]
  public static int routerDense(
      MemorySegment context,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment weightNvfp4,
      MemorySegment bias,
      MemorySegment options,
      MemorySegment indices,
      MemorySegment weights,
      MemorySegment logits,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_router_dense(
        context, x, weight, weightNvfp4, bias, options, indices, weights, logits, error);
  }

  /// `nvfp4j_router_hash`.
  ///
  /// @param weight a tensor descriptor, or [MemorySegment#NULL]: one of `weight` and `weightNvfp4`
  ///   is given
  /// @param weightNvfp4 an NVFP4 tensor descriptor, or [MemorySegment#NULL]
  public static int routerHash(
      MemorySegment context,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment weightNvfp4,
      MemorySegment table,
      MemorySegment ids,
      MemorySegment options,
      MemorySegment indices,
      MemorySegment weights,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_router_hash(
        context, x, weight, weightNvfp4, table, ids, options, indices, weights, error);
  }

  /// `nvfp4j_expert_dispatch`.
  ///
  /// @param weights a tensor descriptor, or [MemorySegment#NULL] exactly where `rowWeights` is
  /// @param rowWeights a tensor descriptor, or [MemorySegment#NULL]
  public static int expertDispatch(
      MemorySegment context,
      MemorySegment indices,
      MemorySegment weights,
      MemorySegment offsets,
      MemorySegment rows,
      MemorySegment positions,
      MemorySegment rowWeights,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_expert_dispatch(
        context, indices, weights, offsets, rows, positions, rowWeights, error);
  }

  /// `nvfp4j_expert_combine`.
  ///
  /// @param weights a tensor descriptor, or [MemorySegment#NULL]
  /// @param shared a tensor descriptor, or [MemorySegment#NULL]
  public static int expertCombine(
      MemorySegment context,
      MemorySegment y,
      MemorySegment positions,
      MemorySegment weights,
      MemorySegment shared,
      MemorySegment out,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_expert_combine(context, y, positions, weights, shared, out, error);
  }

  /// `nvfp4j_indexer_topk`.
  ///
  /// @param scores a tensor descriptor, or [MemorySegment#NULL]
  public static int indexerTopk(
      MemorySegment context,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment weights,
      MemorySegment valid,
      MemorySegment indices,
      MemorySegment scores,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_indexer_topk(context, q, keys, weights, valid, indices, scores, error);
  }

  /// `nvfp4j_cache_append_window`.
  public static int cacheAppendWindow(
      MemorySegment context,
      MemorySegment cache,
      MemorySegment rows,
      MemorySegment position,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_cache_append_window(context, cache, rows, position, error);
  }

  /// `nvfp4j_cache_append`.
  public static int cacheAppend(
      MemorySegment context,
      MemorySegment cache,
      MemorySegment rows,
      MemorySegment length,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_cache_append(context, cache, rows, length, error);
  }

  /// `nvfp4j_sample`.
  ///
  /// @param noise a tensor descriptor, or [MemorySegment#NULL]
  /// @param offset a tensor descriptor, or [MemorySegment#NULL]
  public static int sample(
      MemorySegment context,
      MemorySegment logits,
      MemorySegment noise,
      MemorySegment offset,
      MemorySegment options,
      MemorySegment tokens,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_sample(context, logits, noise, offset, options, tokens, error);
  }

  /// `nvfp4j_gemm`.
  ///
  /// @param a a tensor descriptor, or [MemorySegment#NULL]: one of `a` and `aNvfp4` is given
  /// @param aNvfp4 an NVFP4 tensor descriptor, or [MemorySegment#NULL]
  /// @param rowWeight a tensor descriptor, or [MemorySegment#NULL]
  public static int gemm(
      MemorySegment context,
      MemorySegment a,
      MemorySegment aNvfp4,
      MemorySegment w,
      MemorySegment rowWeight,
      MemorySegment options,
      MemorySegment d,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_gemm(context, a, aNvfp4, w, rowWeight, options, d, error);
  }

  /// `nvfp4j_grouped_gemm`; `a`, `aNvfp4` and `rowWeight` as for [#gemm].
  public static int groupedGemm(
      MemorySegment context,
      MemorySegment a,
      MemorySegment aNvfp4,
      MemorySegment w,
      MemorySegment offsets,
      MemorySegment rowWeight,
      MemorySegment options,
      MemorySegment d,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_grouped_gemm(
        context, a, aNvfp4, w, offsets, rowWeight, options, d, error);
  }

  /// `nvfp4j_batched_gemm`; `a` and `aNvfp4` as for [#gemm].
  public static int batchedGemm(
      MemorySegment context,
      MemorySegment a,
      MemorySegment aNvfp4,
      MemorySegment w,
      MemorySegment options,
      MemorySegment d,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_batched_gemm(context, a, aNvfp4, w, options, d, error);
  }

  /// `nvfp4j_prepare_weights`.
  public static int prepareWeights(
      MemorySegment context, MemorySegment w, MemorySegment prepared, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_prepare_weights(context, w, prepared, error);
  }

  /// `nvfp4j_pack_activations`.
  public static int packActivations(
      MemorySegment context, MemorySegment a, MemorySegment packed, MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_pack_activations(context, a, packed, error);
  }

  /// `nvfp4j_gemm_path`; the text's size is the segment's.
  public static int gemmPath(
      int op,
      int device,
      long groups,
      long m,
      long n,
      long k,
      int aKind,
      int wLayout,
      MemorySegment options,
      MemorySegment text,
      MemorySegment error) {
    require();
    return nvfp4j_h.nvfp4j_gemm_path(
        op, device, groups, m, n, k, aKind, wLayout, options, text, text.byteSize(), error);
  }
}
