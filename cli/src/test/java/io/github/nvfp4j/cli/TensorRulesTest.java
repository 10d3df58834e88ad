// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import java.io.IOException;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TensorRulesTest {
  private static final TensorRules DEFAULT = new TensorRules(List.of(), List.of());

  private static SafetensorsEntry matrix(String name) {
    return new SafetensorsEntry(name, SafetensorsDType.BF16, new long[] {32, 64});
  }

  @ParameterizedTest
  @CsvSource({
    "model.layers.3.ffn.experts.11.w2.weight, EXPERTS",
    "layers.0.ffn.shared_experts.w1.weight, SHARED_EXPERTS",
    "model.layers.0.mlp.experts.7.gate_proj.weight, EXPERTS",
    "model.layers.0.mlp.shared_expert.up_proj.weight, SHARED_EXPERTS",
    "model.layers.0.mlp.down_proj.weight, FEED_FORWARD",
    "layers.0.attn.wq_a.weight, ATTENTION",
    "model.layers.0.self_attn.kv_a_proj_with_mqa.weight, ATTENTION",
    "layers.0.attn.compressor.wgate.weight, COMPRESSOR",
    "layers.0.attn.indexer.compressor.wkv.weight, INDEXER",
    "model.layers.1.self_attn.compressor.indexer.q_b_proj.weight, INDEXER",
    "layers.0.attn.indexer.weights_proj.weight, INDEXER",
    "head.weight, HEAD",
    "lm_head.weight, HEAD"
  })
  void linearLayersAreQuantized(String name, TensorClass tensorClass) {
    assertThat(DEFAULT.keep(matrix(name))).isNull();
    assertThat(TensorClass.of(name)).isEqualTo(tensorClass);
  }

  @ParameterizedTest
  @CsvSource({
    "model.embed_tokens.weight, EMBEDDING",
    "embed.weight, EMBEDDING",
    "transformer.wte.weight, EMBEDDING",
    "layers.0.ffn.gate.weight, ROUTER",
    "model.layers.0.mlp.gate.e_score_correction_bias, ROUTER",
    "model.layers.0.mlp.shared_expert_gate.weight, ROUTER",
    "layers.0.hc_attn_fn, HYPER_CONNECTION",
    "model.hc_head.hc_fn, HYPER_CONNECTION",
    "model.layers.0.attn_hc.fn, HYPER_CONNECTION",
    "layers.0.attn.kv_norm.weight, NORM",
    "model.layers.0.input_layernorm.weight, NORM",
    "transformer.h.0.ln_1.weight, NORM",
    "layers.0.attn.compressor.ape, POSITION_BIAS",
    "model.layers.0.self_attn.compressor.position_bias, POSITION_BIAS",
  })
  void theseAreNeverQuantized(String name, TensorRules.Kept reason) {
    TensorRules everything = new TensorRules(List.of(Pattern.compile("")), List.of());
    assertThat(DEFAULT.keep(matrix(name))).isEqualTo(reason);
    assertThat(everything.keep(matrix(name))).isEqualTo(reason);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "weight",
        "w1",
        "layers.0.w1.bias",
        "visual.blocks.0.proj.weight",
        "x.w1.weight_2"
      })
  void whatTheListDoesNotKnowStays(String name) {
    assertThat(DEFAULT.keep(matrix(name))).isEqualTo(TensorRules.Kept.NOT_SELECTED);
    TensorRules included = new TensorRules(List.of(Pattern.compile("w")), List.of());
    assertThat(included.keep(matrix(name))).isNull();
    TensorRules excluded =
        new TensorRules(List.of(Pattern.compile("w")), List.of(Pattern.compile("w")));
    assertThat(excluded.keep(matrix(name))).isEqualTo(TensorRules.Kept.EXCLUDED);
  }

  /// The page that users read is the list that the command uses.
  @Test
  void theDocumentedListIsTheList() throws IOException {
    String page = Files.readString(Cli.root("docs/quantize-names.md"));
    String list = page.substring(page.indexOf("| layer | X |"), page.indexOf("With `--include"));
    Set<String> documented = new TreeSet<>();
    Matcher words = Pattern.compile("`([a-z0-9_]+)`").matcher(list);
    while (words.find()) {
      documented.add(words.group(1));
    }
    assertThat(documented).isEqualTo(new TreeSet<>(TensorRules.LAYERS));
    assertThat(Arrays.stream(TensorRules.Kept.values()).map(TensorRules.Kept::title))
        .allSatisfy(title -> assertThat(page).contains("`" + title + "`"));
    assertThat(Arrays.stream(TensorClass.values()).map(TensorClass::title))
        .allSatisfy(title -> assertThat(page).contains("| " + title + " |"));
  }
}
