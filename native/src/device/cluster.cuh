// SPDX-License-Identifier: Apache-2.0
// The PTX of thread block clusters and of tensor loads (TMA): compute capability 9.0.
#pragma once
#include <cstdint>

#include "device/ptx.cuh"

namespace nvfp4j::device {

__device__ __forceinline__ std::uint32_t cluster_rank() {
  std::uint32_t r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
// The two halves of cluster_sync(), of which the first orders no writes (its release costs a microsecond). Threads that have ended are not waited for.
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}
// All threads of all thread blocks of the cluster; whole warps.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}
// The address that `address` of this thread block has in that of `rank`.
__device__ __forceinline__ std::uint32_t cluster_address(std::uint32_t address,
                                                         std::uint32_t rank) {
  std::uint32_t r;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(address), "r"(rank));
  return r;
}
// Two floats to another thread block, 8-byte aligned; its barrier gets the bytes. Nothing else orders them, or needs to.
__device__ __forceinline__ void store_cluster_async(std::uint32_t address, float a, float b,
                                                    std::uint32_t bar) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(
          address),
      "r"(__float_as_uint(a)), "r"(__float_as_uint(b)), "r"(bar)
      : "memory");
}

// Four floats.
__device__ __forceinline__ void store_cluster_async(std::uint32_t address, const float* v,
                                                    std::uint32_t bar) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(address),
      "r"(__float_as_uint(v[0])), "r"(__float_as_uint(v[1])), "r"(__float_as_uint(v[2])),
      "r"(__float_as_uint(v[3])), "r"(bar)
      : "memory");
}

// `map` is a CUtensorMap among the kernel's parameters.
__device__ __forceinline__ void tensor_prefetch(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// A box of a two-dimensional tensor, to this thread block.
__device__ __forceinline__ void tensor_load(void* smem, const void* map, int x, int y,
                                            std::uint64_t* bar) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], [%4];" ::"r"(smem_address(smem)),
      "l"(map), "r"(x), "r"(y), "r"(smem_address(bar))
      : "memory");
}
__device__ __forceinline__ void tensor_load(std::uint32_t smem, const void* map, int x, int y,
                                            std::uint32_t bar) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], [%4];" ::"r"(smem),
      "l"(map), "r"(x), "r"(y), "r"(bar)
      : "memory");
}
// Of a three-dimensional one.
__device__ __forceinline__ void tensor_load_3d(void* smem, const void* map, int x, int y, int z,
                                               std::uint64_t* bar) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3, %4}], [%5];" ::"r"(smem_address(smem)),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(smem_address(bar))
      : "memory");
}
__device__ __forceinline__ void tensor_load_3d(std::uint32_t smem, const void* map, int x, int y,
                                               int z, std::uint32_t bar, std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(smem),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(bar), "l"(policy)
      : "memory");
}
__device__ __forceinline__ void tensor_load_3d(std::uint32_t smem, const void* map, int x, int y,
                                               int z, std::uint64_t* bar, std::uint64_t policy) {
  tensor_load_3d(smem, map, x, y, z, smem_address(bar), policy);
}

// A box of a two-dimensional tensor to the same place in each thread block of the cluster that `ranks` names (a bit each); the barrier at the same place in each gets its bytes.
__device__ __forceinline__ void tensor_load_multicast(std::uint32_t smem, const void* map, int x,
                                                      int y, std::uint32_t bar,
                                                      std::uint16_t ranks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::"
      "cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(smem),
      "l"(map), "r"(x), "r"(y), "r"(bar), "h"(ranks)
      : "memory");
}
// An arrival at a barrier of any thread block of the cluster (cluster_address()). It orders what this thread did for its own thread block only, which is enough for what products and copies do on their own; for the whole cluster it would take a microsecond.
__device__ __forceinline__ void mbarrier_arrive_cluster(std::uint32_t address) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address) : "memory");
}
// Two floats to another thread block, 8-byte aligned; ordered by cluster_sync().
__device__ __forceinline__ void store_cluster(std::uint32_t address, float a, float b) {
  asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(a), "f"(b)
               : "memory");
}
}  // namespace nvfp4j::device
