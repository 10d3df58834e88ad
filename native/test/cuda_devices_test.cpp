// SPDX-License-Identifier: Apache-2.0
// On GPUs: a call leaves the calling thread with the CUDA context that it had, and no GPU gets a
// context that nobody asked for. The second half needs two GPUs and says so where there is one.
// Exit status 77: there is none.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <thread>

#include "common/context.hpp"
#include "fixture.hpp"

using namespace fixture;

namespace {

int devices = 0;

template <class Function>
void find(const char* symbol, unsigned version, Function& function) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion(symbol, &address, version, cudaEnableDefault, &result);
  if (error != cudaSuccess || address == nullptr) throw std::runtime_error(symbol);
  function = reinterpret_cast<Function>(address);
}

CUcontext current() {
  CUresult (*get)(CUcontext*) = nullptr;
  find("cuCtxGetCurrent", 12000, get);
  CUcontext context = nullptr;
  CHECK_EQ(static_cast<int>(get(&context)), 0);
  return context;
}

bool active(int device) {
  CUresult (*get)(CUdevice, unsigned*, int*) = nullptr;
  find("cuDevicePrimaryCtxGetState", 12000, get);
  unsigned flags = 0;
  int state = 0;
  CHECK_EQ(static_cast<int>(get(device, &flags, &state)), 0);
  return state != 0;
}

// Everything that a context can do, a memory copy and a report included.
void use(int device) {
  nvfp4j_context_options options{};
  options.struct_size = sizeof options;
  options.device = device;
  nvfp4j_context* context = nullptr;
  CHECK_OK(nvfp4j_context_create(&options, &context, error));
  if (context == nullptr) return;
  CHECK_OK(nvfp4j_context_warm_up(context, error));

  void* former = nullptr;
  void* memory = nullptr;
  CHECK_OK(nvfp4j_device_enter(device, &former, error));
  CHECK_EQ(static_cast<int>(cudaMalloc(&memory, 4 * 16 * 4 + 1024)), 0);
  CHECK_OK(nvfp4j_device_leave(device, former, error));

  std::vector<float> values(4 * 16, 1.0f);
  values[2 * 16 + 3] = NAN;
  const nvfp4j_tensor host = tensor(values.data(), NVFP4J_DTYPE_F32, {4, 16});
  nvfp4j_tensor input = tensor(memory, NVFP4J_DTYPE_F32, {4, 16});
  input.memory = NVFP4J_MEMORY_DEVICE;
  CHECK_OK(nvfp4j_copy(context, &host, &input, error));
  Nvfp4 out(4, 16);
  char* const rest = static_cast<char*>(memory) + 4 * 16 * 4;
  nvfp4j_nvfp4_tensor output = out.descriptor;
  output.codes = rest;
  output.scales = rest + 256;
  output.global_scales = rest + 512;
  output.memory = NVFP4J_MEMORY_DEVICE;
  const nvfp4j_quantize_options recipe = quantize_options();
  CHECK_OK(nvfp4j_quantize(context, &input, nullptr, &recipe, &output, error));
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_cancel_report(context, error));
  nvfp4j_status_record record = status_record();
  CHECK_EQ(nvfp4j_context_synchronize(context, &record, nullptr), NVFP4J_ERROR_REPORTED);
  CHECK_EQ(record.first_row, 2);
  CHECK_OK(nvfp4j_quantize(context, &input, nullptr, &recipe, &output, error));
  CHECK_OK(nvfp4j_context_request_report(context, error));
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));
  CHECK_EQ(nvfp4j_context_report(context, &record, nullptr), NVFP4J_ERROR_REPORTED);
  CHECK_OK(nvfp4j_context_destroy(context, error));

  CHECK_OK(nvfp4j_device_enter(device, &former, error));
  CHECK_EQ(static_cast<int>(cudaFree(memory)), 0);
  CHECK_OK(nvfp4j_device_leave(device, former, error));
}

}  // namespace

// Comes first: a context that somebody made stays.
TEST(no_gpu_gets_a_context_unasked) {
  const int last = devices - 1;
  std::thread([&] {
    CHECK(current() == nullptr);
    use(last);
    if (last == 0) {
      CHECK(current() != nullptr);  // what the runtime's own first call would have left
    } else {
      CHECK(current() == nullptr);
      int device = -1;
      CHECK_EQ(static_cast<int>(cudaGetDevice(&device)), 0);
      CHECK_EQ(device, 0);
    }
  }).join();
  CHECK(active(last));
  for (int device = 0; device < last; ++device) CHECK(!active(device));
  if (devices == 1) std::printf("no_gpu_gets_a_context_unasked: in part only: one GPU\n");
}

TEST(a_thread_keeps_the_device_that_it_chose) {
  if (devices < 2) {
    std::printf("a_thread_keeps_the_device_that_it_chose: skipped: one GPU\n");
    return;
  }
  std::thread([] {
    CHECK_EQ(static_cast<int>(cudaSetDevice(0)), 0);
    const CUcontext chosen = current();
    use(1);
    CHECK(current() == chosen);
    int device = -1;
    CHECK_EQ(static_cast<int>(cudaGetDevice(&device)), 0);
    CHECK_EQ(device, 0);
  }).join();
}

TEST(a_thread_keeps_a_context_of_its_own) {
  std::thread([] {
    CUresult (*create)(CUcontext*, unsigned, CUdevice) = nullptr;
    CUresult (*destroy)(CUcontext) = nullptr;
    find("cuCtxCreate", 3020, create);
    find("cuCtxDestroy", 4000, destroy);
    CUcontext own = nullptr;
    CHECK_EQ(static_cast<int>(create(&own, 0, 0)), 0);
    use(0);
    CHECK(current() == own);
    CHECK_EQ(static_cast<int>(destroy(own)), 0);
  }).join();
}

int main(int count, char** arguments) {
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 77;
  }
  if (count > 1 && std::strcmp(arguments[1], "--quick") == 0) count = 1;  // for compute-sanitizer
  return check::main(count, arguments);
}
