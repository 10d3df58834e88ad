// SPDX-License-Identifier: Apache-2.0
// The PTX that CUDA C++ has no name for: cache hints, bulk copies, mbarriers.
#pragma once
#include <cstdint>

namespace nvfp4j::device {

__device__ __forceinline__ std::uint32_t smem_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

// ---- global memory -------------------------------------------------------------------------------------------------

// Loads of what the kernel before may have written: volatile and coherent, so that none moves before await_predecessor(), as a load through the read-only path (__ldg) may.
__device__ __forceinline__ uint4 load(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
__device__ __forceinline__ uint2 load(const uint2* p) {
  uint2 v;
  asm volatile("ld.global.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
  return v;
}
__device__ __forceinline__ std::uint32_t load(const std::uint32_t* p) {
  std::uint32_t v;
  asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}
__device__ __forceinline__ std::int32_t load(const std::int32_t* p) {
  return static_cast<std::int32_t>(load(reinterpret_cast<const std::uint32_t*>(p)));
}
__device__ __forceinline__ float load(const float* p) {
  return __uint_as_float(load(reinterpret_cast<const std::uint32_t*>(p)));
}
__device__ __forceinline__ std::uint32_t load(const std::uint16_t* p) {
  std::uint16_t v;
  asm volatile("ld.global.u16 %0, [%1];" : "=h"(v) : "l"(p));
  return v;
}
__device__ __forceinline__ std::uint32_t load(const std::uint8_t* p) {
  std::uint32_t v;
  asm volatile("ld.global.u8 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}

// What will be loaded soon, to L2: nothing is read yet, so that it may be asked for before await_predecessor().
__device__ __forceinline__ void prefetch_l2(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

// The same of many bytes: address and number are multiples of 16.
__device__ __forceinline__ void prefetch_l2_bulk(const void* p, std::uint32_t bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p), "r"(bytes) : "memory");
#else
  (void)p;
  (void)bytes;
#endif
}

// What L2 has, and keeps as the policy says; L1 is left alone.
__device__ __forceinline__ uint4 load_streaming(const void* p, std::uint64_t policy) {
  uint4 v;
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p), "l"(policy)
               : "memory");
  return v;
}

// Output that nobody reads again in this launch: first to leave L2.
__device__ __forceinline__ void store_streaming(void* p, uint2 v) {
  asm volatile("st.global.cs.v2.u32 [%0], {%1, %2};" ::"l"(p), "r"(v.x), "r"(v.y) : "memory");
}
__device__ __forceinline__ void store_streaming(void* p, uint4 v) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

// Words that other thread blocks of the same launch, or the kernel before, read or write. Past L1, so that a load behind a wait finds nothing old there.
__device__ __forceinline__ std::uint64_t load_shared_word(const std::uint64_t* p) {
  std::uint64_t v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ std::uint32_t load_shared_word(const std::uint32_t* p) {
  std::uint32_t v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ void store_shared_word(std::uint64_t* p, std::uint64_t v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
__device__ __forceinline__ std::uint32_t upper_word(std::uint64_t v) {
  return static_cast<std::uint32_t>(v >> 32);
}
// A counter that each caller counts up: from 0 to `last`, and then again from 0. What it was.
__device__ __forceinline__ std::uint32_t count_shared(std::uint32_t* p, std::uint32_t last) {
  std::uint32_t v;
  asm volatile("atom.relaxed.gpu.global.inc.u32 %0, [%1], %2;"
               : "=r"(v)
               : "l"(p), "r"(last)
               : "memory");
  return v;
}

// ---- shared memory -------------------------------------------------------------------------------------------------

__device__ __forceinline__ uint4 load_shared_16(std::uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}
__device__ __forceinline__ std::uint32_t load_shared_4(std::uint32_t address) {
  std::uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}
__device__ __forceinline__ uint2 load_shared_8(std::uint32_t address) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address));
  return v;
}

__device__ __forceinline__ void store_shared_4(std::uint32_t address, std::uint32_t v) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(v) : "memory");
}

__device__ __forceinline__ void store_shared_16(std::uint32_t address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}

// For `threads` threads of a thread block.
__device__ __forceinline__ void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Four 8 x 8 matrices of BF16: their rows are at the addresses that lanes 0-7, 8-15, 16-23 and 24-31 give.
__device__ __forceinline__ void load_matrices(std::uint32_t address, std::uint32_t& a,
                                              std::uint32_t& b, std::uint32_t& c,
                                              std::uint32_t& d) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
               : "r"(address));
}

// ---- the kernel before in the stream ------------------------------------------------------------------------------------

// In every kernel that is launched with launch_programmatic(), in every thread block, before global memory is read or written: its thread blocks start while the kernel before it still runs, and wait here until that has ended and its writes are
// visible. Only then may the kernel after this one start, so that no more than one waits. (Allowed before the wait, it was slower: the thread blocks of several launches got in each other's way.)
__device__ __forceinline__ void await_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// The two apart, for a kernel that reads before it waits what the kernel before it does not touch, or whose successor would take memory from it if it started at once. Each thread that reads or writes waits.
__device__ __forceinline__ void wait_for_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// After that wait; the first thread of a thread block that calls it speaks for the block.
__device__ __forceinline__ void start_successor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// ---- asynchronous copies of the thread that asks for them -----------------------------------------------------

// Global to shared memory; what lies around the 16 bytes comes to L2 with them.
__device__ __forceinline__ void copy_async_16(std::uint32_t smem, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(smem), "l"(global)
               : "memory");
}
// Of 4 bytes, through L1.
__device__ __forceinline__ void copy_async_4(std::uint32_t smem, const void* global) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(smem), "l"(global) : "memory");
}
// Those since the last one are a group.
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until no more than the last N groups are under way.
template <int N>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

// ---- L2 eviction policy --------------------------------------------------------------------------------------------

__device__ __forceinline__ std::uint64_t policy_evict_first() {
  std::uint64_t p;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(p));
  return p;
}
__device__ __forceinline__ std::uint64_t policy_evict_normal() {
  std::uint64_t p;
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(p));
  return p;
}
__device__ __forceinline__ std::uint64_t policy_evict_last() {
  std::uint64_t p;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(p));
  return p;
}

// True in one lane of a whole warp. Unlike a comparison of the lane's number it tells the compiler that there is one, so that it does without loops around what takes uniform registers.
__device__ __forceinline__ bool elect_one() {
  std::uint32_t r;
  asm volatile("{\n\t.reg .pred p;\n\telect.sync _|p, 0xFFFFFFFF;\n\tselp.b32 %0, 1, 0, p;\n\t}"
               : "=r"(r));
  return r != 0;
}

// ---- mbarriers and bulk copies ------------------------------------------------------------------------------------------

// Each function for a pointer and for its address in shared memory.
__device__ __forceinline__ void mbarrier_init(std::uint32_t bar, std::uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}
__device__ __forceinline__ void mbarrier_init(std::uint64_t* bar, std::uint32_t count) {
  mbarrier_init(smem_address(bar), count);
}
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void mbarrier_expect(std::uint32_t bar, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void mbarrier_expect(std::uint64_t* bar, std::uint32_t bytes) {
  mbarrier_expect(smem_address(bar), bytes);
}
// It does not wait for loads from shared memory: what has only been asked for may be overtaken by a bulk or tensor copy that this arrival lets begin. So fence_async_proxy() stands between, or the arrival depends on what was loaded, by a condition that the compiler cannot see through. A use that only stands
// before it in the source does not do: ptxas may move it behind.
__device__ __forceinline__ void mbarrier_arrive(std::uint32_t bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(std::uint64_t* bar) {
  mbarrier_arrive(smem_address(bar));
}
__device__ __forceinline__ void mbarrier_wait(std::uint32_t bar, std::uint32_t parity) {
  asm volatile(
      "{\n\t"
      ".reg .pred done;\n\t"
      "again:\n\t"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n\t"
      "@done bra.uni finished;\n\t"
      "bra.uni again;\n\t"
      "finished:\n\t"
      "}" ::"r"(bar),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ void mbarrier_wait(std::uint64_t* bar, std::uint32_t parity) {
  mbarrier_wait(smem_address(bar), parity);
}
// Whether that wait would end at once.
__device__ __forceinline__ bool mbarrier_test(std::uint32_t bar, std::uint32_t parity) {
  std::uint32_t done;
  asm volatile(
      "{\n\t.reg .pred p;\n\tmbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n\tselp.b32 "
      "%0, 1, 0, p;\n\t}"
      : "=r"(done)
      : "r"(bar), "r"(parity)
      : "memory");
  return done != 0;
}
__device__ __forceinline__ bool mbarrier_test(std::uint64_t* bar, std::uint32_t parity) {
  return mbarrier_test(smem_address(bar), parity);
}
// One arrival, when all asynchronous copies of this thread so far are there.
__device__ __forceinline__ void mbarrier_arrive_after_copies(std::uint64_t* bar) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(smem_address(bar))
               : "memory");
}
// Between what threads did in shared memory and what copies and products of matrices do there on their own, behind an arrival or a barrier: what was written is visible to them, and what was loaded is not overtaken. Each thread that wrote or loaded calls it.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Global to this thread block's shared memory; both 16-byte aligned, bytes a multiple of 16.
__device__ __forceinline__ void bulk_load(std::uint32_t smem, const void* global,
                                          std::uint32_t bytes, std::uint64_t* bar,
                                          std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], "
      "[%1], %2, "
      "[%3], %4;" ::"r"(smem),
      "l"(global), "r"(bytes), "r"(smem_address(bar)), "l"(policy)
      : "memory");
}
__device__ __forceinline__ void bulk_load(void* smem, const void* global, std::uint32_t bytes,
                                          std::uint64_t* bar, std::uint64_t policy) {
  bulk_load(smem_address(smem), global, bytes, bar, policy);
}

#endif  // sm_90

}  // namespace nvfp4j::device
