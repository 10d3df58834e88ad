// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// How DeepSeek-V4 weighs the experts of a token ([RouterDense], [RouterHash]): immutable; keep one
/// (making one allocates).
public final class RouterOptions {
  /// Scale 1.5: DeepSeek-V4 Flash's.
  public static final RouterOptions FLASH = of(1.5f);

  /// Scale 2.5: DeepSeek-V4 Pro's.
  public static final RouterOptions PRO = of(2.5f);

  private final float scale;

  /// `nvfp4j_router_options`.
  final MemorySegment struct;

  private RouterOptions(float scale) {
    this.scale = scale;
    this.struct = io.github.nvfp4j.bindings.RouterOptions.allocate(Arena.ofAuto(), scale);
  }

  /// New options. What is out of range is refused by the op.
  ///
  /// @param scale the routed scaling factor, finite and positive: what the weights of a token sum
  ///   to
  public static RouterOptions of(float scale) {
    return new RouterOptions(scale);
  }

  /// The routed scaling factor.
  public float scale() {
    return scale;
  }

  /// The choice.
  @Override
  public String toString() {
    return "scale " + scale;
  }
}
