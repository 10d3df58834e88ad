#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Verifies a built libnvfp4j.so; the build runs it after every link and fails when it does.

- It exports exactly the functions that the headers declare NVFP4J_API.
- It needs only the C library's parts and the CUDA runtime beside it, and finds that through RUNPATH $ORIGIN.
- The newest glibc symbol version that it needs is at most the ceiling.
- It is at most 30 MB, and asks for no executable stack.
- No kernel spills registers or has a stack frame, or has its wgmma instructions serialised by ptxas (the reports of ptxas_report.py, one per object).

Exit status 0 and a short report, or 1 and one sentence for each thing that is wrong.
"""

import argparse
import pathlib
import platform
import re
import subprocess
import sys

NEEDED_ALLOWED = {
    "libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "ld-linux-x86-64.so.2", "libcudart.so.13",
}
SIZE_LIMIT = 30_000_000


def readelf(*arguments: str) -> str:
    try:
        run = subprocess.run(["readelf", "-W", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        sys.exit("nvfp4j: readelf was not found; it comes with the compiler (Debian: apt install binutils).")
    if run.returncode != 0:
        sys.exit(f"nvfp4j: readelf {' '.join(arguments)}: {run.stderr.strip()}")
    return run.stdout


def declared_functions(headers: pathlib.Path) -> set:
    """Names of the functions declared NVFP4J_API, wherever the declaration breaks its lines."""
    names = set()
    for header in sorted(headers.glob("*.h")):
        text = header.read_text(encoding="utf-8")
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
        text = re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", "", text, flags=re.MULTILINE)
        for declaration in re.findall(r"\bNVFP4J_API\b([^;]*);", text):
            match = re.match(r"[^(]*?\b(\w+)\s*\(", declaration)
            if match is None:
                sys.exit(f"nvfp4j: {header}: cannot read the declaration `NVFP4J_API{declaration};`")
            names.add(match.group(1))
    return names


def exported_symbols(library: pathlib.Path) -> set:
    names = set()
    for line in readelf("--dyn-syms", str(library)).splitlines():
        fields = line.split()
        # Num: Value Size Type Bind Vis Ndx Name
        if len(fields) >= 8 and fields[0].rstrip(":").isdigit() and fields[4] in ("GLOBAL", "WEAK", "UNIQUE") and fields[6] != "UND":
            names.add(fields[7].split("@")[0])
    return names


def version_key(version: str) -> tuple:
    return tuple(int(part) for part in version.split("."))


def check_exports(library, headers, problems, facts):
    declared, exported = declared_functions(headers), exported_symbols(library)
    if not declared:
        problems.append(f"{headers} declares no NVFP4J_API function")
    for name in sorted(exported - declared):
        problems.append(f"it exports {name}, which no header declares NVFP4J_API")
    for name in sorted(declared - exported):
        problems.append(f"it does not export {name}, which a header declares NVFP4J_API")
    facts.append(f"exports   {len(exported)} functions, as declared")


def check_dependencies(library, problems, facts):
    dynamic = readelf("-d", str(library))
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    for name in needed:
        if name not in NEEDED_ALLOWED:
            problems.append(f"it needs {name}; only the C library and libcudart.so.13 are allowed")
    path = re.findall(r"\((RUNPATH|RPATH)\).*\[(.*)\]", dynamic)
    if path != [("RUNPATH", "$ORIGIN")]:
        problems.append(f"its search path is {path}, expected RUNPATH $ORIGIN alone")
    if "libcudart.so.13" in needed and not (library.parent / "libcudart.so.13").is_file():
        problems.append("libcudart.so.13 does not lie beside it")
    if "(TEXTREL)" in dynamic:
        problems.append("it has text relocations")
    stack = re.search(r"GNU_STACK.*?\s(R?WE?|RWE)\s", readelf("-l", str(library)))
    if stack is None or "E" in stack.group(1):
        problems.append("it asks for an executable stack")
    facts.append(f"needs     {', '.join(sorted(needed))}")


def check_glibc(library, ceiling, problems, facts):
    versions = set(re.findall(r"\bGLIBC_(\d+(?:\.\d+)+)", readelf("-V", str(library))))
    floor = max(versions, key=version_key, default="2.0")
    host = platform.libc_ver()[1] or "0.0"
    # Debian 12 (2.36) builds what is published; a newer machine may build for itself, and cannot build for less.
    for_itself = ceiling == "host" or (version_key(host) > (2, 36) and version_key(floor) <= version_key(host))
    if ceiling != "host" and version_key(floor) > version_key(ceiling) and not for_itself:
        problems.append(f"it needs glibc {floor}, and the ceiling is {ceiling}")
    note = "" if ceiling != "host" and version_key(floor) <= version_key(ceiling) else " (built for machines like this one, not for publication)"
    facts.append(f"glibc     {floor} or newer{note}")


def check_size(library, limit, problems, facts):
    size = library.stat().st_size
    if size > limit:
        problems.append(f"it has {size:,} bytes, and the budget is {limit:,}")
    facts.append(f"size      {size:,} bytes of {limit:,}")


def check_kernels(list_file, problems, facts):
    kernels = 0
    for item in (line for line in list_file.read_text().splitlines() if line.strip()):
        report = pathlib.Path(item + ".ptxas")
        if not report.is_file():
            problems.append(f"ptxas's report {report} is missing: remove the object and build again")
            continue
        function, in_object = "?", 0
        for line in report.read_text().splitlines():
            match = re.search(r"wgmma\.mma_async instructions are serialized due to (.*?) (?:for|in) the function '([^']+)'", line)
            if match:
                problems.append(f"{match.group(2)} has its wgmma instructions one after the other: {match.group(1)} ({report.name})")
            match = re.search(r"Function properties for (\S+)", line)
            if match:
                function = match.group(1)
            match = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
            if match:
                in_object += 1
                frame, stores, loads = (int(group) for group in match.groups())
                if frame or stores or loads:
                    problems.append(
                        f"{function} has a stack frame of {frame} bytes, {stores} bytes of spill stores and {loads} of spill loads ({report.name})")
        if in_object == 0:
            problems.append(f"ptxas's report {report} names no function")
        kernels += in_object
    facts.append(f"kernels   {kernels} functions, no spills, no stack frames")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--headers", type=pathlib.Path, required=True)
    parser.add_argument("--glibc-ceiling", default="2.35")
    parser.add_argument("--size-limit", type=int, default=SIZE_LIMIT)
    parser.add_argument("--kernel-objects", type=pathlib.Path)
    parser.add_argument("--exports-only", action="store_true", help="sanitizer builds, which need more and are not shipped")
    parser.add_argument("--report", type=pathlib.Path)
    arguments = parser.parse_args()

    problems, facts = [], []
    check_exports(arguments.library, arguments.headers, problems, facts)
    if not arguments.exports_only:
        check_dependencies(arguments.library, problems, facts)
        check_glibc(arguments.library, arguments.glibc_ceiling, problems, facts)
        check_size(arguments.library, arguments.size_limit, problems, facts)
    if arguments.kernel_objects:
        check_kernels(arguments.kernel_objects, problems, facts)
    if problems:
        for problem in problems:
            print(f"nvfp4j: {arguments.library.name}: {problem}.", file=sys.stderr)
        return 1
    text = "\n".join(facts) + "\n"
    if arguments.report:
        arguments.report.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
