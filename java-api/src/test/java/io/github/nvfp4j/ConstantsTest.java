// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.bindings.Nvfp4jConstants;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.function.ToIntFunction;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The enums' codes are the header's constants, and no constant lacks an enum.
@Tag("cpu")
final class ConstantsTest {
  @Test
  void codesAreTheHeaders() throws Exception {
    check(DType.values(), DType::code, "DTYPE_");
    check(ScaleLayout.values(), ScaleLayout::code, "SCALE_LAYOUT_");
    check(Recipe.values(), Recipe::code, "RECIPE_");
    check(ZeroScale.values(), ZeroScale::code, "ZERO_SCALE_");
    check(Gemm.Path.values(), Gemm.Path::code, "GEMM_PATH_");
    check(Gemm.Activations.values(), Gemm.Activations::code, "GEMM_A_");
    check(SwigluColumns.values(), SwigluColumns::code, "SWIGLU_");
    check(Cause.values(), Cause::code, "CAUSE_");
    check(Status.values(), Status::code, "ERROR_");
    check(Op.values(), Op::code, "OP_");
    // Two enums share this prefix.
    for (GlobalScale each : GlobalScale.values()) {
      assertThat(each.code()).isEqualTo(constant("GLOBAL_SCALE_" + each.name()));
    }
    for (Quantize.Source each : Quantize.Source.values()) {
      assertThat(each.code()).isEqualTo(constant("GLOBAL_SCALE_" + each.name()));
    }
    long constants =
        Arrays.stream(Nvfp4jConstants.class.getFields())
            .filter(field -> field.getName().startsWith("GLOBAL_SCALE_"))
            .count();
    assertThat(constants).isEqualTo(GlobalScale.values().length + Quantize.Source.values().length);
  }

  private static <E extends Enum<E>> void check(E[] values, ToIntFunction<E> code, String prefix)
      throws Exception {
    for (E value : values) {
      assertThat(code.applyAsInt(value))
          .as(prefix + value.name())
          .isEqualTo(constant(prefix + value.name()));
    }
    long constants =
        Arrays.stream(Nvfp4jConstants.class.getFields())
            .map(field -> field.getName())
            .filter(name -> name.startsWith(prefix))
            .filter(name -> !name.equals("ERROR_MESSAGE_BYTES") && !name.equals("OP_COUNT"))
            .count();
    assertThat(constants).as("constants " + prefix).isEqualTo(values.length);
  }

  private static int constant(String name) throws Exception {
    return Nvfp4jConstants.class.getField(name).getInt(null);
  }

  @Test
  void opNamesAreTheLibrarys() {
    for (Op op : Op.values()) {
      assertThat(op.opName()).isEqualTo(Nvfp4jNative.opName(op.code()));
    }
  }

  @Test
  void quantizeOptionsAreShared() {
    for (Quantize.Source source : Quantize.Source.values()) {
      for (Recipe recipe : Recipe.values()) {
        for (ZeroScale zeroScale : ZeroScale.values()) {
          Quantize.Options options = Quantize.Options.of(source, recipe, zeroScale);
          assertThat(options.source()).isEqualTo(source);
          assertThat(options.recipe()).isEqualTo(recipe);
          assertThat(options.zeroScale()).isEqualTo(zeroScale);
          assertThat(Quantize.Options.of(source, recipe, zeroScale)).isSameAs(options);
        }
      }
    }
    assertThat(Quantize.Options.DYNAMIC).hasToString("DYNAMIC EXACT MIN");
    assertThat(Quantize.Options.GIVEN).hasToString("GIVEN EXACT MIN");
    assertThat(Swiglu.Options.DEFAULT).hasToString("HALVES limit 10.0");
  }

  @Test
  void gemmOptionsKeepWhatTheyWereGiven() {
    Gemm.Options all =
        Gemm.Options.DEFAULT
            .withSwiglu(7.5f)
            .withPath(Gemm.Path.WGMMA)
            .withBatchInvariant(true)
            .withWeightsSettled(true);
    assertThat(all).hasToString("WGMMA batch invariant swiglu limit 7.5 weights settled");
    assertThat(all.batchInvariant()).isTrue();
    assertThat(all.swiglu()).isTrue();
    assertThat(all.limit()).isEqualTo(7.5f);
    assertThat(all.path()).isEqualTo(Gemm.Path.WGMMA);
    assertThat(all.weightsSettled()).isTrue();
    int[] fields = all.struct.toArray(ValueLayout.JAVA_INT);
    assertThat(fields).containsExactly(24, 1, 1, Float.floatToRawIntBits(7.5f), 3, 1);
    assertThat(Gemm.Options.DEFAULT).hasToString("AUTO");
    assertThat(Gemm.Options.DEFAULT.struct.toArray(ValueLayout.JAVA_INT))
        .containsExactly(24, 0, 0, 0, 0, 0);
  }

  @Test
  void sinkhornAndHcOptionsKeepWhatTheyWereGiven() {
    Sinkhorn.Options sinkhorn = Sinkhorn.Options.of(3, 0.5f);
    assertThat(sinkhorn).hasToString("3 iterations eps 0.5");
    assertThat(sinkhorn.iterations()).isEqualTo(3);
    assertThat(sinkhorn.eps()).isEqualTo(0.5f);
    assertThat(sinkhorn.struct.toArray(ValueLayout.JAVA_INT))
        .containsExactly(16, 3, Float.floatToRawIntBits(0.5f), 0);
    assertThat(Sinkhorn.Options.DEFAULT).hasToString("20 iterations eps 1.0E-6");
    HcOptions hc = HcOptions.of(5, 0.25f, 0.125f);
    assertThat(hc).hasToString("5 iterations hc_eps 0.25 rms_eps 0.125");
    assertThat(hc.iterations()).isEqualTo(5);
    assertThat(hc.hcEps()).isEqualTo(0.25f);
    assertThat(hc.rmsEps()).isEqualTo(0.125f);
    int hcEps = Float.floatToRawIntBits(0.25f);
    int rmsEps = Float.floatToRawIntBits(0.125f);
    assertThat(hc.struct.toArray(ValueLayout.JAVA_INT)).containsExactly(16, 5, hcEps, rmsEps);
    assertThat(hc.headStruct.toArray(ValueLayout.JAVA_INT)).containsExactly(16, 0, hcEps, rmsEps);
    assertThat(HcOptions.DEFAULT).hasToString("20 iterations hc_eps 1.0E-6 rms_eps 1.0E-6");
  }

  @Test
  void sampleOptionsKeepWhatTheyWereGiven() {
    Sample.Options options = Sample.Options.of(0.5f, 0x1_0000_0002L, -1);
    assertThat(options).hasToString("temperature 0.5 seed 4294967298 offset -1");
    assertThat(options.temperature()).isEqualTo(0.5f);
    assertThat(options.seed()).isEqualTo(0x1_0000_0002L);
    assertThat(options.offset()).isEqualTo(-1);
    assertThat(options.struct.toArray(ValueLayout.JAVA_INT))
        .containsExactly(24, Float.floatToRawIntBits(0.5f), 2, 1, -1, -1);
    assertThat(Sample.Options.GREEDY).hasToString("temperature 0.0 seed 0 offset 0");
  }

  @Test
  void routerOptionsKeepWhatTheyWereGiven() {
    RouterOptions router = RouterOptions.of(0.75f);
    assertThat(router).hasToString("scale 0.75");
    assertThat(router.scale()).isEqualTo(0.75f);
    assertThat(router.struct.toArray(ValueLayout.JAVA_INT))
        .containsExactly(12, Float.floatToRawIntBits(0.75f), 0);
    RouterOptions settled = router.withWeightsSettled(true);
    assertThat(settled).hasToString("scale 0.75 weights settled");
    assertThat(settled.scale()).isEqualTo(0.75f);
    assertThat(settled.weightsSettled()).isTrue();
    assertThat(settled.struct.toArray(ValueLayout.JAVA_INT))
        .containsExactly(12, Float.floatToRawIntBits(0.75f), 1);
    assertThat(settled.withWeightsSettled(false)).hasToString("scale 0.75");
    assertThat(RouterOptions.FLASH.scale()).isEqualTo(1.5f);
    assertThat(RouterOptions.FLASH.weightsSettled()).isFalse();
    assertThat(RouterOptions.PRO.scale()).isEqualTo(2.5f);
    assertThat(RouterOptions.PRO.weightsSettled()).isFalse();
  }

  @Test
  void scaleLayoutsHaveTheLibrarysSizes() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
      for (ScaleLayout layout : ScaleLayout.values()) {
        for (long rows : new long[] {0, 1, 127, 128, 129, 1L << 33}) {
          for (long columns : new long[] {16, 48, 64, 80, 7168}) {
            int status =
                Nvfp4jNative.scaleBytes(rows, columns, layout.code(), out, MemorySegment.NULL);
            assertThat(status).isZero();
            assertThat(layout.bytes(rows, columns)).isEqualTo(out.get(ValueLayout.JAVA_LONG, 0));
            status = Nvfp4jNative.codesBytes(rows, columns, layout.code(), out, MemorySegment.NULL);
            assertThat(status).isZero();
            assertThat(layout.codesBytes(rows, columns))
                .isEqualTo(out.get(ValueLayout.JAVA_LONG, 0));
          }
        }
      }
    }
  }
}
