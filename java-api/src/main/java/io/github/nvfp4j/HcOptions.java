// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// How DeepSeek-V4's hyper-connections mix streams ([HcPre], [HcHead], [HcPostPre]): immutable;
/// keep one (making one allocates).
public final class HcOptions {
  /// 20 iterations, both eps 1e-6: DeepSeek-V4's.
  public static final HcOptions DEFAULT = of(20, 1e-6f, 1e-6f);

  private final int iterations;
  private final float hcEps;
  private final float rmsEps;

  /// `nvfp4j_hc_options` of a module.
  final MemorySegment struct;

  /// `nvfp4j_hc_options` of the head, which has no comb: 0 iterations.
  final MemorySegment headStruct;

  private HcOptions(int iterations, float hcEps, float rmsEps) {
    this.iterations = iterations;
    this.hcEps = hcEps;
    this.rmsEps = rmsEps;
    Arena arena = Arena.ofAuto();
    this.struct = io.github.nvfp4j.bindings.HcOptions.allocate(arena, iterations, hcEps, rmsEps);
    this.headStruct = io.github.nvfp4j.bindings.HcOptions.allocate(arena, 0, hcEps, rmsEps);
  }

  /// New options. What is out of range is refused by the op.
  ///
  /// @param iterations of [Sinkhorn], 1 or more; without effect on [HcHead]
  /// @param hcEps added to pre, and the eps of [Sinkhorn]: from 2^-100 to 1
  /// @param rmsEps added to means of squares: from 2^-100 to 1
  public static HcOptions of(int iterations, float hcEps, float rmsEps) {
    return new HcOptions(iterations, hcEps, rmsEps);
  }

  /// Column normalisations of [Sinkhorn].
  public int iterations() {
    return iterations;
  }

  /// What is added to pre, and the eps of [Sinkhorn].
  public float hcEps() {
    return hcEps;
  }

  /// What is added to means of squares.
  public float rmsEps() {
    return rmsEps;
  }

  /// The three choices.
  @Override
  public String toString() {
    return iterations + " iterations hc_eps " + hcEps + " rms_eps " + rmsEps;
  }
}
