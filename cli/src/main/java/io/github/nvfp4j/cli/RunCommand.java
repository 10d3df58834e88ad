// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.ReportedByKernelException;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import io.github.nvfp4j.checkpoint.SafetensorsFile;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/// `nvfp4j run`: one op on tensors of a file.
@Command(
    name = "run",
    description = {
      "Run one op on the tensors of a safetensors file and write what it gives.",
      "OUT is written when everything is good, and never in part."
    },
    mixinStandardHelpOptions = true,
    versionProvider = VersionProvider.class)
final class RunCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Parameters(
      index = "0",
      paramLabel = "OP",
      description =
          "quantize, dequantize, swizzle, unswizzle, swiglu, swiglu_quantize, gemm, grouped_gemm,"
              + " batched_gemm, sinkhorn, hc_pre, hc_post, hc_head, hc_post_pre,"
              + " router_dense, router_hash, expert_dispatch, expert_combine, indexer_topk,"
              + " cache_append_window, cache_append or sample.")
  private String op;

  @Parameters(index = "1", paramLabel = "IN", description = "The op's tensors, by name.")
  private Path in;

  @Parameters(index = "2", paramLabel = "OUT", description = "Receives the op's results.")
  private Path out;

  @Option(
      names = "-p",
      paramLabel = "NAME=VALUE",
      description = "A parameter of the op; may be repeated.")
  private List<String> parameters = new ArrayList<>();

  @Option(
      names = "--repeat",
      paramLabel = "N",
      defaultValue = "1",
      description = "Run N times on fresh copies, and fail when any bit of a result differs.")
  private int repeat;

  @Option(
      names = "--keep",
      description = "Write OUT even when a kernel reports a fault or two runs differ.")
  private boolean keep;

  @Option(names = "--json", description = "Print JSON.")
  private boolean json;

  @Mixin private DeviceOptions devices;

  /// A result on the host.
  private record Result(SafetensorsEntry entry, MemorySegment data) {}

  @SuppressWarnings("NullAway.Init") // picocli sets the fields
  RunCommand() {}

  @Override
  public Integer call() throws IOException {
    Function<OpRequest, RunOps.Prepared> known = RunOps.ALL.get(op);
    if (known == null) {
      throw Failure.badInput(
          "run: OP is " + op + ", expected one of " + String.join(", ", RunOps.ALL.keySet()));
    }
    if (repeat < 1) {
      throw Failure.badInput("run: --repeat is " + repeat + ", expected at least 1");
    }
    devices.check();
    OutputFile.refuseSame("run", in, out);
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile file = SafetensorsFile.open(in, arena);
      OpRequest request = new OpRequest(op, file, parse(parameters));
      RunOps.Prepared prepared = known.apply(request);
      request.refuseTheRest();
      try (Device device = devices.open();
          Stream stream = device.openStream()) {
        run(prepared, stream, arena);
      }
    }
    return Verdict.GOOD;
  }

  private Map<String, String> parse(List<String> given) {
    Map<String, String> map = new LinkedHashMap<>();
    for (String parameter : given) {
      int equals = parameter.indexOf('=');
      if (equals < 1) {
        throw Failure.badInput(op + ": parameter is " + parameter + ", expected NAME=VALUE");
      }
      String name = parameter.substring(0, equals);
      if (map.put(name, parameter.substring(equals + 1)) != null) {
        throw Failure.badInput(op + ": parameter " + name + " is given twice, expected once");
      }
    }
    return map;
  }

  private void run(RunOps.Prepared prepared, Stream stream, Arena arena) throws IOException {
    List<Result> results = new ArrayList<>();
    RuntimeException fault = runOnce(prepared, stream, arena, 0, results);
    for (int i = 1; i < repeat && (fault == null || keep); i++) {
      try (Arena again = Arena.ofConfined()) {
        List<Result> others = new ArrayList<>();
        RuntimeException otherFault = runOnce(prepared, stream, again, i, others);
        RuntimeException difference = compare(results, others, i);
        fault = fault != null ? fault : otherFault != null ? otherFault : difference;
      }
    }
    if (fault == null || keep) {
      write(results);
    }
    if (fault != null) {
      throw fault;
    }
    report(results, stream.device());
  }

  /// Runs the op and collects its results in an arena.
  ///
  /// @return what a kernel reported, or null
  private static @Nullable RuntimeException runOnce(
      RunOps.Prepared prepared, Stream stream, Arena arena, int round, List<Result> results) {
    try (Arena inputs = Arena.ofConfined()) {
      Map<String, Tensor> tensors = new LinkedHashMap<>();
      byte pattern = (byte) (0xa5 + 0x35 * round);
      prepared.run(new Workbench(stream, inputs, pattern), tensors::put);
      RuntimeException fault = null;
      try {
        stream.synchronize();
      } catch (ReportedByKernelException e) {
        fault = e;
      }
      tensors.forEach((name, tensor) -> {
        SafetensorsDType dtype = SafetensorsDType.valueOf(tensor.dtype().name());
        SafetensorsEntry entry = new SafetensorsEntry(name, dtype, tensor.shape());
        results.add(new Result(entry, tensor.toHost(stream, arena).segment()));
      });
      return fault;
    }
  }

  private @Nullable RuntimeException compare(List<Result> first, List<Result> other, int round) {
    for (int i = 0; i < first.size(); i++) {
      Result a = first.get(i);
      Result b = other.get(i);
      long at = a.data().mismatch(b.data());
      if (at >= 0) {
        return new Failure(
            Verdict.CHECK_FAILED,
            String.format(
                "%s: tensor %s of run %d differs from that of run 1, first in byte %d"
                    + " (0x%02x, expected 0x%02x)",
                op,
                a.entry().name(),
                round + 1,
                at,
                b.data().get(ValueLayout.JAVA_BYTE, at),
                a.data().get(ValueLayout.JAVA_BYTE, at)));
      }
    }
    return null;
  }

  private void write(List<Result> results) throws IOException {
    // The widest elements first: then every tensor of the file is aligned to its own.
    List<Result> ordered = new ArrayList<>(results);
    ordered.sort(Comparator.comparingInt(r -> -r.entry().dtype().alignment()));
    List<SafetensorsEntry> entries = ordered.stream().map(Result::entry).toList();
    try (OutputFile file = new OutputFile(out, entries, Map.of())) {
      for (Result result : ordered) {
        file.writer().write(result.entry().name(), result.data());
      }
      file.commit();
    }
  }

  private void report(List<Result> results, Device device) {
    PrintWriter writer = spec.commandLine().getOut();
    if (json) {
      Map<String, @Nullable Object> map = new LinkedHashMap<>();
      map.put("op", op);
      map.put("device", device.info().id());
      map.put("device_name", device.info().name());
      map.put("runs", repeat);
      List<Object> tensors = new ArrayList<>();
      for (Result result : results) {
        Map<String, Object> tensor = new LinkedHashMap<>();
        tensor.put("name", result.entry().name());
        tensor.put("dtype", result.entry().dtype());
        tensor.put("shape", Arrays.stream(result.entry().shape()).boxed().toList());
        tensors.add(tensor);
      }
      map.put("outputs", tensors);
      writer.println(Json.of(map));
      return;
    }
    StringBuilder line = new StringBuilder(op + " on " + DeviceOptions.describe(device) + ":");
    String separator = " ";
    for (Result result : results) {
      SafetensorsEntry entry = result.entry();
      line.append(separator).append(entry.name()).append(' ').append(entry.dtype()).append(' ');
      line.append(Arrays.toString(entry.shape()));
      separator = ", ";
    }
    writer.println(line.append(repeat > 1 ? "; " + repeat + " runs, all bits equal" : ""));
  }
}
