// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

class RunRoutersCpuTest extends RunRoutersGoldens {
  RunRoutersCpuTest() {
    super("cpu");
  }
}
