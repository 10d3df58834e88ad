// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.Spec;

/// The command `nvfp4j`.
///
/// Exit codes: 0 good; 1 the check failed; 2 wrong usage or wrong input; 3 the device or the
/// library failed. What went wrong is one sentence on stderr; results are on stdout.
@Command(
    name = "nvfp4j",
    description = "NVFP4 quantisation of checkpoints, on the CPU or on a GPU, with the same bits.",
    subcommands = {
      DevicesCommand.class,
      QuantizeCommand.class,
      RunCommand.class,
      SelftestCommand.class
    },
    mixinStandardHelpOptions = true,
    versionProvider = VersionProvider.class,
    exitCodeListHeading = "%nExit codes:%n",
    exitCodeList = {
      "0:good",
      "1:the check failed: a kernel reported a fault in the data, or results differ",
      "2:wrong usage, or a file that is not what it must be",
      "3:the device or the library failed"
    })
public final class Main implements Runnable {
  @Spec private CommandSpec spec;

  @Option(
      names = "--stacktrace",
      scope = ScopeType.INHERIT,
      description = "Show where in the program a failure came from.")
  private boolean stacktrace;

  @SuppressWarnings("NullAway.Init") // picocli sets the fields
  private Main() {}

  /// Runs the command and ends the process with its exit code.
  ///
  /// @param arguments what the user typed
  public static void main(String[] arguments) {
    PrintWriter out = new PrintWriter(System.out, false, StandardCharsets.UTF_8);
    PrintWriter err = new PrintWriter(System.err, true, StandardCharsets.UTF_8);
    int exitCode = run(arguments, out, err);
    out.flush();
    err.flush();
    System.exit(exitCode);
  }

  /// Runs the command in this process.
  ///
  /// @param arguments what the user typed
  /// @param out receives results
  /// @param err receives sentences
  /// @return the exit code
  static int run(String[] arguments, PrintWriter out, PrintWriter err) {
    Main main = new Main();
    CommandLine command =
        new CommandLine(main)
            .setOut(out)
            .setErr(err)
            .setParameterExceptionHandler((e, a) -> explainUsage(main, e))
            .setExecutionExceptionHandler((e, c, p) -> explain(main, c, e));
    int exitCode;
    try {
      exitCode = command.execute(arguments);
    } catch (Error e) {
      // picocli handles exceptions alone. Out of memory, or a mapped file that another process cut
      // short: the user gets a sentence for these as well.
      exitCode = explain(main, command, e);
    }
    out.flush();
    err.flush();
    return exitCode;
  }

  /// Without a subcommand there is nothing to do.
  @Override
  public void run() {
    throw new ParameterException(spec.commandLine(), "a command is missing");
  }

  private static int explainUsage(Main main, ParameterException e) {
    CommandLine command = e.getCommandLine();
    String name = command.getCommandSpec().qualifiedName();
    String sentence = Verdict.of(Failure.badInput(e.getMessage())).sentence();
    command.getErr().println(name + ": " + sentence + " (see " + name + " --help)");
    if (main.stacktrace) {
      e.printStackTrace(command.getErr());
    }
    return Verdict.BAD_INPUT;
  }

  private static int explain(Main main, CommandLine command, Throwable e) {
    Verdict verdict = Verdict.of(e);
    command.getErr().println("nvfp4j: " + verdict.sentence());
    if (main.stacktrace) {
      e.printStackTrace(command.getErr());
    }
    return verdict.exitCode();
  }
}
