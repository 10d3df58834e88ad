// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.reference.SwizzleReference;
import java.util.Arrays;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// swizzle and unswizzle against the reference, and each other's inverse.
final class SwizzleTest {
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
    Contract(String id) {
      super(id);
    }

    @ParameterizedTest
    @CsvSource({
      "1,1",
      "1,4",
      "31,3",
      "32,5",
      "33,16",
      "127,7",
      "128,4",
      "128,64",
      "129,1",
      "130,17",
      "257,33",
      "1000,448"
    })
    void equalsTheReference(int rows, int blocks) {
      byte[] linear = new Values(rows * 1000L + blocks).bytes(rows * blocks);
      byte[] expected = SwizzleReference.swizzle(linear, rows, blocks);
      Tensor swizzled = device.allocate(arena, DType.U8, expected.length);
      Tensor back = device.allocate(arena, DType.U8, rows, blocks);
      poison(swizzled);
      poison(back);
      Swizzle.run(stream, upload(linear, rows, blocks), swizzled);
      requireEqual("swizzled", expected, bytes(swizzled));
      Unswizzle.run(stream, swizzled, back);
      requireEqual("linear", linear, bytes(back));
      stream.synchronize();
    }

    @ParameterizedTest
    @CsvSource({"5,3", "130,9"})
    void takesARowStride(int rows, int blocks) {
      byte[] wide = new Values(rows).bytes(rows * (blocks + 5));
      Tensor all = upload(wide, rows, blocks + 5);
      byte[] linear = new byte[rows * blocks];
      for (int m = 0; m < rows; m++) {
        System.arraycopy(wide, m * (blocks + 5) + 2, linear, m * blocks, blocks);
      }
      byte[] expected = SwizzleReference.swizzle(linear, rows, blocks);
      Tensor swizzled = device.allocate(arena, DType.U8, expected.length);
      poison(swizzled);
      Swizzle.run(stream, all.slice(arena, 1, 2, blocks), swizzled);
      requireEqual("swizzled", expected, bytes(swizzled));
      Tensor target = device.allocate(arena, DType.U8, rows, blocks + 5);
      poison(target);
      Unswizzle.run(stream, swizzled, target.slice(arena, 1, 2, blocks));
      byte[] left = bytes(target);
      byte[] want = new byte[left.length];
      Arrays.fill(want, POISON);
      for (int m = 0; m < rows; m++) {
        System.arraycopy(linear, m * blocks, want, m * (blocks + 5) + 2, blocks);
      }
      requireEqual("linear and its gaps", want, left);
    }
  }
}
