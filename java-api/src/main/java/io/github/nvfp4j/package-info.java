// SPDX-License-Identifier: Apache-2.0
/// NVFP4 tensors, and the kernels that work on them, on the CPU or a CUDA device.
///
/// A [Device] is chosen by the caller. A [Stream] is its queue of work: each op is a final class
/// with static methods that take the stream first ([Quantize], [Dequantize], [Swizzle],
/// [Unswizzle], [Swiglu], [SwigluQuantize], [Gemm], [GroupedGemm], [BatchedGemm], [PrepareWeights],
/// [PackActivations], [Sinkhorn], [HcPre], [HcPost], [HcHead], [HcPostPre], [RouterDense],
/// [RouterHash], [ExpertDispatch], [ExpertCombine], [IndexerTopk], [CacheAppendWindow],
/// [CacheAppend], [Sample]). A [Tensor] is a shape over memory of an `Arena`: native segments as
/// they are, or device memory. An [Nvfp4Tensor] is codes, block scales and global scales. A [Graph]
/// replays recorded ops with one call.
///
/// ```java
/// try (Device device = Device.of(id);                     // "cpu" or "cuda:0"
///     Stream stream = device.openStream();
///     Arena arena = Arena.ofConfined()) {
///   // Any native segment of the arena, not copied; then a copy on the device.
///   Tensor host = Tensor.of(arena, segment, DType.BF16, 128, 7168);
///   Tensor x = host.to(stream, arena);
///   Nvfp4Tensor xq = device.allocateNvfp4(arena, 128, 7168);
///   Quantize.dynamic(stream, x, xq);                     // enqueued: one launch
///   Nvfp4Tensor result = xq.toHost(stream, arena);       // waits
///   stream.synchronize();                                // throws what kernels found in the data
/// }
/// ```
///
/// **The rule that surprises**: a native call keeps memory open only through the arenas of its own
/// arguments. So a tensor lives in exactly one arena, that of its segment, and [Tensor#of] asks for
/// it; closing that arena while a call runs is refused by the JVM, and using the tensor afterwards
/// is an exception. Ops on a CUDA device return before their kernels have run; there, the arena's
/// close waits for the device.
///
/// **Errors.** A wrong argument is an [IllegalArgumentException], a call at the wrong time an
/// [IllegalStateException]; both are one sentence that names the argument, what it is and what was
/// expected, and nothing has changed. Everything else is an [Nvfp4Exception]. Faults that kernels
/// find in their data, such as NaN, never stop an op: they are thrown at the next
/// [Stream#synchronize].
///
/// **Threads.** Devices, events and tensors may be shared; a stream is used by one thread at a
/// time, a second one is refused. A tensor of a confined arena belongs to that arena's thread.
///
/// **Safety.** Only methods with `Unsafe` in their name can crash the JVM.
///
/// Public names, and the bits that ops give, stay as they are within a major version; before 1.0
/// the change log says what moved.
@NullMarked
package io.github.nvfp4j;

import org.jspecify.annotations.NullMarked;
