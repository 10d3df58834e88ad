// SPDX-License-Identifier: Apache-2.0
import io.github.nvfp4j.DType;
import io.github.nvfp4j.Dequantize;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;

public final class Example {
  public static void main(String[] args) {
    try (Device device = Device.of(args.length == 0 ? "cpu" : args[0]); // "cpu" or "cuda:0"
        Stream stream = device.openStream();
        Arena arena = Arena.ofConfined()) {
      Tensor weights = Tensor.of(arena, arena.allocate(4L * 128 * 1024, 16), DType.F32, 128, 1024);
      for (int i = 0; i < 128 * 1024; i++) {
        weights.segment().setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) Math.sin(i));
      }
      Tensor x = weights.to(stream, arena); // a copy on the device
      Nvfp4Tensor packed = device.allocateNvfp4(arena, 128, 1024);
      Tensor back = device.allocate(arena, DType.F32, 128, 1024);
      Quantize.dynamic(stream, x, packed); // amax, global scale, block scales and codes
      Dequantize.run(stream, packed, back);
      stream.synchronize(); // throws what the kernels reported, for example a NaN in the input
      float result = back.toHost(stream, arena).segment().getAtIndex(ValueLayout.JAVA_FLOAT, 1);
      System.out.printf("%.4f became %.4f%n", Math.sin(1), result);
    }
  }
}
