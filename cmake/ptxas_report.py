#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiler launcher: runs nvcc, and keeps what ptxas says about each kernel in OBJECT.ptxas.

One report per object, so that a parallel build cannot mix two and an incremental one cannot lose any.
verify_library.py reads them. Everything else that nvcc says is passed on.
"""

import os
import subprocess
import sys


def main() -> int:
    command = sys.argv[1:]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    report, rest = [], []
    for line in run.stderr.splitlines(keepends=True):
        # ptxas's lines start with "ptxas info"; the frame and spill counts follow, indented, without it.
        ours = line.startswith("ptxas info") or "bytes stack frame" in line
        (report if ours else rest).append(line)
    sys.stderr.write("".join(rest))
    if run.returncode == 0 and "-c" in command and "-o" in command:
        path = command[command.index("-o") + 1] + ".ptxas"
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            file.write("".join(report))
        os.replace(path + ".tmp", path)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
