// SPDX-License-Identifier: Apache-2.0
/// The native library for Linux x86-64: nothing but resources under `META-INF/native/linux-x86_64`,
/// which are readable from every module because that folder's name is no package name.
///
/// A module so that `jlink` and the module graph bring the resources along with
/// `io.github.nvfp4j.bindings`, which loads them.
module io.github.nvfp4j.natives {}
