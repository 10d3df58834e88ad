// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.cli;

import io.github.nvfp4j.checkpoint.SafetensorsDType;
import io.github.nvfp4j.checkpoint.SafetensorsEntry;
import io.github.nvfp4j.checkpoint.SafetensorsFile;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/// What `nvfp4j run` was given: tensors and parameters by name. An op asks for those that it knows;
/// what nobody asked for is refused in the end.
final class OpRequest {
  /// A tensor of the file.
  record Input(SafetensorsEntry entry, MemorySegment data) {
    String name() {
      return entry.name();
    }

    long dim(int i) {
      return entry.shape()[i];
    }

    /// `BF16 [4, 16]`.
    String describe() {
      return entry.dtype() + " " + Arrays.toString(entry.shape());
    }
  }

  static final List<SafetensorsDType> FLOATS =
      List.of(SafetensorsDType.BF16, SafetensorsDType.F16, SafetensorsDType.F32);
  static final List<SafetensorsDType> BF16_F32 =
      List.of(SafetensorsDType.BF16, SafetensorsDType.F32);
  static final List<SafetensorsDType> BF16 = List.of(SafetensorsDType.BF16);
  static final List<SafetensorsDType> F32 = List.of(SafetensorsDType.F32);
  static final List<SafetensorsDType> I32 = List.of(SafetensorsDType.I32);
  static final List<SafetensorsDType> U8 = List.of(SafetensorsDType.U8);
  static final List<SafetensorsDType> SCALES =
      List.of(SafetensorsDType.U8, SafetensorsDType.F8_E4M3);

  private final String op;
  private final SafetensorsFile file;
  private final Map<String, String> parameters;
  private final Set<String> knownTensors = new LinkedHashSet<>();
  private final Set<String> knownParameters = new LinkedHashSet<>();

  OpRequest(String op, SafetensorsFile file, Map<String, String> parameters) {
    this.op = op;
    this.file = file;
    this.parameters = parameters;
  }

  /// The op's name.
  String op() {
    return op;
  }

  /// A tensor of one of these dtypes and of rank 2.
  ///
  /// @param shape how a message writes what is expected, `[T, K]`
  Input matrix(String name, List<SafetensorsDType> dtypes, String shape) {
    Input input = required(name, dtypes, shape);
    require(input.entry().rank() == 2, input, dtypes, shape);
    return input;
  }

  /// A tensor of one of these dtypes and any shape.
  Input required(String name, List<SafetensorsDType> dtypes, String shape) {
    Input input = optional(name, dtypes, shape);
    if (input == null) {
      throw fault("tensor " + name + " is missing, expected " + expected(dtypes, shape));
    }
    return input;
  }

  /// The same, or null when the file has no such tensor.
  @Nullable Input optional(String name, List<SafetensorsDType> dtypes, String shape) {
    knownTensors.add(name);
    if (!file.contains(name)) {
      return null;
    }
    Input input = new Input(file.entry(name), file.data(name));
    require(dtypes.contains(input.entry().dtype()), input, dtypes, shape);
    return input;
  }

  /// Refuses a tensor by what it is and what was expected.
  void require(boolean condition, Input input, List<SafetensorsDType> dtypes, String shape) {
    if (!condition) {
      throw fault(
          "tensor "
              + input.name()
              + " is "
              + input.describe()
              + ", expected "
              + expected(dtypes, shape));
    }
  }

  private static String expected(List<SafetensorsDType> dtypes, String shape) {
    return dtypes.stream().map(Enum::name).collect(Collectors.joining(" or ")) + " " + shape;
  }

  /// One of these words; the first is the default.
  String choice(String name, String... words) {
    String value = parameter(name);
    if (value == null) {
      return words[0];
    }
    if (!List.of(words).contains(value)) {
      throw fault(
          "parameter " + name + " is " + value + ", expected " + String.join(" or ", words));
    }
    return value;
  }

  /// Whether a parameter was given.
  boolean has(String name) {
    return parameters.containsKey(name);
  }

  /// `true` or `false`; false by default.
  boolean flag(String name) {
    return choice(name, "false", "true").equals("true");
  }

  /// An integer of at least 0, or null when it was not given.
  @Nullable Long count(String name) {
    String value = parameter(name);
    if (value == null) {
      return null;
    }
    try {
      long count = Long.parseLong(value);
      if (count >= 0) {
        return count;
      }
    } catch (NumberFormatException e) {
      // The sentence below is for both.
    }
    throw fault("parameter " + name + " is " + value + ", expected an integer >= 0");
  }

  /// A finite float of at least 0.
  float limit(String name, float otherwise) {
    String value = parameter(name);
    if (value == null) {
      return otherwise;
    }
    try {
      float limit = Float.parseFloat(value);
      if (limit >= 0 && Float.isFinite(limit)) {
        return limit;
      }
    } catch (NumberFormatException e) {
      // The sentence below is for both.
    }
    throw fault("parameter " + name + " is " + value + ", expected a finite number >= 0");
  }

  /// 64 bits, as a signed or an unsigned integer; 0 by default.
  long word(String name) {
    String value = parameter(name);
    if (value == null) {
      return 0;
    }
    try {
      return value.startsWith("-") ? Long.parseLong(value) : Long.parseUnsignedLong(value);
    } catch (NumberFormatException e) {
      throw fault("parameter " + name + " is " + value + ", expected an integer of 64 bits");
    }
  }

  private @Nullable String parameter(String name) {
    knownParameters.add(name);
    return parameters.get(name);
  }

  /// To be called when everything was asked for.
  void refuseTheRest() {
    for (String name : parameters.keySet()) {
      if (!knownParameters.contains(name)) {
        throw fault(
            "parameter "
                + name
                + " is unknown, expected "
                + (knownParameters.isEmpty() ? "none" : String.join(", ", knownParameters)));
      }
    }
    for (String name : file.names()) {
      if (!knownTensors.contains(name)) {
        throw fault("tensor " + name + " is unknown, expected " + String.join(", ", knownTensors));
      }
    }
  }

  Failure fault(String what) {
    return Failure.badInput(op + ": " + what);
  }
}
