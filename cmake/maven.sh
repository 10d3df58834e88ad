#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What native/pom.xml runs: maven.sh library|tests|test BUILD_FOLDER [INSTALL_FOLDER]
#   library  configure, build and verify libnvfp4j.so, and install it with its checksums into INSTALL_FOLDER
#   tests    build the native tests, the ABI probe and the benchmarks' ceiling kernels
#   test     run the tests (those labelled gpu where an NVIDIA driver is; NVFP4J_GPU=required demands one)
# The tools that it needs were looked for by tools/check-tools. NVFP4J_CUDA=off builds the CPU device alone.
set -euo pipefail

die() {
  echo "nvfp4j: $*" >&2
  exit 1
}

step=$1
build=$2
install=${3:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

jobs() {
  local cpus
  cpus=$(nproc 2>/dev/null || echo 2)
  # nvcc takes about 1.5 GiB at its largest; a small machine with many cores would swap.
  local gib=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1572864 + 1))
  echo $((cpus < gib ? cpus : gib))
}

case $step in
  library)
    if command -v ninja >/dev/null; then
      generator=Ninja
    else
      generator="Unix Makefiles"
    fi
    cuda=$([[ ${NVFP4J_CUDA:-on} =~ ^(off|OFF|0|false)$ ]] && echo OFF || echo ON)
    # A build folder belongs to one generator and one source folder; when either changed, start again.
    if [[ -f $build/CMakeCache.txt ]] &&
      ! { grep -qxF "CMAKE_GENERATOR:INTERNAL=$generator" "$build/CMakeCache.txt" &&
        grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$build/CMakeCache.txt"; }; then
      rm -rf "$build"
    fi
    cmake -S "$root" -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DNVFP4J_CUDA=$cuda -Wno-dev
    cmake --build "$build" --target natives --parallel "$(jobs)"
    # What an earlier build left (a libcudart, with CUDA now off) must not be packed.
    rm -rf "$install"
    cmake --install "$build" --prefix "$install" --component natives --strip
    cat "$build/verification.txt"
    ;;
  tests)
    cmake --build "$build" --parallel "$(jobs)"
    ;;
  test)
    cd "$build"
    if [[ ${NVFP4J_GPU:-} == required ]] || nvidia-smi -L >/dev/null 2>&1; then
      ctest --output-on-failure
    else
      echo "nvfp4j: native tests labelled gpu are skipped: no NVIDIA driver answers (nvidia-smi -L)"
      ctest --output-on-failure -LE gpu
    fi
    ;;
  *)
    die "maven.sh: unknown step $step"
    ;;
esac
