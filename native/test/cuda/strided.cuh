// SPDX-License-Identifier: Apache-2.0
// Tensors [tokens, streams, columns] with gaps, in device memory, and their image on the host.
#pragma once
#include <map>

#include "gpu_test.cuh"
#include "ops/hc_pre/hc_args.hpp"

namespace nvfp4j::test {

enum class Role { kInput, kOutput };

class Strided {
 public:
  // `gap`: elements between streams, and as many more between tokens. `misalign`: elements.
  Strided(Role role, int dtype, std::int64_t tokens, std::int64_t streams, std::int64_t columns,
          std::int64_t gap = 0, int misalign = 0)
      : dtype_(dtype),
        tokens_(tokens),
        streams_(streams),
        columns_(columns),
        stream_stride_(columns + gap),
        token_stride_((streams - 1) * stream_stride_ + columns + gap),
        // NaNs between the elements of an input: who reads one has it in its results.
        between_(role == Role::kInput ? 0xFF : Buffer::kPoison),
        image_(
            static_cast<std::size_t>(at(tokens - 1, streams - 1, columns) * element_bytes(dtype)),
            between_),
        device_(static_cast<std::int64_t>(image_.size()), misalign * element_bytes(dtype)) {}

  std::int64_t at(std::int64_t token, std::int64_t stream, std::int64_t column) const {
    return token * token_stride_ + stream * stream_stride_ + column;
  }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t token_elements() const { return streams_ * columns_; }
  int dtype() const { return dtype_; }

  // Of the image: what upload() takes to the device, and what a test expects there.
  void set(std::int64_t token, std::int64_t stream, std::int64_t column, float value) {
    set(image_, token, stream, column, value);
  }
  // The same of another image.
  void set(std::vector<std::uint8_t>& image, std::int64_t token, std::int64_t stream,
           std::int64_t column, float value) const {
    const auto i = static_cast<std::size_t>(at(token, stream, column));
    if (dtype_ == NVFP4J_DTYPE_F32) {
      const std::uint32_t b = value != value ? 0x7FC00000u : bits_of(value);
      std::memcpy(&image[4 * i], &b, 4);
    } else {
      const std::uint16_t h = f32_to_bf16(value);
      std::memcpy(&image[2 * i], &h, 2);
    }
  }
  const std::vector<std::uint8_t>& image() const { return image_; }
  // values: [tokens, streams, columns], of the tensor's type.
  void fill(const std::vector<std::uint8_t>& values) {
    const auto bytes = static_cast<std::size_t>(columns_ * element_bytes(dtype_));
    each_row([&](std::int64_t row, std::size_t from) {
      std::memcpy(&image_[from], &values[static_cast<std::size_t>(row) * bytes], bytes);
    });
  }
  void upload() const { device_.put(image_.data(), static_cast<std::int64_t>(image_.size())); }
  // Before a launch.
  void reset() {
    if (between_ == Buffer::kPoison) {
      device_.poison();
    } else {
      upload();
    }
  }
  std::vector<std::uint8_t> download(const char* what) const { return device_.get(what); }

  // A token's elements, side by side, from its image or from what was downloaded.
  void token(const std::vector<std::uint8_t>& from, std::int64_t token, float* values) const {
    for (std::int64_t s = 0; s < streams_; ++s, values += columns_) {
      const auto first = static_cast<std::size_t>(at(token, s, 0));
      if (dtype_ == NVFP4J_DTYPE_F32) {
        std::memcpy(values, &from[4 * first], static_cast<std::size_t>(columns_) * 4);
        continue;
      }
      for (std::int64_t d = 0; d < columns_; ++d) {
        std::uint16_t h;
        std::memcpy(&h, &from[2 * (first + static_cast<std::size_t>(d))], 2);
        values[d] = bf16_to_f32(h);
      }
    }
  }
  // Whether what lies between the elements is as it was.
  bool untouched_between(std::vector<std::uint8_t> got) const {
    const auto bytes = static_cast<std::size_t>(columns_ * element_bytes(dtype_));
    each_row([&](std::int64_t, std::size_t from) { std::memset(&got[from], between_, bytes); });
    return got.front() == between_ && std::memcmp(&got[0], &got[0] + 1, got.size() - 1) == 0;
  }

  HcStreams streams() const { return {device_.data(), token_stride_, stream_stride_}; }
  HcRows rows() const { return {device_.data(), token_stride_}; }
  HcWeights weights() const { return {device_.as<float>(), token_stride_}; }

 private:
  template <typename Body>
  void each_row(const Body& body) const {
    for (std::int64_t row = 0; row < tokens_ * streams_; ++row) {
      body(row,
           static_cast<std::size_t>(at(row / streams_, row % streams_, 0) * element_bytes(dtype_)));
    }
  }

  int dtype_;
  std::int64_t tokens_;
  std::int64_t streams_;
  std::int64_t columns_;
  std::int64_t stream_stride_;
  std::int64_t token_stride_;
  std::uint8_t between_;
  std::vector<std::uint8_t> image_;
  Buffer device_;
};

// What random_tensor() makes, quickly: a part of one long sequence that goes round, from anywhere on.
inline std::vector<std::uint8_t> random_part(std::mt19937& g, int dtype, std::int64_t elements,
                                             Data kind) {
  constexpr std::int64_t kPeriod = 1048573;  // a prime, as there
  static std::map<std::pair<int, int>, std::vector<std::uint8_t>> sequences;
  std::vector<std::uint8_t>& all = sequences[{dtype, kind}];
  if (all.empty()) all = random_tensor(g, dtype, kPeriod, kind);
  std::vector<std::uint8_t> part(static_cast<std::size_t>(elements * element_bytes(dtype)));
  std::size_t from = static_cast<std::size_t>(g() % kPeriod * element_bytes(dtype));
  for (std::size_t to = 0; to < part.size();) {
    const std::size_t count = std::min(part.size() - to, all.size() - from);
    std::memcpy(&part[to], &all[from], count);
    to += count;
    from = 0;
  }
  return part;
}

inline std::vector<std::uint8_t> bytes_of(const std::vector<float>& values) {
  std::vector<std::uint8_t> bytes(4 * values.size());
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace nvfp4j::test
