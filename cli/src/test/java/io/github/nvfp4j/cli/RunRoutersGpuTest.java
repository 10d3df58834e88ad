// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

@Gpu
class RunRoutersGpuTest extends RunRoutersGoldens {
  RunRoutersGpuTest() {
    super("cuda:0");
  }
}
