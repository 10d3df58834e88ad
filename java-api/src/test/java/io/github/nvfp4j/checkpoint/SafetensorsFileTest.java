// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import static io.github.nvfp4j.checkpoint.SafetensorsBytes.tensor;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

class SafetensorsFileTest {
  @TempDir Path directory;

  private Path write(byte[] bytes) throws IOException {
    return Files.write(directory.resolve("file.safetensors"), bytes);
  }

  @Test
  void readsTensorsInTheOrderOfTheirDataAndKeepsMetadata() throws IOException {
    String json =
        """
        {"b" :{"shape":[2,2],"dtype":"BF16","data_offsets":[4,12]},
        \t"__metadata__":{"format":"pt","\\u00e9\\ud83d\\ude00":"a\\nb"},
        "\\/\\"\\\\":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
        "empty":{"dtype":"I64","shape":[3,0],"data_offsets":[12,12]}} \s\
        """;
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile file = SafetensorsFile.open(write(SafetensorsBytes.file(json, 12)), arena);
      assertThat(file.names()).containsExactly("/\"\\", "b", "empty");
      assertThat(file.metadata()).containsEntry("format", "pt").containsEntry("é😀", "a\nb");
      assertThat(file.entry("b"))
          .isEqualTo(new SafetensorsEntry("b", SafetensorsDType.BF16, new long[] {2, 2}));
      assertThat(file.entry("/\"\\").rank()).isZero();
      assertThat(file.entry("empty").elements()).isZero();
      assertThat(file.data("empty").byteSize()).isZero();
      assertThat(file.data("b").toArray(ValueLayout.JAVA_BYTE))
          .containsExactly(4, 5, 6, 7, 8, 9, 10, 11);
      assertThat(file.data("b").isReadOnly()).isTrue();
      assertThatThrownBy(() -> file.data("c"))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageEndingWith("file.safetensors: has no tensor \"c\"");
    }
  }

  @Test
  void anEmptyFileOfTensorsIsAFile() throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      assertThat(SafetensorsFile.open(write(SafetensorsBytes.file("{}", 0)), arena).entries())
          .isEmpty();
    }
  }

  @Test
  void alignmentIsThatOfTheFile() throws IOException {
    String json = tensor("\"F32\"", "[1]", "[0,4]"); // 54 bytes: the data begins at 62
    assertThat(json).hasSize(54);
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile file = SafetensorsFile.open(write(SafetensorsBytes.file(json, 4)), arena);
      assertThat(file.isAligned("a", 2)).isTrue();
      assertThat(file.isAligned("a", 4)).isFalse();
      assertThat(file.isAligned("a", 1)).isTrue();
      for (int alignment : new int[] {0, -1, Integer.MIN_VALUE, 3, 12, 8192}) {
        assertThatThrownBy(() -> file.isAligned("a", alignment))
            .isExactlyInstanceOf(IllegalArgumentException.class)
            .hasMessageEndingWith(
                ": alignment is " + alignment + ", expected a power of two from 1 to 4096");
      }
      assertThat(file.data("a").address() % 4).isEqualTo(2);
      assertThat(file.data("a").get(ValueLayout.JAVA_INT_UNALIGNED, 0)).isEqualTo(0x03020100);
    }
  }

  @ParameterizedTest
  @EnumSource
  void everyDTypeHasItsSize(SafetensorsDType dtype) throws IOException {
    int bytes = dtype.bits(); // of 8 elements
    String json = tensor('"' + dtype.name() + '"', "[2,4]", "[0," + bytes + "]");
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile file = SafetensorsFile.open(write(SafetensorsBytes.file(json, bytes)), arena);
      assertThat(file.entry("a").dtype()).isSameAs(dtype);
      assertThat(file.data("a").byteSize()).isEqualTo(bytes);
    }
    String oneMore = tensor('"' + dtype.name() + '"', "[2,4]", "[0," + (bytes + 1) + "]");
    assertRefused(
        SafetensorsBytes.file(oneMore, bytes + 1),
        "data_offsets [0, " + (bytes + 1) + "] have " + (bytes + 1) + " bytes, expected " + bytes);
  }

  @Test
  void aFileOfMoreThanTwoGigabytesIsMapped() throws IOException {
    long bytes = (5L << 30) + 7;
    byte[] head =
        SafetensorsBytes.file(tensor("\"U8\"", "[" + bytes + "]", "[0," + bytes + "]"), 0);
    Path path = write(head);
    try (RandomAccessFile sparse = new RandomAccessFile(path.toFile(), "rw")) {
      sparse.setLength(head.length + bytes);
      sparse.seek(head.length + bytes - 1);
      sparse.write(42);
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment data = SafetensorsFile.open(path, arena).data("a");
      assertThat(data.byteSize()).isEqualTo(bytes);
      assertThat(data.get(ValueLayout.JAVA_BYTE, bytes - 1)).isEqualTo((byte) 42);
    }
  }

  @Test
  void theMappingEndsWithItsArena() throws IOException {
    SafetensorsFile file;
    try (Arena arena = Arena.ofConfined()) {
      file =
          SafetensorsFile.open(
              write(SafetensorsBytes.file(tensor("\"U8\"", "[1]", "[0,1]"), 1)), arena);
    }
    assertThatThrownBy(() -> file.data("a").get(ValueLayout.JAVA_BYTE, 0))
        .isInstanceOf(IllegalStateException.class);
  }

  @Test
  void whatIsNoFileIsRefused() throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      assertThatThrownBy(() -> SafetensorsFile.open(directory.resolve("none"), arena))
          .isInstanceOf(NoSuchFileException.class);
      assertThatThrownBy(() -> SafetensorsFile.open(directory, arena))
          .isInstanceOf(SafetensorsException.class)
          .hasMessage(directory + ": is not a regular file, expected a safetensors file");
    }
  }

  @Test
  void theLengthOfTheHeaderIsChecked() throws IOException {
    assertRefused(new byte[0], "has 0 bytes, expected at least 8, the header's length");
    assertRefused(new byte[7], "has 7 bytes, expected at least 8, the header's length");
    assertRefused(new byte[8], "header begins with nothing, expected {");
    assertRefused(
        withLength(-1, "{}"),
        "header length is 18446744073709551615 bytes, expected at most 100000000");
    assertRefused(
        withLength(100_000_001, "{}"),
        "header length is 100000001 bytes, expected at most 100000000");
    assertRefused(
        withLength(3, "{}"), "header length is 3 bytes, expected at most 2, the bytes behind it");
    assertRefused(withLength(1, "{}"), "has its end, expected a tensor's name");
  }

  private static byte[] withLength(long length, String json) {
    byte[] text = json.getBytes(StandardCharsets.UTF_8);
    return ByteBuffer.allocate(8 + text.length)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putLong(length)
        .put(text)
        .array();
  }

  @Test
  void invalidUtf8IsRefused() throws IOException {
    int[][] invalid = {
      {0xff}, {0xc0, 0xaf}, {0xe0, 0x80, 0xaf}, {0xed, 0xa0, 0x80}, {0xf4, 0x90, 0x80, 0x80}, {0x80}
    };
    for (int[] bytes : invalid) {
      ByteBuffer header = ByteBuffer.allocate(64);
      header.put("{\"__metadata__\":{\"a\":\"".getBytes(StandardCharsets.UTF_8));
      for (int b : bytes) {
        header.put((byte) b);
      }
      header.put("\"}}".getBytes(StandardCharsets.UTF_8));
      byte[] json = new byte[header.position()];
      header.get(0, json);
      assertRefused(
          SafetensorsBytes.file(json, 0), "header is not valid UTF-8, expected UTF-8 JSON");
    }
  }

  @Test
  void namesCannotBreakTheSentence() throws IOException {
    String json =
        "{\"a%s\\n\\u001b[31m\\u202e\":{\"dtype\":\"F33\",\"shape\":[],\"data_offsets\":[0,4]}}";
    assertRefused(
        SafetensorsBytes.file(json, 4),
        "tensor \"a%s\\u000a\\u001b[31m\\u202e\": dtype is \"F33\", expected one of BOOL, F4, ");
    String object = "{\"a%s\":5}";
    assertRefused(
        SafetensorsBytes.file(object, 0), "tensor \"a%s\": begins with 5, expected an object");
    String longName = "{\"" + "x".repeat(5000) + "\":5}";
    assertThatThrownBy(() -> open(SafetensorsBytes.file(longName, 0)))
        .satisfies(e -> assertThat(e.getMessage().length()).isLessThan(600));
  }

  static Stream<Arguments> refused() {
    String u8 = "\"U8\"";
    String good = "\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]";
    return Stream.of(
        // the outermost value
        Arguments.of("[]", 0, "header begins with byte 0x5b, expected {"),
        Arguments.of(" {}", 0, "header begins with byte 0x20, expected {"),
        Arguments.of("\ufeff{}", 0, "header begins with byte 0xef, expected {"),
        Arguments.of("{", 0, "has its end, expected a tensor's name"),
        Arguments.of("{,}", 0, "has ,, expected a tensor's name"),
        Arguments.of("{}\n", 0, "has character U+000A behind its end, expected only spaces"),
        Arguments.of("{}{}", 0, "has { behind its end, expected only spaces"),
        Arguments.of("{} \u0000", 0, "has character U+0000 behind its end, expected only spaces"),
        Arguments.of("{\"a\"}", 0, "has }, expected :"),
        Arguments.of("{'a':1}", 0, "has ', expected a tensor's name"),
        Arguments.of("{\"a\":{" + good + "},}", 2, "has }, expected a tensor's name"),
        Arguments.of("{\"a\":{" + good + "}\"b\":1}", 2, "has \", expected , or }"),
        Arguments.of(
            "{\"a\":{" + good + "},\"a\":{" + good + "}}",
            2,
            "has tensor \"a\" twice, expected distinct names"),
        Arguments.of(
            "{\"a\":{" + good + "},\"\\u0061\":{" + good + "}}",
            2,
            "has tensor \"a\" twice, expected distinct names"),
        Arguments.of("{\"a\":" + "[".repeat(100_000), 0, "begins with [, expected an object"),
        Arguments.of("{\"a\":" + "{\"a\":".repeat(100_000), 0, "has the key \"a\", expected dtype"),
        // metadata
        Arguments.of(
            "{\"__metadata__\":{},\"__metadata__\":{}}",
            0,
            "has __metadata__ twice, expected it once"),
        Arguments.of(
            "{\"__metadata__\":null}", 0, "__metadata__ begins with n, expected an object"),
        Arguments.of(
            "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ key \"a\" has 1, expected a string"),
        Arguments.of(
            "{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}",
            0,
            "__metadata__ has key \"a\" twice, expected distinct keys"),
        Arguments.of("{\"__metadata__\":{\"a\":\"\\x\"}}", 0, "has x behind a backslash"),
        Arguments.of("{\"__metadata__\":{\"a\":\"\\", 0, "has its end behind a backslash"),
        Arguments.of("{\"__metadata__\":{\"a\":\"b", 0, "ends inside a string, expected \""),
        Arguments.of(
            "{\"__metadata__\":{\"a\":\"\t\"}}", 0, "has character U+0009 inside a string"),
        Arguments.of(
            "{\"__metadata__\":{\"a\":\"\\u12g4\"}}", 0, "has g in a \\u escape, expected four"),
        // The lower byte is that of a digit.
        Arguments.of(
            "{\"__metadata__\":{\"a\":\"\\u123\u0135\"}}", 0, " in a \\u escape, expected four"),
        Arguments.of(
            "{\"__metadata__\":{\"a\":\"\\ud800\"}}", 0, "\"\\ud800\" with an unpaired surrogate"),
        Arguments.of(
            "{\"__metadata__\":{\"\\udc00\\ud800\":\"\"}}", 0, "with an unpaired surrogate"),
        // a tensor
        Arguments.of("{\"a\":null}", 0, "tensor \"a\": begins with n, expected an object"),
        Arguments.of("{\"a\":{}}", 0, "tensor \"a\": has no dtype, expected dtype, shape and"),
        Arguments.of(
            "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,0]}}", 0, "tensor \"a\": has no shape"),
        Arguments.of(
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}", 0, "tensor \"a\": has no data_offsets"),
        Arguments.of("{\"a\":{" + good + ",\"dtype\":\"U8\"}}", 2, "tensor \"a\": has dtype twice"),
        Arguments.of("{\"a\":{" + good + ",\"shape\":[]}}", 2, "tensor \"a\": has shape twice"),
        Arguments.of(
            "{\"a\":{" + good + ",\"data_offsets\":[]}}",
            2,
            "tensor \"a\": has data_offsets twice"),
        Arguments.of("{\"a\":{" + good + ",\"x\":{}}}", 2, "tensor \"a\": has the key \"x\""),
        // dtype
        Arguments.of(tensor("8", "[2]", "[0,2]"), 2, "dtype is 8, expected a string"),
        Arguments.of(tensor("\"u8\"", "[2]", "[0,2]"), 2, "dtype is \"u8\", expected one of BOOL,"),
        Arguments.of(tensor("\"F4\"", "[3]", "[0,2]"), 2, "shape is [3], expected a whole number"),
        Arguments.of(tensor("\"F6_E2M3\"", "[2]", "[0,2]"), 2, "expected a whole number of bytes"),
        // shape
        Arguments.of(tensor(u8, "2", "[0,2]"), 2, "shape begins with 2, expected an array"),
        Arguments.of(tensor(u8, "[2,]", "[0,2]"), 2, "shape has ], expected an integer >= 0"),
        Arguments.of(tensor(u8, "[[2]]", "[0,2]"), 2, "shape has [, expected an integer >= 0"),
        Arguments.of(tensor(u8, "[-2]", "[0,2]"), 2, "shape has -, expected an integer >= 0"),
        Arguments.of(tensor(u8, "[-0]", "[0,0]"), 0, "shape has -, expected an integer >= 0"),
        Arguments.of(tensor(u8, "[+2]", "[0,2]"), 2, "shape has +, expected an integer >= 0"),
        Arguments.of(tensor(u8, "[02]", "[0,2]"), 2, "an integer with a leading zero"),
        Arguments.of(tensor(u8, "[2.0]", "[0,2]"), 2, "a number with a fraction or an exponent"),
        Arguments.of(tensor(u8, "[2e0]", "[0,2]"), 2, "a number with a fraction or an exponent"),
        Arguments.of(tensor(u8, "[\"2\"]", "[0,2]"), 2, "shape has \", expected an integer >= 0"),
        Arguments.of(tensor(u8, "[true]", "[0,1]"), 1, "shape has t, expected an integer >= 0"),
        Arguments.of(tensor(u8, "[2 2]", "[0,4]"), 4, "has 2, expected , or ]"),
        Arguments.of(
            tensor(u8, "[9223372036854775808]", "[0,2]"),
            2,
            "shape has the integer 9223372036854775808, expected less than 2^63"),
        Arguments.of(
            tensor(u8, "[18446744073709551618]", "[0,2]"),
            2,
            "shape has the integer 18446744073709551618, expected less than 2^63"),
        Arguments.of(
            tensor(u8, "[" + "9".repeat(5000) + "]", "[0,2]"), 2, "expected less than 2^63"),
        // products that wrap around: 2^32 * 2^32 = 0, and (2^63 + 2) / 2 bytes of F4
        Arguments.of(
            tensor(u8, "[4294967296,4294967296]", "[0,0]"),
            0,
            "shape is [4294967296, 4294967296], expected a size below 2^63 bits"),
        Arguments.of(
            tensor(u8, "[4294967297,4294967297,2]", "[0,2]"), 2, "expected a size below 2^63 bits"),
        Arguments.of(
            tensor("\"F64\"", "[2305843009213693952]", "[0,0]"),
            0,
            "expected a size below 2^63 bits"),
        // offsets
        Arguments.of(tensor(u8, "[2]", "[0]"), 2, "data_offsets is [0], expected [begin, end]"),
        Arguments.of(tensor(u8, "[2]", "[0,2,2]"), 2, "data_offsets is [0, 2, 2], expected"),
        Arguments.of(tensor(u8, "[2]", "[2,0]"), 2, "data_offsets is [2, 0], expected"),
        Arguments.of(
            tensor(u8, "[2]", "[0,3]"), 3, "data_offsets [0, 3] have 3 bytes, expected 2 (U8 [2])"),
        Arguments.of(
            tensor(u8, "[4]", "[0,4]"), 3, "data_offsets end at 4, expected at most 3, the bytes"),
        Arguments.of(
            tensor(u8, "[2]", "[9223372036854775805,9223372036854775807]"),
            2,
            "data_offsets end at 9223372036854775807, expected at most 2"),
        Arguments.of(tensor(u8, "[2]", "[1,3]"), 3, "leaves a hole, data begins at 1, expected 0"),
        Arguments.of(
            tensor(u8, "[2]", "[0,2]"), 3, "tensors cover 2 bytes, expected all 3 behind the head"),
        Arguments.of("{}", 1, "tensors cover 0 bytes, expected all 1 behind the header: 1 bytes"),
        Arguments.of(
            two("[0,2]", "[1,3]"),
            3,
            "tensor \"b\": overlaps its neighbour, data begins at 1, expected 2, where tensor"
                + " \"a\" ends"),
        Arguments.of(two("[0,2]", "[0,2]"), 2, "overlaps its neighbour"),
        Arguments.of(
            two("[3,5]", "[0,2]"), 5, "tensor \"a\": leaves a hole, data begins at 3, expected 2"));
  }

  private static String two(String offsetsA, String offsetsB) {
    String u8 = "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":";
    return "{\"a" + u8 + offsetsA + "},\"b" + u8 + offsetsB + "}}";
  }

  @ParameterizedTest
  @MethodSource("refused")
  void refusesWhatTheFormatDoesNotAllow(String json, int dataBytes, String sentence)
      throws IOException {
    assertRefused(SafetensorsBytes.file(json, dataBytes), sentence);
  }

  private void assertRefused(byte[] bytes, String sentence) throws IOException {
    assertThatThrownBy(() -> open(bytes))
        .isInstanceOf(SafetensorsException.class)
        .hasMessageStartingWith(directory.resolve("file.safetensors") + ": ")
        .hasMessageContaining(sentence)
        .satisfies(e -> assertThat(e.getMessage()).doesNotContain("\n"));
  }

  private void open(byte[] bytes) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile.open(write(bytes), arena);
    }
  }
}
