// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.checkpoint;

import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/// What a safetensors header says of one tensor, its place in the file left out.
///
/// @param name any string but `__metadata__`
/// @param dtype element type
/// @param shape elements along each dimension, outermost first, none negative; empty for a scalar
public record SafetensorsEntry(String name, SafetensorsDType dtype, long[] shape) {
  /// The header's key that is not a tensor.
  static final String METADATA_KEY = "__metadata__";

  /// Checks the declaration and copies the shape.
  ///
  /// @throws IllegalArgumentException when the name is reserved or not valid Unicode, a dimension
  ///   is negative, the size passes 2^63 - 1 bits, or the elements do not fill whole bytes
  public SafetensorsEntry {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(dtype, "dtype");
    shape = shape.clone();
    if (name.equals(METADATA_KEY)) {
      throw new IllegalArgumentException(
          "safetensors: tensor name is " + METADATA_KEY + ", which the format reserves");
    }
    if (!Text.isWellFormed(name)) {
      throw new IllegalArgumentException(
          "safetensors: tensor name " + Text.quote(name) + " has an unpaired surrogate");
    }
    String problem = sizeProblem(dtype, shape);
    if (problem != null) {
      throw new IllegalArgumentException(
          "safetensors: tensor " + Text.quote(name) + ": " + problem);
    }
  }

  /// Elements along each dimension.
  ///
  /// @return a copy
  @Override
  public long[] shape() {
    return shape.clone();
  }

  /// Number of dimensions.
  ///
  /// @return 0 for a scalar
  public int rank() {
    return shape.length;
  }

  /// Number of elements.
  ///
  /// @return the product of the shape, 1 for a scalar
  public long elements() {
    long elements = 1;
    for (long dimension : shape) {
      elements *= dimension;
    }
    return elements;
  }

  /// Size of the tensor's data.
  ///
  /// @return bytes
  public long byteSize() {
    return elements() * dtype.bits() / 8;
  }

  /// What is wrong with a size, or null: the product must fit, and fill whole bytes.
  static @Nullable String sizeProblem(SafetensorsDType dtype, long[] shape) {
    long elements = 1;
    for (long dimension : shape) {
      if (dimension < 0) {
        return "shape is " + Text.show(shape) + ", expected no negative dimension";
      }
      if (Math.multiplyHigh(elements, dimension) != 0 || elements * dimension < 0) {
        return tooLarge(shape);
      }
      elements *= dimension;
    }
    if (elements > Long.MAX_VALUE / dtype.bits()) {
      return tooLarge(shape);
    }
    if (elements * dtype.bits() % 8 != 0) {
      return "shape is "
          + Text.show(shape)
          + ", expected a whole number of bytes ("
          + dtype
          + " has "
          + dtype.bits()
          + " bits)";
    }
    return null;
  }

  private static String tooLarge(long[] shape) {
    return "shape is " + Text.show(shape) + ", expected a size below 2^63 bits";
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SafetensorsEntry that
        && name.equals(that.name)
        && dtype == that.dtype
        && Arrays.equals(shape, that.shape);
  }

  @Override
  public int hashCode() {
    return Objects.hash(name, dtype, Arrays.hashCode(shape));
  }

  @Override
  public String toString() {
    return Text.quote(name) + " " + dtype + " " + Text.show(shape);
  }
}
