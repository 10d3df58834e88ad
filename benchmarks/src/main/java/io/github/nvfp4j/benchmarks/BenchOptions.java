// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;

/// The command line of the benchmark programs.
///
/// @param device `cpu` or `cuda:N`
/// @param quick small shapes and few repetitions: a test that everything runs, not a measurement
/// @param out folder for the result file, or null for none
/// @param ceilings `libnvfp4j_bench.so`, or null: no ceilings are measured
/// @param peers result files of the peers' scripts
/// @param cublaslt cuBLASLt's file or a folder that has it, or null: the dynamic linker looks for
///   it
/// @param only workloads whose name matches, or null for all
record BenchOptions(
    String device,
    boolean quick,
    @Nullable Path out,
    @Nullable Path ceilings,
    List<Path> peers,
    @Nullable Path cublaslt,
    @Nullable Pattern only) {

  static final String USAGE =
      """
      Options:
        --device cpu|cuda:N   what is measured (default cpu)
        --out FOLDER          writes <card>-<commit>.json there, of matrix products
                              <card>-<commit>-gemm.json
        --ceilings FILE       libnvfp4j_bench.so: read, write, copy and mixed kernels
        --peers FILE          merges the results of a peers' script; may be repeated
        --cublaslt PLACE      matrix products: libcublasLt.so.13 or .12, or a folder that has it (its
                              own, a CUDA toolkit's, or Python packages); without it the dynamic
                              linker looks for it
        --only REGEX          measures what the regular expression finds in "op (variant) TxD", of
                              matrix products in "op shape M=ROWS (variant)"; status 4 when nothing
        --quick               small shapes, few repetitions: checks that everything runs
      """;

  /// @param arguments the command line
  /// @throws IllegalArgumentException with one sentence when it is wrong
  static BenchOptions parse(String... arguments) {
    String device = "cpu";
    boolean quick = false;
    Path out = null;
    Path ceilings = null;
    List<Path> peers = new ArrayList<>();
    Path cublaslt = null;
    Pattern only = null;
    Deque<String> left = new ArrayDeque<>(List.of(arguments));
    while (!left.isEmpty()) {
      String option = left.pop();
      switch (option) {
        case "--device" -> device = argument(option, left);
        case "--out" -> out = Path.of(argument(option, left));
        case "--ceilings" -> ceilings = Path.of(argument(option, left));
        case "--peers" -> peers.add(Path.of(argument(option, left)));
        case "--cublaslt" -> cublaslt = Path.of(argument(option, left));
        case "--only" -> only = regex(argument(option, left));
        case "--quick" -> quick = true;
        default -> throw new IllegalArgumentException("unknown option " + option);
      }
    }
    return new BenchOptions(device, quick, out, ceilings, List.copyOf(peers), cublaslt, only);
  }

  /// @return whether a row is to be measured
  boolean wants(Object row) {
    return only == null || only.matcher(row.toString()).find();
  }

  private static String argument(String option, Deque<String> left) {
    if (left.isEmpty()) {
      throw new IllegalArgumentException(option + " has no argument");
    }
    return left.pop();
  }

  private static Pattern regex(String text) {
    try {
      return Pattern.compile(text);
    } catch (PatternSyntaxException e) {
      throw new IllegalArgumentException("--only: " + e.getDescription() + " in " + text, e);
    }
  }
}
