// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Swiglu;
import io.github.nvfp4j.SwigluColumns;
import io.github.nvfp4j.SwigluQuantize;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.reference.Nvfp4Matrix;
import io.github.nvfp4j.reference.SwigluQuantizeReference;
import io.github.nvfp4j.reference.SwigluReference;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// The bodies of the selftest's cases of swiglu and swiglu_quantize.
final class SelftestSwiglu {
  private SelftestSwiglu() {}

  /// How to gate.
  record Variant(
      int[] shape,
      DType dtype,
      SwigluColumns layout,
      float limit,
      boolean weighted,
      boolean strided) {
    Object[] words() {
      return new Object[] {
        shape, dtype, layout, "limit " + limit, weighted ? "weighted" : "", strided ? "strided" : ""
      };
    }

    int rows() {
      return shape[0];
    }

    int columns() {
      return shape[1];
    }

    Tensor gateUp(Workbench bench, float[] x) {
      return SelftestData.upload(bench, x, rows(), 2 * columns(), dtype, strided);
    }

    Swiglu.Options options() {
      return Swiglu.Options.of(layout, limit);
    }

    float @Nullable [] weight(RandomData random) {
      return weighted ? random.weights(rows()) : null;
    }

    float[] reference(float[] x, float @Nullable [] weight) {
      return SwigluReference.swiglu(x, rows(), columns(), weight, layout, limit, dtype);
    }
  }

  static @Nullable String swiglu(Workbench bench, RandomData random, Variant v) {
    float[] x = random.preActivations(v.rows(), 2 * v.columns(), v.dtype());
    float[] weight = v.weight(random);
    Tensor output = bench.result(v.dtype(), v.rows(), v.columns());
    Swiglu.run(
        bench.stream(),
        v.gateUp(bench, x),
        SelftestData.upload(bench, weight),
        output,
        v.options());
    bench.stream().synchronize();
    MemorySegment expected = RandomData.encode(v.reference(x, weight), v.dtype());
    return SelftestData.compare("output", SelftestData.bytes(bench, output), expected);
  }

  static @Nullable String swigluQuantize(
      Workbench bench, RandomData random, Variant v, Selftest.Variant q) {
    float[] x = random.preActivations(v.rows(), 2 * v.columns(), v.dtype());
    float[] weight = v.weight(random);
    Nvfp4Tensor out = bench.result(v.rows(), v.columns(), q.layout(), q.global());
    float[] y = v.reference(x, weight);
    float[] given = Selftest.given(bench, random, q, y, v.rows(), v.columns(), out);
    SwigluQuantize.run(
        bench.stream(),
        v.gateUp(bench, x),
        SelftestData.upload(bench, weight),
        out,
        v.options(),
        q.options());
    bench.stream().synchronize();
    Nvfp4Matrix expected =
        given == null
            ? SwigluQuantizeReference.dynamic(
                x,
                v.rows(),
                v.columns(),
                weight,
                v.layout(),
                v.limit(),
                v.dtype(),
                q.global(),
                q.recipe(),
                q.zero())
            : SwigluQuantizeReference.given(
                x,
                v.rows(),
                v.columns(),
                weight,
                v.layout(),
                v.limit(),
                v.dtype(),
                q.global(),
                given,
                q.recipe(),
                q.zero());
    return SelftestData.compare(bench, out, expected);
  }
}
