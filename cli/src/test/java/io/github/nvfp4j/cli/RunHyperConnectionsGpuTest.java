// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

@Gpu
class RunHyperConnectionsGpuTest extends RunHyperConnectionsGoldens {
  RunHyperConnectionsGpuTest() {
    super("cuda:0");
  }
}
