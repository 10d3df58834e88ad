// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {

  @Test
  void whatIsWrittenIsReadBack() {
    Map<String, Object> map = new LinkedHashMap<>();
    map.put("text", "a \"quoted\" \\ line\nand a tab\t\u0001");
    map.put("number", 12.5);
    map.put("whole", 120.0);
    map.put("small", 0.0625);
    map.put("flag", true);
    map.put("nothing", null);
    map.put("list", List.of("x", Map.of("y", 1.0), List.of()));
    map.put("empty", Map.of());
    assertThat(Json.parse(Json.write(map))).isEqualTo(map);
  }

  @Test
  void aNumberThatIsNotFiniteIsWrittenAsNull() {
    assertThat(Json.write(Double.NaN)).isEqualTo("null\n");
    assertThat(Json.write(Double.POSITIVE_INFINITY)).isEqualTo("null\n");
  }

  @Test
  void aRowOfScalarsStaysOnOneLine() {
    assertThat(Json.write(List.of(new LinkedHashMap<>(Map.of("us", 1.25)))))
        .isEqualTo("[\n  {\"us\": 1.25}\n]\n");
  }

  @Test
  void escapesAreRead() {
    assertThat(Json.parse("\"\\u0041\\n\\/\"")).isEqualTo("A\n/");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", "{", "[1", "[1,]", "{\"a\" 1}", "\"open", "tru", "1 2", "-", "\"\\u00"})
  void whatIsNotJsonIsRefusedWithThePosition(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Json.parse(text))
        .withMessageContaining("offset");
  }
}
