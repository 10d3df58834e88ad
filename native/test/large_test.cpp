// SPDX-License-Identifier: Apache-2.0
// More than 2^31 elements, without the memory for them: the same few pages are mapped again and
// again, except those of the last row, which has memory of its own. An index that was cut to 32
// bits faults, or leaves the last row as it was.
#include "fixture.hpp"
#include "reference.hpp"

using namespace fixture;

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kShared = std::size_t{4} << 20;

// `bytes` of address space whose last `own` bytes (from a page boundary on) are private; the
// rest are aliases of one piece.
class AliasedMemory {
 public:
  AliasedMemory(std::size_t bytes, std::size_t own) {
    bytes_ = (bytes + kPage - 1) / kPage * kPage;
    file_ = memfd_create("nvfp4j-large-test", 0);
    if (file_ < 0 || ftruncate(file_, kShared) != 0) throw std::runtime_error("memfd");
    void* address = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) throw std::runtime_error("mmap");
    data_ = static_cast<std::uint8_t*>(address);
    const std::size_t aliased = (bytes - own) / kPage * kPage;
    for (std::size_t at = 0; at < aliased; at += kShared) {
      const std::size_t piece = std::min(kShared, aliased - at);
      if (mmap(data_ + at, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file_, 0) ==
          MAP_FAILED) {
        throw std::runtime_error("mmap of an alias");
      }
    }
  }
  ~AliasedMemory() {
    munmap(data_, bytes_);
    close(file_);
  }
  AliasedMemory(const AliasedMemory&) = delete;
  AliasedMemory& operator=(const AliasedMemory&) = delete;
  std::uint8_t* data() const { return data_; }

 private:
  int file_;
  std::size_t bytes_;
  std::uint8_t* data_;
};

constexpr int64_t kColumns = 1 << 16;
constexpr int64_t kRows = (int64_t{1} << 15) + 1;  // rows * columns > 2^31, more than 2^32 bytes

}  // namespace

TEST(quantize_and_dequantize_beyond_2_to_the_31_elements) {
  const Context context(2);
  const AliasedMemory x(kRows * kColumns * 2, kColumns * 2);
  const AliasedMemory codes(kRows * kColumns / 2, kColumns / 2);
  const int64_t scale_size = scale_bytes(kRows, kColumns, NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4);
  // The last tile of rows has the last row's scales only.
  const AliasedMemory scales(static_cast<std::size_t>(scale_size),
                             static_cast<std::size_t>(128 * kColumns / 16));
  std::vector<float> global_scales(kRows, 1.0f);

  std::uint16_t* last = reinterpret_cast<std::uint16_t*>(x.data()) + (kRows - 1) * kColumns;
  for (int64_t k = 0; k < kColumns; ++k)
    last[k] = reference::round16(static_cast<float>(k % 1000) / 500.0f - 1.0f, NVFP4J_DTYPE_BF16);

  const nvfp4j_tensor input = tensor(x.data(), NVFP4J_DTYPE_BF16, {kRows, kColumns});
  nvfp4j_nvfp4_tensor output{};
  output.struct_size = sizeof output;
  output.scale_layout = NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4;
  output.global_scale_kind = NVFP4J_GLOBAL_SCALE_ROW;
  output.groups = 1;
  output.rows = kRows;
  output.columns = kColumns;
  output.codes = codes.data();
  output.codes_bytes = kRows * kColumns / 2;
  output.scales = scales.data();
  output.scales_bytes = scale_size;
  output.global_scales = global_scales.data();
  output.global_scales_count = kRows;
  const nvfp4j_quantize_options options = quantize_options();
  CHECK_OK(nvfp4j_quantize(context, &input, nullptr, &options, &output, error));
  CHECK_OK(nvfp4j_context_synchronize(context, nullptr, error));

  std::vector<float> row;
  for (int64_t k = 0; k < kColumns; ++k)
    row.push_back(reference::element(last, NVFP4J_DTYPE_BF16, k));
  const reference::Quantized expected =
      reference::quantize(row, 1, kColumns, options, NVFP4J_GLOBAL_SCALE_ROW, {});
  int64_t wrong = 0;
  for (int64_t k = 0; k < kColumns; ++k) {
    const std::uint8_t byte = codes.data()[((kRows - 1) * kColumns + k) / 2];
    wrong += (k % 2 == 0 ? byte & 15 : byte >> 4) != expected.codes[static_cast<std::size_t>(k)];
    const int64_t offset =
        reference::scale_offset(NVFP4J_SCALE_LAYOUT_SWIZZLED_128X4, kColumns, kRows - 1, k / 16);
    wrong += scales.data()[offset] != expected.scales[static_cast<std::size_t>(k / 16)];
  }
  CHECK_EQ(wrong, 0);
  CHECK_EQ(global_scales.back(), expected.global_scales[0]);
  CHECK_EQ(global_scales.front(), 1.0f);  // the other rows are zero

  // Back over the input, whose last row is cleared first.
  std::memset(last, 0, kColumns * 2);
  CHECK_OK(nvfp4j_dequantize(context, &output, &input, error));
  wrong = 0;
  for (int64_t k = 0; k < kColumns; ++k) {
    const float d = static_cast<float>(
                        reference::e4m3_value(expected.scales[static_cast<std::size_t>(k / 16)])) *
                    expected.global_scales[0];
    const float y = reference::e2m1_value(expected.codes[static_cast<std::size_t>(k)]) * d;
    wrong += last[k] != reference::round16(y, NVFP4J_DTYPE_BF16);
  }
  CHECK_EQ(wrong, 0);
}

TEST(row_strides_beyond_2_to_the_31_elements) {
  // Three rows that lie 2^31 elements apart; the memory between them is never touched.
  const int64_t stride = (int64_t{1} << 31) + 5;
  const std::size_t bytes = static_cast<std::size_t>((2 * stride + 64) * 2);
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    CHECK(address != MAP_FAILED);
    return;
  }
  std::uint16_t* x = static_cast<std::uint16_t*>(address);
  for (int64_t m = 0; m < 3; ++m) {
    for (int64_t k = 0; k < 64; ++k)
      x[m * stride + k] = reference::round16(static_cast<float>(k * (m + 1)), NVFP4J_DTYPE_BF16);
  }
  const Context context;
  const nvfp4j_tensor input = matrix(x, NVFP4J_DTYPE_BF16, 3, 64, stride);
  std::vector<std::uint16_t> dense(3 * 64);
  const nvfp4j_tensor copied = tensor(dense.data(), NVFP4J_DTYPE_BF16, {3, 64});
  CHECK_OK(nvfp4j_copy(context, &input, &copied, error));
  const nvfp4j_quantize_options options = quantize_options();
  Nvfp4 far(3, 64);
  Nvfp4 near(3, 64);
  CHECK_OK(nvfp4j_quantize(context, &input, nullptr, &options, &far.descriptor, error));
  CHECK_OK(nvfp4j_quantize(context, &copied, nullptr, &options, &near.descriptor, error));
  CHECK(far == near);
  CHECK_EQ(dense[2 * 64 + 63], reference::round16(63.0f * 3, NVFP4J_DTYPE_BF16));
  const nvfp4j_swiglu_options swiglu = swiglu_options();
  std::vector<std::uint16_t> a(3 * 32);
  std::vector<std::uint16_t> b(3 * 32);
  const nvfp4j_tensor ya = tensor(a.data(), NVFP4J_DTYPE_BF16, {3, 32});
  const nvfp4j_tensor yb = tensor(b.data(), NVFP4J_DTYPE_BF16, {3, 32});
  CHECK_OK(nvfp4j_swiglu(context, &input, nullptr, &swiglu, &ya, error));
  CHECK_OK(nvfp4j_swiglu(context, &copied, nullptr, &swiglu, &yb, error));
  CHECK(a == b);
  munmap(address, bytes);
}

int main(int count, char** arguments) { return check::main(count, arguments); }
