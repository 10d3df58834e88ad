// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

@Gpu
class RunIndexerGpuTest extends RunIndexerGoldens {
  RunIndexerGpuTest() {
    super("cuda:0");
  }
}
