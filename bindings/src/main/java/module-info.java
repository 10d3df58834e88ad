// SPDX-License-Identifier: Apache-2.0
/// The native library's loader and the calls into it. Internal to nvfp4j: the API is
/// `io.github.nvfp4j`.
///
/// Every restricted method of `java.lang.foreign` that nvfp4j uses is in this module, so
/// `--enable-native-access=io.github.nvfp4j.bindings` is all that a program must grant.
module io.github.nvfp4j.bindings {
  requires io.github.nvfp4j.natives;
  requires static transitive org.jspecify;

  exports io.github.nvfp4j.bindings to
      io.github.nvfp4j;
}
