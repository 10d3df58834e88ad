// SPDX-License-Identifier: Apache-2.0
// Which GPU a thread works on, and how to work on another one for the length of a call.
//
// The CUDA runtime has no way back: a thread that chose nothing has no context, cudaGetDevice says
// 0 of it, and cudaSetDevice(0) makes a context on that GPU (CUDA 12 and later), which costs memory
// and time on a card that the program may never use. "CUDA Runtime API calls operate on the
// CUcontext which is current to the calling host thread" (CUDA Runtime API, "Interactions with the
// CUDA Driver API"), so the driver's own calls do both ways here: they make no context.
//
// No CUDA header: the rules are tested without a GPU.
#pragma once

struct CUctx_st;  // CUcontext is CUctx_st*

namespace nvfp4j {

/// The calls that the rules are made of. Each returns a cudaError_t (the driver's CUresult has the
/// same numbers).
struct CurrentDeviceCalls {
  int (*get_current)(CUctx_st** context);  // cuCtxGetCurrent
  int (*set_current)(CUctx_st* context);   // cuCtxSetCurrent
  int (*get_device)(int* ordinal);         // cudaGetDevice
};

/// A call that failed; `error` is 0 where none did.
struct FailedCall {
  const char* call = nullptr;
  int error = 0;
};

/// Makes a device's primary context current to the calling thread. `former` receives what must be
/// current afterwards: see leave_device().
inline FailedCall enter_device(const CurrentDeviceCalls& calls, int ordinal, CUctx_st* primary,
                               CUctx_st** former) {
  *former = nullptr;
  CUctx_st* current = nullptr;
  int error = calls.get_current(&current);
  if (error != 0) return {"cuCtxGetCurrent", error};
  *former = current;
  if (current == primary) return {};
  if (current == nullptr) {
    int ordinal_by_default = -1;
    error = calls.get_device(&ordinal_by_default);
    if (error != 0) return {"cudaGetDevice", error};
    // The runtime's own first call would bind this very context, and leave it: so do we, and
    // the thread's later calls find nothing to switch.
    if (ordinal_by_default == ordinal) *former = primary;
  }
  error = calls.set_current(primary);
  if (error != 0) return {"cuCtxSetCurrent", error};
  return {};
}

/// Makes `former` current again. NULL leaves the thread without a context, as it was: its next
/// call of the runtime chooses as if we had never been here.
inline FailedCall leave_device(const CurrentDeviceCalls& calls, CUctx_st* former) {
  CUctx_st* current = nullptr;
  int error = calls.get_current(&current);
  if (error != 0) return {"cuCtxGetCurrent", error};
  if (current == former) return {};
  error = calls.set_current(former);
  if (error != 0) return {"cuCtxSetCurrent", error};
  return {};
}

}  // namespace nvfp4j
