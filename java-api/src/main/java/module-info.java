// SPDX-License-Identifier: Apache-2.0
/// NVFP4 and DeepSeek-V4 kernels for the JVM: quantisation and its neighbours, with the same bits
/// on the CPU and on a CUDA device.
///
/// Start at [io.github.nvfp4j.Device]. Run with `--enable-native-access=io.github.nvfp4j.bindings`
/// (on the class path: `ALL-UNNAMED`); no other module of this library uses a restricted method.
module io.github.nvfp4j {
  requires io.github.nvfp4j.bindings;
  requires static transitive org.jspecify;

  exports io.github.nvfp4j;
  exports io.github.nvfp4j.checkpoint;
  exports io.github.nvfp4j.reference;
}
