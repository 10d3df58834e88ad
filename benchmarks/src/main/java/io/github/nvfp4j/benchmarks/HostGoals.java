// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.DeviceInfo;
import io.github.nvfp4j.Nvfp4Exception;
import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/// Runs the JMH set and asserts the goals of the host side: an op call with zero rows takes at most
/// 150 ns and allocates nothing; the CPU device quantises at least 400 million elements a second
/// and core. The throughput of the hyper-connections on the CPU device has no goal.
public final class HostGoals {
  static final double CALL_NANOS = 150;

  /// Fewer than the smallest object has: JMH's own bookkeeping shows as a few thousandths.
  static final double ALLOCATED_BYTES = 0.5;

  static final double CPU_M_ELEMENTS = 400;

  private static final String ALLOCATION = "gc.alloc.rate.norm";

  private HostGoals() {}

  /// Runs and ends the JVM: status 0 when all goals were met, 1 when one was not, 2 for a wrong
  /// command line, 3 for a device or library failure. A goal is asserted for zero-row calls; the
  /// throughput of the CPU device depends on the processor and is reported only.
  ///
  /// @param arguments `--device`, `--out`, `--quick` as [DeviceTime]
  public static void main(String... arguments) {
    System.exit(run(System.out, System.err, arguments));
  }

  /// As [#main(String...)], without ending the JVM.
  static int run(PrintStream out, PrintStream err, String... arguments) {
    try {
      return run(out, BenchOptions.parse(arguments));
    } catch (IllegalArgumentException e) {
      err.println(e.getMessage());
      return 2;
    } catch (Nvfp4Exception | RunnerException | IOException e) {
      err.println(e.getMessage());
      return 3;
    }
  }

  private static int run(PrintStream out, BenchOptions options)
      throws RunnerException, IOException {
    DeviceInfo device;
    try (Device opened = Device.of(options.device())) {
      device = opened.info();
    }
    boolean cuda = !device.id().equals("cpu");
    Collection<RunResult> runs = new ArrayList<>();
    ChainedOptionsBuilder calls =
        jmh(options).include(CallOverhead.class.getName()).addProfiler(GCProfiler.class);
    runs.addAll(
        new Runner(
                (cuda ? calls.param("device", "cpu", device.id()) : calls.param("device", "cpu"))
                    .build())
            .run());
    String hostCost = HostCost.class.getName() + (cuda ? "\\." : "\\.cpu");
    runs.addAll(new Runner(jmh(options).include(hostCost).build()).run());

    List<Map<String, @Nullable Object>> rows = new ArrayList<>();
    boolean met = true;
    out.println(
        Results.name(device) + (options.quick() ? ", quick: the figures mean nothing" : ""));
    out.printf(
        Locale.ROOT,
        "%-19s %-10s %12s %8s %10s  %s%n",
        "benchmark",
        "device",
        "",
        "fastest",
        "B/call",
        "goal");
    for (RunResult run : runs) {
      Row row = Row.of(run, !options.quick());
      rows.add(row.json());
      met &= row.outcome() != Goal.Outcome.SHORT;
      out.println(row.line());
    }
    if (options.out() != null) {
      Map<String, @Nullable Object> result = Results.header("host", device, options.quick());
      result.put("rows", rows);
      out.println("written: " + Results.write(options.out(), device, "-host", result));
    }
    return met ? 0 : 1;
  }

  private static ChainedOptionsBuilder jmh(BenchOptions options) {
    ChainedOptionsBuilder builder =
        new OptionsBuilder().verbosity(VerboseMode.SILENT).shouldFailOnError(true);
    if (options.quick()) {
      // Its figures mean nothing, so another JMH on this machine may disturb them.
      System.setProperty("jmh.ignoreLock", "true");
      builder
          .forks(0)
          .warmupIterations(0)
          .measurementIterations(2)
          .measurementTime(TimeValue.milliseconds(20));
    }
    return builder;
  }

  /// One benchmark's figures.
  ///
  /// @param name method
  /// @param device device and, for the CPU device's throughput, threads
  /// @param nanos a call, or an element
  /// @param lowest the same of the fastest iteration: closest to what it is where nothing else has
  ///   the processor's core
  /// @param error half of the 99.9 % interval, NaN for one sample
  /// @param bytes allocated a call, NaN when not measured
  /// @param compared whether it means anything
  private record Row(
      String name,
      String device,
      double nanos,
      double lowest,
      double error,
      double bytes,
      boolean compared) {

    static Row of(RunResult run, boolean compared) {
      String benchmark = run.getParams().getBenchmark();
      String name = benchmark.substring(benchmark.lastIndexOf('.') + 1);
      String device = run.getParams().getParam("device");
      String threads = run.getParams().getParam("threads");
      if (threads != null) {
        device = "cpu, " + (threads.equals("0") ? "all" : threads);
      }
      Result<?> time = run.getPrimaryResult();
      Result<?> allocated = run.getSecondaryResults().get(ALLOCATION);
      return new Row(
          name,
          device == null ? "cuda:0" : device,
          time.getScore(),
          time.getStatistics().getMin(),
          time.getScoreError(),
          allocated == null ? Double.NaN : allocated.getScore(),
          compared);
    }

    boolean isThroughput() {
      return device.startsWith("cpu, ");
    }

    boolean isOpCall() {
      return !Double.isNaN(bytes);
    }

    double megaElementsPerSecond() {
      return 1e3 / nanos;
    }

    Goal.Outcome outcome() {
      if (!isOpCall() || !compared) {
        return Goal.Outcome.NOT_COMPARED;
      }
      return nanos <= CALL_NANOS && bytes < ALLOCATED_BYTES ? Goal.Outcome.MET : Goal.Outcome.SHORT;
    }

    String line() {
      String figure =
          isThroughput()
              ? String.format(Locale.ROOT, "%.0f M/s", megaElementsPerSecond())
              : String.format(Locale.ROOT, "%.1f ns", nanos);
      String fastest = isThroughput() ? "" : String.format(Locale.ROOT, "%.1f", lowest);
      String allocated = isOpCall() ? String.format(Locale.ROOT, "%.3f", bytes) : "";
      String goal =
          switch (outcome()) {
            case MET -> "met: <= 150 ns, 0 B";
            case SHORT -> "short: <= 150 ns, 0 B";
            case NOT_COMPARED -> device.equals("cpu, 1") ? ">= 400 M/s with AVX-512" : "";
          };
      return String.format(
              "%-19s %-10s %12s %8s %10s  %s", name, device, figure, fastest, allocated, goal)
          .stripTrailing();
    }

    Map<String, @Nullable Object> json() {
      Map<String, @Nullable Object> row = new LinkedHashMap<>();
      row.put("benchmark", name);
      row.put("device", device);
      row.put("ns", nanos);
      row.put("ns_lowest", lowest);
      row.put("ns_error", error);
      row.put("bytes_allocated", bytes);
      row.put("m_elements_per_s", isThroughput() ? megaElementsPerSecond() : null);
      row.put("outcome", outcome().name().toLowerCase(Locale.ROOT));
      return row;
    }
  }
}
