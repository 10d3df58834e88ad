// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.foreign.MemorySegment;

/// Why a stream does not take a tensor: what C cannot see of it. Off the hot path.
final class Refusals {
  private Refusals() {}

  /// The tensor is closed, another thread's, or on another device.
  ///
  /// @param device the stream's
  /// @param thread the tensor's, should its arena be confined
  /// @param place the tensor's device, or [Tensor#HOST]
  static RuntimeException place(
      Device device, Op op, String name, MemorySegment descriptor, String thread, int place) {
    String what = op.opName() + ": " + name;
    if (!descriptor.scope().isAlive()) {
      return new IllegalStateException(what + " is closed, expected a tensor of an open arena");
    }
    if (!descriptor.isAccessibleBy(Thread.currentThread())) {
      return new WrongThreadException(
          what
              + " belongs to a confined arena of thread "
              + thread
              + ", expected use by that thread (this is "
              + Thread.currentThread().getName()
              + "); tensors of Arena.ofShared() can be used by all");
    }
    return new IllegalArgumentException(
        what
            + " is on cuda:"
            + place
            + ", expected "
            + (device.isCuda() ? "memory of " + device.info().id() : "host memory")
            + ", the stream's device: copy it there with Tensor.to(stream, arena)");
  }
}
