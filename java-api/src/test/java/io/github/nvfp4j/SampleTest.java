// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.nvfp4j.reference.SampleReference;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// sample against the reference, token for token, and its distribution.
final class SampleTest {
  @Nested
  @Tag("cpu")
  final class Cpu extends Contract {
    Cpu() {
      super("cpu");
    }
  }

  @Nested
  @Gpu
  final class Cuda extends Contract {
    Cuda() {
      super("cuda:0");
    }

    @Test
    void equalsTheCpu() {
      int columns = 129_280;
      float[] logits = new float[3 * columns];
      Values values = new Values(90);
      for (int i = 0; i < logits.length; i++) {
        logits[i] = (float) (values.random().nextGaussian() * 3);
      }
      try (Device cpu = Device.cpu();
          Stream cpuStream = cpu.openStream();
          Arena ofCpu = Arena.ofConfined()) {
        for (float temperature : new float[] {0, 0.6f, 1}) {
          Sample.Options options = Sample.Options.of(temperature, values.random().nextLong(), 5);
          for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            Tensor here = host(dtype, logits, 3, columns, columns);
            Tensor expected = cpu.allocate(ofCpu, DType.I32, 3);
            Sample.run(cpuStream, here, expected, options);
            Tensor tokens = device.allocate(arena, DType.I32, 3);
            Sample.run(stream, here.to(stream, arena), tokens, options);
            assertThat(tokens(tokens)).isEqualTo(expected.segment().toArray(ValueLayout.JAVA_INT));
          }
        }
        cpuStream.synchronize();
      }
      stream.synchronize();
    }
  }

  abstract static class Contract extends OnDevice {
    private static final float INF = Float.POSITIVE_INFINITY;

    /// Chi-square with 7 degrees of freedom is beyond it with probability 1e-6.
    private static final double CHI_SQUARE_7 = 40.52183;

    Contract(String id) {
      super(id);
    }

    int[] tokens(Tensor tokens) {
      return tokens.toHost(stream, arena).segment().toArray(ValueLayout.JAVA_INT);
    }

    private Tensor offset(long value) {
      MemorySegment memory = arena.allocateFrom(ValueLayout.JAVA_LONG, value);
      Tensor host = Tensor.of(arena, memory, DType.I64, 1);
      return device.isCuda() ? host.to(stream, arena) : host;
    }

    /// Tokens of a call, on tensors with gaps.
    private int[] sample(
        DType dtype,
        float[] logits,
        int rows,
        int columns,
        float @Nullable [] noise,
        @Nullable Tensor offset,
        Sample.Options options,
        int gap) {
      Tensor l = upload(dtype, logits, rows, columns, columns + gap);
      Tensor e = noise == null ? null : upload(DType.F32, noise, rows, columns, columns + 2 * gap);
      Tensor all = device.allocate(arena, DType.I32, rows + 2);
      poison(all);
      Sample.run(stream, l, e, offset, all.slice(arena, 0, 1, rows), options);
      int[] tokens = tokens(all);
      assertThat(tokens[0]).isEqualTo(0xA5A5A5A5);
      assertThat(tokens[rows + 1]).isEqualTo(0xA5A5A5A5);
      return Arrays.copyOfRange(tokens, 1, rows + 1);
    }

    /// Some rows with ties, infinities or zeros of both signs.
    private static float[] logits(Values values, DType dtype, int rows, int columns) {
      float[] logits = new float[rows * columns];
      for (int t = 0; t < rows; t++) {
        int kind = values.random().nextInt(6);
        for (int i = 0; i < columns; i++) {
          double x = values.random().nextGaussian();
          float logit =
              switch (kind) {
                case 0 -> values.random().nextInt(5) - 2;
                case 1 -> i > 0 && x > 0.5 ? -INF : i > 0 && x < -2.5 ? INF : (float) x;
                case 2 -> x > 0 ? 0f : -0f;
                case 3 -> (float) (x * 1e-40);
                default -> (float) (x * 3);
              };
          logits[t * columns + i] = Values.round(dtype, logit);
        }
      }
      return logits;
    }

    private static float[] noise(Values values, int count) {
      float[] noise = new float[count];
      for (int i = 0; i < count; i++) {
        float e = (float) -Math.log(1 - values.random().nextDouble());
        noise[i] = e > 0 ? e : Float.MIN_VALUE;
      }
      return noise;
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 7, 250, 256, 257, 1000, 1025, 5003})
    void equalsTheReference(int columns) {
      Values values = new Values(columns);
      for (int rows : new int[] {1, 2, 7, 33}) {
        if (rows * columns > 40_000) {
          continue;
        }
        for (float temperature : new float[] {0, 1, 0.6f, 1e-30f, Float.MIN_VALUE, 3e38f}) {
          for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            long seed = values.random().nextLong();
            long base = values.random().nextLong();
            long more = values.random().nextLong();
            float[] logits = logits(values, dtype, rows, columns);
            float[] noise = values.random().nextBoolean() ? null : noise(values, rows * columns);
            boolean twoOffsets = values.random().nextBoolean();
            int[] expected =
                SampleReference.sample(
                    logits,
                    rows,
                    columns,
                    noise,
                    temperature,
                    seed,
                    twoOffsets ? base + more : base);
            int[] got =
                sample(
                    dtype,
                    logits,
                    rows,
                    columns,
                    noise,
                    twoOffsets ? offset(more) : null,
                    Sample.Options.of(temperature, seed, base),
                    values.random().nextInt(4));
            assertThat(got)
                .as("%s [%d, %d] temperature %s", dtype, rows, columns, temperature)
                .isEqualTo(expected);
          }
        }
      }
      stream.synchronize();
    }

    /// As many columns as DeepSeek-V4's vocabulary.
    @Test
    void equalsTheReferenceOnAWideRow() {
      int columns = 129_280;
      Values values = new Values(91);
      float[] logits = logits(values, DType.BF16, 2, columns);
      for (float temperature : new float[] {0, 0.8f}) {
        int[] expected = SampleReference.sample(logits, 2, columns, null, temperature, 3, 4);
        for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
          Sample.Options options = Sample.Options.of(temperature, 3, 4);
          assertThat(sample(dtype, logits, 2, columns, null, null, options, 0)).isEqualTo(expected);
        }
      }
      stream.synchronize();
    }

    /// A million draws a temperature, against the softmax.
    @ParameterizedTest
    @ValueSource(floats = {0.5f, 1, 2})
    void drawsFromTheSoftmax(float temperature) {
      int draws = 1_000_000;
      float[] row = {0.3f, -1.2f, 0, 2, 1.1f, -0.4f, 0.9f, -2};
      float[] logits = new float[draws * row.length];
      for (int t = 0; t < draws; t++) {
        System.arraycopy(row, 0, logits, t * row.length, row.length);
      }
      Tensor tokens = device.allocate(arena, DType.I32, draws);
      Sample.run(
          stream,
          upload(DType.F32, logits, draws, row.length),
          tokens,
          Sample.Options.of(temperature, 20_261_130, 17));
      long[] counts = new long[row.length];
      for (int token : tokens(tokens)) {
        counts[token]++;
      }
      double sum = 0;
      for (float logit : row) {
        sum += Math.exp(logit / temperature);
      }
      double chiSquare = 0;
      for (int i = 0; i < row.length; i++) {
        double expected = draws * Math.exp(row[i] / temperature) / sum;
        chiSquare += (counts[i] - expected) * (counts[i] - expected) / expected;
      }
      assertThat(chiSquare).as("%s", Arrays.toString(counts)).isLessThan(CHI_SQUARE_7);
      stream.synchronize();
    }

    @Test
    void theShortFormIsTheLongOne() {
      float[] logits = logits(new Values(92), DType.F32, 9, 300);
      Tensor l = upload(DType.F32, logits, 9, 300);
      Tensor tokens = device.allocate(arena, DType.I32, 9);
      Sample.run(stream, l, tokens, Sample.Options.GREEDY);
      assertThat(tokens(tokens)).isEqualTo(SampleReference.sample(logits, 9, 300, null, 0, 0, 0));
      Sample.run(stream, l, tokens, Sample.Options.of(1, 2, 3));
      assertThat(tokens(tokens)).isEqualTo(SampleReference.sample(logits, 9, 300, null, 1, 2, 3));
      stream.synchronize();
    }

    private void requireReport(Cause cause, long row, long column) {
      ReportedByKernelException report =
          catchThrowableOfType(ReportedByKernelException.class, () -> stream.synchronize());
      assertThat(report).isNotNull();
      assertThat(report.op()).isEqualTo(Op.SAMPLE);
      assertThat(report.causes().get(Op.SAMPLE)).containsExactly(cause);
      assertThat(report.row()).isEqualTo(row);
      assertThat(report.column()).isEqualTo(column);
      stream.synchronize(); // A fault is reported once.
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 5, 300, 3000})
    void rowsWithoutATokenAreReported(int columns) {
      Values values = new Values(93);
      float[] logits = new float[4 * columns];
      for (int i = 0; i < logits.length; i++) {
        logits[i] = Values.round(DType.BF16, (float) values.random().nextGaussian());
      }
      int at = values.random().nextInt(columns);
      for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
        for (float temperature : new float[] {0, 0.7f}) {
          Sample.Options options = Sample.Options.of(temperature, 1, 2);
          int[] good = sample(dtype, logits, 4, columns, null, null, options, 1);
          for (float bad : new float[] {Float.NaN, Float.intBitsToFloat(0xffc00001)}) {
            float[] with = logits.clone();
            with[2 * columns + at] = bad;
            requireNoToken(2, good, sample(dtype, with, 4, columns, null, null, options, 1));
            requireReport(Cause.NON_FINITE_INPUT, 2, at);
          }
          float[] with = logits.clone();
          Arrays.fill(with, columns, 2 * columns, -INF);
          requireNoToken(1, good, sample(dtype, with, 4, columns, null, null, options, 1));
          requireReport(Cause.NON_FINITE_RESULT, 1, -1);
        }
      }
    }

    private static void requireNoToken(int row, int[] good, int[] tokens) {
      int[] expected = good.clone();
      expected[row] = -1;
      assertThat(tokens).isEqualTo(expected);
    }

    @ParameterizedTest
    @ValueSource(
        floats = {
          0f,
          -0f,
          -1f,
          -Float.MIN_VALUE,
          Float.POSITIVE_INFINITY,
          Float.NEGATIVE_INFINITY,
          Float.NaN
        })
    void noiseThatIsNotUsableIsReported(float bad) {
      for (int columns : new int[] {1, 6, 3000}) {
        Values values = new Values(94);
        float[] logits = new float[3 * columns];
        float[] noise = noise(values, 3 * columns);
        Sample.Options options = Sample.Options.of(1, 0, 0);
        int[] good = sample(DType.F32, logits, 3, columns, noise, null, options, 2);
        int at = columns - 1;
        noise[columns + at] = bad;
        logits[columns + at] = columns > 1 ? -INF : 0; // also where it could not win
        requireNoToken(1, good, sample(DType.F32, logits, 3, columns, noise, null, options, 2));
        requireReport(Cause.BAD_NOISE, 1, at);
        // At temperature 0 nobody reads it.
        sample(DType.F32, logits, 3, columns, noise, null, Sample.Options.GREEDY, 2);
        stream.synchronize();
      }
    }

    /// A captured draw with an offset that advances on the device.
    @Test
    void aCapturedDrawDrawsAnew() {
      int columns = 5000;
      float[] flat = new float[2 * columns];
      Tensor logits = upload(DType.F32, flat, 2, columns);
      Tensor more = offset(0);
      Tensor tokens = device.allocate(arena, DType.I32, 2);
      Sample.Options options = Sample.Options.of(1, 5, 100);
      try (Graph graph =
          stream.capture(() -> Sample.run(stream, logits, null, more, tokens, options))) {
        for (int step = 0; step < 4; step++) {
          MemorySegment memory = arena.allocateFrom(ValueLayout.JAVA_LONG, step * 7L);
          Tensor.of(arena, memory, DType.I64, 1).copyTo(stream, more);
          graph.launch(stream);
          assertThat(tokens(tokens))
              .isEqualTo(SampleReference.sample(flat, 2, columns, null, 1, 5, 100 + step * 7L));
        }
      }
      stream.synchronize();
    }

    @Test
    void acceptsNoRows() {
      Tensor none = device.allocate(arena, DType.F32, 0, 7);
      Tensor tokens = device.allocate(arena, DType.I32, 0);
      Sample.run(stream, none, tokens, Sample.Options.GREEDY);
      stream.synchronize();
    }
  }
}
