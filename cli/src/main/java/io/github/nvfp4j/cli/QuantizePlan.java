// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// What becomes of each tensor of a checkpoint.
///
/// @param selected to be quantised, in the order of the file
/// @param kept to be copied, in the order of the file
/// @param outputs what the new file holds, in its order
record QuantizePlan(List<Selected> selected, List<Left> kept, List<SafetensorsEntry> outputs) {
  /// A tensor that is quantised: `[N, K]` becomes three.
  ///
  /// @param entry the weight
  /// @param tensorClass its row of the table
  record Selected(SafetensorsEntry entry, TensorClass tensorClass) {
    long rows() {
      return entry.shape()[0];
    }

    long columns() {
      return entry.shape()[1];
    }

    /// Packed codes, `[N, K/2]`, under the weight's own name.
    SafetensorsEntry codes() {
      return new SafetensorsEntry(
          entry.name(), SafetensorsDType.U8, new long[] {rows(), columns() / 2});
    }

    /// Block scales, `[N, K/16]`, linear.
    SafetensorsEntry scales() {
      return new SafetensorsEntry(
          entry.name() + "_scale", SafetensorsDType.F8_E4M3, new long[] {rows(), columns() / 16});
    }

    /// The global scale, a scalar, as a multiplier.
    SafetensorsEntry globalScale() {
      return new SafetensorsEntry(entry.name() + "_scale_2", SafetensorsDType.F32, new long[0]);
    }

    long bytesAfter() {
      return codes().byteSize() + scales().byteSize() + globalScale().byteSize();
    }
  }

  /// A tensor that is left alone, and why.
  record Left(SafetensorsEntry entry, TensorRules.Kept reason) {}

  static QuantizePlan of(List<SafetensorsEntry> entries, TensorRules rules) {
    List<Selected> selected = new ArrayList<>();
    List<Left> kept = new ArrayList<>();
    for (SafetensorsEntry entry : entries) {
      TensorRules.Kept reason = rules.keep(entry);
      if (reason == null) {
        selected.add(new Selected(entry, TensorClass.of(entry.name())));
      } else {
        kept.add(new Left(entry, reason));
      }
    }
    return new QuantizePlan(selected, kept, outputs(selected, kept));
  }

  /// The wider elements first, so that every tensor is aligned to its own; then the codes, whose
  /// sizes keep each other at multiples of 8 bytes, and of 16 where K is one of 32.
  private static List<SafetensorsEntry> outputs(List<Selected> selected, List<Left> kept) {
    List<SafetensorsEntry> codes = new ArrayList<>();
    List<SafetensorsEntry> rest = new ArrayList<>();
    for (Selected tensor : selected) {
      codes.add(tensor.codes());
      rest.add(tensor.scales());
      rest.add(tensor.globalScale());
    }
    kept.forEach(tensor -> rest.add(tensor.entry()));
    List<SafetensorsEntry> outputs = new ArrayList<>(codes);
    outputs.addAll(rest);
    outputs.sort(Comparator.comparingInt(entry -> -entry.dtype().alignment()));
    return outputs;
  }

  /// A name that two tensors of the new file would have, or null.
  @Nullable String collision() {
    Set<String> names = new HashSet<>();
    for (SafetensorsEntry entry : outputs) {
      if (!names.add(entry.name())) {
        return entry.name();
      }
    }
    return null;
  }
}
