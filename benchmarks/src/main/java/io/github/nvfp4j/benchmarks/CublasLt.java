// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.StructLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// cuBLASLt of the machine, as far as a matrix product of activations and weights in BF16 or E4M3
/// needs it: the peer of the products here. It is no part of nvfp4j; where it is not found, the
/// products are measured without it.
///
/// All products are `D[M, N] = A[M, K] * transpose(W[N, K])`, row-major, D in BF16, sums in F32.
/// cuBLASLt is column-major: it is asked for `transpose(D) = W * transpose(A)`, where W `[K, N]` is
/// transposed and A `[K, M]` is not. The first algorithm of its heuristics is taken, with 32 MiB of
/// workspace. Errors are [IllegalStateException]s.
@SuppressWarnings("restricted") // a binding of this module's own; the library's is elsewhere
final class CublasLt implements AutoCloseable {
  /// What the heuristics may use.
  static final long WORKSPACE_BYTES = 32L << 20;

  /// `cublasLtMatmulAlgo_t`: `uint64_t data[8]`.
  static final MemoryLayout ALGORITHM = MemoryLayout.sequenceLayout(8, JAVA_LONG);

  /// `cublasLtMatmulHeuristicResult_t`.
  static final StructLayout HEURISTIC =
      MemoryLayout.structLayout(
          ALGORITHM.withName("algo"),
          JAVA_LONG.withName("workspaceSize"),
          JAVA_INT.withName("state"),
          JAVA_FLOAT.withName("wavesCount"),
          MemoryLayout.sequenceLayout(4, JAVA_INT).withName("reserved"));

  /// Names that the dynamic linker is asked for, newest first.
  private static final List<String> NAMES = List.of("libcublasLt.so.13", "libcublasLt.so.12");

  /// Where the library lies in a folder of its own, of a toolkit, or of Python packages.
  private static final List<String> FOLDERS =
      List.of("", "lib", "lib64", "cu13/lib", "cublas/lib", "nvidia/cu13/lib", "nvidia/cublas/lib");

  private static final int COMPUTE_32F = 68;
  private static final int R_32F = 0;
  private static final int R_16BF = 14;
  private static final int R_8F_E4M3 = 28;
  private static final int OP_T = 1;

  private static final int DESC_TRANSA = 3;
  private static final int DESC_A_SCALE_POINTER = 17;
  private static final int DESC_B_SCALE_POINTER = 18;
  private static final int DESC_FAST_ACCUM = 25;
  private static final int LAYOUT_BATCH_COUNT = 5;
  private static final int LAYOUT_STRIDED_BATCH_OFFSET = 6;
  private static final int PREFERENCE_WORKSPACE = 1;

  private static final FunctionDescriptor ONE = FunctionDescriptor.of(JAVA_INT, ADDRESS);
  private static final FunctionDescriptor SET =
      FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT, ADDRESS, JAVA_LONG);

  private static final Map<String, FunctionDescriptor> FUNCTIONS =
      Map.ofEntries(
          Map.entry("cublasLtGetVersion", FunctionDescriptor.of(JAVA_LONG)),
          Map.entry("cublasLtCreate", ONE),
          Map.entry("cublasLtDestroy", ONE),
          Map.entry(
              "cublasLtMatmulDescCreate",
              FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT)),
          Map.entry("cublasLtMatmulDescSetAttribute", SET),
          Map.entry("cublasLtMatmulDescDestroy", ONE),
          Map.entry(
              "cublasLtMatrixLayoutCreate",
              FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG)),
          Map.entry("cublasLtMatrixLayoutSetAttribute", SET),
          Map.entry("cublasLtMatrixLayoutDestroy", ONE),
          Map.entry("cublasLtMatmulPreferenceCreate", ONE),
          Map.entry("cublasLtMatmulPreferenceSetAttribute", SET),
          Map.entry("cublasLtMatmulPreferenceDestroy", ONE),
          Map.entry(
              "cublasLtMatmulAlgoGetHeuristic",
              FunctionDescriptor.of(
                  JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_INT,
                  ADDRESS, ADDRESS)),
          Map.entry(
              "cublasLtMatmul",
              FunctionDescriptor.of(
                  JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS,
                  ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS)));

  private final Arena arena = Arena.ofConfined();
  private final Arena memory = Arena.ofConfined();
  private final Map<String, MethodHandle> functions = new HashMap<>();
  private final MemorySegment handle;
  private final Tensor workspace;
  private final Tensor one;
  private final MemorySegment factors;

  /// The element type of A and W.
  enum Type {
    BF16(R_16BF, 2, Buffer.Fill.VALUES),
    /// E4M3 with one scale for each operand, sums of reduced precision (cuBLASLt's "fast
    /// accumulation"): lossy.
    FP8(R_8F_E4M3, 1, Buffer.Fill.E4M3);

    private final int code;
    private final int bytes;
    private final Buffer.Fill fill;

    Type(int code, int bytes, Buffer.Fill fill) {
      this.code = code;
      this.bytes = bytes;
      this.fill = fill;
    }

    /// @return a matrix of this type as a buffer
    Buffer buffer(String name, long rows, long columns) {
      return new Buffer(name, this == BF16 ? DType.BF16 : DType.U8, rows, columns, fill);
    }

    /// @return the bytes of an element
    int bytes() {
      return bytes;
    }

    /// @return the peer's name in tables and files
    String peer() {
      return this == BF16 ? "cublaslt_bf16" : "cublaslt_fp8";
    }
  }

  /// A column-major matrix of a batch, as `cublasLtMatrixLayout_t` has it.
  ///
  /// @param rows elements of a column
  /// @param columns columns
  /// @param stride elements from a column to the next
  /// @param batchStride elements from a matrix of the batch to the next
  record Matrix(long rows, long columns, long stride, long batchStride) {

    /// @return bytes from the first to the last element of `batch` matrices
    long bytes(long batch, int elementBytes) {
      long last = (batch - 1) * batchStride + (columns - 1) * stride + rows;
      return last * elementBytes;
    }
  }

  /// The three matrices of a product, in cuBLASLt's order.
  ///
  /// @param batch how many products
  /// @param w the weights, transposed
  /// @param a the activations
  /// @param d the result
  record Shape(long batch, Matrix w, Matrix a, Matrix d) {

    /// `D[M, N] = A[M, K] * transpose(W[N, K])`.
    static Shape product(long m, long n, long k) {
      return new Shape(1, new Matrix(k, n, k, 0), new Matrix(k, m, k, 0), new Matrix(n, m, n, 0));
    }

    /// Products of `experts` experts with `rows` rows each, one after the other in A, D and W.
    static Shape grouped(long experts, long rows, long n, long k) {
      return new Shape(
          experts,
          new Matrix(k, n, k, n * k),
          new Matrix(k, rows, k, rows * k),
          new Matrix(n, rows, n, rows * n));
    }

    /// `D[m, g*N + n] = A[m, g*K + k] * W[g, n, k]`.
    static Shape batched(long groups, long m, long n, long k) {
      return new Shape(
          groups,
          new Matrix(k, n, k, n * k),
          new Matrix(k, m, groups * k, k),
          new Matrix(n, m, groups * n, n));
    }
  }

  private CublasLt(SymbolLookup library, Device device) {
    FUNCTIONS.forEach((name, signature) ->
        functions.put(
            name,
            Linker.nativeLinker()
                .downcallHandle(
                    library
                        .find(name)
                        .orElseThrow(() -> new IllegalStateException("no function " + name)),
                    signature)));
    MemorySegment created = arena.allocate(ADDRESS);
    call("cublasLtCreate", created);
    handle = created.get(ADDRESS, 0);
    workspace = device.allocate(memory, DType.U8, WORKSPACE_BYTES);
    one = device.allocate(memory, DType.F32, 1);
    factors = arena.allocate(JAVA_FLOAT, 2); // alpha = 1, beta = 0
    factors.set(JAVA_FLOAT, 0, 1f);
    try (Stream stream = device.openStream();
        Arena host = Arena.ofConfined()) {
      MemorySegment value = host.allocate(JAVA_FLOAT);
      value.set(JAVA_FLOAT, 0, 1f);
      Tensor.of(host, value, DType.F32, 1).copyTo(stream, one);
      stream.synchronize();
    }
  }

  /// Finds the library and opens it.
  ///
  /// @param place a file, or a folder that has it (its own, a CUDA toolkit's, or Python packages);
  ///   null: the dynamic linker looks for it
  /// @param device a CUDA device, the calling thread's current one for the CUDA runtime
  /// @param complaint receives one sentence when there is none
  /// @return null when there is none
  static @Nullable CublasLt open(@Nullable Path place, Device device, List<String> complaint) {
    try {
      SymbolLookup library = find(place, Arena.global());
      if (library == null) {
        complaint.add("cuBLASLt was not found: " + (place == null ? names() : place));
        return null;
      }
      return new CublasLt(library, device);
    } catch (IllegalStateException e) {
      complaint.add("cuBLASLt cannot be used: " + e.getMessage());
      return null;
    }
  }

  private static String names() {
    return "the dynamic linker knows neither " + String.join(" nor ", NAMES);
  }

  /// @return the library, or null when no candidate can be loaded
  static @Nullable SymbolLookup find(@Nullable Path place, Arena arena) {
    if (place == null) {
      for (String name : NAMES) {
        try {
          return SymbolLookup.libraryLookup(name, arena);
        } catch (IllegalArgumentException e) {
          // The next name.
        }
      }
      return null;
    }
    for (Path file : candidates(place)) {
      try {
        return SymbolLookup.libraryLookup(file.toAbsolutePath(), arena);
      } catch (IllegalArgumentException e) {
        // The next file.
      }
    }
    return null;
  }

  /// @return the files of a place that may be the library, newest first
  static List<Path> candidates(Path place) {
    if (!Files.isDirectory(place)) {
      return Files.exists(place) ? List.of(place) : List.of();
    }
    List<Path> files = new ArrayList<>();
    for (String name : NAMES) {
      for (String folder : FOLDERS) {
        Path file = place.resolve(folder).resolve(name);
        if (Files.isRegularFile(file)) {
          files.add(file);
        }
      }
    }
    return files;
  }

  /// @return for example `13.0.2`
  String version() {
    long version;
    try {
      version = (long) function("cublasLtGetVersion").invokeExact();
    } catch (Throwable e) {
      throw unexpected(e);
    }
    return version / 10_000 + "." + version / 100 % 100 + "." + version % 100;
  }

  /// Prepares a product.
  ///
  /// @throws IllegalStateException when cuBLASLt knows no algorithm for it
  Matmul matmul(Type type, Shape shape) {
    return new Matmul(type, shape);
  }

  /// One product: its descriptors, and the algorithm.
  final class Matmul implements AutoCloseable {
    private final Arena own = Arena.ofConfined();
    private final Deque<Runnable> destroy = new ArrayDeque<>();
    private final MemorySegment desc;
    private final MemorySegment w;
    private final MemorySegment a;
    private final MemorySegment d;
    private final MemorySegment algorithm;

    private Matmul(Type type, Shape shape) {
      try {
        MemorySegment created = own.allocate(ADDRESS);
        call("cublasLtMatmulDescCreate", created, COMPUTE_32F, R_32F);
        desc = created("cublasLtMatmulDescDestroy", created);
        set("cublasLtMatmulDescSetAttribute", desc, DESC_TRANSA, OP_T);
        if (type == Type.FP8) {
          set("cublasLtMatmulDescSetAttribute", desc, DESC_A_SCALE_POINTER, one.address());
          set("cublasLtMatmulDescSetAttribute", desc, DESC_B_SCALE_POINTER, one.address());
          set("cublasLtMatmulDescSetAttribute", desc, DESC_FAST_ACCUM, (byte) 1);
        }
        w = layout(type.code, shape.batch(), shape.w());
        a = layout(type.code, shape.batch(), shape.a());
        d = layout(R_16BF, shape.batch(), shape.d());
        algorithm = algorithm();
      } catch (Throwable e) {
        close();
        throw e;
      }
    }

    private MemorySegment layout(int type, long batch, Matrix matrix) {
      MemorySegment created = own.allocate(ADDRESS);
      call(
          "cublasLtMatrixLayoutCreate",
          created,
          type,
          matrix.rows(),
          matrix.columns(),
          matrix.stride());
      MemorySegment layout = created("cublasLtMatrixLayoutDestroy", created);
      if (batch > 1) {
        String function = "cublasLtMatrixLayoutSetAttribute";
        set(function, layout, LAYOUT_BATCH_COUNT, Math.toIntExact(batch));
        set(function, layout, LAYOUT_STRIDED_BATCH_OFFSET, matrix.batchStride());
      }
      return layout;
    }

    private MemorySegment algorithm() {
      MemorySegment created = own.allocate(ADDRESS);
      call("cublasLtMatmulPreferenceCreate", created);
      MemorySegment preference = created("cublasLtMatmulPreferenceDestroy", created);
      set(
          "cublasLtMatmulPreferenceSetAttribute",
          preference,
          PREFERENCE_WORKSPACE,
          WORKSPACE_BYTES);
      MemorySegment result = own.allocate(HEURISTIC);
      MemorySegment found = own.allocate(JAVA_INT);
      call(
          "cublasLtMatmulAlgoGetHeuristic", handle, desc, w, a, d, d, preference, 1, result, found);
      int state = result.get(JAVA_INT, HEURISTIC.byteOffset(PathElement.groupElement("state")));
      if (found.get(JAVA_INT, 0) < 1 || state != 0) {
        throw new IllegalStateException("cublasLtMatmulAlgoGetHeuristic: no algorithm");
      }
      return result.asSlice(0, ALGORITHM.byteSize());
    }

    private MemorySegment created(String destroyer, MemorySegment created) {
      MemorySegment object = created.get(ADDRESS, 0);
      destroy.push(() -> call(destroyer, object));
      return object;
    }

    private void set(String function, MemorySegment object, int attribute, Object value) {
      MemorySegment buffer =
          switch (value) {
            case Byte b -> own.allocateFrom(ValueLayout.JAVA_BYTE, b);
            case Integer i -> own.allocateFrom(JAVA_INT, i);
            case Long l -> own.allocateFrom(JAVA_LONG, l);
            default -> throw new IllegalArgumentException("no attribute: " + value.getClass());
          };
      call(function, object, attribute, buffer, buffer.byteSize());
    }

    /// Enqueues the product; may be captured once it has run.
    void run(Stream stream, Tensor weights, Tensor activations, Tensor result) {
      int status;
      MemorySegment to = MemorySegment.ofAddress(result.address());
      try {
        status =
            (int)
                function("cublasLtMatmul")
                    .invokeExact(
                        handle,
                        desc,
                        factors.asSlice(0, 4),
                        MemorySegment.ofAddress(weights.address()),
                        w,
                        MemorySegment.ofAddress(activations.address()),
                        a,
                        factors.asSlice(4, 4),
                        to,
                        d,
                        to,
                        d,
                        algorithm,
                        MemorySegment.ofAddress(workspace.address()),
                        WORKSPACE_BYTES,
                        MemorySegment.ofAddress(stream.cudaStream()));
      } catch (Throwable e) {
        throw unexpected(e);
      }
      check("cublasLtMatmul", status);
    }

    @Override
    public void close() {
      while (!destroy.isEmpty()) {
        destroy.pop().run();
      }
      own.close();
    }
  }

  private MethodHandle function(String name) {
    return Objects.requireNonNull(functions.get(name), name);
  }

  private void call(String name, Object... arguments) {
    int status;
    try {
      status = (int) function(name).invokeWithArguments(arguments);
    } catch (Throwable e) {
      throw unexpected(e);
    }
    check(name, status);
  }

  private static void check(String name, int status) {
    if (status != 0) {
      throw new IllegalStateException(name + ": cuBLAS status " + status);
    }
  }

  private static RuntimeException unexpected(Throwable e) {
    return switch (e) {
      case RuntimeException runtime -> runtime;
      case Error error -> throw error;
      default -> throw new AssertionError(e); // a downcall throws nothing checked
    };
  }

  /// Frees the workspace and the handle; the library stays loaded.
  @Override
  public void close() {
    memory.close(); // waits for the device
    call("cublasLtDestroy", handle);
    arena.close();
  }
}
