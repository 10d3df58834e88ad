// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/// Which tensors of a checkpoint are quantised. docs/quantize-names.md says the same to the user; a
/// test compares the two.
///
/// @param include what to quantise in place of the default list; empty for that list
/// @param exclude what to leave alone
record TensorRules(List<Pattern> include, List<Pattern> exclude) {
  /// Why a tensor is left alone.
  enum Kept {
    /// Integers, bytes, 8-bit floats, F64: tables, and what is quantised already.
    DTYPE("other types"),
    /// Token and position embeddings.
    EMBEDDING("embeddings"),
    /// What chooses experts: a small error there sends a token elsewhere.
    ROUTER("router gates"),
    /// Parameters of hyper-connections.
    HYPER_CONNECTION("hyper-connections"),
    /// Weights of normalisations.
    NORM("norms"),
    /// Position biases of the compressor.
    POSITION_BIAS("position biases"),
    /// Vectors, scalars, stacks of matrices.
    RANK("not matrices"),
    /// Rows that are no whole number of blocks.
    COLUMNS("K not a multiple of 16"),
    /// No linear layer that the list knows, or not matched by `--include`.
    NOT_SELECTED("not selected"),
    /// Matched by `--exclude`.
    EXCLUDED("excluded");

    private final String title;

    Kept(String title) {
      this.title = title;
    }

    /// The name in tables and JSON.
    String title() {
      return title;
    }
  }

  /// The linear layers: what stands before `.weight`.
  static final Set<String> LAYERS =
      Set.of(
          // feed-forward layers and experts
          "w1",
          "w2",
          "w3",
          "gate_proj",
          "up_proj",
          "down_proj",
          "gate_up_proj",
          // attention
          "wq",
          "wk",
          "wv",
          "wo",
          "wq_a",
          "wq_b",
          "wkv",
          "wkv_a",
          "wkv_b",
          "wo_a",
          "wo_b",
          "q_proj",
          "k_proj",
          "v_proj",
          "o_proj",
          "qkv_proj",
          "kv_proj",
          "q_a_proj",
          "q_b_proj",
          "kv_a_proj_with_mqa",
          "kv_b_proj",
          "o_a_proj",
          "o_b_proj",
          // compressor and indexer
          "wgate",
          "weights_proj",
          // output
          "head",
          "lm_head");

  private static final int BLOCK = 16;
  private static final Set<SafetensorsDType> DTYPES =
      EnumSet.of(SafetensorsDType.BF16, SafetensorsDType.F16, SafetensorsDType.F32);
  private static final Set<String> ROUTERS = Set.of("gate", "router", "shared_expert_gate");

  /// Why a tensor is left alone, or null when it is to be quantised.
  @Nullable Kept keep(SafetensorsEntry entry) {
    if (!DTYPES.contains(entry.dtype())) {
      return Kept.DTYPE;
    }
    List<String> parts = List.of(entry.name().split("\\.", -1));
    Kept never = never(parts);
    if (never != null) {
      return never;
    }
    if (entry.rank() != 2) {
      return Kept.RANK;
    }
    if (entry.elements() == 0 || entry.shape()[1] % BLOCK != 0) {
      return Kept.COLUMNS;
    }
    boolean selected = include.isEmpty() ? isLinear(parts) : matches(include, entry.name());
    if (!selected) {
      return Kept.NOT_SELECTED;
    }
    return matches(exclude, entry.name()) ? Kept.EXCLUDED : null;
  }

  /// What is never quantised, whatever `--include` says.
  private static @Nullable Kept never(List<String> parts) {
    for (String part : parts) {
      if (part.contains("embed") || part.equals("wte") || part.equals("wpe")) {
        return Kept.EMBEDDING;
      }
      if (ROUTERS.contains(part)) {
        return Kept.ROUTER;
      }
      if (part.startsWith("hc_") || part.endsWith("_hc")) {
        return Kept.HYPER_CONNECTION;
      }
      if (part.endsWith("norm") || part.contains("layernorm") || part.startsWith("ln_")) {
        return Kept.NORM;
      }
      if (part.equals("ape") || part.equals("position_bias")) {
        return Kept.POSITION_BIAS;
      }
    }
    return null;
  }

  private static boolean isLinear(List<String> parts) {
    int last = parts.size() - 1;
    return last > 0 && parts.get(last).equals("weight") && LAYERS.contains(parts.get(last - 1));
  }

  private static boolean matches(List<Pattern> patterns, String name) {
    return patterns.stream().anyMatch(pattern -> pattern.matcher(name).find());
  }
}
