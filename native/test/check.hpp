// SPDX-License-Identifier: Apache-2.0
// A small harness: TEST(name) { CHECK(...); } in any number of files of one program, and a main
// that runs all tests (or those whose name contains the first argument), prints the failures and
// `N passed, N failed`, and exits 1 when any failed.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registration {
  Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline void failed(const char* file, int line, const std::string& text) {
  if (++failures() <= 50) std::printf("%s:%d: %s\n", file, line, text.c_str());
}

inline std::string show(const char* value) {
  return value == nullptr ? "NULL" : "\"" + std::string(value) + "\"";
}
inline std::string show(const std::string& value) { return "\"" + value + "\""; }
inline std::string show(const void* value) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", value);
  return text;
}
inline std::string show(bool value) { return value ? "true" : "false"; }
template <class T>
std::string show(T value)
  requires(std::is_arithmetic_v<T>)
{
  if constexpr (std::is_floating_point_v<T>) {
    char text[64];
    std::snprintf(text, sizeof text, "%.9g", static_cast<double>(value));
    return text;
  } else {
    char text[64];
    std::snprintf(text, sizeof text, "%lld (0x%llx)", static_cast<long long>(value),
                  static_cast<unsigned long long>(value));
    return text;
  }
}

template <class A, class B>
void equal(const char* file, int line, const char* expression, const A& actual, const B& expected) {
  bool same;
  if constexpr (std::is_convertible_v<A, std::string> && std::is_convertible_v<B, std::string>) {
    same = std::string(actual) == std::string(expected);
  } else {
    same = actual == expected;
  }
  if (!same)
    failed(file, line,
           std::string(expression) + " is " + show(actual) + ", expected " + show(expected));
}

inline int main(int count, char** arguments) {
  int passed = 0;
  int broken = 0;
  for (const Test& test : tests()) {
    if (count > 1 && std::strstr(test.name, arguments[1]) == nullptr) continue;
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& e) {
      failed(test.name, 0, std::string("threw ") + e.what());
    }
    if (failures() == before) {
      ++passed;
    } else {
      ++broken;
      std::printf("FAILED %s (%d checks)\n", test.name, failures() - before);
    }
  }
  std::printf("%d passed, %d failed\n", passed, broken);
  return broken == 0 && passed > 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                                          \
  static void test_##name();                                                \
  static const check::Registration registration_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(condition) \
  ((condition) ? void() : check::failed(__FILE__, __LINE__, "not true: " #condition))
#define CHECK_EQ(actual, expected) check::equal(__FILE__, __LINE__, #actual, actual, expected)
