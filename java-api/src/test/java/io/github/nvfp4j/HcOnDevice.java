// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsFile;
import io.github.nvfp4j.reference.Bf16;
import io.github.nvfp4j.reference.GemmExpectation;
import io.github.nvfp4j.reference.HcExpectation;
import io.github.nvfp4j.reference.HyperConnectionsReference;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/// What the tests of the hyper-connection ops share: random modules, tensors with gaps between
/// streams and tokens, and the comparison of results with what they may be.
abstract class HcOnDevice extends OnDevice {
  static final int ITERATIONS = HcOptions.DEFAULT.iterations();
  static final float EPS = HcOptions.DEFAULT.hcEps();

  HcOnDevice(String id) {
    super(id);
  }

  /// Where a tensor lies: in the first indices of one with more streams (of rank 3) and more
  /// columns, which is full of poison.
  record Strided(Tensor whole, Tensor view) {}

  /// How far apart a tensor's elements lie.
  ///
  /// @param columns behind each row
  /// @param streams behind each token
  record Gaps(int columns, int streams) {
    static final Gaps NONE = new Gaps(0, 0);

    /// Of `comb`: its rows are contiguous.
    Gaps ofTokens() {
      return new Gaps(0, streams);
    }

    /// Of `post`.
    Gaps ofRows() {
      return new Gaps(streams, 0);
    }
  }

  /// A tensor on the device under test, of rank 2 or 3; without values it is an output.
  Strided strided(DType dtype, float @Nullable [] values, Gaps gaps, int... shape) {
    int rank = shape.length;
    int columns = shape[rank - 1];
    int streams = rank == 3 ? shape[1] : 1;
    int width = columns + gaps.columns;
    int height = rank == 3 ? streams + gaps.streams : 1;
    long elements = (long) shape[0] * height * width;
    MemorySegment memory = arena.allocate(Math.max(1, elements * dtype.bytes()), 64).fill(POISON);
    for (int i = 0; values != null && i < values.length; i++) {
      int row = i / columns;
      long at = ((long) row / streams * height + row % streams) * width + i % columns;
      if (dtype == DType.F32) {
        memory.setAtIndex(ValueLayout.JAVA_FLOAT, at, values[i]);
      } else {
        memory.setAtIndex(ValueLayout.JAVA_SHORT, at, Bf16.encode(values[i]));
      }
    }
    long[] all = rank == 3 ? new long[] {shape[0], height, width} : new long[] {shape[0], width};
    Tensor host = Tensor.of(arena, memory.asSlice(0, elements * dtype.bytes()), dtype, all);
    Tensor whole = device.isCuda() ? host.to(stream, arena) : host;
    Tensor view = whole.slice(arena, rank - 1, 0, columns);
    return new Strided(whole, rank == 3 ? view.slice(arena, 1, 0, streams) : view);
  }

  Tensor contiguous(DType dtype, float[] values, int... shape) {
    return strided(dtype, values, Gaps.NONE, shape).view;
  }

  /// The values of a result; nothing between them may have been written.
  float[] values(Strided result) {
    Tensor view = result.view;
    float[] whole = floats(result.whole);
    int rank = view.rank();
    int columns = (int) view.shape(rank - 1);
    int streams = rank == 3 ? (int) view.shape(1) : 1;
    int width = (int) result.whole.shape(rank - 1);
    int height = rank == 3 ? (int) result.whole.shape(1) : 1;
    int poison = view.dtype() == DType.F32 ? 0xA5A5A5A5 : 0xA5A50000;
    float[] values = new float[(int) view.elements()];
    int count = 0;
    for (int i = 0; i < whole.length; i++) {
      if (i % width < columns && i / width % height < streams) {
        values[count++] = whole[i];
      } else if (Float.floatToRawIntBits(whole[i]) != poison) {
        throw new AssertionError("element " + i + " lies between rows and was written");
      }
    }
    return values;
  }

  /// Parameters of a module, or of the head: with those, logits are of the order of 1.
  record Parameters(float[] fn, float[] base, float[] scale) {
    static Parameters of(Values values, int n, int columns, boolean head) {
      int rows = head ? n : n * (n + 2);
      float[] scale = new float[head ? 1 : 3];
      for (int i = 0; i < scale.length; i++) {
        scale[i] = 0.25f + values.random().nextFloat();
      }
      double size = 2 / Math.sqrt((double) n * columns);
      return new Parameters(
          gaussian(values, rows * n * columns, size), gaussian(values, rows, 1), scale);
    }

    HcExpectation pre(float[] x, int tokens, int n, int columns, DType dtype) {
      return HcExpectation.pre(x, fn, base, scale, tokens, n, columns, ITERATIONS, EPS, EPS, dtype);
    }

    HyperConnectionsReference.Pre reference(
        float[] x, int tokens, int n, int columns, DType dtype) {
      return HyperConnectionsReference.pre(
          x, fn, base, scale, tokens, n, columns, ITERATIONS, EPS, EPS, dtype);
    }

    GemmExpectation head(float[] x, int tokens, int n, int columns, DType dtype) {
      return HcExpectation.head(x, fn, base, scale, tokens, n, columns, EPS, EPS, dtype);
    }
  }

  /// Parameters on the device under test, the rows of `fn` apart.
  HcModule upload(Parameters p, int gap) {
    int rows = p.base.length;
    Strided fn = strided(DType.F32, p.fn, new Gaps(gap, 0), rows, p.fn.length / rows);
    return new HcModule(fn.view, upload(p.base), upload(p.scale));
  }

  /// The type of a residual, and its shape.
  record Case(DType dtype, int tokens, int n, int columns) {}

  /// What a module leaves.
  record Behind(float[] x, float[] sub, float[] post, float[] comb) {
    static Behind of(Values values, Case c) {
      return new Behind(
          values.finite(c.dtype, c.tokens * c.n, c.columns),
          values.finite(c.dtype, c.tokens, c.columns),
          gaussian(values, c.tokens * c.n, 1),
          gaussian(values, c.tokens * c.n * c.n, 1));
    }

    float[] reference(Case c) {
      return HyperConnectionsReference.post(x, sub, post, comb, c.tokens, c.n, c.columns, c.dtype);
    }
  }

  Tensor upload(Case c, Gaps gaps, float[] rows) {
    return strided(c.dtype, rows, gaps, c.tokens, c.columns).view;
  }

  Tensor uploadPost(Case c, Gaps gaps, float[] post) {
    return strided(DType.F32, post, gaps.ofRows(), c.tokens, c.n).view;
  }

  Tensor uploadComb(Case c, Gaps gaps, float[] comb) {
    return strided(DType.F32, comb, gaps.ofTokens(), c.tokens, c.n, c.n).view;
  }

  /// What hc_pre makes, with gaps.
  record Made(Strided collapsed, Strided post, Strided comb) {}

  Made outputs(Case c, Gaps gaps) {
    return new Made(
        strided(c.dtype, null, gaps, c.tokens, c.columns),
        strided(DType.F32, null, gaps.ofRows(), c.tokens, c.n),
        strided(DType.F32, null, gaps.ofTokens(), c.tokens, c.n, c.n));
  }

  void requireAllowed(HcExpectation expected, Made made) {
    requireAllowed("post", expected.post(), values(made.post));
    requireAllowed("comb", expected.comb(), values(made.comb));
    requireAllowed("collapsed", expected.collapsed(), values(made.collapsed));
  }

  /// The same, of all tokens but one.
  void requireOthersAllowed(HcExpectation expected, Made made, int bad) {
    requireOthersAllowed("post", expected.post(), made.post, bad);
    requireOthersAllowed("comb", expected.comb(), made.comb, bad);
    requireOthersAllowed("collapsed", expected.collapsed(), made.collapsed, bad);
  }

  void requireOthersAllowed(String what, GemmExpectation expected, Strided actual, int bad) {
    float[] repaired = values(actual);
    int each = (int) (repaired.length / actual.view.shape(0));
    System.arraycopy(expected.values(), bad * each, repaired, bad * each, each);
    requireAllowed(what, expected, repaired);
  }

  static float[] gaussian(Values values, int count, double size) {
    float[] x = new float[count];
    for (int i = 0; i < count; i++) {
      x[i] = (float) (values.random().nextGaussian() * size);
    }
    return x;
  }

  /// A residual whose tokens are of different sizes; the last of more than one is all zeros.
  static float[] residual(Values values, DType dtype, int tokens, int width) {
    float[] x = new float[tokens * width];
    for (int t = 0; t < tokens; t++) {
      double size = t == tokens - 1 && t > 0 ? 0 : Math.exp(values.random().nextGaussian() * 2);
      for (int c = 0; c < width; c++) {
        x[t * width + c] = Values.round(dtype, (float) (values.random().nextGaussian() * size));
      }
    }
    return x;
  }

  static void requireAllowed(String what, GemmExpectation expected, float[] actual) {
    String difference = expected.difference(actual);
    if (difference != null) {
      throw new AssertionError(what + ": " + difference);
    }
  }

  /// A file of golden vectors of DeepSeek-V4's ops.
  record Golden(SafetensorsFile file) {
    int dim(String name, int dimension) {
      return (int) file.entry(name).shape()[dimension];
    }

    DType dtype(String name) {
      return DType.valueOf(file.entry(name).dtype().name());
    }

    /// F32, or BF16 widened.
    float[] floats(String name) {
      MemorySegment data = file.data(name);
      return file.entry(name).dtype() == SafetensorsDType.BF16
          ? Bf16.decode(data.toArray(ValueLayout.JAVA_SHORT_UNALIGNED))
          : data.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
    }

    double[] doubles(String name) {
      return file.data(name).toArray(ValueLayout.JAVA_DOUBLE_UNALIGNED);
    }

    boolean has(String name) {
      return file.contains(name);
    }
  }

  static Parameters parameters(Golden golden, String prefix) {
    return new Parameters(
        golden.floats(prefix + "fn"),
        golden.floats(prefix + "base"),
        golden.floats(prefix + "scale"));
  }

  Golden golden(String name) throws IOException {
    return new Golden(
        SafetensorsFile.open(Goldens.file("deepseek_v4/" + name + ".safetensors"), arena));
  }

  /// A device's result against an independent one in binary64: as far off as it may be. The golden
  /// takes eps for 1e-6, the op for the nearest F32, 2^-45 off.
  static void requireNear(String what, double[] golden, GemmExpectation expected, float[] actual) {
    assertThat(actual).as(what).hasSameSizeAs(golden);
    for (int i = 0; i < golden.length; i++) {
      double allowed = expected.tolerances()[i] + 0x1p-40 * Math.max(1, Math.abs(golden[i]));
      assertThat(Math.abs(actual[i] - golden[i]))
          .as("%s %d: %s, golden %s", what, i, actual[i], golden[i])
          .isLessThanOrEqualTo(allowed);
    }
  }

  /// What an op left in an NVFP4 tensor.
  record Written(byte[] codes, byte[] scales, byte[] globalScales) {}

  Written read(Nvfp4Tensor tensor) {
    return new Written(bytes(tensor.codes()), bytes(tensor.scales()), bytes(tensor.globalScales()));
  }

  static void requireEqual(Written expected, Written actual) {
    requireEqual("global scales", expected.globalScales, actual.globalScales);
    requireEqual("scales", expected.scales, actual.scales);
    requireEqual("codes", expected.codes, actual.codes);
  }

  /// A copy with one element replaced.
  static float[] with(float[] x, int index, float value) {
    float[] y = Arrays.copyOf(x, x.length);
    y[index] = value;
    return y;
  }
}
