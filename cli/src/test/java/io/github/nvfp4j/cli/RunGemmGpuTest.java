// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

@Gpu
class RunGemmGpuTest extends RunGemmGoldens {
  RunGemmGpuTest() {
    super("cuda:0");
  }
}
