// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.DeviceInfo;
import java.util.regex.Pattern;
import picocli.CommandLine.Option;

/// The options that choose a device. It is used as chosen: there is no other one that takes over.
final class DeviceOptions {
  private static final Pattern CUDA = Pattern.compile("cuda:(0|[1-9]\\d{0,3})");
  private static final int MAX_THREADS = 1024;

  @Option(
      names = "--device",
      paramLabel = "cpu|cuda:N",
      defaultValue = "cpu",
      description = "The device that does the work (default: ${DEFAULT-VALUE}).")
  private String device = "cpu";

  @Option(
      names = "--threads",
      paramLabel = "N",
      defaultValue = "0",
      description = "Threads of the cpu device; 0 is one per core (default: ${DEFAULT-VALUE}).")
  private int threads;

  /// Refuses wrong usage; needs no device.
  void check() {
    if (threads < 0 || threads > MAX_THREADS) {
      throw Failure.badInput("--threads is " + threads + ", expected 0 to " + MAX_THREADS);
    }
    if (!device.equals("cpu") && !CUDA.matcher(device).matches()) {
      throw Failure.badInput("--device is " + device + ", expected cpu or cuda:N");
    }
    if (threads != 0 && !device.equals("cpu")) {
      throw Failure.badInput(
          "--threads is " + threads + " with --device " + device + ", expected --device cpu");
    }
  }

  /// Opens the device.
  Device open() {
    check();
    if (device.equals("cpu")) {
      return threads == 0 ? Device.cpu() : Device.cpu(threads);
    }
    return Device.cuda(Integer.parseInt(device.substring("cuda:".length())));
  }

  /// How output names a device: `cpu (Intel ...)`.
  static String describe(Device device) {
    DeviceInfo info = device.info();
    return info.id() + " (" + info.name() + ")";
  }
}
