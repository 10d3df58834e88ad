// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.nvfp4j.reference.QuantizeReference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/// Views and copies of tensors, through every kind of memory.
@Timeout(120)
final class CopyTest {
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

    @Test
    void pinnedMemoryIsRecognisedInSlices() {
      MemorySegment pinned = device.allocatePinned(arena, 4096);
      assertThat(Tensor.of(arena, pinned, DType.U8, 4096).allocation).isNotNull();
      assertThat(Tensor.of(arena, pinned.asSlice(1024, 512), DType.F32, 128).allocation)
          .isNotNull();
      assertThat(Tensor.of(arena, arena.allocate(64), DType.U8, 64).allocation).isNull();
    }
  }

  abstract static class Contract extends OnDevice {
    Contract(String id) {
      super(id);
    }

    @Test
    void slicesAreViewsOfTheSameArena() {
      Tensor x = device.allocate(arena, DType.F32, 6, 8);
      Tensor rows = x.slice(arena, 2, 3);
      assertThat(rows.shape()).containsExactly(3, 8);
      assertThat(rows.address()).isEqualTo(x.address() + 2 * 8 * 4);
      Tensor part = x.slice(arena, 1, 2, 4);
      assertThat(part.shape()).containsExactly(6, 4);
      assertThat(part.stride()).containsExactly(8, 1);
      assertThat(part.address()).isEqualTo(x.address() + 8);
      assertThat(part.isContiguous()).isFalse();
      assertThat(part.slice(arena, 6, 0).elements()).isZero();
      assertThatThrownBy(() -> x.slice(arena, 5, 2)).isInstanceOf(IndexOutOfBoundsException.class);
      try (Arena other = Arena.ofConfined()) {
        assertThatThrownBy(() -> x.slice(other, 0, 1))
            .isExactlyInstanceOf(IllegalArgumentException.class)
            .hasMessageStartingWith("slice: segment belongs to another arena");
      }
    }

    @Test
    void copiesGoThereAndBack() {
      float[] values = new Values(4).finite(DType.F32, 33, 48);
      Tensor source = host(DType.F32, values, 33, 48, 56);
      Tensor there = source.to(stream, arena);
      assertThat(there.isContiguous()).isTrue();
      assertThat(there.isDevice()).isEqualTo(device.isCuda());
      requireEqual("there and back", values, floats(there));
      // Strided to strided, through page-locked memory.
      MemorySegment pinned = device.allocatePinned(arena, 33 * 60 * 4);
      pinned.fill(POISON);
      Tensor target = Tensor.of(arena, pinned, DType.F32, 33, 60).slice(arena, 1, 5, 48);
      there.copyTo(stream, target);
      stream.synchronize();
      requireEqual("pinned", values, floats(target));
      assertThat(pinned.get(ValueLayout.JAVA_BYTE, 0)).isEqualTo(POISON);
      Tensor again = device.allocate(arena, DType.F32, 33, 48);
      again.copyFrom(stream, target);
      stream.synchronize();
      requireEqual("again", values, floats(again));
      // A tensor of rank 3, and a scalar.
      Tensor cube = there.reshaped(arena, 3, 11, 48).to(stream, arena);
      assertThat(cube.shape()).containsExactly(3, 11, 48);
      requireEqual("cube", values, floats(cube));
      Tensor scalar = there.slice(arena, 0, 1).slice(arena, 1, 7, 1).reshaped(arena);
      assertThat(floats(scalar.to(stream, arena))).containsExactly(values[7]);
    }

    @Test
    void nvfp4TensorsAreCopiedWhole() {
      float[] values = new Values(5).finite(DType.F32, 40, 96);
      for (ScaleLayout layout : LAYOUTS) {
        for (GlobalScale globalScale : GLOBAL_SCALES) {
          Nvfp4Tensor q = output(40, 96, layout, globalScale);
          Quantize.dynamic(stream, upload(DType.F32, values, 40, 96), q);
          Nvfp4Tensor host = q.toHost(stream, arena);
          Nvfp4Tensor there = host.to(stream, arena);
          Nvfp4Tensor target = output(40, 96, layout, globalScale);
          target.copyFrom(stream, there);
          stream.synchronize();
          requireEqual(
              QuantizeReference.dynamic(values, 40, 96, globalScale, Recipe.EXACT, ZeroScale.MIN),
              target);
          assertThat(target.rows()).isEqualTo(40);
          assertThat(target.columns()).isEqualTo(96);
        }
      }
    }
  }
}
