// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.util.StringJoiner;
import org.jspecify.annotations.Nullable;

/// The tensors of a failed call in words.
final class Shapes {
  private Shapes() {}

  /// @param namesAndTensors a name, then its [Tensor], [Nvfp4Tensor] or null (left out), and so on
  static String of(@Nullable Object... namesAndTensors) {
    StringJoiner text = new StringJoiner(", ");
    for (int i = 0; i < namesAndTensors.length; i += 2) {
      switch (namesAndTensors[i + 1]) {
        case Tensor tensor -> text.add(namesAndTensors[i] + " " + tensor.describe());
        case Nvfp4Tensor tensor -> text.add(namesAndTensors[i] + " " + tensor.describe());
        case null, default -> {}
      }
    }
    return text.toString();
  }
}
