// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.reference;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.function.IntUnaryOperator;
import java.util.random.RandomGenerator;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// The number formats, against golden tables and against a search for the nearest value.
@Tag("cpu")
class CodecTest {
  private static final Golden GOLDEN = Golden.read("nvfp4/codec");

  @Test
  void decodesEveryE4m3Byte() {
    int[] expected = GOLDEN.ints("e4m3_to_f32_bits");
    assertThat(expected).hasSize(256);
    for (int code = 0; code < 256; code++) {
      float y = E4m3.decode(code);
      float golden = Float.intBitsToFloat(expected[code]);
      if (Float.isNaN(golden)) {
        assertThat(Float.floatToRawIntBits(y)).as("byte %02x", code).isEqualTo(0x7fc00000);
      } else {
        assertThat(Float.floatToRawIntBits(y)).as("byte %02x", code).isEqualTo(expected[code]);
      }
      assertThat(Float.compare(E4m3.decode((byte) code), y)).as("as a signed byte").isZero();
    }
  }

  @Test
  void decodesEveryE2m1Code() {
    float[] expected = GOLDEN.floats("e2m1_to_f32");
    assertThat(expected).hasSize(16);
    for (int code = 0; code < 16; code++) {
      assertThat(Float.floatToRawIntBits(E2m1.decode(code)))
          .isEqualTo(Float.floatToRawIntBits(expected[code]));
    }
  }

  @Test
  void encodesEveryBf16() {
    byte[] e2m1 = GOLDEN.bytes("bf16_bits_to_e2m1");
    byte[] e4m3 = GOLDEN.bytes("bf16_bits_to_e4m3");
    for (int bits = 0; bits < 1 << 16; bits++) {
      float x = Bf16.decode((short) bits);
      assertThat(E2m1.encode(x)).as("bf16 %04x", bits).isEqualTo(e2m1[bits]);
      assertThat(E4m3.encode(x)).as("bf16 %04x", bits).isEqualTo(e4m3[bits] & 0xff);
    }
  }

  @Test
  void encodesEveryF16() {
    byte[] e2m1 = GOLDEN.bytes("fp16_bits_to_e2m1");
    byte[] e4m3 = GOLDEN.bytes("fp16_bits_to_e4m3");
    for (int bits = 0; bits < 1 << 16; bits++) {
      float x = F16.decode((short) bits);
      assertThat(E2m1.encode(x)).as("f16 %04x", bits).isEqualTo(e2m1[bits]);
      assertThat(E4m3.encode(x)).as("f16 %04x", bits).isEqualTo(e4m3[bits] & 0xff);
    }
  }

  @Test
  void encodesBoundaryPoints() {
    int[] points = GOLDEN.ints("pts_f32_bits");
    byte[] e2m1 = GOLDEN.bytes("pts_e2m1");
    byte[] e4m3 = GOLDEN.bytes("pts_e4m3");
    assertThat(points).hasSize(1543);
    for (int i = 0; i < points.length; i++) {
      float x = Float.intBitsToFloat(points[i]);
      assertThat(E2m1.encode(x)).as("f32 %08x", points[i]).isEqualTo(e2m1[i]);
      assertThat(E4m3.encode(x)).as("f32 %08x", points[i]).isEqualTo(e4m3[i] & 0xff);
    }
  }

  @Test
  void productsOfElementAndScaleAreExactInSixteenBits() {
    short[] bf16 = GOLDEN.shorts("product_bf16_bits");
    short[] f16 = GOLDEN.shorts("product_fp16_bits");
    for (int i = 0; i < bf16.length; i++) {
      float p = E2m1.decode(i / 256) * E4m3.decode(i % 256);
      if (!Float.isNaN(p)) {
        assertThat(Bf16.encode(p)).as("product %d", i).isEqualTo(bf16[i]);
        assertThat(F16.encode(p)).as("product %d", i).isEqualTo(f16[i]);
        assertThat(Bf16.round(p)).isEqualTo(p);
        assertThat(F16.round(p)).isEqualTo(p);
      } else {
        assertThat(i % 256 & 0x7f).isEqualTo(0x7f);
      }
    }
  }

  @Test
  void everyValueIsItsOwnCode() {
    for (int code = 0; code < 16; code++) {
      assertThat(E2m1.encode(E2m1.decode(code))).isEqualTo(code);
    }
    for (int code = 0; code < 256; code++) {
      int expected = (code & 0x7f) == 0x7f ? 0x7f : code;
      assertThat(E4m3.encode(E4m3.decode(code))).isEqualTo(expected);
    }
    for (int bits = 0; bits < 1 << 16; bits++) {
      float b = Bf16.decode((short) bits);
      assertThat(Bf16.encode(b)).isEqualTo(Float.isNaN(b) ? (short) 0x7fc0 : (short) bits);
      float h = F16.decode((short) bits);
      assertThat(F16.encode(h)).isEqualTo(Float.isNaN(h) ? (short) 0x7e00 : (short) bits);
    }
  }

  @Test
  void roundsToTheNearestWithTiesToEven() {
    RandomGenerator random = Seeds.generator(CodecTest.class);
    for (int i = 0; i < 300_000; i++) {
      // A third each: any float, around e2m1's range, around E4M3's.
      float x =
          switch (i % 3) {
            case 0 -> Seeds.anyFinite(random);
            case 1 -> (float) (random.nextGaussian() * 3);
            default -> (float) (random.nextGaussian() * Math.pow(2, random.nextInt(-12, 10)));
          };
      check(x);
    }
    // Every midpoint of two neighbours, and the floats around it.
    for (int code = 0; code < 0x7e; code++) {
      checkAround((E4m3.decode(code) + E4m3.decode(code + 1)) / 2);
      checkAround((E2m1.decode(code % 7) + E2m1.decode(code % 7 + 1)) / 2);
    }
  }

  private static void checkAround(float midpoint) {
    for (float x : new float[] {Math.nextDown(midpoint), midpoint, Math.nextUp(midpoint)}) {
      check(x);
      check(-x);
    }
  }

  private static void check(float x) {
    assertThat(E2m1.encode(x))
        .as("e2m1 of %a", x)
        .isEqualTo(nearest(x, 7, 8, code -> Float.floatToRawIntBits(E2m1.decode(code))));
    assertThat(E4m3.encode(x))
        .as("e4m3 of %a", x)
        .isEqualTo(nearest(x, 0x7e, 0x80, code -> Float.floatToRawIntBits(E4m3.decode(code))));
    assertThat(Bf16.encode(x))
        .as("bf16 of %a", x)
        .isEqualTo((short) nearestSixteen(x, 0x7f80, b -> Bf16.decode((short) b)));
    assertThat(F16.encode(x))
        .as("f16 of %a", x)
        .isEqualTo((short) nearestSixteen(x, 0x7c00, b -> F16.decode((short) b)));
  }

  /// The code of the value nearest to x by comparing distances, saturating. (Far beyond the largest
  /// value the distances would be equal as doubles.)
  private static int nearest(float x, int last, int signBit, IntUnaryOperator decode) {
    double a = Math.min(Math.abs((double) x), 1000);
    int best = 0;
    for (int code = 1; code <= last; code++) {
      double here = Math.abs(Float.intBitsToFloat(decode.applyAsInt(code)) - a);
      double there = Math.abs(Float.intBitsToFloat(decode.applyAsInt(best)) - a);
      if (here < there || here == there && code % 2 == 0) {
        best = code;
      }
    }
    return Float.floatToRawIntBits(x) < 0 ? best | signBit : best;
  }

  private interface Decode {
    float apply(int bits);
  }

  /// The same for a 16-bit format by bisection; infinity stands for the next power of two.
  private static int nearestSixteen(float x, int infinity, Decode decode) {
    double a = Math.abs((double) x);
    int low = 0;
    int high = infinity;
    while (high - low > 1) {
      int middle = (low + high) / 2;
      if (decode.apply(middle) <= a) {
        low = middle;
      } else {
        high = middle;
      }
    }
    double below = decode.apply(low);
    double above =
        high == infinity
            ? 2 * (double) decode.apply(low) - decode.apply(low - 1)
            : decode.apply(high);
    int best = a - below < above - a || a - below == above - a && low % 2 == 0 ? low : high;
    return Float.floatToRawIntBits(x) < 0 ? best | 0x8000 : best;
  }

  @Test
  void specialValues() {
    assertThat(E2m1.encode(Float.NaN)).isEqualTo(7);
    assertThat(E2m1.encode(Float.intBitsToFloat(0xffc00001))).isEqualTo(7);
    assertThat(E2m1.encode(Float.POSITIVE_INFINITY)).isEqualTo(7);
    assertThat(E2m1.encode(Float.NEGATIVE_INFINITY)).isEqualTo(15);
    assertThat(E2m1.encode(-0f)).isEqualTo(8);
    assertThat(E2m1.encode(-Float.MIN_VALUE)).isEqualTo(8);
    assertThat(E4m3.encode(Float.intBitsToFloat(0xffc00001))).isEqualTo(0x7f);
    assertThat(E4m3.encode(Float.NEGATIVE_INFINITY)).isEqualTo(0xfe);
    assertThat(E4m3.encode(464f)).isEqualTo(0x7e);
    assertThat(E4m3.encode(0x1p-10f)).isEqualTo(0);
    assertThat(E4m3.encode(Math.nextUp(0x1p-10f))).isEqualTo(1);
    assertThat(E4m3.encode(1.5f * 0x1p-9f)).isEqualTo(2);
    assertThat(Bf16.encode(Float.MAX_VALUE)).isEqualTo((short) 0x7f80);
    assertThat(F16.encode(Math.nextDown(65520f))).isEqualTo((short) 0x7bff);
    assertThat(F16.encode(65520f)).isEqualTo((short) 0x7c00);
    for (int nan : new int[] {0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff}) {
      assertThat(Bf16.encode(Float.intBitsToFloat(nan))).isEqualTo((short) 0x7fc0);
      assertThat(F16.encode(Float.intBitsToFloat(nan))).isEqualTo((short) 0x7e00);
    }
    assertThat(Float.floatToRawIntBits(Bf16.decode((short) 0xffff))).isEqualTo(0x7fc00000);
    assertThat(Float.floatToRawIntBits(F16.decode((short) 0xffff))).isEqualTo(0x7fc00000);
  }

  @Test
  void arraysAreElementwise() {
    float[] x = {1f, -2.5f, 1e-3f, Float.NEGATIVE_INFINITY};
    assertThat(Bf16.decode(Bf16.encode(x)))
        .containsExactly(Bf16.round(1f), Bf16.round(-2.5f), Bf16.round(1e-3f), x[3]);
    assertThat(F16.decode(F16.encode(x)))
        .containsExactly(F16.round(1f), F16.round(-2.5f), F16.round(1e-3f), x[3]);
  }

  @Test
  void packsTheEvenElementLow() {
    byte[] codes = {0x1, 0xf, 0x8, 0x0};
    byte[] packed = PackedCodes.pack(codes);
    assertThat(packed).containsExactly(0xf1, 0x08);
    assertThat(PackedCodes.unpack(packed)).containsExactly(codes);
    assertThat(PackedCodes.get(packed, 1)).isEqualTo(15);
    byte[] all = new byte[256];
    for (int i = 0; i < 256; i++) {
      all[i] = (byte) i;
    }
    assertThat(PackedCodes.pack(PackedCodes.unpack(all))).containsExactly(all);
    assertThatThrownBy(() -> PackedCodes.pack(new byte[3]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("pack: codes has 3 elements, expected an even number");
  }
}
