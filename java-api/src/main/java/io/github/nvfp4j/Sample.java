// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j;

import io.github.nvfp4j.bindings.Nvfp4jNative;
import io.github.nvfp4j.bindings.SampleOptions;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.jspecify.annotations.Nullable;

/// sample: the next token from logits, greedy or drawn from softmax(logits / temperature); the same
/// tokens on every device.
///
/// In IEEE binary32, each operation rounded to nearest even:
///
/// ```
/// temperature == 0:  v[t,i] = f32(logits[t,i])
/// else:              v[t,i] = f32(logits[t,i]) / max(temperature, 1e-5) - log(E[t,i])
/// token[t] = the lowest i among those with the highest v[t,i]
///
/// E[t,i] = noise[t,i]                                      given: exponential, with mean 1
/// E[t,i] = -log(u), u = (floor(r / 512) + 0.5) * 2^-23     else; u is exact, and neither 0 nor 1
/// r      = word i mod 4 of Philox4x32-10 with key (seed mod 2^32, seed / 2^32)
///          and counter (i / 4, t, o mod 2^32, o / 2^32); o = offset + offset[0], modulo 2^64
/// ```
///
/// log is this project's, the same on every device. argmax(l - log E) is a draw from softmax(l) (an
/// exponential race), as argmax(p / E) is, which DeepSeek-V4's `sample` takes; but it needs no sum
/// over the row, and nothing is 0 / 0. Draws with the same seed, offset and row are the same: each
/// call needs another offset. In a captured graph that is what the offset tensor is for. Philox:
/// Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
///
/// One launch on a CUDA device, asynchronous; done on return on the CPU. Deterministic, allocates
/// nothing, can be captured. A row with a logit that is NaN ([Cause#NON_FINITE_INPUT], column: of a
/// NaN), or with noise that is not positive and finite ([Cause#BAD_NOISE], column: of it), or whose
/// logits are all -infinity ([Cause#NON_FINITE_RESULT], column -1), is reported and its token is
/// -1. Logits of +infinity, and of -infinity beside others, are ordinary.
public final class Sample {
  private Sample() {}

  /// How to draw: immutable; keep one (making one allocates).
  public static final class Options {
    /// The most likely token: temperature 0.
    public static final Options GREEDY = of(0, 0, 0);

    private final float temperature;
    private final long seed;
    private final long offset;

    /// `nvfp4j_sample_options`.
    final MemorySegment struct;

    private Options(float temperature, long seed, long offset) {
      this.temperature = temperature;
      this.seed = seed;
      this.offset = offset;
      this.struct = SampleOptions.allocate(Arena.ofAuto(), temperature, seed, offset);
    }

    /// New options. Seed and offset have no effect at temperature 0, or where noise is given.
    ///
    /// @param temperature finite, 0 or more; 0: the most likely token. Another one is refused by
    ///   the op
    /// @param seed key of the random numbers; any bits
    /// @param offset which numbers of that key; any bits
    public static Options of(float temperature, long seed, long offset) {
      return new Options(temperature, seed, offset);
    }

    /// What logits are divided by, at least 1e-5; 0: the most likely token.
    public float temperature() {
      return temperature;
    }

    /// Key of the random numbers.
    public long seed() {
      return seed;
    }

    /// Which numbers of that key.
    public long offset() {
      return offset;
    }

    /// The three choices.
    @Override
    public String toString() {
      return "temperature " + temperature + " seed " + seed + " offset " + offset;
    }
  }

  /// Draws one token a row, with noise of Philox's, or none at temperature 0.
  ///
  /// @param stream where to run
  /// @param logits F32 or BF16 `[T, V]`, any row stride of at least V; V from 1 to 2^31 - 1. T may
  ///   be 0
  /// @param tokens written: I32 `[T]`; overlaps `logits` nowhere
  /// @param options how
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(Stream stream, Tensor logits, Tensor tokens, Options options) {
    run(stream, logits, null, null, tokens, options);
  }

  /// The same with noise of the caller's, or with an offset that is read on the device.
  ///
  /// @param stream where to run
  /// @param logits F32 or BF16 `[T, V]`, any row stride of at least V; V from 1 to 2^31 - 1. T may
  ///   be 0
  /// @param noise null, or F32 `[T, V]`, any row stride of at least V: E, of the exponential
  ///   distribution with mean 1. Not read at temperature 0
  /// @param offset null, or I64 `[1]`: added to that of `options`. Read on the device, so that a
  ///   captured graph draws anew, and left as it is
  /// @param tokens written: I32 `[T]`; overlaps no input
  /// @param options how
  /// @throws IllegalArgumentException if an argument is wrong; the sentence names it, nothing was
  ///   changed
  /// @throws IllegalStateException if an arena or the stream is closed, or the stream in use by
  ///   another thread
  /// @throws WrongThreadException if a tensor belongs to a confined arena of another thread
  /// @throws Nvfp4Exception if the device fails, or has no implementation
  public static void run(
      Stream stream,
      Tensor logits,
      @Nullable Tensor noise,
      @Nullable Tensor offset,
      Tensor tokens,
      Options options) {
    stream.enter("sample");
    try {
      stream.reads(Op.SAMPLE, "logits", logits);
      if (noise != null) {
        stream.reads(Op.SAMPLE, "noise", noise);
      }
      if (offset != null) {
        stream.reads(Op.SAMPLE, "offset", offset);
      }
      stream.writes(Op.SAMPLE, "tokens", tokens);
      int status =
          Nvfp4jNative.sample(
              stream.context(),
              logits.descriptor,
              noise == null ? MemorySegment.NULL : noise.descriptor,
              offset == null ? MemorySegment.NULL : offset.descriptor,
              options.struct,
              tokens.descriptor,
              stream.error());
      if (status != 0) {
        throw stream.raise(
            Op.SAMPLE,
            status,
            Shapes.of("logits", logits, "noise", noise, "offset", offset, "tokens", tokens));
      }
      if (stream.records()) {
        stream.recordStep(s -> run(s, logits, noise, offset, tokens, options));
      }
    } finally {
      stream.exit();
    }
  }
}
