// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;

/// Wrong arguments of copies, and of what makes tensors and devices.
final class TensorRejectionTest {
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

  abstract static class Contract extends RejectionTable {
    Contract(String id) {
      super(id);
    }

    @TestFactory
    List<DynamicTest> copy() {
      Tensor x = t(DType.F32, 4, 8);
      row(
          "destination",
          "BF16",
          "copy: destination has dtype BF16, expected F32 (the dtype of source)",
          () -> x.copyTo(stream, t(DType.BF16, 4, 8)));
      row(
          "destination",
          "[4, 9]",
          "copy: destination.shape[1] is 9, expected 8 (the shape of source)",
          () -> x.copyTo(stream, t(DType.F32, 4, 9)));
      row(
          "destination",
          "rank 1",
          "copy: destination has rank 1, expected 2 (the rank of source)",
          () -> x.copyTo(stream, t(DType.F32, 32)));
      row(
          "destination",
          "the source",
          String.format(
              "copy: destination (128 bytes at 0x%x) overlaps source (128 bytes at 0x%x),"
                  + " expected separate memory",
              x.address(), x.address()),
          () -> x.copyTo(stream, x));
      row(
          "destination",
          "of another layout",
          "copy: destination is NVFP4[4, 32] (scales SWIZZLED_128X4, global scale ROW) "
              + (device.isCuda() ? "on cuda:0" : "on the host")
              + ", expected the like of the source, NVFP4[4, 32] (scales LINEAR, global scale"
              + " TENSOR) "
              + (device.isCuda() ? "on cuda:0" : "on the host"),
          () ->
              q(4, 32)
                  .copyTo(
                      stream,
                      device.allocateNvfp4(
                          arena, 4, 32, ScaleLayout.SWIZZLED_128X4, GlobalScale.ROW)));
      return table;
    }

    @TestFactory
    List<DynamicTest> hostTensors() {
      MemorySegment memory = arena.allocate(128, 16);
      row(
          "segment",
          "a float[]",
          "tensor: segment is on the Java heap (float[]), expected native memory: allocate it from"
              + " an Arena and copy with MemorySegment.copyFrom",
          () -> Tensor.of(arena, MemorySegment.ofArray(new float[32]), DType.F32, 32));
      row(
          "segment",
          "4 bytes short",
          "tensor: segment has 124 bytes, expected 128 (F32[4, 8])",
          () -> Tensor.of(arena, memory.asSlice(0, 124), DType.F32, 4, 8));
      row(
          "segment",
          "too short for its strides",
          "tensor: segment has 128 bytes, expected at least 140 (F32[4, 8], strides [9, 1])",
          () -> Tensor.ofStrided(arena, memory, DType.F32, new long[] {4, 8}, new long[] {9, 1}));
      row(
          "segment",
          "of another arena",
          "tensor: segment belongs to another arena than the one given, expected the same: a call"
              + " can only keep the memory open through the arena that it knows",
          () -> Tensor.of(Arena.global(), memory, DType.F32, 32));
      row(
          "shape",
          "5 dimensions",
          "tensor: shape has 5 dimensions, expected at most 4",
          () -> Tensor.of(arena, memory, DType.F32, 1, 1, 1, 1, 32));
      row(
          "shape",
          "negative",
          "tensor: shape[1] is -8, expected at least 0",
          () -> Tensor.of(arena, memory, DType.F32, 4, -8));
      row(
          "shape",
          "too large",
          "tensor: shape [4294967296, 4294967296] has more than 2^63 - 1 elements",
          () -> device.allocate(arena, DType.F32, 1L << 32, 1L << 32));
      row(
          "bytes",
          "too many",
          "tensor: I64[1152921504606846976] needs more than 2^63 - 1 bytes",
          () -> device.allocate(arena, DType.I64, 1L << 60));
      row(
          "stride",
          "missing",
          "tensor: stride has 1 entries, expected 2, one per dimension",
          () -> Tensor.ofStrided(arena, memory, DType.F32, new long[] {4, 8}, new long[] {8}));
      row(
          "stride",
          "2 between columns",
          "tensor: stride[1] is 2, expected 1 (the innermost dimension)",
          () -> Tensor.ofStrided(arena, memory, DType.F32, new long[] {2, 8}, new long[] {16, 2}));
      row(
          "stride",
          "negative",
          "tensor: stride[0] is -8, expected at least 0",
          () -> Tensor.ofStrided(arena, memory, DType.F32, new long[] {4, 8}, new long[] {-8, 1}));
      row(
          "columns",
          "30",
          "allocateNvfp4: columns is 30, expected a positive multiple of 16",
          () -> q(4, 30));
      row("rows", "-1", "allocateNvfp4: rows is -1, expected at least 0", () -> q(-1, 32));
      row(
          "groups",
          "0",
          "allocateNvfp4: groups is 0, expected at least 1",
          () -> device.allocateNvfp4(arena, 0, 8, 32, ScaleLayout.LINEAR, GlobalScale.GROUP));
      row(
          "groups",
          "2^40, of 2^40 rows",
          "allocateNvfp4: [1099511627776, 1099511627776, 32] needs more than 2^63 - 1 bytes",
          () ->
              device.allocateNvfp4(
                  arena, 1L << 40, 1L << 40, 32, ScaleLayout.PREPARED, GlobalScale.GROUP));
      row(
          "scaleLayout",
          "PREPARED",
          "nvfp4: scaleLayout is PREPARED, expected LINEAR or SWIZZLED_128X4: tensors of that"
              + " layout are made by Device.allocateNvfp4",
          () ->
              Nvfp4Tensor.of(
                  arena,
                  t(DType.U8, 8, 16),
                  t(DType.U8, 0),
                  t(DType.F32, 1),
                  ScaleLayout.PREPARED));
      row(
          "shape",
          "of other elements",
          "reshaped: shape is [3, 5], expected 16 elements, as many as F32[2, 8] has",
          () -> t(DType.F32, 2, 8).reshaped(arena, 3, 5));
      row(
          "tensor",
          "strided",
          "reshaped: tensor has strides [16, 1] for shape [2, 8], expected contiguous memory",
          () -> t(DType.F32, 2, 16).slice(arena, 1, 0, 8).reshaped(arena, 16));
      row(
          "codes",
          "F32",
          "nvfp4: codes has dtype F32, expected U8",
          () ->
              Nvfp4Tensor.of(
                  arena,
                  t(DType.F32, 4, 16),
                  t(DType.U8, 4, 2),
                  t(DType.F32, 1),
                  ScaleLayout.LINEAR));
      row(
          "globalScales",
          "BF16",
          "nvfp4: globalScales has dtype BF16, expected F32",
          () ->
              Nvfp4Tensor.of(
                  arena,
                  t(DType.U8, 4, 16),
                  t(DType.U8, 4, 2),
                  t(DType.BF16, 1),
                  ScaleLayout.LINEAR));
      row(
          "codes",
          "flat",
          "nvfp4: codes has shape [64], expected rank 2: [M, K/2], or rank 3: [G, M, K/2]",
          () ->
              Nvfp4Tensor.of(
                  arena, t(DType.U8, 64), t(DType.U8, 8), t(DType.F32, 1), ScaleLayout.LINEAR));
      return table;
    }

    @TestFactory
    List<DynamicTest> readOnlyMemory() {
      // Written to by native code, it would end the JVM.
      Tensor read =
          Tensor.of(arena, arena.allocate(4 * 32 * 4L, 64).asReadOnly(), DType.F32, 4, 32);
      Nvfp4Tensor x = hostNvfp4(false);
      Nvfp4Tensor readOnlyScales = hostNvfp4(true);
      row(
          "output",
          "read-only",
          "dequantize: output is read-only, expected memory that can be written",
          () -> Dequantize.run(stream, x, read));
      row(
          "output.scales",
          "read-only",
          "quantize: output.scales is read-only, expected memory that can be written",
          () -> Quantize.dynamic(stream, read, readOnlyScales));
      row(
          "destination",
          "read-only",
          "copy: destination is read-only, expected memory that can be written",
          () -> t(DType.F32, 4, 32).copyTo(stream, read));
      return table;
    }

    private Nvfp4Tensor hostNvfp4(boolean readOnlyScales) {
      MemorySegment scales = arena.allocate(8, 16);
      return Nvfp4Tensor.of(
          arena,
          Tensor.of(arena, arena.allocate(64, 16), DType.U8, 4, 16),
          Tensor.of(arena, readOnlyScales ? scales.asReadOnly() : scales, DType.U8, 4, 2),
          Tensor.of(arena, arena.allocate(4, 16), DType.F32, 1),
          ScaleLayout.LINEAR);
    }

    @TestFactory
    List<DynamicTest> devices() {
      row(
          "id",
          "gpu",
          "device: id is \"gpu\", expected cpu, cuda:0, cuda:1 and so on",
          () -> Device.of("gpu"));
      row(
          "threads",
          "-1",
          "device: threads is -1, expected 0 (one per processor) to 1024",
          () -> Device.cpu(-1));
      row("ordinal", "-1", "device: ordinal is -1, expected at least 0", () -> Device.cuda(-1));
      row(
          "rows",
          "-1",
          "workspace_bytes: rows, columns are -1, 16, expected 0 or more",
          () -> device.workspaceBytes(Op.QUANTIZE, -1, 16));
      row(
          "bytes",
          "-1",
          "allocatePinned: bytes is -1, expected at least 0",
          () -> device.allocatePinned(arena, -1));
      if (device.isCuda()) {
        Tensor host = Tensor.of(arena, arena.allocate(4 * 32 * 4L, 64), DType.F32, 4, 32);
        row(
            "input",
            "on the host",
            "quantize: input is in HOST memory, expected DEVICE (the context's device is cuda:0)",
            () -> Quantize.dynamic(stream, host, q(4, 32)));
      } else {
        row(
            "device",
            "cpu",
            "tensor: device is cpu, expected a CUDA device: wrap host memory with Tensor.of",
            () ->
                Tensor.ofUnsafeDevicePointer(
                    arena, device, 4096, DType.F32, new long[] {4}, new long[] {1}));
        row(
            "device",
            "cpu",
            "wrapUnsafe: device is cpu, expected a CUDA device",
            () -> Stream.wrapUnsafe(device, 4096));
      }
      return table;
    }

    @TestFactory
    List<DynamicTest> tensorsOfAnotherDevice() {
      if (!device.isCuda()) {
        return List.of();
      }
      Device cpu = Device.cpu(1);
      Stream host = cpu.openStream();
      Tensor x = t(DType.F32, 4, 32);
      row(
          "input",
          "on cuda:0, for a CPU stream",
          "quantize: input is on cuda:0, expected host memory, the stream's device: copy it there"
              + " with Tensor.to(stream, arena)",
          () -> {
            try (cpu;
                host) {
              Quantize.dynamic(host, x, q(4, 32));
            }
          });
      row(
          "segment()",
          "of a device tensor",
          IllegalStateException.class,
          "tensor: F32[4, 32] on cuda:0 is memory that Java cannot read, expected a host tensor:"
              + " copy it with copyTo(stream, hostTensor) or toHost(stream, arena)",
          x::segment);
      return table;
    }

    /// A refused call has changed nothing.
    @TestFactory
    List<DynamicTest> outputsStayAsTheyWere() {
      return List.of(
          DynamicTest.dynamicTest(
              "quantize",
              () -> {
                Nvfp4Tensor y = output(4, 32, ScaleLayout.LINEAR, GlobalScale.TENSOR);
                assertThatThrownBy(() -> Quantize.dynamic(stream, t(DType.F32, 5, 32), y))
                    .isInstanceOf(IllegalArgumentException.class);
                for (Tensor part : List.of(y.codes(), y.scales(), y.globalScales())) {
                  assertThat(bytes(part)).containsOnly(POISON);
                }
              }));
    }
  }
}
