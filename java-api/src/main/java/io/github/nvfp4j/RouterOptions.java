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
  private final boolean weightsSettled;

  /// `nvfp4j_router_options`.
  final MemorySegment struct;

  private RouterOptions(float scale, boolean weightsSettled) {
    this.scale = scale;
    this.weightsSettled = weightsSettled;
    this.struct =
        io.github.nvfp4j.bindings.RouterOptions.allocate(Arena.ofAuto(), scale, weightsSettled);
  }

  /// New options, without [#withWeightsSettled]'s promise. What is out of range is refused by the
  /// op.
  ///
  /// @param scale the routed scaling factor, finite and positive: what the weights of a token sum
  ///   to
  public static RouterOptions of(float scale) {
    return new RouterOptions(scale, false);
  }

  /// These options, but for this promise: no work that is enqueued before the call, or comes before
  /// it in the same graph, and has not ended when the call is made (for a captured one: when the
  /// graph is launched) writes W (its rows, or its codes and block scales) or the table of
  /// [RouterHash]. With `true` a kernel may read them while the one before it in the stream still
  /// runs. Today that of [RouterHash] for at most two tokens a multiprocessor does, where x is BF16
  /// and W BF16 or NVFP4, with rows that start at multiples of 16 bytes, on a device of compute
  /// capability 9.0 or later and a stream of the library; [RouterDense] always reads W behind the
  /// wait.
  ///
  /// Weights and tables that were loaded and waited for once are such. Those that a call just
  /// before copies or quantises are not: their old bytes may be read. The bias, x, the ids and W's
  /// global scale are always waited for.
  public RouterOptions withWeightsSettled(boolean value) {
    return new RouterOptions(scale, value);
  }

  /// The routed scaling factor.
  public float scale() {
    return scale;
  }

  /// Whether the caller promises that nothing under way writes W, or the table.
  public boolean weightsSettled() {
    return weightsSettled;
  }

  /// What was chosen, for example `scale 2.5 weights settled`.
  @Override
  public String toString() {
    return "scale " + scale + (weightsSettled ? " weights settled" : "");
  }
}
