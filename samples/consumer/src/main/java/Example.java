// SPDX-License-Identifier: Apache-2.0
import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Gemm;
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
      Tensor host = Tensor.of(arena, arena.allocate(4L * 128 * 1024, 16), DType.F32, 128, 1024);
      for (int i = 0; i < 128 * 1024; i++) {
        host.segment().setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) Math.sin(i));
      }
      Tensor weights = host.to(stream, arena); // a copy on the device
      Tensor x = weights.slice(arena, 0, 16); // a view: its first 16 rows
      Nvfp4Tensor w = device.allocateNvfp4(arena, 128, 1024);
      Nvfp4Tensor xq = device.allocateNvfp4(arena, 16, 1024);
      Tensor y = device.allocate(arena, DType.F32, 16, 128);
      Quantize.dynamic(stream, weights, w); // amax, global scale, block scales and codes
      Quantize.dynamic(stream, x, xq);
      Gemm.run(stream, xq, w, y); // y = x * transpose(w)
      stream.synchronize(); // throws what the kernels reported, for example a NaN in the input
      float result = y.toHost(stream, arena).segment().getAtIndex(ValueLayout.JAVA_FLOAT, 0);
      double exact = 0;
      for (int i = 0; i < 1024; i++) {
        exact += Math.pow(Math.sin(i), 2);
      }
      System.out.printf("%.1f became %.1f%n", exact, result);
    }
  }
}
