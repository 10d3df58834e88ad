// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static java.lang.foreign.MemoryLayout.PathElement.groupElement;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.Arena;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.PaddingLayout;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.SequenceLayout;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/// What the struct helpers write, read back field by field; the memory they get is full of rubbish.
class StructsTest {
  private final Arena arena = Arena.ofConfined();
  private final SegmentAllocator rubbish =
      (size, alignment) -> arena.allocate(size, alignment).fill((byte) 0xA5);

  @AfterEach
  void close() {
    arena.close();
  }

  /// Field names to values: numbers, or lists of them.
  private static Map<String, Object> fields(String struct, MemorySegment segment) throws Exception {
    GroupLayout layout = Generated.layout(struct);
    Map<String, Object> fields = new LinkedHashMap<>();
    for (MemoryLayout member : layout.memberLayouts()) {
      if (member instanceof PaddingLayout) {
        continue;
      }
      String name = member.name().orElseThrow();
      long offset = layout.byteOffset(groupElement(name));
      if (member instanceof SequenceLayout sequence) {
        List<Object> values = new ArrayList<>();
        for (long i = 0; i < sequence.elementCount(); i++) {
          MemoryLayout element = sequence.elementLayout();
          values.add(value(element, segment, offset + i * element.byteSize()));
        }
        fields.put(name, values);
      } else {
        fields.put(name, value(member, segment, offset));
      }
    }
    return fields;
  }

  private static Object value(MemoryLayout layout, MemorySegment segment, long offset) {
    return switch (layout) {
      case ValueLayout.OfByte _ -> segment.get(ValueLayout.JAVA_BYTE, offset);
      case ValueLayout.OfFloat _ -> segment.get(ValueLayout.JAVA_FLOAT, offset);
      case ValueLayout.OfInt _ -> (long) segment.get(ValueLayout.JAVA_INT, offset);
      default -> segment.get(ValueLayout.JAVA_LONG, offset);
    };
  }

  @Test
  void tensor() throws Exception {
    MemorySegment tensor =
        TensorDescriptor.allocate(
            rubbish,
            Nvfp4jConstants.DTYPE_F16,
            Nvfp4jConstants.MEMORY_DEVICE,
            0x7f00_dead_beefL,
            new long[] {5, 1L << 33},
            new long[] {1L << 34, 1});
    assertThat(tensor.byteSize()).isEqualTo(TensorDescriptor.BYTES);
    assertThat(fields("nvfp4j_tensor", tensor))
        .isEqualTo(
            Map.of(
                "struct_size", TensorDescriptor.BYTES,
                "dtype", 2L,
                "memory", 2L,
                "rank", 2L,
                "data", 0x7f00_dead_beefL,
                "shape", List.of(5L, 1L << 33, 0L, 0L),
                "stride", List.of(1L << 34, 1L, 0L, 0L)));
    // written again, nothing of the old is left
    TensorDescriptor.write(tensor, 0, 0, 0, new long[0], new long[0]);
    assertThat(fields("nvfp4j_tensor", tensor))
        .containsEntry("rank", 0L)
        .containsEntry("data", 0L)
        .containsEntry("shape", List.of(0L, 0L, 0L, 0L));
  }

  @Test
  void tensorOfTooHighARank() {
    assertThatThrownBy(() -> TensorDescriptor.allocate(rubbish, 0, 0, 0, new long[5], new long[5]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("tensor: shape has rank 5 and stride 5, expected the same rank of at most 4");
    assertThatThrownBy(() -> TensorDescriptor.allocate(rubbish, 0, 0, 0, new long[2], new long[1]))
        .hasMessage("tensor: shape has rank 2 and stride 1, expected the same rank of at most 4");
  }

  @Test
  void nvfp4Tensor() throws Exception {
    MemorySegment tensor =
        Nvfp4TensorDescriptor.allocate(
            rubbish,
            Nvfp4jConstants.MEMORY_PINNED,
            Nvfp4jConstants.SCALE_LAYOUT_SWIZZLED_128X4,
            Nvfp4jConstants.GLOBAL_SCALE_ROW,
            7,
            3,
            64,
            100,
            96,
            200,
            512,
            300,
            3);
    Map<String, Object> expected = new LinkedHashMap<>();
    expected.put("struct_size", Nvfp4TensorDescriptor.BYTES);
    expected.put("memory", 1L);
    expected.put("scale_layout", 1L);
    expected.put("global_scale_kind", 1L);
    expected.put("groups", 7L);
    expected.put("rows", 3L);
    expected.put("columns", 64L);
    expected.put("codes", 100L);
    expected.put("codes_bytes", 96L);
    expected.put("scales", 200L);
    expected.put("scales_bytes", 512L);
    expected.put("global_scales", 300L);
    expected.put("global_scales_count", 3L);
    assertThat(fields("nvfp4j_nvfp4_tensor", tensor)).isEqualTo(expected);
  }

  @Test
  void contextOptions() throws Exception {
    assertThat(fields("nvfp4j_context_options", ContextOptions.cpu(rubbish, 3, 0)))
        .isEqualTo(
            Map.of(
                "struct_size", 32L,
                "device", -1L,
                "threads", 3L,
                "foreign_stream", 0L,
                "cuda_stream", 0L,
                "workspace_bytes", 0L));
    assertThat(fields("nvfp4j_context_options", ContextOptions.ownStream(rubbish, 2, 1L << 32)))
        .containsEntry("device", 2L)
        .containsEntry("threads", 0L)
        .containsEntry("foreign_stream", 0L)
        .containsEntry("workspace_bytes", 1L << 32);
    assertThat(fields("nvfp4j_context_options", ContextOptions.foreignStream(rubbish, 0, 77, 8)))
        .containsEntry("foreign_stream", 1L)
        .containsEntry("cuda_stream", 77L)
        .containsEntry("workspace_bytes", 8L);
  }

  @Test
  void quantizeOptions() throws Exception {
    assertThat(fields("nvfp4j_quantize_options", QuantizeOptions.allocate(rubbish, 1, 0, 1)))
        .isEqualTo(Map.of("struct_size", 16L, "global_scale", 1L, "recipe", 0L, "zero_scale", 1L));
    assertThat(fields("nvfp4j_quantize_options", QuantizeOptions.allocate(rubbish, 0, 1, 0)))
        .containsEntry("recipe", 1L)
        .containsEntry("zero_scale", 0L);
  }

  @Test
  void swigluOptions() throws Exception {
    assertThat(fields("nvfp4j_swiglu_options", SwigluOptions.allocate(rubbish, 1, 10.5f)))
        .isEqualTo(Map.of("struct_size", 16L, "columns", 1L, "limit", 10.5f, "reserved", 0L));
  }

  @Test
  void sinkhornOptions() throws Exception {
    assertThat(fields("nvfp4j_sinkhorn_options", SinkhornOptions.allocate(rubbish, 20, 1e-6f)))
        .isEqualTo(Map.of("struct_size", 16L, "iterations", 20L, "eps", 1e-6f, "reserved", 0L));
  }

  @Test
  void hcOptions() throws Exception {
    assertThat(fields("nvfp4j_hc_options", HcOptions.allocate(rubbish, 20, 1e-6f, 0.5f)))
        .isEqualTo(Map.of("struct_size", 16L, "iterations", 20L, "hc_eps", 1e-6f, "rms_eps", 0.5f));
  }

  @Test
  void routerOptions() throws Exception {
    for (boolean settled : new boolean[] {true, false}) {
      assertThat(fields("nvfp4j_router_options", RouterOptions.allocate(rubbish, 2.5f, settled)))
          .isEqualTo(
              Map.of("struct_size", 12L, "scale", 2.5f, "weights_settled", settled ? 1L : 0L));
    }
  }

  @Test
  void gemmOptions() throws Exception {
    MemorySegment options =
        GemmOptions.allocate(rubbish, true, false, 10.5f, Nvfp4jConstants.GEMM_PATH_WGMMA, true);
    Map<String, Object> expected = new LinkedHashMap<>();
    expected.put("struct_size", 24L);
    expected.put("batch_invariant", 1L);
    expected.put("swiglu", 0L);
    expected.put("limit", 10.5f);
    expected.put("path", 3L);
    expected.put("weights_settled", 1L);
    assertThat(fields("nvfp4j_gemm_options", options)).isEqualTo(expected);
    assertThat(
            fields("nvfp4j_gemm_options", GemmOptions.allocate(rubbish, false, true, 0, 0, false)))
        .containsEntry("batch_invariant", 0L)
        .containsEntry("swiglu", 1L)
        .containsEntry("path", 0L)
        .containsEntry("weights_settled", 0L);
  }

  @Test
  void statusRecord() throws Exception {
    StatusRecord record = new StatusRecord(rubbish);
    assertThat(record.firstOp()).isEqualTo(-1);
    assertThat(record.firstRow()).isEqualTo(-1);
    assertThat(record.firstColumn()).isEqualTo(-1);
    MemorySegment segment = record.segment();
    assertThat(fields("nvfp4j_status_record", segment))
        .containsEntry("struct_size", segment.byteSize());
    segment.set(ValueLayout.JAVA_INT, 4, Nvfp4jConstants.OP_SWIGLU_QUANTIZE);
    segment.set(ValueLayout.JAVA_INT, 8, Nvfp4jConstants.CAUSE_BAD_GLOBAL_SCALE);
    segment.set(ValueLayout.JAVA_LONG, 16, 1L << 40);
    segment.set(ValueLayout.JAVA_LONG, 24, 17);
    segment.set(ValueLayout.JAVA_LONG, 32 + 8 * Nvfp4jConstants.OP_SWIGLU_QUANTIZE, 0b10);
    assertThat(record.firstOp()).isEqualTo(5);
    assertThat(record.firstCause()).isEqualTo(1);
    assertThat(record.firstRow()).isEqualTo(1L << 40);
    assertThat(record.firstColumn()).isEqualTo(17);
    assertThat(record.causes(Nvfp4jConstants.OP_SWIGLU_QUANTIZE)).isEqualTo(0b10);
    assertThat(record.causes(Nvfp4jConstants.OP_QUANTIZE)).isZero();
    assertThatThrownBy(() -> record.causes(Nvfp4jConstants.STATUS_WORDS))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }

  @Test
  void nativeError() throws Exception {
    NativeError error = new NativeError(rubbish);
    assertThat(fields("nvfp4j_error", error.segment()))
        .containsEntry("struct_size", error.segment().byteSize())
        .containsEntry("status", 0L);
    assertThat(error.message()).isEmpty();
    error.segment().set(ValueLayout.JAVA_INT, 4, Nvfp4jConstants.ERROR_CUDA);
    error.segment().set(ValueLayout.JAVA_INT, 8, CudaConstants.ERROR_NO_DEVICE);
    error.segment().setString(16, "quantize: x \u2260 y");
    assertThat(error.status()).isEqualTo(5);
    assertThat(error.cudaError()).isEqualTo(100);
    assertThat(error.message()).isEqualTo("quantize: x \u2260 y");
  }

  @Test
  void ownedMemory() {
    List<Long> freed = new ArrayList<>();
    try (Arena owner = Arena.ofConfined()) {
      MemorySegment host = arena.allocate(64);
      MemorySegment owned = NativeMemory.ofHost(host.address(), 64, owner, freed::add);
      owned.set(ValueLayout.JAVA_LONG, 56, 42);
      assertThat(host.get(ValueLayout.JAVA_LONG, 56)).isEqualTo(42);
      MemorySegment device = NativeMemory.ofDevice(0x7f00_0000_0000L, owner, freed::add);
      assertThat(device.address()).isEqualTo(0x7f00_0000_0000L);
      assertThat(device.scope()).isEqualTo(owner.scope());
      assertThatThrownBy(() -> device.get(ValueLayout.JAVA_BYTE, 0))
          .isInstanceOf(IndexOutOfBoundsException.class);
      assertThat(NativeMemory.view(host.address(), 8, owner).byteSize()).isEqualTo(8);
      assertThat(freed).isEmpty();
    }
    assertThat(freed).hasSize(2).contains(0x7f00_0000_0000L);
  }
}
