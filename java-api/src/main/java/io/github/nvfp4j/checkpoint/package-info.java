// SPDX-License-Identifier: Apache-2.0
/// Checkpoint files: a mapped, strict reader and a streaming writer of the safetensors format.
///
/// ```java
/// try (Arena arena = Arena.ofConfined()) {
///   SafetensorsFile file = SafetensorsFile.open(Path.of("model.safetensors"), arena);
///   for (SafetensorsEntry entry : file.entries()) {
///     MemorySegment bytes = file.data(entry.name()); // a view of the mapping: nothing is copied
///   }
/// }
/// ```
///
/// The reader accepts exactly what the format allows and refuses the rest with a
/// [SafetensorsException][io.github.nvfp4j.checkpoint.SafetensorsException] that names the file,
/// the tensor, what was found and what was expected. The writer never leaves a partial file behind:
/// it fills a temporary file beside its target and moves that into place.
@NullMarked
package io.github.nvfp4j.checkpoint;

import org.jspecify.annotations.NullMarked;
