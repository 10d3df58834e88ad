// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Nvfp4Exception;

/// Whether `gpu` tests can run: skipped with the reason where there is no card, failed where
/// `-Dnvfp4j.gpu=required` says that there must be one.
final class Gpu {
  private Gpu() {}

  static void require() {
    try (Device device = Device.cuda(0)) {
      device.info();
    } catch (Nvfp4Exception e) {
      if ("required".equals(System.getProperty("nvfp4j.gpu"))) {
        throw e;
      }
      assumeTrue(false, "no GPU: " + e.getMessage());
    }
  }
}
