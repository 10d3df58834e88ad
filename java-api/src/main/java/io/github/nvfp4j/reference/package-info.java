// SPDX-License-Identifier: Apache-2.0
/// The oracle: every format and op of this library in plain Java, transcribed from the published
/// definitions and written to be read.
///
/// The classes work on Java arrays, need no native library and no device, and are deterministic and
/// thread-safe (static methods without state). They are exact and slow: tests, `nvfp4j selftest`
/// and anyone who wants to know what a bit should be compare the devices with them. Values of type
/// BF16 and F16 are passed as the `float`s that they are exactly equal to; where a result is
/// rounded to such a type, a [io.github.nvfp4j.DType] says so.
///
/// Matrices are row-major and dense: element `(m, k)` of `[rows, columns]` is at `m * columns + k`.
///
/// All arithmetic is IEEE 754 binary32, rounded to nearest even, in the order that the formulas
/// show, fused only where they say `fma`. A result that is NaN is always the quiet NaN `0x7fc00000`
/// (BF16 `0x7fc0`, F16 `0x7e00`), on every device: processors disagree about the sign and payload
/// of the NaNs that they make.
///
/// **Compatibility.** The results are the definition of this library's results, so they change only
/// where they contradict the definition that they cite, and then as a bug fix named in the change
/// log. Signatures follow semantic versioning like the rest of the API.
@NullMarked
package io.github.nvfp4j.reference;

import org.jspecify.annotations.NullMarked;
