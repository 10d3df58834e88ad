// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.DeviceFailedException;
import io.github.nvfp4j.Nvfp4Exception;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/// Times cuBLASLt on products of the same shape, each once: with weights in BF16 (of experts: as a
/// strided batch of those that have rows), and for one shape in FP8. A sampled tile of each result
/// is compared.
final class CublasLtPeers implements AutoCloseable {
  /// The shape that is measured in FP8 as well.
  private static final String FP8_SHAPE = "w13";

  private static final long SQUARE = 8192;

  private final CublasLt library;
  private final Stream stream;
  private final Meter meter;
  private final HostData data;
  private final List<String> complaints;
  private final Map<String, Map<String, Double>> known = new HashMap<>();
  private final Map<CublasLt.Type, BufferSet> weights = new HashMap<>();
  private @Nullable Arena weightsArena;
  private String weightsShape = "";

  /// @param complaints receives a sentence for each product that could not be measured
  CublasLtPeers(
      CublasLt library, Stream stream, Meter meter, HostData data, List<String> complaints) {
    this.library = library;
    this.stream = stream;
    this.meter = meter;
    this.data = data;
    this.complaints = complaints;
  }

  /// @return floating-point operations a microsecond of the BF16 product 8192 x 8192 x 8192; NaN
  ///   when it could not be measured
  double rate() {
    GemmCase square = GemmCase.gemm("square", SQUARE, SQUARE, SQUARE);
    return square.flops() / of(square).getOrDefault(CublasLt.Type.BF16.peer(), Double.NaN);
  }

  /// @return microseconds of a product of the same shape, by the peer's name
  Map<String, Double> of(GemmCase product) {
    String shape = product.op().opName() + " " + product.shape();
    String key = shape + " " + product.rowsText();
    Map<String, Double> micros = known.get(key);
    if (micros == null) {
      if (!shape.equals(weightsShape)) {
        free();
        weightsShape = shape;
      }
      micros = new LinkedHashMap<>();
      for (CublasLt.Type type : CublasLt.Type.values()) {
        if (type == CublasLt.Type.BF16
            || (product.op() == GemmCase.Kind.GEMM && product.shape().equals(FP8_SHAPE))) {
          try {
            micros.put(type.peer(), measure(type, product));
          } catch (DeviceFailedException e) {
            throw e;
          } catch (IllegalStateException | Nvfp4Exception e) {
            complaints.add(type.peer() + ", " + key + ": " + e.getMessage());
          }
        }
      }
      known.put(key, micros);
    }
    return micros;
  }

  /// @return the product in cuBLASLt's terms
  static CublasLt.Shape shape(GemmCase product) {
    return switch (product.op()) {
      case GEMM -> CublasLt.Shape.product(product.m(), product.n(), product.k());
      case GROUPED_GEMM ->
          CublasLt.Shape.grouped(product.active(), product.rows(), product.n(), product.k());
      case BATCHED_GEMM ->
          CublasLt.Shape.batched(product.groups(), product.m(), product.n(), product.k());
    };
  }

  private double measure(CublasLt.Type type, GemmCase product) {
    boolean batched = product.op() == GemmCase.Kind.BATCHED_GEMM;
    boolean grouped = product.op() == GemmCase.Kind.GROUPED_GEMM;
    long width = batched ? product.groups() * product.n() : product.n();
    Buffer a = type.buffer("a", product.m(), product.columnsOfA());
    Buffer d = new Buffer("d", DType.BF16, product.m(), width, Buffer.Fill.POISON);
    long used = product.active() * product.n() * product.k() * type.bytes();
    long bytes = used + a.bytes() + d.bytes();
    Plan plan = Plan.cuda(bytes, Math.max(product.estimate(), bytes / 2.5e6));
    CublasLt.Shape shape = shape(product);
    Buffer w = type.buffer("w", product.groups() * product.n(), product.k());
    int sets = GemmWeights.sets(w.bytes(), false);
    try (Arena arena = Arena.ofConfined();
        CublasLt.Matmul matmul = library.matmul(type, shape)) {
      BufferSet weightSets = weights(type, w, sets);
      BufferSet inputs = BufferSet.allocate(stream, arena, List.of(a), plan.buffers(), data);
      BufferSet outputs = BufferSet.allocate(stream, arena, List.of(d), plan.buffers(), data);
      List<Runnable> calls = new ArrayList<>();
      for (int call = 0; call < plan.buffers(); call++) {
        Tensor from = weightSets.of(call % sets).getFirst();
        if (grouped) {
          long first = GemmOperands.firstExpert(product, call) * product.n();
          from = from.slice(weightsArena(), first, product.active() * product.n());
        }
        Tensor wOfCall = from;
        Tensor aOfCall = inputs.of(call).getFirst();
        Tensor dOfCall = outputs.of(call).getFirst();
        require(shape.w().bytes(shape.batch(), type.bytes()), wOfCall);
        require(shape.a().bytes(shape.batch(), type.bytes()), aOfCall);
        require(shape.d().bytes(shape.batch(), 2), dOfCall);
        calls.add(() -> matmul.run(stream, wOfCall, aOfCall, dOfCall));
      }
      calls.getFirst().run(); // loads its kernels, which a capture could not
      stream.synchronize();
      double micros = meter.time(plan, calls::get).median();
      check(type, product, weightSets, inputs, outputs, arena);
      return micros;
    }
  }

  private static void require(long bytes, Tensor tensor) {
    if (tensor.byteSize() < bytes) {
      throw new AssertionError(tensor + " has fewer than " + bytes + " bytes");
    }
  }

  /// Compares the first call: rows of the first matrix of weights alone.
  private void check(
      CublasLt.Type type,
      GemmCase product,
      BufferSet weightSets,
      BufferSet inputs,
      BufferSet outputs,
      Arena arena) {
    Tensor w = weightSets.of(0).getFirst();
    Tensor a = inputs.of(0).getFirst();
    Tensor d = outputs.of(0).getFirst();
    boolean batched = product.op() == GemmCase.Kind.BATCHED_GEMM;
    Tensor someA = batched ? a.slice(arena, 1, 0, product.k()) : a;
    Tensor someD = batched ? d.slice(arena, 1, 0, product.n()) : d;
    String difference =
        GemmTile.differs(
            stream,
            weightsArena(),
            w,
            arena,
            type,
            someA.slice(arena, 0, product.rows()),
            someD.slice(arena, 0, product.rows()));
    if (difference != null) {
      throw new IllegalStateException("wrong result: " + difference);
    }
  }

  private BufferSet weights(CublasLt.Type type, Buffer buffer, int sets) {
    return weights.computeIfAbsent(
        type, t -> BufferSet.allocate(stream, weightsArena(), List.of(buffer), sets, data));
  }

  private Arena weightsArena() {
    Arena arena = weightsArena;
    if (arena == null) {
      arena = Arena.ofConfined();
      weightsArena = arena;
    }
    return arena;
  }

  private void free() {
    weights.clear();
    Arena arena = weightsArena;
    if (arena != null) {
      weightsArena = null;
      arena.close();
    }
  }

  /// Frees the weights.
  @Override
  public void close() {
    free();
  }
}
