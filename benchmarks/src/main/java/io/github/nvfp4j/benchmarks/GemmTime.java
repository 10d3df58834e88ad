// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.BatchedGemm;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.DeviceFailedException;
import io.github.nvfp4j.Gemm;
import io.github.nvfp4j.GroupedGemm;
import io.github.nvfp4j.Nvfp4Exception;
import io.github.nvfp4j.Stream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Device time of the matrix products, beside cuBLASLt of the machine.
///
/// As [DeviceTime]: random operands, weights of more than 200 MiB in turn, graphs replayed between
/// two events. Every product is timed twice. Once on a stream of the library, where kernels may be
/// launched programmatically: what it takes in a chain of such products. Once on a wrapped stream,
/// where each is launched when the one before has ended: the figure that is compared with the
/// kernels that only read, with the floor and with cuBLASLt, which are launched so as well. A
/// sampled tile of the first and last D is compared with exact or double arithmetic.
public final class GemmTime {
  private static final long SEED = 20_250_103;

  private final Stream stream;
  private final BenchOptions options;
  private final Meter meter;
  private final HostData data;
  private final @Nullable Stream wrapped;
  private final @Nullable Meter wrappedMeter;
  private final @Nullable ReadCeiling reading;
  private final @Nullable CublasLtPeers peers;
  private final double node;
  private final double rate;

  private GemmTime(
      Stream stream,
      BenchOptions options,
      Meter meter,
      HostData data,
      @Nullable Stream wrapped,
      @Nullable Meter wrappedMeter,
      @Nullable ReadCeiling reading,
      @Nullable CublasLtPeers peers,
      double node,
      double rate) {
    this.stream = stream;
    this.options = options;
    this.meter = meter;
    this.data = data;
    this.wrapped = wrapped;
    this.wrappedMeter = wrappedMeter;
    this.reading = reading;
    this.peers = peers;
    this.node = node;
    this.rate = rate;
  }

  /// Runs the benchmark and ends the JVM: status 0 when all tiles were right, 1 when one was not, 2
  /// for a wrong command line, 3 for a device or library failure or when nothing could be measured,
  /// 4 when `--only` leaves nothing to measure.
  ///
  /// @param arguments see `--help`
  public static void main(String... arguments) {
    System.exit(run(System.out, System.err, arguments));
  }

  /// As [#main(String...)], without ending the JVM.
  static int run(PrintStream out, PrintStream err, String... arguments) {
    return BenchMain.run(out, err, GemmTime::run, arguments);
  }

  private static int run(PrintStream out, BenchOptions options) throws IOException {
    Path ceilings = options.ceilings();
    if (ceilings != null && !Files.isRegularFile(ceilings)) {
      throw new IllegalArgumentException("--ceilings: no file " + ceilings);
    }
    Path place = options.cublaslt();
    if (place != null && !Files.exists(place)) {
      throw new IllegalArgumentException("--cublaslt: neither a file nor a folder: " + place);
    }
    try (Device device = Device.of(options.device());
        Arena arena = Arena.ofConfined()) {
      List<GemmCase> products =
          GemmPlan.all(options.quick(), device.isCuda()).stream().filter(options::wants).toList();
      if (products.isEmpty()) {
        throw new NothingMatches(options);
      }
      String card = Results.name(device.info());
      out.println(card + (options.quick() ? ", quick: the figures mean nothing" : ""));
      HostData data = new HostData(arena, SEED);
      return device.isCuda()
          ? cuda(out, options, device, products, data)
          : cpu(out, options, device, products, data);
    }
  }

  private static int cpu(
      PrintStream out, BenchOptions options, Device device, List<GemmCase> products, HostData data)
      throws IOException {
    try (Stream stream = device.openStream();
        Meter meter = new Meter(stream)) {
      return new GemmTime(
              stream, options, meter, data, null, null, null, null, Double.NaN, Double.NaN)
          .measureAll(out, products, null, List.of());
    }
  }

  private static int cuda(
      PrintStream out, BenchOptions options, Device device, List<GemmCase> products, HostData data)
      throws IOException {
    List<String> complaints = new ArrayList<>();
    Path ceilings = options.ceilings();
    try (Stream stream = device.openStream();
        Stream lent = device.openStream();
        Stream wrapped = Stream.wrapUnsafe(device, lent.cudaStream());
        Meter meter = new Meter(stream);
        Meter wrappedMeter = new Meter(wrapped)) {
      device.warmUp();
      try (Arena arena = Arena.ofConfined();
          CeilingKernels kernels = ceilings == null ? null : new CeilingKernels(ceilings);
          CublasLt library = CublasLt.open(options.cublaslt(), device, complaints);
          CublasLtPeers peers =
              library == null
                  ? null
                  : new CublasLtPeers(library, stream, meter, data, complaints)) {
        String version = library == null ? null : library.version();
        double node = Double.NaN;
        ReadCeiling reading = null;
        if (kernels != null) {
          node = meter.time(Plan.cuda(1 << 18), call -> () -> kernels.empty(stream)).median();
          out.printf(Locale.ROOT, "empty graph node %.2f us%n", node);
          long most = products.stream().mapToLong(GemmCase::bytes).max().orElseThrow();
          reading = new ReadCeiling(kernels, stream, arena, meter, data, most);
        }
        double rate = Double.NaN;
        if (peers != null && !options.quick()) {
          rate = peers.rate();
          out.printf(
              Locale.ROOT,
              "cuBLASLt %s, bf16 product of 8192 x 8192 x 8192: %.0f TFLOP/s%n",
              version,
              rate / 1e6);
        }
        return new GemmTime(
                stream, options, meter, data, wrapped, wrappedMeter, reading, peers, node, rate)
            .measureAll(out, products, version, complaints);
      }
    }
  }

  private int measureAll(
      PrintStream out, List<GemmCase> products, @Nullable String version, List<String> complaints)
      throws IOException {
    String card = Results.name(stream.device().info());
    out.println(GemmMeasurement.HEADER);
    List<GemmMeasurement> measurements = new ArrayList<>();
    List<String> failures = new ArrayList<>();
    Path file = null;
    int next = 0;
    while (next < products.size()) {
      try (Arena arena = Arena.ofConfined()) {
        GemmWeights weights = null;
        int from = next;
        for (;
            next < products.size() && sameWeights(products.get(from), products.get(next));
            next++) {
          GemmCase product = products.get(next);
          try {
            String path = path(product);
            if (weights == null) {
              weights = new GemmWeights(stream, arena, product, options.quick(), data);
            }
            GemmMeasurement measurement = measure(product, path, weights);
            measurements.add(measurement);
            out.println(measurement.line());
          } catch (DeviceFailedException e) {
            throw e;
          } catch (Nvfp4Exception e) {
            failures.add(product + ": " + e.getMessage());
            out.println(product + ": not measured: " + e.getMessage());
          }
        }
      }
      // After each shape: a machine that is lent for minutes may go before the last one.
      if (options.out() != null && !measurements.isEmpty()) {
        file = write(options.out(), measurements, version, complaints);
      }
    }
    if (file != null) {
      out.println("written: " + file);
    }
    return report(out, card, measurements, failures, complaints);
  }

  private static boolean sameWeights(GemmCase first, GemmCase other) {
    return first.op() == other.op() && first.shape().equals(other.shape());
  }

  private int report(
      PrintStream out,
      String card,
      List<GemmMeasurement> measurements,
      List<String> failures,
      List<String> complaints) {
    List<List<GemmGoal.Verdict>> verdicts = GemmMeasurement.judge(measurements, card);
    for (int i = 0; i < measurements.size(); i++) {
      for (GemmGoal.Verdict verdict : verdicts.get(i)) {
        if (verdict.outcome() != Goal.Outcome.NOT_COMPARED) {
          out.println(measurements.get(i).product() + ": " + verdict);
        }
      }
    }
    complaints.forEach(complaint -> out.println("no peer: " + complaint));
    failures.forEach(failure -> out.println("not measured: " + failure));
    boolean wrong = false;
    for (GemmMeasurement measurement : measurements) {
      if (measurement.difference() != null) {
        out.println("WRONG: " + measurement.difference());
        wrong = true;
      }
    }
    return wrong ? 1 : failures.isEmpty() ? 0 : 3;
  }

  private GemmMeasurement measure(GemmCase product, String path, GemmWeights weights) {
    Plan plan = plan(product);
    Timing timing;
    double plain;
    String difference = null;
    try (Arena arena = Arena.ofConfined()) {
      GemmOperands operands =
          new GemmOperands(stream, arena, product, weights, plan.buffers(), data);
      weights.of(product.weights(), 0); // prepared before the capture
      timing = meter.time(plan, call -> operands.call(stream, call));
      for (int call : List.of(0, plan.buffers() - 1)) {
        String found = GemmTile.differs(stream, operands, call);
        difference = difference == null ? found : difference;
      }
      Meter other = wrappedMeter;
      Stream foreign = wrapped;
      plain =
          other == null || foreign == null
              ? timing.median()
              : other.time(plan, call -> operands.call(foreign, call)).median();
    }
    return new GemmMeasurement(
        product,
        path,
        timing,
        plain,
        reading == null ? Double.NaN : reading.micros(product.bytes()),
        node,
        rate,
        peers == null ? Map.of() : peers.of(product),
        difference);
  }

  private Plan plan(GemmCase product) {
    if (options.quick()) {
      return new Plan(3, 4, 1, 3, false);
    }
    return stream.device().isCuda()
        ? Plan.cuda(product.bytes(), product.estimate())
        : Plan.cpu(product.bytes(), false);
  }

  private String path(GemmCase product) {
    Device device = stream.device();
    return switch (product.op()) {
      case GEMM ->
          Gemm.path(
              device,
              product.m(),
              product.n(),
              product.k(),
              product.activations(),
              product.weights(),
              product.options());
      case GROUPED_GEMM ->
          GroupedGemm.path(
              device,
              product.groups(),
              product.m(),
              product.n(),
              product.k(),
              product.activations(),
              product.weights(),
              product.options());
      case BATCHED_GEMM ->
          BatchedGemm.path(
              device,
              product.groups(),
              product.m(),
              product.n(),
              product.k(),
              product.activations(),
              product.weights(),
              product.options());
    };
  }

  private Path write(
      Path folder,
      List<GemmMeasurement> measurements,
      @Nullable String version,
      List<String> complaints)
      throws IOException {
    String card = Results.name(stream.device().info());
    Map<String, @Nullable Object> result =
        Results.header("gemm", stream.device().info(), options.quick());
    result.put("empty_node_us", node);
    result.put("cublaslt", version);
    result.put("bf16_tflop_per_s", rate / 1e6);
    result.put("complaints", List.copyOf(complaints));
    List<List<GemmGoal.Verdict>> verdicts = GemmMeasurement.judge(measurements, card);
    List<Map<String, @Nullable Object>> rows = new ArrayList<>();
    for (int i = 0; i < measurements.size(); i++) {
      rows.add(measurements.get(i).json(verdicts.get(i)));
    }
    result.put("rows", rows);
    return Results.write(folder, stream.device().info(), "-gemm", result);
  }
}
