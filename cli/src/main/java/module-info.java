// SPDX-License-Identifier: Apache-2.0
/// The command `nvfp4j`: quantises checkpoints, runs single ops on tensors from files, and says
/// what the devices of this machine can do.
module io.github.nvfp4j.cli {
  requires info.picocli;
  requires io.github.nvfp4j;
  requires static org.jspecify;

  // Options and parameters are fields that picocli sets.
  opens io.github.nvfp4j.cli to
      info.picocli;
}
