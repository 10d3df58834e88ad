// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Mutated headers: the reader throws its own exception or nothing, and accepts exactly what an
/// oracle on top of Jackson accepts.
///
/// The oracle shares nothing with the reader: Jackson tells whether the text is JSON without
/// duplicate keys, then the rules of the format are applied to the tree with BigInteger.
/// `-Dnvfp4j.fuzz.seed=N` repeats a run, `-Dnvfp4j.fuzz.rounds=N` makes it longer.
class SafetensorsFuzzTest {
  private static final JsonFactory JSON =
      JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();
  private static final String[] FRAGMENTS = {
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\udc00",
    "\\u0061",
    "\\n",
    "\\/",
    " ",
    "\n",
    "\t",
    "\r",
    "\u0000",
    "\u000b",
    "\u00a0",
    "0",
    "1",
    "-1",
    "-0",
    "+1",
    "00",
    "1.0",
    "1e1",
    "1E-1",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "[]",
    "{}",
    "\"a\"",
    "\"dtype\"",
    "\"shape\"",
    "\"data_offsets\"",
    "\"__metadata__\"",
    "\"F4\"",
    "\"F6_E2M3\"",
    "\"F64\"",
    "\"BF16\"",
    "//x",
    "/*x*/",
    "#",
    "'",
    ",\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[8,8]}",
    ",,",
    "4",
    "8",
    "16",
    "é",
    "😀",
    "[[[[",
    "\ufeff"
  };
  private static final String[] SEEDS = {
    "{}",
    "{\"__metadata__\":{}}",
    "{\"__metadata__\":{\"format\":\"pt\",\"\\u00e9\\ud83d\\ude00\":\"x\\n\\\\\\\"\"}}  ",
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
    "{\"a\" : {\"shape\": [ 2 , 1 ], \"data_offsets\": [0, 4], \"dtype\": \"BF16\"} }",
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
        + "\"b\":{\"dtype\":\"F4\",\"shape\":[2,4],\"data_offsets\":[4,8]}}",
    "{\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[8,16]},"
        + "\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]},"
        + "\"c\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[16,16]},"
        + "\"__metadata__\":{\"a\":\"b\",\"c\":\"d\"}}"
  };
  private static final int[] DATA_BYTES = {0, 0, 0, 8, 4, 8, 16};

  @TempDir Path directory;

  @Test
  void theReaderAcceptsWhatTheOracleAcceptsAndThrowsNothingElse() throws IOException {
    long seed = Long.getLong("nvfp4j.fuzz.seed", System.nanoTime());
    int rounds = Integer.getInteger("nvfp4j.fuzz.rounds", 150_000);
    System.out.printf("SafetensorsFuzzTest: -Dnvfp4j.fuzz.seed=%d, %d rounds%n", seed, rounds);
    Random random = new Random(seed);
    int accepted = 0;
    for (int round = 0; round < rounds; round++) {
      int pick = random.nextInt(SEEDS.length);
      byte[] header = mutate(random, SEEDS[pick]);
      long dataBytes = DATA_BYTES[pick] + (random.nextInt(40) == 0 ? random.nextInt(9) : 0);
      String context =
          "seed "
              + seed
              + ", round "
              + round
              + ", data "
              + dataBytes
              + ", header "
              + HexFormat.of().formatHex(header)
              + " = "
              + new String(header, StandardCharsets.UTF_8);
      HeaderReader.Header read = null;
      try {
        read = HeaderReader.read("fuzz", header, dataBytes);
      } catch (SafetensorsException e) {
        if (!e.getMessage().startsWith("fuzz: ") || e.getMessage().contains("\n")) {
          fail("a strange sentence: " + e.getMessage() + "; " + context);
        }
      } catch (Throwable e) {
        fail("the reader threw " + e + "; " + context, e);
      }
      Map<String, String> expected = Oracle.read(header, dataBytes);
      if ((read == null) != (expected == null)) {
        fail((read == null ? "refused" : "accepted") + " what the oracle does not; " + context);
      }
      if (read != null && expected != null) {
        accepted++;
        assertThat(describe(read)).as(context).isEqualTo(expected);
      }
    }
    System.out.printf("SafetensorsFuzzTest: %d of %d accepted%n", accepted, rounds);
    // Both verdicts must occur often, or the mutations have lost their point.
    assertThat(accepted).isBetween(rounds / 50, rounds / 2);
  }

  @Test
  void wholeFilesNeverDoMoreThanThrow() throws IOException {
    long seed = Long.getLong("nvfp4j.fuzz.seed", System.nanoTime());
    System.out.printf("SafetensorsFuzzTest: -Dnvfp4j.fuzz.seed=%d, files%n", seed);
    Random random = new Random(seed);
    Path path = directory.resolve("fuzz.safetensors");
    for (int round = 0; round < 5_000; round++) {
      int pick = random.nextInt(SEEDS.length);
      byte[] bytes =
          SafetensorsBytes.file(
              random.nextBoolean()
                  ? mutate(random, SEEDS[pick])
                  : SEEDS[pick].getBytes(StandardCharsets.UTF_8),
              DATA_BYTES[pick]);
      switch (random.nextInt(4)) {
        case 0 -> bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length + 1));
        case 1 -> bytes[random.nextInt(8)] = (byte) random.nextInt(256);
        case 2 -> bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
        default -> bytes = Arrays.copyOf(bytes, bytes.length + random.nextInt(3));
      }
      Files.write(path, bytes);
      try (Arena arena = Arena.ofConfined()) {
        SafetensorsFile file = SafetensorsFile.open(path, arena);
        for (SafetensorsEntry entry : file.entries()) {
          assertThat(file.data(entry.name()).toArray(ValueLayout.JAVA_BYTE))
              .hasSize((int) entry.byteSize());
        }
      } catch (SafetensorsException e) {
        assertThat(e.getMessage()).startsWith(path + ": ");
      } catch (Throwable e) {
        fail("seed " + seed + ", round " + round + ": " + HexFormat.of().formatHex(bytes), e);
      }
    }
  }

  private static byte[] mutate(Random random, String seed) {
    String text = seed;
    for (int i = random.nextInt(3) + (random.nextInt(20) == 0 ? 5 : 0); i > 0; i--) {
      String fragment = FRAGMENTS[random.nextInt(FRAGMENTS.length)];
      int at = random.nextInt(text.length() + 1);
      int end = Math.min(text.length(), at + random.nextInt(4));
      text =
          switch (random.nextInt(6)) {
            case 0 -> text.substring(0, at) + fragment + text.substring(at);
            case 1 -> text.substring(0, at) + fragment + text.substring(end);
            case 2 -> text.substring(0, at) + text.substring(end);
            case 3 ->
                text.substring(0, at) + text.substring(at, end).repeat(2) + text.substring(end);
            case 4 -> digit(random, text);
            default -> space(random, text);
          };
    }
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    if (bytes.length > 0 && random.nextInt(4) == 0) {
      bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
    }
    if (bytes.length > 0 && random.nextInt(16) == 0) {
      bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
    }
    return bytes;
  }

  /// Another digit: sizes and offsets that no longer agree.
  private static String digit(Random random, String text) {
    int start = random.nextInt(text.length() + 1);
    for (int i = start; i < text.length(); i++) {
      if (Character.isDigit(text.charAt(i))) {
        return text.substring(0, i) + random.nextInt(10) + text.substring(i + 1);
      }
    }
    return text;
  }

  /// White space behind a structural character, where JSON allows it.
  private static String space(Random random, String text) {
    int start = random.nextInt(text.length() + 1);
    for (int i = start; i < text.length(); i++) {
      if ("{}[],:".indexOf(text.charAt(i)) >= 0) {
        return text.substring(0, i + 1)
            + " \t\n\r".charAt(random.nextInt(4))
            + text.substring(i + 1);
      }
    }
    return text + ' ';
  }

  private static Map<String, String> describe(HeaderReader.Header header) {
    Map<String, String> description = new LinkedHashMap<>();
    header.metadata().forEach((key, value) -> description.put("note " + key, value));
    for (HeaderReader.Placed placed : header.tensors()) {
      SafetensorsEntry entry = placed.entry();
      description.put(
          "tensor " + entry.name(),
          entry.dtype() + Arrays.toString(entry.shape()) + placed.begin() + "-" + placed.end());
    }
    return description;
  }

  /// The format's rules on a tree that Jackson made.
  private static final class Oracle {
    private static final BigInteger MOST = BigInteger.valueOf(Long.MAX_VALUE);
    // Of a character Jackson takes the lower byte for a hexadecimal digit, whatever the upper one
    // is.
    private static final Pattern ESCAPE = Pattern.compile("(?s)\\\\(?:u\\p{XDigit}{4}|[^u])");

    private record Placed(String name, BigInteger begin, BigInteger end, String description) {}

    /// What the header says, or null where it must be refused.
    static @Nullable Map<String, String> read(byte[] header, long dataBytes) {
      try {
        return check(header, dataBytes);
      } catch (IOException | IllegalArgumentException | ClassCastException e) {
        return null;
      }
    }

    private static @Nullable Map<String, String> check(byte[] header, long dataBytes)
        throws IOException {
      String text;
      try {
        text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(header)).toString();
      } catch (CharacterCodingException e) {
        return null;
      }
      if (!text.startsWith("{")) {
        return null;
      }
      require(ESCAPE.matcher(text).replaceAll("").indexOf('\\') < 0);
      Object tree;
      try (JsonParser parser = JSON.createParser(text)) {
        parser.nextToken();
        tree = value(parser);
        // The padding is of spaces alone; Jackson would allow any white space.
        int end = (int) parser.currentLocation().getCharOffset();
        if (!text.substring(end).chars().allMatch(c -> c == ' ')) {
          return null;
        }
      }
      Map<String, String> description = new LinkedHashMap<>();
      List<Placed> tensors = new ArrayList<>();
      for (Map.Entry<?, ?> member : ((Map<?, ?>) tree).entrySet()) {
        Map<?, ?> object = (Map<?, ?>) member.getValue();
        require(object != null);
        if (member.getKey().equals("__metadata__")) {
          object.forEach((key, value) -> description.put("note " + key, string(value)));
        } else {
          tensors.add(tensor((String) member.getKey(), object));
        }
      }
      tensors.sort(Comparator.comparing(Placed::begin).thenComparing(Placed::end));
      BigInteger end = BigInteger.ZERO;
      for (Placed tensor : tensors) {
        require(tensor.begin().equals(end));
        end = tensor.end();
        description.put("tensor " + tensor.name(), tensor.description());
      }
      require(end.equals(BigInteger.valueOf(dataBytes)));
      return description;
    }

    private static Placed tensor(String name, Map<?, ?> object) {
      require(object.size() == 3);
      String dtype = string(object.get("dtype"));
      BigInteger bits = BigInteger.valueOf(SafetensorsDType.valueOf(dtype).bits());
      BigInteger[] shape = integers(object.get("shape"));
      BigInteger[] offsets = integers(object.get("data_offsets"));
      require(offsets.length == 2);
      BigInteger elements = BigInteger.ONE;
      for (BigInteger dimension : shape) {
        elements = elements.multiply(dimension);
        require(elements.compareTo(MOST) <= 0);
      }
      BigInteger size = elements.multiply(bits);
      require(size.compareTo(MOST) <= 0);
      require(size.equals(offsets[1].subtract(offsets[0]).multiply(BigInteger.valueOf(8))));
      return new Placed(
          name,
          offsets[0],
          offsets[1],
          dtype + Arrays.toString(shape) + offsets[0] + "-" + offsets[1]);
    }

    private static BigInteger[] integers(Object value) {
      require(value instanceof List);
      return ((List<?>) value)
          .stream()
              .map(item -> {
                require(item instanceof BigInteger);
                return (BigInteger) item;
              })
              .toArray(BigInteger[]::new);
    }

    private static String string(@Nullable Object value) {
      require(value instanceof String);
      return (String) value;
    }

    private static void require(boolean condition) {
      if (!condition) {
        throw new IllegalArgumentException();
      }
    }

    private static @Nullable Object value(JsonParser parser) throws IOException {
      JsonToken token = parser.currentToken();
      require(token != null);
      return switch (token) {
        case START_OBJECT -> {
          Map<String, @Nullable Object> map = new LinkedHashMap<>();
          while (parser.nextToken() != JsonToken.END_OBJECT) {
            String name = unicode(parser.currentName());
            parser.nextToken();
            map.put(name, value(parser));
          }
          yield map;
        }
        case START_ARRAY -> {
          List<@Nullable Object> list = new ArrayList<>();
          while (parser.nextToken() != JsonToken.END_ARRAY) {
            list.add(value(parser));
          }
          yield list;
        }
        case VALUE_STRING -> unicode(parser.getText());
        case VALUE_NUMBER_INT -> {
          String digits = parser.getText();
          require(!digits.startsWith("-"));
          BigInteger number = new BigInteger(digits);
          require(number.compareTo(MOST) <= 0);
          yield number;
        }
        case VALUE_NUMBER_FLOAT, VALUE_TRUE, VALUE_FALSE, VALUE_NULL -> null;
        default -> throw new IllegalArgumentException();
      };
    }

    /// Jackson lets unpaired surrogates pass; UTF-8 cannot hold them.
    private static String unicode(String text) {
      require(StandardCharsets.UTF_8.newEncoder().canEncode(text));
      return text;
    }
  }
}
