// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.ReportedByKernelException;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.SwizzleReference;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/// What every case of the selftest needs: its data on the device, and the comparison of every bit.
final class SelftestData {
  private static final int PADDING = 24;

  private SelftestData() {}

  static @Nullable String reported(Workbench bench) {
    try {
      bench.stream().synchronize();
    } catch (ReportedByKernelException e) {
      bench.stream().synchronize(); // a fault is reported once
      return null;
    }
    return "nothing was reported, expected ReportedByKernelException";
  }

  /// A matrix on the device; a strided one lies in rows whose padding is NaN, which an op would
  /// notice.
  static Tensor upload(
      Workbench bench, float[] x, int rows, int columns, DType dtype, boolean strided) {
    if (!strided) {
      return bench.upload(RandomData.encode(x, dtype), dtype, rows, columns);
    }
    int stride = columns + PADDING;
    float[] padded = new float[rows * stride];
    Arrays.fill(padded, Float.NaN);
    for (int row = 0; row < rows; row++) {
      System.arraycopy(x, row * columns, padded, row * stride, columns);
    }
    Tensor whole = bench.upload(RandomData.encode(padded, dtype), dtype, rows, stride);
    return bench.leftColumns(whole, columns);
  }

  static @Nullable Tensor upload(Workbench bench, float @Nullable [] vector) {
    return vector == null
        ? null
        : bench.upload(MemorySegment.ofArray(vector), DType.F32, vector.length);
  }

  static void copyInto(Workbench bench, byte[] bytes, Tensor destination) {
    copyInto(bench, MemorySegment.ofArray(bytes), destination);
  }

  static void copyInto(Workbench bench, MemorySegment bytes, Tensor destination) {
    destination.copyFrom(
        bench.stream(), bench.upload(bytes, destination.dtype(), destination.shape()));
  }

  static byte[] scales(Nvfp4Matrix q, ScaleLayout layout) {
    return layout == ScaleLayout.LINEAR
        ? q.scales()
        : SwizzleReference.swizzle(q.scales(), q.rows(), q.blocksPerRow());
  }

  static MemorySegment bytes(Workbench bench, Tensor tensor) {
    return tensor.toHost(bench.stream(), bench.arena()).segment();
  }

  static @Nullable String compare(Workbench bench, Nvfp4Tensor out, Nvfp4Matrix expected) {
    if (expected.rows() == 0) {
      return null; // an op of no rows is checked and touches nothing, the global scale included
    }
    MemorySegment gs = MemorySegment.ofArray(expected.globalScales());
    String difference = compare("global scale", bytes(bench, out.globalScales()), gs);
    if (difference == null) {
      MemorySegment scales = MemorySegment.ofArray(scales(expected, out.scaleLayout()));
      difference = compare("scale", bytes(bench, out.scales()), scales);
    }
    if (difference == null) {
      MemorySegment codes = MemorySegment.ofArray(expected.codes());
      difference = compare("code", bytes(bench, out.codes()), codes);
    }
    return difference;
  }

  static @Nullable String compare(String what, MemorySegment actual, MemorySegment expected) {
    long at = actual.mismatch(expected);
    if (at < 0) {
      return null;
    }
    if (actual.byteSize() != expected.byteSize()) {
      return what + " has " + actual.byteSize() + " bytes, expected " + expected.byteSize();
    }
    return String.format(
        Locale.ROOT,
        "%s byte %d of %d is 0x%02x, expected 0x%02x",
        what,
        at,
        actual.byteSize(),
        actual.get(ValueLayout.JAVA_BYTE, at),
        expected.get(ValueLayout.JAVA_BYTE, at));
  }
}
