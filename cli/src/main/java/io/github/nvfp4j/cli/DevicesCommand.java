// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.DeviceInfo;
import io.github.nvfp4j.DeviceNotSupportedException;
import io.github.nvfp4j.Op;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `nvfp4j devices`: every device, and for each op which implementation it gets, or why none.
@Command(
    name = "devices",
    description = "Show each device, and for each op its implementation or the reason for none.",
    mixinStandardHelpOptions = true,
    versionProvider = VersionProvider.class)
final class DevicesCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(names = "--json", description = "Print JSON.")
  private boolean json;

  /// One op of one device: exactly one of the two is there.
  private record OpPath(Op op, @Nullable String path, @Nullable String reason) {}

  private record Found(DeviceInfo info, List<OpPath> paths) {}

  @SuppressWarnings("NullAway.Init") // picocli sets the fields
  DevicesCommand() {}

  @Override
  public Integer call() {
    List<Found> devices = new ArrayList<>();
    for (DeviceInfo info : Device.all()) {
      try (Device device = Device.of(info.id())) {
        List<OpPath> paths = new ArrayList<>();
        for (Op op : Op.values()) {
          paths.add(path(device, op));
        }
        devices.add(new Found(info, paths));
      }
    }
    String noCuda = devices.stream().anyMatch(d -> isCuda(d.info())) ? null : whyNoCuda();
    PrintWriter out = spec.commandLine().getOut();
    if (json) {
      out.println(Json.of(toMap(devices, noCuda)));
    } else {
      print(out, devices, noCuda);
    }
    return Verdict.GOOD;
  }

  private static boolean isCuda(DeviceInfo info) {
    return info.id().startsWith("cuda:");
  }

  private static OpPath path(Device device, Op op) {
    try {
      return new OpPath(op, device.pathFor(op), null);
    } catch (DeviceNotSupportedException e) {
      return new OpPath(op, null, Verdict.of(e).sentence());
    }
  }

  private static String whyNoCuda() {
    try (Device device = Device.cuda(0)) {
      return "none listed, although " + device.info().name() + " opens";
    } catch (DeviceNotSupportedException e) {
      return Verdict.of(e).sentence();
    }
  }

  private static void print(PrintWriter out, List<Found> devices, @Nullable String noCuda) {
    for (Found found : devices) {
      DeviceInfo info = found.info();
      out.println(info.id() + "  " + info.name());
      if (isCuda(info)) {
        out.printf(
            Locale.ROOT,
            "  compute capability %d.%d, %d SMs, %.1f GiB, driver %s, runtime %s%n",
            info.computeCapabilityMajor(),
            info.computeCapabilityMinor(),
            info.multiprocessors(),
            info.memoryBytes() / (double) (1L << 30),
            cudaVersion(info.driverVersion()),
            cudaVersion(info.runtimeVersion()));
      }
      Table table = new Table("  op", "implementation");
      for (OpPath path : found.paths()) {
        table.add(
            "  " + path.op().opName(),
            path.path() != null ? path.path() : "none: " + path.reason());
      }
      table.print(out);
      out.println();
    }
    if (noCuda != null) {
      out.println("cuda  no device: " + noCuda);
    }
  }

  private static Map<String, @Nullable Object> toMap(List<Found> devices, @Nullable String noCuda) {
    List<Object> list = new ArrayList<>();
    for (Found found : devices) {
      DeviceInfo info = found.info();
      Map<String, @Nullable Object> device = new LinkedHashMap<>();
      device.put("id", info.id());
      device.put("name", info.name());
      if (isCuda(info)) {
        device.put(
            "compute_capability",
            info.computeCapabilityMajor() + "." + info.computeCapabilityMinor());
        device.put("multiprocessors", info.multiprocessors());
        device.put("memory_bytes", info.memoryBytes());
        device.put("driver_version", cudaVersion(info.driverVersion()));
        device.put("runtime_version", cudaVersion(info.runtimeVersion()));
      }
      List<Object> ops = new ArrayList<>();
      for (OpPath path : found.paths()) {
        Map<String, @Nullable Object> op = new LinkedHashMap<>();
        op.put("op", path.op().opName());
        op.put("path", path.path());
        op.put("reason", path.reason());
        ops.add(op);
      }
      device.put("ops", ops);
      list.add(device);
    }
    Map<String, @Nullable Object> map = new LinkedHashMap<>();
    map.put("devices", list);
    map.put("no_cuda", noCuda);
    return map;
  }

  /// CUDA writes 13.0 as 13000.
  private static String cudaVersion(int version) {
    return version / 1000 + "." + version % 1000 / 10;
  }
}
