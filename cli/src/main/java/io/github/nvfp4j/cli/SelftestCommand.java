// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.Device;
import io.github.nvfp4j.Nvfp4Exception;
import io.github.nvfp4j.ReportedByKernelException;
import io.github.nvfp4j.Stream;
import java.io.PrintWriter;
import java.lang.foreign.Arena;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `nvfp4j selftest`: every op on random data, compared bit for bit with the reference in Java.
@Command(
    name = "selftest",
    description = {
      "Run every op on random data and compare each bit with the reference implementation (where"
          + " a result depends on the order of a sum: the distance, with the bound).",
      "Prints what fails, then `N passed, N failed`."
    },
    mixinStandardHelpOptions = true,
    versionProvider = VersionProvider.class)
final class SelftestCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--seed",
      paramLabel = "N",
      description = "Repeat a run: the seed of the random data (default: another one each time).")
  private @Nullable Long seed;

  @Option(names = "--json", description = "Print JSON.")
  private boolean json;

  @Mixin private DeviceOptions devices;

  private record Failed(String name, String sentence) {}

  @SuppressWarnings("NullAway.Init") // picocli sets the fields
  SelftestCommand() {}

  @Override
  public Integer call() {
    long chosen = seed != null ? seed : new SecureRandom().nextInt(Integer.MAX_VALUE);
    devices.check();
    List<Selftest.Case> cases = new Selftest(chosen).cases();
    List<Failed> failures = new ArrayList<>();
    PrintWriter out = spec.commandLine().getOut();
    try (Device device = devices.open();
        Stream stream = device.openStream()) {
      if (!json) {
        out.println("selftest on " + DeviceOptions.describe(device) + ", --seed " + chosen);
        out.flush();
      }
      try (Progress progress =
          new Progress(spec.commandLine().getErr(), "selftest", cases.size())) {
        for (int i = 0; i < cases.size(); i++) {
          progress.update(i);
          Failed failed = run(cases.get(i), stream);
          if (failed != null) {
            failures.add(failed);
            if (!json) {
              out.println("FAILED " + failed.name() + ": " + failed.sentence());
              out.flush();
            }
          }
        }
      }
      int passed = cases.size() - failures.size();
      if (json) {
        out.println(Json.of(toMap(device, chosen, passed, failures)));
      } else {
        out.println(passed + " passed, " + failures.size() + " failed");
      }
    }
    return failures.isEmpty() ? Verdict.GOOD : Verdict.CHECK_FAILED;
  }

  /// A case that an op refuses has failed; a device that is gone ends the command.
  private static @Nullable Failed run(Selftest.Case test, Stream stream) {
    try (Arena arena = Arena.ofConfined()) {
      Workbench bench = new Workbench(stream, arena, (byte) 0xa5);
      String sentence = test.body().run(bench);
      return sentence == null ? null : new Failed(test.name(), sentence);
    } catch (ReportedByKernelException | IllegalArgumentException e) {
      return new Failed(test.name(), Verdict.of(e).sentence());
    } catch (Nvfp4Exception e) {
      throw new Failure(Verdict.DEVICE_FAILED, test.name() + ": " + Verdict.of(e).sentence(), e);
    }
  }

  private static Map<String, @Nullable Object> toMap(
      Device device, long seed, int passed, List<Failed> failures) {
    Map<String, @Nullable Object> map = new LinkedHashMap<>();
    map.put("device", device.info().id());
    map.put("device_name", device.info().name());
    map.put("seed", seed);
    map.put("passed", passed);
    map.put("failed", failures.size());
    List<Object> list = new ArrayList<>();
    for (Failed failed : failures) {
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("case", failed.name());
      one.put("sentence", failed.sentence());
      list.add(one);
    }
    map.put("failures", list);
    return map;
  }
}
