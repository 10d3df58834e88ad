// SPDX-License-Identifier: Apache-2.0
// Prints the ABI as this compiler sees it. The entries are generated from the headers by
// generate_abi_probe.py, whose first lines describe the output.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <type_traits>

#include "nvfp4j/nvfp4j.h"

namespace {

template <class T>
constexpr char letter() {
  if constexpr (std::is_void_v<T>) {
    return 'V';
  } else if constexpr (std::is_pointer_v<T>) {
    return 'A';
  } else if constexpr (std::is_same_v<T, float>) {
    return 'F';
  } else if constexpr (std::is_same_v<T, double>) {
    return 'D';
  } else if constexpr (std::is_integral_v<T> && sizeof(T) == 4) {
    return 'I';
  } else {
    static_assert(std::is_integral_v<T> && sizeof(T) == 8, "a type that the ABI does not use");
    return 'J';
  }
}

template <class Return, class... Arguments>
void print_function(const char* name, Return (*)(Arguments...)) {
  const char arguments[] = {letter<Arguments>()..., '\0'};
  std::printf("func.%s=%c(%s)\n", name, letter<Return>(), arguments);
}

template <class T>
void print_constant(const char* name, T value) {
  static_assert(std::is_integral_v<T>, "only integer constants are part of the ABI");
  std::printf("const.%s=%lld\n", name, static_cast<long long>(value));
}

}  // namespace

int main() {
#define FUNCTION(name) print_function(#name, &name);
#define STRUCT(name) std::printf("struct.%s.sizeof=%zu\n", #name, sizeof(name));
#define FIELD(name, field) \
  std::printf("struct.%s.%s=%zu,%zu\n", #name, #field, offsetof(name, field), sizeof(name::field));
#define OPAQUE(name) std::printf("opaque.%s=\n", #name);
#define CONSTANT(name) print_constant(#name, name);
#include "abi_probe_entries.inl"
  return 0;
}
