// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;

/// copy: one tensor into another, bit for bit. The public face is [Tensor#copyTo].
final class Copy {
  private Copy() {}

  static void run(Stream stream, Tensor source, Tensor destination) {
    stream.enter("copy");
    try {
      stream.reads(Op.COPY, "source", source);
      stream.writes(Op.COPY, "destination", destination);
      int status =
          Nvfp4jNative.copy(
              stream.context(), source.descriptor, destination.descriptor, stream.error());
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
}
