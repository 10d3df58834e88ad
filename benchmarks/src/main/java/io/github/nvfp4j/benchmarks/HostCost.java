// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.GlobalScale;
import io.github.nvfp4j.HcModule;
import io.github.nvfp4j.HcOptions;
import io.github.nvfp4j.HcPost;
import io.github.nvfp4j.HcPre;
import io.github.nvfp4j.Nvfp4Tensor;
import io.github.nvfp4j.Quantize;
import io.github.nvfp4j.Recipe;
import io.github.nvfp4j.ScaleLayout;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import io.github.nvfp4j.ZeroScale;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/// What `quantize` and the hyper-connections cost the host: nanoseconds an element on the CPU
/// device, and nanoseconds an enqueued call on a CUDA device.
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 3, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
public class HostCost {
  static final Quantize.Options DYNAMIC =
      Quantize.Options.of(Quantize.Source.DYNAMIC, Recipe.EXACT, ZeroScale.MIN);

  private static final int ROWS = 1024;
  private static final int COLUMNS = 7168;
  private static final int LAUNCHES = 500;
  private static final int TOKENS = 64;
  private static final int STREAMS = HcWorkloads.STREAMS;
  private static final long SEED = 1;

  /// A CPU device with random rows to quantise.
  @State(Scope.Thread)
  public static class Cpu {
    /// Threads of the device's pool; 0 is one per processor.
    @Param({"1", "0"})
    public int threads = 1;

    private Device device;
    private Stream stream;
    private Arena arena;
    private Tensor values;
    private Nvfp4Tensor perTensor;
    private Nvfp4Tensor perRow;

    /// Allocates and fills.
    @Setup
    public void open() {
      device = Device.cpu(threads);
      stream = device.openStream();
      arena = Arena.ofConfined();
      Buffer buffer = new Buffer("values", DType.BF16, ROWS, COLUMNS, Buffer.Fill.VALUES);
      values = BufferSet.hostTensor(arena, buffer);
      HostData data = new HostData(arena, SEED);
      values.segment().copyFrom(data.view(Buffer.Fill.VALUES, DType.BF16, 0, buffer.bytes()));
      perTensor = device.allocateNvfp4(arena, ROWS, COLUMNS);
      perRow = device.allocateNvfp4(arena, ROWS, COLUMNS, ScaleLayout.LINEAR, GlobalScale.ROW);
      Quantize.dynamic(stream, values, perTensor); // a global scale for `given`
    }

    /// Closes in the reverse order.
    @TearDown
    public void close() {
      arena.close();
      stream.close();
      device.close();
    }
  }

  /// A CPU device with a residual and the parameters of a module.
  @State(Scope.Thread)
  public static class CpuStreams {
    /// Threads of the device's pool.
    @Param({"2"})
    public int threads = 2;

    private Device device;
    private Stream stream;
    private Arena arena;
    private Tensor x;
    private HcModule module;
    private Tensor sub;
    private Tensor collapsed;
    private Tensor post;
    private Tensor comb;
    private Tensor out;

    /// Allocates and fills.
    @Setup
    public void open() {
      device = Device.cpu(threads);
      stream = device.openStream();
      arena = Arena.ofConfined();
      HostData data = new HostData(arena, SEED);
      long width = (long) STREAMS * COLUMNS;
      long mixes = STREAMS * (STREAMS + 2);
      x = random(data, Buffer.Fill.VALUES, DType.BF16, TOKENS, STREAMS, COLUMNS);
      sub = random(data, Buffer.Fill.VALUES, DType.BF16, TOKENS, COLUMNS);
      module =
          new HcModule(
              random(data, Buffer.Fill.MIXING_WEIGHTS, DType.F32, mixes, width),
              random(data, Buffer.Fill.LOGITS, DType.F32, mixes),
              random(data, Buffer.Fill.LOGITS, DType.F32, 3));
      collapsed = device.allocate(arena, DType.BF16, TOKENS, COLUMNS);
      post = device.allocate(arena, DType.F32, TOKENS, STREAMS);
      comb = device.allocate(arena, DType.F32, TOKENS, STREAMS, STREAMS);
      out = device.allocate(arena, DType.BF16, TOKENS, STREAMS, COLUMNS);
    }

    private Tensor random(HostData data, Buffer.Fill fill, DType dtype, long... shape) {
      Tensor tensor = device.allocate(arena, dtype, shape);
      tensor.segment().copyFrom(data.view(fill, dtype, 0, tensor.byteSize()));
      return tensor;
    }

    /// Closes in the reverse order.
    @TearDown
    public void close() {
      arena.close();
      stream.close();
      device.close();
    }
  }

  /// A CUDA device with one row to quantise.
  @State(Scope.Thread)
  public static class Cuda {
    private Device device;
    private Stream stream;
    private Arena arena;
    private Tensor values;
    private Nvfp4Tensor quantized;

    /// Allocates, and loads the kernels.
    @Setup
    public void open() {
      device = Device.cuda(0);
      stream = device.openStream();
      device.warmUp();
      arena = Arena.ofConfined();
      Buffer buffer = new Buffer("values", DType.BF16, 1, COLUMNS, Buffer.Fill.VALUES);
      BufferSet set =
          BufferSet.allocate(stream, arena, List.of(buffer), 1, new HostData(arena, SEED));
      values = set.of(0).getFirst();
      quantized = device.allocateNvfp4(arena, 1, COLUMNS);
      Quantize.dynamic(stream, values, quantized); // a global scale for `given`
      stream.synchronize();
    }

    /// Closes in the reverse order.
    @TearDown
    public void close() {
      arena.close();
      stream.close();
      device.close();
    }
  }

  /// Nanoseconds an element, the global scale given.
  @Benchmark
  @OperationsPerInvocation(ROWS * COLUMNS)
  public void cpuGiven(Cpu cpu) {
    Quantize.given(cpu.stream, cpu.values, cpu.perTensor);
  }

  /// Nanoseconds an element, one dynamic global scale.
  @Benchmark
  @OperationsPerInvocation(ROWS * COLUMNS)
  public void cpuDynamicTensor(Cpu cpu) {
    Quantize.dynamic(cpu.stream, cpu.values, cpu.perTensor);
  }

  /// Nanoseconds an element, a dynamic global scale for each row.
  @Benchmark
  @OperationsPerInvocation(ROWS * COLUMNS)
  public void cpuDynamicRow(Cpu cpu) {
    Quantize.dynamic(cpu.stream, cpu.values, cpu.perRow);
  }

  /// Nanoseconds an element of the residual, `hc_pre` and `hc_post`.
  @Benchmark
  @OperationsPerInvocation(TOKENS * STREAMS * COLUMNS)
  public void cpuHyperConnections(CpuStreams cpu) {
    HcPre.run(cpu.stream, cpu.x, cpu.module, cpu.collapsed, cpu.post, cpu.comb, HcOptions.DEFAULT);
    HcPost.run(cpu.stream, cpu.x, cpu.sub, cpu.post, cpu.comb, cpu.out);
  }

  /// Nanoseconds an enqueued call, back to back, the launch included: the host's part and the
  /// kernel's overlap, so the longer of the two shows.
  @Benchmark
  @OperationsPerInvocation(LAUNCHES)
  public void cudaEnqueue(Cuda cuda) {
    for (int i = 0; i < LAUNCHES; i++) {
      Quantize.given(cuda.stream, cuda.values, cuda.quantized);
    }
    cuda.stream.synchronize();
  }
}
