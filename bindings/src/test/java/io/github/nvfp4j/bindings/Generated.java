// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.nvfp4j.bindings.generated.cuda.cuda_runtime_api_h;
import io.github.nvfp4j.bindings.generated.nvfp4j.nvfp4j_h;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.GroupLayout;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;

/// The generated classes by reflection, and where the sources are.
final class Generated {
  private Generated() {}

  static Map<String, Method> functions(Class<?> header) {
    Map<String, Method> functions = new TreeMap<>();
    for (Method method : header.getMethods()) {
      if (!method.getName().contains("$") && hasMethod(header, method.getName() + "$descriptor")) {
        functions.put(method.getName(), method);
      }
    }
    return functions;
  }

  /// Constants by name, as jextract has them: int or long.
  static Map<String, Long> constants(Class<?> header) throws ReflectiveOperationException {
    Map<String, Long> constants = new TreeMap<>();
    for (Method method : header.getMethods()) {
      boolean declared =
          method.getDeclaringClass() == header
              || method.getDeclaringClass() == header.getSuperclass();
      if (declared
          && method.getParameterCount() == 0
          && !method.getName().contains("$")
          && !hasMethod(header, method.getName() + "$descriptor")) {
        constants.put(method.getName(), ((Number) method.invoke(null)).longValue());
      }
    }
    return constants;
  }

  static FunctionDescriptor descriptor(Class<?> header, String function)
      throws ReflectiveOperationException {
    return (FunctionDescriptor) header.getMethod(function + "$descriptor").invoke(null);
  }

  /// The layout of a struct of nvfp4j.h.
  static GroupLayout layout(String struct) throws ReflectiveOperationException {
    Class<?> type = Class.forName(nvfp4j_h.class.getPackageName() + "." + struct);
    return (GroupLayout) type.getMethod("layout").invoke(null);
  }

  static Class<?> nvfp4j() {
    return nvfp4j_h.class;
  }

  static Class<?> cuda() {
    return cuda_runtime_api_h.class;
  }

  private static boolean hasMethod(Class<?> type, String name) {
    try {
      type.getMethod(name);
      return true;
    } catch (NoSuchMethodException e) {
      return false;
    }
  }

  /// The root of the repository; skips the test where only the built classes are, as on a GPU host.
  static Path repository() {
    String given = System.getProperty("nvfp4j.root");
    Path root = given != null ? Path.of(given) : Path.of("").toAbsolutePath().getParent();
    assumeTrue(
        Files.exists(root.resolve("bindings/jextract/regenerate")),
        "the sources are not here: " + root + " has no bindings/jextract");
    return root;
  }
}
