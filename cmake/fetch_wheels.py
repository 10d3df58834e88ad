#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unpacks a pinned set of PyPI wheels once into the cache, and prints the folder.

usage: fetch_wheels.py NAME REQUIREMENTS [--only GLOB]... [--cached-only]

The folder is $NVFP4J_CACHE/NAME-<hash of the requirements>, where NVFP4J_CACHE defaults to
$XDG_CACHE_HOME/nvfp4j, else ~/.cache/nvfp4j. It appears by one rename, so that neither an interrupted
download nor two builds at once can leave half a toolkit behind. A new set of wheels is a new folder.

With --cached-only nothing is downloaded: exit status 4 says that the folder does not exist yet.
"""

import argparse
import fnmatch
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile


def fail(sentence: str) -> "NoReturn":
    print(f"nvfp4j: {sentence}", file=sys.stderr)
    sys.exit(1)


def cache_root() -> pathlib.Path:
    explicit = os.environ.get("NVFP4J_CACHE")
    if explicit:
        return pathlib.Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "nvfp4j"


def download(requirements: pathlib.Path, into: pathlib.Path, name: str) -> None:
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run(pip + ["--version"], capture_output=True).returncode != 0:
        fail(
            f"{sys.executable} has no pip, which fetches {name}: install it (Debian: apt install python3-pip)"
            + (", install CUDA 13, or build with -Dnvfp4j.cuda=off." if name.startswith("cuda") else ".")
        )
    command = pip + ["download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(into), "--requirement", str(requirements)]
    run = subprocess.run(command, stdout=sys.stderr)
    if run.returncode != 0:
        fail(
            f"pip could not download {name} ({requirements.name}); its message is above: check the network or the proxy"
            + (", install CUDA 13, or build with -Dnvfp4j.cuda=off." if name.startswith("cuda") else ".")
        )


def unpack(wheel: pathlib.Path, into: pathlib.Path, only: list) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if info.is_dir() or (only and not any(fnmatch.fnmatch(info.filename, glob) for glob in only)):
                continue
            path = pathlib.Path(archive.extract(info, into))
            # zipfile drops the permission bits; some of NVIDIA's wheels do not have them in the first place.
            in_bin = "bin" in path.relative_to(into).parts[:-1]
            executable = in_bin or (info.external_attr >> 16) & 0o111
            path.chmod(0o755 if executable else 0o644)


def complete_cuda(root: pathlib.Path) -> None:
    """Makes the wheels' tree look like a toolkit: `lib64` (nvcc.profile's name) and the linker's name of cudart."""
    toolkit = root / "nvidia" / "cu13"
    if toolkit.is_dir():
        (toolkit / "lib64").symlink_to("lib")
        (toolkit / "lib" / "libcudart.so").symlink_to("libcudart.so.13")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("requirements", type=pathlib.Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--cached-only", action="store_true")
    arguments = parser.parse_args()

    pins = [line for line in arguments.requirements.read_text().splitlines() if not line.startswith("#")]
    digest = hashlib.sha256("\n".join(pins).encode())
    digest.update("\n".join(arguments.only).encode())
    target = cache_root() / f"{arguments.name}-{digest.hexdigest()[:12]}"
    if not target.is_dir():
        if arguments.cached_only:
            return 4
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        except OSError as error:
            fail(f"the cache {target.parent} cannot be written ({error.strerror}): set NVFP4J_CACHE to a folder that can.")
        try:
            print(f"nvfp4j: fetching {arguments.name} into {target}", file=sys.stderr)
            wheels, tree = scratch / "wheels", scratch / "tree"
            wheels.mkdir()
            tree.mkdir()
            download(arguments.requirements, wheels, arguments.name)
            for wheel in sorted(wheels.glob("*.whl")):
                unpack(wheel, tree, arguments.only)
            complete_cuda(tree)
            tree.chmod(0o755)
            try:
                tree.rename(target)
            except OSError:
                if not target.is_dir():  # otherwise another build was faster: its folder has the same bytes
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
