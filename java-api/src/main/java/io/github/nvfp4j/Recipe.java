// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

/// The arithmetic by which a value becomes a code; [Quantize] has both as formulas.
public enum Recipe {
  /// True divisions, exact on ties: the codes of NVIDIA Model Optimizer's weights. The default.
  EXACT(0),
  /// Reciprocal multiplications: the codes of NVIDIA Transformer Engine's default kernels and of
  /// FlashInfer with fast math disabled. It differs from [#EXACT] mostly on ties, which BF16 inputs
  /// hit often.
  TE_EXACT(1);

  private final int code;

  Recipe(int code) {
    this.code = code;
  }

  /// The constant `NVFP4J_RECIPE_*` of the C ABI.
  public int code() {
    return code;
  }
}
