// SPDX-License-Identifier: Apache-2.0
/// The command line. [Main][io.github.nvfp4j.cli.Main] is the entry; every subcommand is a class of
/// its own, `XyzCommand`; what goes wrong reaches the user as one sentence and an exit code
/// ([Failure][io.github.nvfp4j.cli.Failure], [Verdict][io.github.nvfp4j.cli.Verdict]).
@NullMarked
package io.github.nvfp4j.cli;

import org.jspecify.annotations.NullMarked;
