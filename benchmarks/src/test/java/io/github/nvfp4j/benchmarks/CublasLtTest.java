// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.nvfp4j.DType;
import io.github.nvfp4j.Device;
import io.github.nvfp4j.Stream;
import io.github.nvfp4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout.PathElement;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// The binding of cuBLASLt against a library of the same functions that multiplies on the host, in
/// the order and with the constants of `cublasLt.h`.
class CublasLtTest {
  private static final long M = 5;
  private static final long N = 48;
  private static final long K = 32;

  private static final String STUB =
      """
      #include <math.h>
      #include <stddef.h>
      #include <stdint.h>
      #include <stdlib.h>
      #include <string.h>
      typedef struct { int compute, scale, transa; const float *sa, *sw; signed char fast; } desc_t;
      typedef struct { int type; uint64_t rows, cols; int64_t ld, stride; int32_t batch; } layout_t;
      typedef struct { uint64_t workspace; } preference_t;
      typedef struct {
        uint64_t algo[8]; size_t workspace; int state; float waves; int reserved[4];
      } result_t;
      static int live;
      int live_objects(void) { return live; }
      static int make(void **out, size_t size) { *out = calloc(1, size); ++live; return 0; }
      static int gone(void *p) { free(p); --live; return 0; }
      size_t cublasLtGetVersion(void) { return 130102; }
      int cublasLtCreate(void **h) { return make(h, 8); }
      int cublasLtDestroy(void *h) { return gone(h); }
      int cublasLtMatmulDescCreate(desc_t **d, int compute, int scale) {
        make((void **)d, sizeof **d);
        (*d)->compute = compute;
        (*d)->scale = scale;
        return 0;
      }
      int cublasLtMatmulDescDestroy(void *d) { return gone(d); }
      int cublasLtMatmulDescSetAttribute(desc_t *d, int a, const void *v, size_t n) {
        if (a == 3 && n == 4) memcpy(&d->transa, v, n);
        else if (a == 17 && n == 8) memcpy(&d->sa, v, n);
        else if (a == 18 && n == 8) memcpy(&d->sw, v, n);
        else if (a == 25 && n == 1) memcpy(&d->fast, v, n);
        else return 7;
        return 0;
      }
      int cublasLtMatrixLayoutCreate(layout_t **l, int type, uint64_t r, uint64_t c, int64_t ld) {
        make((void **)l, sizeof **l);
        **l = (layout_t){type, r, c, ld, 0, 1};
        return 0;
      }
      int cublasLtMatrixLayoutDestroy(void *l) { return gone(l); }
      int cublasLtMatrixLayoutSetAttribute(layout_t *l, int a, const void *v, size_t n) {
        if (a == 5 && n == 4) memcpy(&l->batch, v, n);
        else if (a == 6 && n == 8) memcpy(&l->stride, v, n);
        else return 7;
        return 0;
      }
      int cublasLtMatmulPreferenceCreate(void **p) { return make(p, sizeof(preference_t)); }
      int cublasLtMatmulPreferenceDestroy(void *p) { return gone(p); }
      int cublasLtMatmulPreferenceSetAttribute(preference_t *p, int a, const void *v, size_t n) {
        if (a != 1 || n != 8) return 7;
        memcpy(&p->workspace, v, n);
        return 0;
      }
      int cublasLtMatmulAlgoGetHeuristic(void *h, desc_t *desc, layout_t *a, layout_t *b,
          layout_t *c, layout_t *d, preference_t *p, int wanted, result_t *out, int *found) {
        if (!h || desc->compute != 68 || desc->scale != 0 || desc->transa != 1) return 7;
        if (p->workspace != 32u << 20 || wanted != 1 || c != d) return 7;
        *found = a->rows == b->rows && a->cols == d->rows && b->cols == d->cols;
        memset(out, 0, sizeof *out);
        out->algo[7] = 42;
        return 0;
      }
      static double number(const void *p, int type, int64_t i) {
        if (type == 14) {
          uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
          float f;
          memcpy(&f, &bits, 4);
          return f;
        }
        uint8_t x = ((const uint8_t *)p)[i];
        int e = x >> 3 & 15, m = x & 7;
        double v = e ? ldexp(8 + m, e - 10) : ldexp(m, -9);
        return x & 128 ? -v : v;
      }
      int cublasLtMatmul(void *h, desc_t *desc, const float *alpha, const void *a, layout_t *al,
          const void *b, layout_t *bl, const float *beta, const void *c, layout_t *cl, void *d,
          layout_t *dl, const uint64_t *algo, void *workspace, size_t bytes, void *stream) {
        if (!h || *alpha != 1 || *beta != 0 || c != d || cl != dl || algo[7] != 42) return 7;
        if (!workspace || bytes != 32u << 20 || stream || dl->type != 14) return 7;
        if (al->type == 28 && (*desc->sa != 1 || *desc->sw != 1 || desc->fast != 1)) return 7;
        for (int g = 0; g < dl->batch; ++g)
          for (uint64_t n = 0; n < dl->cols; ++n)
            for (uint64_t m = 0; m < dl->rows; ++m) {
              double sum = 0;
              for (uint64_t k = 0; k < al->rows; ++k)
                sum += number(a, al->type, g * al->stride + m * al->ld + k)
                    * number(b, bl->type, g * bl->stride + n * bl->ld + k);
              float f = (float)sum;
              uint32_t bits;
              memcpy(&bits, &f, 4);
              ((uint16_t *)d)[g * dl->stride + n * dl->ld + m] = (bits + 0x8000) >> 16;
            }
        return 0;
      }
      """;

  @Test
  void structsAreThoseOfTheHeader() {
    assertThat(CublasLt.ALGORITHM.byteSize()).isEqualTo(64);
    assertThat(CublasLt.HEURISTIC.byteSize()).isEqualTo(96);
    assertThat(CublasLt.HEURISTIC.byteOffset(PathElement.groupElement("state"))).isEqualTo(72);
    assertThat(CublasLt.HEURISTIC.byteOffset(PathElement.groupElement("reserved"))).isEqualTo(80);
  }

  @Test
  void matricesHaveTheBytesOfTheirTensors() {
    CublasLt.Shape product = CublasLt.Shape.product(M, N, K);
    assertThat(product.w().bytes(1, 2)).isEqualTo(2 * N * K);
    assertThat(product.a().bytes(1, 2)).isEqualTo(2 * M * K);
    assertThat(product.d().bytes(1, 2)).isEqualTo(2 * M * N);
    CublasLt.Shape grouped = CublasLt.Shape.grouped(6, M, N, K);
    assertThat(grouped.w().bytes(6, 2)).isEqualTo(6 * 2 * N * K);
    assertThat(grouped.a().bytes(6, 2)).isEqualTo(6 * 2 * M * K);
    assertThat(grouped.d().bytes(6, 2)).isEqualTo(6 * 2 * M * N);
    CublasLt.Shape batched = CublasLt.Shape.batched(16, M, N, K);
    assertThat(batched.w().bytes(16, 1)).isEqualTo(16 * N * K);
    assertThat(batched.a().bytes(16, 1)).isEqualTo(M * 16 * K);
    assertThat(batched.d().bytes(16, 2)).isEqualTo(2 * M * 16 * N);
  }

  @Test
  void withoutTheLibraryThereIsOneSentence(@TempDir Path folder) throws IOException {
    List<String> complaints = new ArrayList<>();
    try (Device device = Device.cpu()) {
      assertThat(CublasLt.open(folder, device, complaints)).isNull();
      Path broken = folder.resolve("libcublasLt.so.13");
      Files.writeString(broken, "no library");
      assertThat(CublasLt.open(broken, device, complaints)).isNull();
      assertThat(CublasLt.open(folder.resolve("nowhere"), device, complaints)).isNull();
    }
    assertThat(complaints).hasSize(3).allMatch(line -> line.startsWith("cuBLASLt was not found"));
  }

  @Test
  void aLibraryThatLacksAFunctionIsNamed(@TempDir Path folder) throws Exception {
    Path library = compile(folder, "int cublasLtCreate(void **h) { return 1; }");
    List<String> complaints = new ArrayList<>();
    try (Device device = Device.cpu()) {
      assertThat(CublasLt.open(library, device, complaints)).isNull();
    }
    assertThat(complaints).hasSize(1);
    assertThat(complaints.getFirst()).startsWith("cuBLASLt cannot be used: no function cublasLt");
  }

  @Test
  void itIsFoundBesidePythonPackagesTheNewestFirst(@TempDir Path folder) throws IOException {
    Path old = folder.resolve("nvidia/cublas/lib/libcublasLt.so.12");
    Path young = folder.resolve("nvidia/cu13/lib/libcublasLt.so.13");
    for (Path file : List.of(old, young)) {
      Files.createDirectories(file.getParent());
      Files.createFile(file);
    }
    assertThat(CublasLt.candidates(folder)).containsExactly(young, old);
    assertThat(CublasLt.candidates(folder.resolve("nvidia"))).containsExactly(young, old);
    assertThat(CublasLt.candidates(old)).containsExactly(old);
    assertThat(CublasLt.candidates(folder.resolve("nowhere"))).isEmpty();
  }

  @ParameterizedTest
  @EnumSource(CublasLt.Type.class)
  void productsGoThroughItsFunctions(CublasLt.Type type, @TempDir Path folder) throws Exception {
    Path library = compile(folder, STUB);
    List<String> complaints = new ArrayList<>();
    try (Device device = Device.cpu();
        Stream stream = device.openStream();
        Arena arena = Arena.ofConfined();
        CublasLt cublas =
            Objects.requireNonNull(CublasLt.open(library, device, complaints), "not opened")) {
      assertThat(complaints).isEmpty();
      assertThat(cublas.version()).isEqualTo("13.1.2");
      HostData data = new HostData(arena, 3);
      int groups = 3;
      Tensor w = tensor(stream, arena, data, type.buffer("w", groups * N, K));
      Tensor a = tensor(stream, arena, data, type.buffer("a", groups * M, K));
      Tensor wide = tensor(stream, arena, data, type.buffer("a", M, groups * K));
      Tensor d = result(stream, arena, data, M, N);
      try (CublasLt.Matmul product = cublas.matmul(type, CublasLt.Shape.product(M, N, K))) {
        product.run(stream, w, a, d);
        assertThat(tile(stream, arena, type, w, a.slice(arena, 0, M), d)).isNull();
      }
      Tensor dOfGroups = result(stream, arena, data, groups * M, N);
      CublasLt.Shape grouped = CublasLt.Shape.grouped(groups, M, N, K);
      try (CublasLt.Matmul product = cublas.matmul(type, grouped)) {
        product.run(stream, w, a, dOfGroups);
      }
      Tensor dOfBatch = result(stream, arena, data, M, groups * N);
      CublasLt.Shape batched = CublasLt.Shape.batched(groups, M, N, K);
      try (CublasLt.Matmul product = cublas.matmul(type, batched)) {
        product.run(stream, w, wide, dOfBatch);
      }
      for (int g = 0; g < groups; g++) {
        Tensor wOfGroup = w.slice(arena, g * N, N);
        assertThat(
                tile(
                    stream,
                    arena,
                    type,
                    wOfGroup,
                    a.slice(arena, g * M, M),
                    dOfGroups.slice(arena, g * M, M)))
            .isNull();
        assertThat(
                tile(
                    stream,
                    arena,
                    type,
                    wOfGroup,
                    wide.slice(arena, 1, g * K, K),
                    dOfBatch.slice(arena, 1, g * N, N)))
            .isNull();
      }
      assertThat(tile(stream, arena, type, w.slice(arena, N, N), a.slice(arena, 0, M), d))
          .as("the product of other weights")
          .contains("expected about");
    }
  }

  private static @Nullable String tile(
      Stream stream, Arena arena, CublasLt.Type type, Tensor w, Tensor a, Tensor d) {
    return GemmTile.differs(stream, arena, w, arena, type, a, d);
  }

  private static Tensor tensor(Stream stream, Arena arena, HostData data, Buffer buffer) {
    return BufferSet.allocate(stream, arena, List.of(buffer), 1, data).of(0).getFirst();
  }

  private static Tensor result(Stream stream, Arena arena, HostData data, long m, long n) {
    return tensor(stream, arena, data, new Buffer("d", DType.BF16, m, n, Buffer.Fill.POISON));
  }

  private static Path compile(Path folder, String source) throws Exception {
    Path file = folder.resolve("stub.c");
    Files.writeString(file, source);
    Path library = folder.resolve("libcublasLt.so.13");
    Process process;
    try {
      process =
          new ProcessBuilder(
                  "cc",
                  "-O1",
                  "-shared",
                  "-fPIC",
                  "-Wl,-z,noexecstack",
                  "-o",
                  library + "",
                  file + "",
                  "-lm")
              .redirectErrorStream(true)
              .redirectOutput(folder.resolve("cc.txt").toFile())
              .start();
    } catch (IOException e) {
      assumeTrue(false, "no C compiler: " + e.getMessage());
      throw e;
    }
    assertThat(process.waitFor()).as(Files.readString(folder.resolve("cc.txt"))).isZero();
    return library;
  }
}
