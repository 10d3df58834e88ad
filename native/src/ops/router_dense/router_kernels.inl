// SPDX-License-Identifier: Apache-2.0
// Included by router_kernels.cpp once per instruction set, inside a namespace of its own.

void scores(const float* __restrict logits, int count, float* __restrict out) {
  for (int e = 0; e < count; ++e) out[e] = router_score(logits[e]);
}
