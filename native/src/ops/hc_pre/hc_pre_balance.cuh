// SPDX-License-Identifier: Apache-2.0
// The warp of hc_pre_split and of hc_pre_wgmma that makes comb of the logits of the tokens that its thread block finishes.
#pragma once
#include "common/math.hpp"
#include "device/ptx.cuh"
#include "ops/hc_pre/hc_pre_layout.hpp"
#include "ops/sinkhorn/sinkhorn_math.cuh"

namespace nvfp4j::device {

// As many tokens at a time as wait for it, two lanes each. Where Places::kPatient is set, as many as the queue has: nobody waits for comb, and other warps can use the scheduler.
template <typename Places>
struct HcBalancer : Places {
  using typename Places::Finished;

  __device__ __forceinline__ void run() const {
    int n = 0;  // tokens that have been taken from the queue
    std::int64_t token = 0;
    Finished next = this->first_finished();
    while (this->is_one(next)) {
      int taken = 0;
      do {
        mbarrier_wait(this->queue_full(n + taken),
                      static_cast<std::uint32_t>(n + taken) / kHcQueue & 1u);
        if (this->lane >> 1 == taken) token = this->first_token(next.wave) + next.token;
        ++taken;
        this->advance(next);
      } while (taken < kHcQueue && this->is_one(next) &&
               (Places::kPatient ||
                mbarrier_test(this->queue_full(n + taken),
                              static_cast<std::uint32_t>(n + taken) / kHcQueue & 1u)));
      // Lanes without a token go along on the first one's logits.
      const bool mine = this->lane >> 1 < taken;
      const int at = n + (mine ? this->lane >> 1 : 0);
      const float* const logits = this->queue(at) + (this->lane & 1) * 4;
      SinkhornPair m;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float4 v = *reinterpret_cast<const float4*>(logits + 8 * j);
        m.c[j][0] = v.x;
        m.c[j][1] = v.y;
        m.c[j][2] = v.z;
        m.c[j][3] = v.w;
      }
      __syncwarp();
      if (mine && (this->lane & 1) == 0) mbarrier_arrive(this->queue_empty(at));
      n += taken;
      m.run(this->a.hc_eps, this->a.iterations);
      if (mine) {
        float* const out = this->a.comb + token * this->a.comb_token + (this->lane & 1) * 4;
#pragma unroll
        for (int i = 0; i < 8; ++i) out[i / 4 * 8 + i % 4] = math::canonical_nan(m.c[i / 4][i % 4]);
      }
    }
  }
};

}  // namespace nvfp4j::device
