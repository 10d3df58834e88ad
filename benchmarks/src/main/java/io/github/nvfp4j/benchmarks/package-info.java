// SPDX-License-Identifier: Apache-2.0

/// Benchmarks of nvfp4j through its public API.
///
/// - [io.github.nvfp4j.benchmarks.DeviceTime]: device time of every op, its outputs checked, beside
///   read, write, copy and mixed kernels over the same bytes.
/// - [io.github.nvfp4j.benchmarks.GemmTime]: device time of the matrix products, a tile of each
///   checked, beside the fastest reader of as many bytes and cuBLASLt of the machine.
/// - [io.github.nvfp4j.benchmarks.HostGoals]: the JMH set
///   ([io.github.nvfp4j.benchmarks.CallOverhead], [io.github.nvfp4j.benchmarks.HostCost]), with the
///   goals asserted.
@NullMarked
package io.github.nvfp4j.benchmarks;

import org.jspecify.annotations.NullMarked;
