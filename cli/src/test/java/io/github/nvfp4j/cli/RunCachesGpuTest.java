// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

@Gpu
class RunCachesGpuTest extends RunCachesGoldens {
  RunCachesGpuTest() {
    super("cuda:0");
  }
}
