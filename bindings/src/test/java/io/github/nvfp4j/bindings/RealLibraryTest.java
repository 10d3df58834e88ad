// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;

/// The library that was built with this module: it loads, answers, refuses, and brings its CUDA
/// runtime.
class RealLibraryTest {
  @Test
  void itSaysWhatItIs() {
    assertThat(Nvfp4jNative.abiVersion()).isEqualTo(Nvfp4jConstants.ABI_VERSION);
    assertThat(Nvfp4jNative.buildInfo())
        .startsWith("{")
        .contains("\"version\"", "\"architectures\"");
    assertThat(Nvfp4jNative.opName(Nvfp4jConstants.OP_SWIGLU_QUANTIZE))
        .isEqualTo("swiglu_quantize");
    assertThat(Nvfp4jNative.opName(Nvfp4jConstants.OP_COUNT)).isNull();
    assertThat(NativeLibrary.file()).hasFileName("libnvfp4j.so");
    assertThat(NativeLibrary.failure()).isNull();
  }

  @Test
  void itAnswers() {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment bytes = arena.allocate(ValueLayout.JAVA_LONG);
      int status =
          Nvfp4jNative.scaleBytes(
              129, 80, Nvfp4jConstants.SCALE_LAYOUT_SWIZZLED_128X4, bytes, error.segment());
      assertThat(status).as(error.message()).isEqualTo(Nvfp4jConstants.OK);
      assertThat(bytes.get(ValueLayout.JAVA_LONG, 0)).isEqualTo(256 * 8);
    }
  }

  @Test
  void itRefusesWithASentence() {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment bytes = arena.allocate(ValueLayout.JAVA_LONG);
      int status =
          Nvfp4jNative.scaleBytes(
              128, 17, Nvfp4jConstants.SCALE_LAYOUT_LINEAR, bytes, error.segment());
      assertThat(status).isEqualTo(Nvfp4jConstants.ERROR_INVALID_ARGUMENT);
      assertThat(error.status()).isEqualTo(Nvfp4jConstants.ERROR_INVALID_ARGUMENT);
      assertThat(error.message()).contains("columns", "17", "16");
    }
  }

  @Test
  void aCpuContextComesAndGoes() {
    try (Arena arena = Arena.ofConfined()) {
      NativeError error = new NativeError(arena);
      MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
      int status =
          Nvfp4jNative.contextCreate(ContextOptions.cpu(arena, 1, 0), out, error.segment());
      assertThat(status).as(error.message()).isEqualTo(Nvfp4jConstants.OK);
      MemorySegment context = out.get(ValueLayout.ADDRESS, 0);
      StatusRecord record = new StatusRecord(arena);
      assertThat(Nvfp4jNative.contextSynchronize(context, record.segment(), error.segment()))
          .isEqualTo(Nvfp4jConstants.OK);
      assertThat(record.firstOp()).isEqualTo(-1);
      assertThat(Nvfp4jNative.contextDestroy(context, error.segment()))
          .isEqualTo(Nvfp4jConstants.OK);
    }
  }

  @Test
  void itBringsEveryCudaFunctionThatIsBound() throws Exception {
    NativeLibrary.require();
    assumeTrue(CudaRuntime.available(), CudaRuntime.unavailableReason());
    for (String name : Generated.functions(Generated.cuda()).keySet()) {
      MemorySegment address =
          (MemorySegment) Generated.cuda().getMethod(name + "$address").invoke(null);
      assertThat(address.address()).as(name).isNotZero();
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment version = arena.allocate(ValueLayout.JAVA_INT);
      assertThat(CudaRuntime.runtimeGetVersion(version)).isEqualTo(CudaConstants.SUCCESS);
      assertThat(version.get(ValueLayout.JAVA_INT, 0) / 1000).isEqualTo(13);
      // Without a driver this is an error with a name; with one it is not.
      int status = CudaRuntime.getDeviceCount(version);
      assertThat(CudaRuntime.getErrorName(status)).startsWith("cuda");
      assertThat(CudaRuntime.getErrorString(CudaConstants.ERROR_NO_DEVICE))
          .isEqualTo("no CUDA-capable device is detected");
    }
  }
}
