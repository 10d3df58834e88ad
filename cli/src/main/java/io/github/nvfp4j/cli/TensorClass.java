// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import java.util.List;
import java.util.Set;

/// What part of a model a tensor belongs to, told from its name: one row of the table.
enum TensorClass {
  /// Weights of routed experts.
  EXPERTS("experts"),
  /// Weights of experts that every token passes.
  SHARED_EXPERTS("shared experts"),
  /// Projections of attention.
  ATTENTION("attention"),
  /// Projections of the key-value compressor.
  COMPRESSOR("compressor"),
  /// Projections of the lightning indexer, its own compressor included.
  INDEXER("indexer"),
  /// Weights of dense feed-forward layers.
  FEED_FORWARD("feed-forward"),
  /// The output projection.
  HEAD("head"),
  /// What `--include` selected and none of the above is.
  OTHER("other");

  private static final Set<String> ATTENTION_PARTS = Set.of("attn", "self_attn", "attention");
  private static final Set<String> FEED_FORWARD_PARTS = Set.of("ffn", "mlp", "feed_forward");

  private final String title;

  TensorClass(String title) {
    this.title = title;
  }

  /// The name in tables and JSON.
  String title() {
    return title;
  }

  /// The class of the tensor of this name.
  static TensorClass of(String name) {
    List<String> parts = List.of(name.split("\\.", -1));
    if (parts.stream().anyMatch(part -> part.startsWith("shared_expert"))) {
      return SHARED_EXPERTS;
    }
    if (parts.contains("experts")) {
      return EXPERTS;
    }
    if (parts.contains("indexer")) {
      return INDEXER;
    }
    if (parts.contains("compressor")) {
      return COMPRESSOR;
    }
    if (parts.stream().anyMatch(ATTENTION_PARTS::contains)) {
      return ATTENTION;
    }
    if (parts.stream().anyMatch(FEED_FORWARD_PARTS::contains)) {
      return FEED_FORWARD;
    }
    return parts.contains("head") || parts.contains("lm_head") ? HEAD : OTHER;
  }
}
