// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.CudaConstants;
import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.Nvfp4jNative;

/// copy: one tensor into another, bit for bit. The public face is [Tensor#copyTo].
final class Copy {
  private Copy() {}

  static void run(Stream stream, Tensor source, Tensor destination) {
    stream.enter("copy");
    try {
      stream.reads(Op.COPY, "source", source);
      stream.writes(Op.COPY, "destination", destination);
      stream.uses(source);
      stream.uses(destination);
      boolean waits =
          source.memory == Nvfp4jConstants.MEMORY_HOST
              || destination.memory == Nvfp4jConstants.MEMORY_HOST;
      int status =
          waits && stream.device().isCuda()
              ? relaxed(stream, source, destination)
              : call(stream, source, destination);
      if (status != 0) {
        throw stream.raise(
            Op.COPY, status, Shapes.of("source", source, "destination", destination));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, source, destination));
      }
    } finally {
      stream.exit();
    }
  }

  private static int call(Stream stream, Tensor source, Tensor destination) {
    return Nvfp4jNative.copy(
        stream.context(), source.descriptor, destination.descriptor, stream.error());
  }

  // A copy that waits is allowed while this thread captures another stream, which is no concern of
  // it.
  private static int relaxed(Stream stream, Tensor source, Tensor destination) {
    int[] status = new int[1];
    int selected =
        Cuda.onDevice(
            stream.device().ordinal(),
            stream.scratch(),
            () ->
                Cuda.relaxed(() -> {
                  status[0] = call(stream, source, destination);
                  return CudaConstants.SUCCESS;
                }));
    Cuda.check(stream.device().state(), "copy: selecting the device", selected);
    return status[0];
  }
}
