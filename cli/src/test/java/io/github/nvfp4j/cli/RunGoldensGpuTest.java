// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

@Gpu
class RunGoldensGpuTest extends RunGoldens {
  RunGoldensGpuTest() {
    super("cuda:0");
  }
}
