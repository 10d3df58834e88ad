// SPDX-License-Identifier: Apache-2.0
// How a thread selects a GPU and gives back what it had, with a driver and a runtime made of
// paper: two devices, of which none has a context until somebody makes one.
#include "common/current_device.hpp"

#include "fixture.hpp"
#include "nvfp4j/device.h"

using namespace fixture;
using nvfp4j::FailedCall;

namespace {

struct FakeCuda {
  CUctx_st* current = nullptr;
  int device_by_default = 0;
  int sets = 0;
  const char* broken = nullptr;

  bool breaks(const char* call) const {
    return broken != nullptr && std::strcmp(broken, call) == 0;
  }
};
FakeCuda fake;

CUctx_st* context(int number) {
  return reinterpret_cast<CUctx_st*>(static_cast<std::uintptr_t>(0x1000 + number));
}

const nvfp4j::CurrentDeviceCalls calls{[](CUctx_st** context) -> int {
                                         *context = fake.current;
                                         return fake.breaks("get_current") ? 4 : 0;
                                       },
                                       [](CUctx_st* context) -> int {
                                         if (fake.breaks("set_current")) return 201;
                                         fake.current = context;
                                         ++fake.sets;
                                         return 0;
                                       },
                                       [](int* ordinal) -> int {
                                         *ordinal = fake.device_by_default;
                                         return fake.breaks("get_device") ? 46 : 0;
                                       }};

// Enters a device whose primary context is context(ordinal), and leaves it.
void visit(int ordinal) {
  CUctx_st* former = context(99);
  const FailedCall entered = nvfp4j::enter_device(calls, ordinal, context(ordinal), &former);
  CHECK_EQ(entered.error, 0);
  CHECK(fake.current == context(ordinal));
  const FailedCall left = nvfp4j::leave_device(calls, former);
  CHECK_EQ(left.error, 0);
}

}  // namespace

TEST(a_thread_that_chose_nothing_gets_nothing_back) {
  fake = FakeCuda{};
  visit(1);
  CHECK(fake.current == nullptr);  // and no context of device 0 was asked for
  visit(1);
  CHECK(fake.current == nullptr);
  CHECK_EQ(fake.sets, 4);
}

TEST(a_thread_keeps_the_device_that_the_runtime_would_choose) {
  fake = FakeCuda{};
  visit(0);
  CHECK(fake.current == context(0));
  visit(0);
  CHECK_EQ(fake.sets, 1);  // and pays for it once
  fake = FakeCuda{};
  fake.device_by_default = 1;
  visit(1);
  CHECK(fake.current == context(1));
}

TEST(a_thread_gets_back_what_it_chose) {
  fake = FakeCuda{};
  fake.current = context(0);
  visit(1);
  CHECK(fake.current == context(0));
  visit(0);
  CHECK_EQ(fake.sets, 2);
  // A context of the caller's own on the same device is not the runtime's.
  fake.current = context(50);
  visit(0);
  CHECK(fake.current == context(50));
}

TEST(what_was_selected_meanwhile_is_undone) {
  fake = FakeCuda{};
  CUctx_st* former = nullptr;
  CHECK_EQ(nvfp4j::enter_device(calls, 1, context(1), &former).error, 0);
  fake.current = context(0);
  CHECK_EQ(nvfp4j::leave_device(calls, former).error, 0);
  CHECK(fake.current == nullptr);
}

TEST(failures_name_the_call) {
  CUctx_st* former = nullptr;
  const auto failing = [&](const char* broken, const char* call, int error) {
    fake = FakeCuda{};
    fake.broken = broken;
    const FailedCall failed = nvfp4j::enter_device(calls, 1, context(1), &former);
    CHECK_EQ(failed.call, call);
    CHECK_EQ(failed.error, error);
    CHECK(fake.current == nullptr);
  };
  failing("get_current", "cuCtxGetCurrent", 4);
  failing("get_device", "cudaGetDevice", 46);
  failing("set_current", "cuCtxSetCurrent", 201);
  fake.current = context(0);
  CHECK_EQ(nvfp4j::leave_device(calls, nullptr).call, "cuCtxSetCurrent");
}

TEST(arguments_are_checked) {
  void* former = nullptr;
  CHECK_FAILS(nvfp4j_device_enter(0, nullptr, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "device_enter: former is NULL, expected a pointer");
  CHECK_FAILS(nvfp4j_device_enter(-1, &former, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "device_enter: device is -1, expected a CUDA ordinal");
  CHECK_FAILS(nvfp4j_device_leave(-1, nullptr, error), NVFP4J_ERROR_INVALID_ARGUMENT,
              "device_leave: device is -1, expected a CUDA ordinal");
#if !NVFP4J_WITH_CUDA
  CHECK_FAILS(nvfp4j_device_enter(0, &former, error), NVFP4J_ERROR_NOT_SUPPORTED,
              "device_enter: device is cuda:0, but nvfp4j was built without CUDA");
#endif
}

int main(int count, char** arguments) { return check::main(count, arguments); }
