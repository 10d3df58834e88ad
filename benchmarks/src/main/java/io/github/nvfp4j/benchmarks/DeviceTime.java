// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Device time of the ops.
///
/// For each op and shape: random inputs in rotating buffers, poisoned outputs, graphs of at least
/// 40 calls replayed at least 21 times between two events, the median replay divided by its calls.
/// Nothing is subtracted; the time of an empty node is reported beside. In the same run the outputs
/// of three calls are compared with the CPU device, after the last replay, bit for bit or, where
/// the order of sums is the device's own, within the op's bounds; and kernels that only move bytes
/// are timed over as many bytes in the same way.
///
/// On the CPU device the same program runs (wall clock, no ceilings, nothing to compare with).
public final class DeviceTime {
  private static final long SEED = 20_250_101;

  private final Device device;
  private final Stream stream;
  private final BenchOptions options;
  private final @Nullable CeilingKernels kernels;
  private final Peers peers;
  private final HostData data;
  private final Meter meter;

  private DeviceTime(
      Stream stream,
      BenchOptions options,
      @Nullable CeilingKernels kernels,
      Peers peers,
      HostData data,
      Meter meter) {
    this.device = stream.device();
    this.stream = stream;
    this.options = options;
    this.kernels = kernels;
    this.peers = peers;
    this.data = data;
    this.meter = meter;
  }

  /// Runs the benchmark and ends the JVM: status 0 when all outputs were right, 1 when one
  /// differed, 2 for a wrong command line, 3 for a device or library failure, 4 when `--only`
  /// leaves nothing to measure.
  ///
  /// @param arguments see `--help`
  public static void main(String... arguments) {
    System.exit(run(System.out, System.err, arguments));
  }

  /// As [#main(String...)], without ending the JVM.
  static int run(PrintStream out, PrintStream err, String... arguments) {
    return BenchMain.run(out, err, DeviceTime::run, arguments);
  }

  private static int run(PrintStream out, BenchOptions options) throws IOException {
    Path ceilings = options.ceilings();
    if (ceilings != null && !Files.isRegularFile(ceilings)) {
      throw new IllegalArgumentException("--ceilings: no file " + ceilings);
    }
    Peers peers = Peers.read(options.peers());
    try (Device device = Device.of(options.device());
        Arena arena = Arena.ofConfined();
        Stream stream = device.openStream()) {
      device.warmUp();
      try (Meter meter = new Meter(stream);
          CeilingKernels kernels =
              ceilings == null || !device.isCuda() ? null : new CeilingKernels(ceilings)) {
        HostData data = new HostData(arena, SEED);
        return new DeviceTime(stream, options, kernels, peers, data, meter).measureAll(out);
      }
    }
  }

  private int measureAll(PrintStream out) throws IOException {
    String card = Results.name(device.info());
    out.println(card + (options.quick() ? ", quick: the figures mean nothing" : ""));
    Double emptyNode = emptyNode();
    if (emptyNode != null) {
      out.printf(Locale.ROOT, "empty graph node %.2f us%n", emptyNode);
    }
    out.println(Measurement.HEADER);
    List<Measurement> measurements = new ArrayList<>();
    for (Workload workload : Workloads.all(options.quick())) {
      if (!options.wants(workload)) {
        continue;
      }
      Measurement measurement = measure(workload);
      measurements.add(measurement);
      out.println(measurement.line(card));
    }
    if (measurements.isEmpty()) {
      throw new NothingMatches(options);
    }
    if (options.out() != null) {
      out.println("written: " + write(options.out(), emptyNode, measurements));
    }
    List<String> differences = new ArrayList<>();
    for (Measurement measurement : measurements) {
      if (measurement.difference() != null) {
        differences.add(measurement.difference());
      }
    }
    differences.forEach(difference -> out.println("WRONG: " + difference));
    return differences.isEmpty() ? 0 : 1;
  }

  private Measurement measure(Workload workload) {
    Plan plan = plan(workload);
    try (Arena arena = Arena.ofConfined()) {
      BufferSet inputs = BufferSet.allocate(stream, arena, workload.inputs(), plan.buffers(), data);
      BufferSet outputs =
          BufferSet.allocate(stream, arena, workload.outputs(), plan.buffers(), data);
      Timing timing =
          meter.time(
              plan,
              call -> workload.binding().bind(stream, arena, inputs.of(call), outputs.of(call)));
      int checked = 0;
      String difference = null;
      if (device.isCuda()) {
        for (int call : Check.sample(plan.buffers())) {
          String found = Check.differs(workload, stream, inputs, outputs, call);
          difference = difference == null ? found : difference;
          checked++;
        }
      }
      return new Measurement(
          workload, timing, ceilings(workload, plan), peers.of(workload), checked, difference);
    }
  }

  private Plan plan(Workload workload) {
    return device.isCuda()
        ? Plan.cudaWithin(workload.bytes(), workload.allocated())
        : Plan.cpu(workload.allocated(), options.quick());
  }

  private @Nullable Double emptyNode() {
    CeilingKernels bench = kernels;
    if (bench == null) {
      return null;
    }
    return meter.time(Plan.cuda(1 << 18), call -> () -> bench.empty(stream)).median();
  }

  /// Times the ceiling kernels over as many bytes, buffers and nodes as the op.
  private Map<Ceiling, Double> ceilings(Workload workload, Plan plan) {
    Map<Ceiling, Double> micros = new EnumMap<>(Ceiling.class);
    CeilingKernels bench = kernels;
    if (bench == null) {
      return micros;
    }
    long bytes = round(workload.bytes());
    try (Arena arena = Arena.ofConfined()) {
      List<Buffer> buffer = List.of(new Buffer("ceiling", DType.U8, bytes, 0, Buffer.Fill.BYTES));
      BufferSet sources = BufferSet.allocate(stream, arena, buffer, plan.buffers(), data);
      BufferSet sinks = BufferSet.allocate(stream, arena, buffer, plan.buffers(), data);
      for (Ceiling ceiling : Ceiling.values()) {
        for (String kernel : bench.of(ceiling)) {
          Timing timing =
              meter.time(
                  plan,
                  call -> {
                    Tensor source = sources.of(call).getFirst();
                    Tensor sink = sinks.of(call).getFirst();
                    return bench.call(ceiling, kernel, stream, source, sink, workload);
                  });
          micros.merge(ceiling, timing.median(), Math::min);
        }
      }
    }
    return micros;
  }

  /// Up to the next multiple of 256, so that stacked buffers stay aligned.
  private static long round(long bytes) {
    return Math.ceilDiv(bytes, 256) * 256;
  }

  private Path write(Path folder, @Nullable Double emptyNode, List<Measurement> measurements)
      throws IOException {
    Map<String, @Nullable Object> result =
        Results.header("device-time", device.info(), options.quick());
    result.put("empty_node_us", emptyNode);
    result.put("rows", Measurement.json(measurements, Results.name(device.info())));
    result.put("peer_versions", peers.versions());
    result.put("peers", peers.json());
    return Results.write(folder, device.info(), "", result);
  }
}
