// SPDX-License-Identifier: Apache-2.0

/// The benchmarks: host cost of a call (JMH), and device time of the ops beside the ceilings of the
/// same card.
///
/// An application, not an API: nothing is exported. Open, because JMH's forked workers reflect on
/// the generated classes. The native access that [io.github.nvfp4j.benchmarks.CeilingKernels] and
/// [io.github.nvfp4j.benchmarks.CublasLt] need is this module's own; the library's stays in
/// `io.github.nvfp4j.bindings`.
@SuppressWarnings("requires-automatic") // JMH 1.37 has no module descriptor
open module io.github.nvfp4j.benchmarks {
  requires io.github.nvfp4j;
  requires jmh.core;
  requires static org.jspecify;

  // What JMH uses, and cannot say itself.
  requires java.management;
  requires jdk.unsupported;
}
