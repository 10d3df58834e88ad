// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;

@Tag("gpu")
class RunGoldensGpuTest extends RunGoldens {
  RunGoldensGpuTest() {
    super("cuda:0");
  }

  @BeforeEach
  void requireGpu() {
    Gpu.require();
  }
}
