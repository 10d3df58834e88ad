#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that verify_library.py passes a good library, and refuses libraries that are bad in one way each.

usage: verify_library_test.py [C++ COMPILER]
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

COMPILER = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "g++"
SCRIPT = pathlib.Path(__file__).with_name("verify_library.py")
HEADER = """
#define NVFP4J_API
/* NVFP4J_API int nvfp4j_in_a_comment(void); */
NVFP4J_API int nvfp4j_one(void);
NVFP4J_API const char*
nvfp4j_two(int a,
           int b);
"""
GOOD = """
#include <stdlib.h>
extern "C" __attribute__((visibility("default"))) int nvfp4j_one() { return getenv("NVFP4J") != nullptr; }
extern "C" __attribute__((visibility("default"))) const char* nvfp4j_two(int, int) { return "two"; }
"""
ORIGIN = "-Wl,--enable-new-dtags,-rpath,$ORIGIN"
CLEAN = """ptxas info    : Compiling entry function 'k' for 'sm_90a'
ptxas info    : Function properties for k
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
"""


class VerifyLibrary(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        (self.folder / "include").mkdir()
        (self.folder / "include" / "a.h").write_text(HEADER)

    def build(self, source=GOOD, *flags, run_path=ORIGIN):
        code, library = self.folder / "a.cpp", self.folder / "libnvfp4j.so"
        code.write_text(source)
        command = [COMPILER, "-shared", "-fPIC", "-fvisibility=hidden", "-static-libstdc++", "-static-libgcc"]
        subprocess.run(command + [run_path, str(code), "-o", str(library), *flags], check=True)

    def verify(self, *options):
        command = [sys.executable, str(SCRIPT), "--library", str(self.folder / "libnvfp4j.so")]
        command += ["--headers", str(self.folder / "include"), *options]
        return subprocess.run(command, capture_output=True, text=True)

    def refused(self, sentence, *options):
        run = self.verify(*options)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertIn(sentence, run.stderr)

    def reports(self, text):
        (self.folder / "k.o.ptxas").write_text(text)
        (self.folder / "objects.txt").write_text(str(self.folder / "k.o") + "\n")
        return "--kernel-objects", str(self.folder / "objects.txt")

    def test_good(self):
        self.build()
        run = self.verify(*self.reports(CLEAN))
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("exports   2 functions", run.stdout)
        self.assertIn("kernels   1 functions", run.stdout)

    def test_one_export_too_many(self):
        self.build(GOOD + 'extern "C" __attribute__((visibility("default"))) int nvfp4j_secret() { return 3; }')
        self.refused("exports nvfp4j_secret, which no header declares")

    def test_one_export_missing(self):
        self.build(GOOD.replace("nvfp4j_two", "nvfp4j_zwei"))
        self.refused("does not export nvfp4j_two")

    def test_stranger_needed(self):
        self.build(GOOD, "-Wl,--no-as-needed", "-l:libstdc++.so.6")
        self.refused("needs libstdc++.so.6")

    def test_no_run_path(self):
        self.build(run_path="-Wl,--as-needed")
        self.refused("expected RUNPATH $ORIGIN alone")

    def test_run_path_of_the_build_machine(self):
        self.build(run_path="-Wl,--enable-new-dtags,-rpath,$ORIGIN:/opt/cuda/lib64")
        self.refused("expected RUNPATH $ORIGIN alone")

    def test_cudart_not_beside(self):
        stub = self.folder / "elsewhere"
        stub.mkdir()
        code = self.folder / "stub.cpp"
        code.write_text("int stub() { return 0; }")
        stub_library = str(stub / "libcudart.so.13")
        subprocess.run([COMPILER, "-shared", "-fPIC", "-Wl,-soname,libcudart.so.13", str(code), "-o", stub_library], check=True)
        self.build(GOOD, "-Wl,--no-as-needed", stub_library, "-Wl,--as-needed")
        self.refused("libcudart.so.13 does not lie beside it")

    def test_glibc_too_new(self):
        self.build()
        self.refused("the ceiling is 2.2", "--glibc-ceiling", "2.2")

    def test_too_large(self):
        self.build()
        self.refused("the budget is 1,000", "--size-limit", "1000")

    def test_executable_stack(self):
        self.build(GOOD, "-Wl,-z,execstack")
        self.refused("executable stack")

    def test_spill(self):
        self.build()
        self.refused("k has a stack frame of 8 bytes, 16 bytes of spill stores and 24 of spill loads", *self.reports(
            CLEAN + CLEAN.replace("0 bytes stack frame, 0 bytes spill stores, 0", "8 bytes stack frame, 16 bytes spill stores, 24")))

    def test_serialised_products(self):
        self.build()
        self.refused("k has its wgmma instructions one after the other: insufficient register resources", *self.reports(
            "ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized due to insufficient register "
            "resources for the function 'k'\n" + CLEAN))

    def test_report_missing_or_empty(self):
        self.build()
        options = self.reports("")
        self.refused("names no function", *options)
        (self.folder / "k.o.ptxas").unlink()
        self.refused("is missing", *options)


if __name__ == "__main__":
    unittest.main()
