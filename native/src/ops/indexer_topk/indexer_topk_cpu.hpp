// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "common/cpu_pool.hpp"
#include "common/device_status.hpp"
#include "ops/indexer_topk/indexer_topk_args.hpp"

namespace nvfp4j {

/// A validated call with work to do.
void indexer_topk_cpu(CpuPool& pool, DeviceStatus& status, const IndexerTopkArgs& args);

const char* indexer_topk_cpu_path();

}  // namespace nvfp4j
