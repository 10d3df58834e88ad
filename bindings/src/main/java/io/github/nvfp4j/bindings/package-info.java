// SPDX-License-Identifier: Apache-2.0
/// Thin, hand-written calls over the jextract output.
///
/// [io.github.nvfp4j.bindings.Nvfp4jNative] has one static method for each function of `nvfp4j.h`,
/// [io.github.nvfp4j.bindings.CudaRuntime] one for each function that is needed of
/// `cuda_runtime_api.h`. They return the C status; making exceptions of it is the caller's
/// business. Structs are ordinary segments that the `...Descriptor`, `...Options` and
/// `StatusRecord` classes allocate and fill.
///
/// The first use of either class loads the library ([io.github.nvfp4j.bindings.NativeLibrary]).
/// When that fails, every call throws the same [io.github.nvfp4j.bindings.NativeLibraryException].
///
/// The rule that surprises: a downcall keeps a segment's arena open only while it runs, and only
/// for segments that are its own arguments. A pointer inside a struct keeps nothing open, so struct
/// and data must share an arena.
@NullMarked
package io.github.nvfp4j.bindings;

import org.jspecify.annotations.NullMarked;
