// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Nvfp4j;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.checkpoint.SafetensorsFile;
import java.io.IOException;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/// `nvfp4j quantize`: the weights of a checkpoint become NVFP4.
@Command(
    name = "quantize",
    description = {
      "Quantise the weights of a safetensors checkpoint to NVFP4.",
      "Weights of linear layers (BF16, F16 or F32, two-dimensional, K a multiple of 16), experts"
          + " and the output head become X.weight (U8 [N,K/2]), X.weight_scale (F8_E4M3 [N,K/16])"
          + " and X.weight_scale_2 (F32 scalar); everything else is copied bit for bit."
          + " docs/quantize-names.md has the list of names."
    },
    mixinStandardHelpOptions = true,
    versionProvider = VersionProvider.class)
final class QuantizeCommand implements Callable<Integer> {
  /// The metadata key that says how a file was made.
  static final String NOTE = "nvfp4j.quantization";

  @Spec private CommandSpec spec;

  @Parameters(index = "0", paramLabel = "IN", description = "The checkpoint.")
  private Path in;

  @Parameters(index = "1", paramLabel = "OUT", description = "The new checkpoint.")
  private Path out;

  @Option(
      names = "--include",
      paramLabel = "REGEX",
      description =
          "Quantise the tensors whose name has a match, in place of the default list; may be"
              + " repeated. Embeddings, router gates, hyper-connections, norms and position biases"
              + " stay as they are.")
  private List<String> include = new ArrayList<>();

  @Option(
      names = "--exclude",
      paramLabel = "REGEX",
      description = "Leave the tensors alone whose name has a match; may be repeated.")
  private List<String> exclude = new ArrayList<>();

  @Option(names = "--json", description = "Print JSON.")
  private boolean json;

  @Mixin private DeviceOptions devices;

  @SuppressWarnings("NullAway.Init") // picocli sets the fields
  QuantizeCommand() {}

  @Override
  public Integer call() throws IOException {
    long start = System.nanoTime();
    TensorRules rules =
        new TensorRules(compile("--include", include), compile("--exclude", exclude));
    devices.check();
    OutputFile.refuseSame("quantize", in, out);
    try (Arena arena = Arena.ofShared()) {
      SafetensorsFile file = SafetensorsFile.open(in, arena);
      QuantizePlan plan = QuantizePlan.of(file.entries(), rules);
      check(plan);
      try (Device device = devices.open();
          Stream stream = device.openStream()) {
        quantize(file, arena, plan, stream, start);
      }
    }
    return Verdict.GOOD;
  }

  private static List<Pattern> compile(String option, List<String> expressions) {
    List<Pattern> patterns = new ArrayList<>();
    for (String expression : expressions) {
      try {
        patterns.add(Pattern.compile(expression));
      } catch (PatternSyntaxException e) {
        throw Failure.badInput(
            "quantize: "
                + option
                + " is "
                + expression
                + ", expected a regular expression: "
                + e.getDescription());
      }
    }
    return patterns;
  }

  private void check(QuantizePlan plan) {
    if (plan.selected().isEmpty()) {
      throw Failure.badInput(
          "quantize: "
              + in
              + " has no tensor to quantise among its "
              + plan.kept().size()
              + ", expected one that the list of names or --include selects");
    }
    String collision = plan.collision();
    if (collision != null) {
      throw Failure.badInput(
          "quantize: " + in + " has a tensor " + collision + ", the name of a scale to be written");
    }
  }

  private void quantize(
      SafetensorsFile file, Arena arena, QuantizePlan plan, Stream stream, long start)
      throws IOException {
    QuantizeReport report = new QuantizeReport();
    long fileAfter;
    double quantizeSeconds;
    Progress progress = new Progress(spec.commandLine().getErr(), "quantize", file.byteSize());
    try (progress;
        OutputFile output = new OutputFile(out, plan.outputs(), metadata(file, plan));
        CheckpointQuantizer quantizer = new CheckpointQuantizer(file, arena, stream)) {
      long done = 0;
      for (QuantizePlan.Selected tensor : plan.selected()) {
        report.addQuantized(tensor, quantizer.quantize(tensor, output.writer()));
        progress.update(done += tensor.entry().byteSize());
      }
      for (QuantizePlan.Left tensor : plan.kept()) {
        String name = tensor.entry().name();
        output.writer().write(name, file.data(name));
        report.addKept(tensor);
        progress.update(done += tensor.entry().byteSize());
      }
      output.commit();
      fileAfter = output.writer().byteSize();
      quantizeSeconds = quantizer.quantizeNanos() / 1e9;
    }
    double seconds = (System.nanoTime() - start) / 1e9;
    PrintWriter writer = spec.commandLine().getOut();
    Device device = stream.device();
    if (json) {
      Map<String, @Nullable Object> map = new LinkedHashMap<>();
      map.put("input", in);
      map.put("output", out);
      map.putAll(report.toMap(device, file.byteSize(), fileAfter, seconds, quantizeSeconds));
      writer.println(Json.of(map));
    } else {
      report.print(writer, device, file.byteSize(), fileAfter, seconds, quantizeSeconds);
    }
  }

  /// The checkpoint's own metadata, and how the tensors were made. Nothing of the device: the same
  /// input gives the same file everywhere.
  private static Map<String, String> metadata(SafetensorsFile file, QuantizePlan plan) {
    Map<String, String> metadata = new LinkedHashMap<>(file.metadata());
    Map<String, @Nullable Object> note = new LinkedHashMap<>();
    note.put("format", "nvfp4");
    note.put("recipe", "exact");
    note.put("zero_scale", "min");
    note.put("global_scale", "tensor");
    note.put("scale_layout", "linear");
    note.put("block", 16);
    note.put("tensors", plan.selected().size());
    note.put("by", "nvfp4j " + Nvfp4j.version());
    metadata.put(NOTE, Json.line(note));
    return metadata;
  }
}
