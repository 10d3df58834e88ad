// SPDX-License-Identifier: Apache-2.0
package io.github.nvfp4j.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.MemorySegment;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/// The hand-written classes have everything that the generated ones have, and nothing else.
class FacadeTest {
  @Test
  void everyFunctionOfNvfp4j() {
    Map<String, Method> facade = methods(Nvfp4jNative.class);
    Map<String, Method> generated = Generated.functions(Generated.nvfp4j());
    TreeSet<String> expected = new TreeSet<>();
    generated.keySet().forEach(name -> expected.add(camelCase(name.substring("nvfp4j_".length()))));
    assertThat(facade.keySet()).isEqualTo(expected);

    Set<String> texts = Set.of("buildInfo", "opName"); // a String in the place of its pointer
    Set<String> sizedTexts = Set.of("path", "gemmPath");
    generated.forEach((name, method) -> {
      Method ours = facade.get(camelCase(name.substring("nvfp4j_".length())));
      List<Class<?>> parameters = List.of(method.getParameterTypes());
      if (sizedTexts.contains(ours.getName())) { // the text's size is the segment's
        parameters = new ArrayList<>(parameters);
        assertThat(parameters.remove(parameters.size() - 2)).isEqualTo(long.class);
      }
      assertThat(List.<Class<?>>of(ours.getParameterTypes())).as(name).isEqualTo(parameters);
      assertThat(ours.getReturnType())
          .as(name)
          .isEqualTo(texts.contains(ours.getName()) ? String.class : method.getReturnType());
    });
  }

  @Test
  void everyIncludedFunctionOfCuda() {
    Map<String, Method> facade = methods(CudaRuntime.class);
    Map<String, Method> generated = Generated.functions(Generated.cuda());
    TreeSet<String> expected = new TreeSet<>(Set.of("available", "unavailableReason", "isSticky"));
    generated
        .keySet()
        .forEach(name -> expected.add(uncapitalised(name.substring("cuda".length()))));
    assertThat(facade.keySet()).isEqualTo(expected);

    Set<Class<?>> pointers =
        Set.of(
            MemorySegment.class,
            long.class,
            CudaDeviceProperties.class,
            CudaPointerAttributes.class);
    generated.forEach((name, method) -> {
      Method ours = facade.get(uncapitalised(name.substring("cuda".length())));
      Class<?>[] types = method.getParameterTypes();
      assertThat(ours.getParameterCount()).as(name).isEqualTo(types.length);
      for (int i = 0; i < types.length; i++) {
        Class<?> type = ours.getParameterTypes()[i];
        assertThat(types[i] == MemorySegment.class ? pointers : Set.of(types[i]))
            .as(name)
            .contains(type);
      }
    });
  }

  @Test
  void everyConstantOfNvfp4j() throws Exception {
    Map<String, Long> expected = new TreeMap<>();
    Generated.constants(Generated.nvfp4j())
        .forEach((name, value) -> expected.put(name.substring("NVFP4J_".length()), value));
    assertThat(constants(Nvfp4jConstants.class)).isEqualTo(expected);
  }

  @Test
  void everyIncludedConstantOfCuda() throws Exception {
    // cudaDevAttrEccEnabled and DEVICE_ATTRIBUTE_ECC_ENABLED: equal but for prefix, case and
    // underscores
    Map<String, Long> expected = new TreeMap<>();
    Generated.constants(Generated.cuda())
        .forEach((name, value) ->
            expected.put(
                name.replaceFirst("^cuda", "")
                    .replace("DevAttr", "DeviceAttribute")
                    .replace("_", "")
                    .toLowerCase(Locale.ROOT),
                value));
    Map<String, Long> ours = new TreeMap<>();
    constants(CudaConstants.class)
        .forEach((name, value) -> ours.put(name.replace("_", "").toLowerCase(Locale.ROOT), value));
    assertThat(ours).hasSizeGreaterThan(80).isEqualTo(expected);
  }

  @Test
  void stickyErrors() {
    assertThat(CudaRuntime.isSticky(CudaConstants.ERROR_ILLEGAL_ADDRESS)).isTrue();
    assertThat(CudaRuntime.isSticky(CudaConstants.ERROR_LAUNCH_FAILURE)).isTrue();
    assertThat(CudaRuntime.isSticky(CudaConstants.SUCCESS)).isFalse();
    assertThat(CudaRuntime.isSticky(CudaConstants.ERROR_MEMORY_ALLOCATION)).isFalse();
    assertThat(CudaRuntime.isSticky(CudaConstants.ERROR_NOT_READY)).isFalse();
  }

  private static Map<String, Method> methods(Class<?> type) {
    Map<String, Method> methods = new TreeMap<>();
    for (Method method : type.getDeclaredMethods()) {
      if (Modifier.isPublic(method.getModifiers())) {
        assertThat(methods.put(method.getName(), method)).as("overload of %s", method).isNull();
      }
    }
    return methods;
  }

  private static Map<String, Long> constants(Class<?> type) throws IllegalAccessException {
    Map<String, Long> constants = new TreeMap<>();
    for (Field field : type.getDeclaredFields()) {
      constants.put(field.getName(), ((Number) field.get(null)).longValue());
    }
    return constants;
  }

  private static String camelCase(String snake) {
    StringBuilder camel = new StringBuilder();
    Arrays.stream(snake.split("_"))
        .forEach(
            word -> camel.append(Character.toUpperCase(word.charAt(0))).append(word.substring(1)));
    return uncapitalised(camel.toString());
  }

  private static String uncapitalised(String name) {
    return Character.toLowerCase(name.charAt(0)) + name.substring(1);
  }
}
