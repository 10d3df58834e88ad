// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

@Gpu
class RunExpertsGpuTest extends RunExpertsGoldens {
  RunExpertsGpuTest() {
    super("cuda:0");
  }
}
