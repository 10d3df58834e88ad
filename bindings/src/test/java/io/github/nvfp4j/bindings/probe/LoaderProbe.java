// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings.probe;

import io.github.nvfp4j.bindings.CudaRuntime;
import io.github.nvfp4j.bindings.NativeLibrary;
import io.github.nvfp4j.bindings.NativeLibraryException;
import io.github.nvfp4j.bindings.Nvfp4jNative;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

/// What the loader's tests run in JVMs of their own. It is in a package of its own so that it can
/// lie on the class path beside the module.
public final class LoaderProbe {
  private LoaderProbe() {}

  /// Does what its arguments name, one line of output each.
  public static void main(String[] args) throws Exception {
    for (String action : args) {
      switch (action) {
        case "load" -> System.out.println(load());
        case "again" -> again();
        case "loaders" -> loaders();
        case "cuda" ->
            System.out.println(
                "cuda " + CudaRuntime.available() + " " + CudaRuntime.unavailableReason());
        case "runtime" -> runtime();
        case "module" -> System.out.println("module " + NativeLibrary.class.getModule().getName());
        case "allocations" -> allocations();
        default -> throw new IllegalArgumentException(action);
      }
    }
  }

  /// One line: what is loaded, or the exception's message.
  public static String load() {
    try {
      int version = Nvfp4jNative.abiVersion();
      return "loaded " + version + " " + NativeLibrary.file();
    } catch (NativeLibraryException e) {
      return "failed " + e.getMessage();
    }
  }

  private static void again() {
    List<Supplier<Object>> uses =
        List.of(
            Nvfp4jNative::abiVersion,
            Nvfp4jNative::buildInfo,
            CudaRuntime::getLastError,
            NativeLibrary::file,
            Nvfp4jNative::abiVersion);
    for (Supplier<Object> use : uses) {
      try {
        System.out.println("returned " + use.get());
      } catch (Throwable e) {
        System.out.println(e.getClass().getSimpleName() + " " + e.getMessage());
      }
    }
  }

  /// Loads the classes, and with them the library, in three class loaders, one of which is this
  /// one.
  private static void loaders() throws Exception {
    List<URL> urls = new ArrayList<>();
    for (String entry : System.getProperty("java.class.path").split(":")) {
      urls.add(Path.of(entry).toUri().toURL());
    }
    System.out.println(load());
    for (int i = 0; i < 2; i++) {
      ClassLoader loader =
          new URLClassLoader(urls.toArray(URL[]::new), ClassLoader.getPlatformClassLoader());
      Class<?> again = Class.forName(LoaderProbe.class.getName(), true, loader);
      if (again == LoaderProbe.class) {
        throw new AssertionError("the same class again");
      }
      System.out.println(again.getMethod("load").invoke(null));
    }
    System.out.println("maps " + mapped("libnvfp4j"));
  }

  private static void runtime() throws Exception {
    System.out.println("runtime " + mapped("libcudart"));
  }

  /// The mapped files whose name has `part`.
  private static List<String> mapped(String part) throws Exception {
    return Files.readAllLines(Path.of("/proc/self/maps")).stream()
        .filter(line -> line.contains(part))
        .map(line -> line.substring(line.indexOf('/')))
        .distinct()
        .toList();
  }

  /// Bytes that a call allocates, once it is compiled: of an op, and of a CUDA call with plain
  /// handles.
  private static void allocations() throws Exception {
    Object bean =
        Class.forName("java.lang.management.ManagementFactory")
            .getMethod("getThreadMXBean")
            .invoke(null);
    var counter =
        Class.forName("com.sun.management.ThreadMXBean")
            .getMethod("getCurrentThreadAllocatedBytes");
    LongSupplier allocated =
        () -> {
          try {
            return (long) counter.invoke(bean);
          } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
          }
        };
    try (Arena arena = Arena.ofShared()) {
      MemorySegment struct = arena.allocate(256);
      for (int round = 0; round < 8; round++) {
        int calls = 200_000;
        long before = allocated.getAsLong();
        int sum = ops(calls, struct);
        long between = allocated.getAsLong();
        sum += cuda(calls, round);
        long after = allocated.getAsLong();
        if (round == 7) {
          System.out.printf(
              "allocations %.3f %.3f %d%n",
              (between - before) / (double) calls, (after - between) / (double) calls, sum);
        }
      }
    }
  }

  private static int ops(int calls, MemorySegment struct) {
    int sum = 0;
    for (int i = 0; i < calls; i++) {
      sum += Nvfp4jNative.quantize(struct, struct, MemorySegment.NULL, struct, struct, struct);
    }
    return sum;
  }

  private static int cuda(int calls, long handle) {
    int sum = 0;
    for (int i = 0; i < calls; i++) {
      sum += CudaRuntime.graphLaunch(handle + i, i) + CudaRuntime.eventRecord(i, handle);
    }
    return sum;
  }
}
