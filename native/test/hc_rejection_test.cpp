// SPDX-License-Identifier: Apache-2.0
// What sinkhorn and the hyper-connection ops refuse, in which words, and that nothing is written then.
#include <limits>

#include "rejections.hpp"

using namespace fixture;

namespace {

constexpr int32_t kInvalid = NVFP4J_ERROR_INVALID_ARGUMENT;
constexpr int64_t kT = 3, kN = 4, kD = 32;

/// A valid call of each op, of which a test spoils one thing.
struct Call {
  Call() {
    for (Bytes* b : {&x, &sub, &post, &comb, &fn, &base, &scale, &weight, &logits})
      std::memset(b->data(), 0, static_cast<std::size_t>(b->size()));
  }

  Outcome sinkhorn() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_sinkhorn(context, &logits_t, &sinkhorn_options, &matrices_t, error);
    });
  }
  Outcome pre() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_hc_pre(context, &x_t, &fn_t, &base_t, &scale_t, &options, &collapsed_t,
                           &next_post_t, &next_comb_t, error);
    });
  }
  Outcome post_() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_hc_post(context, &x_t, &sub_t, &post_t, &comb_t, &out_t, error);
    });
  }
  Outcome head() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_hc_head(context, &x_t, &head_fn_t, &head_base_t, &head_scale_t, &head_options,
                            &collapsed_t, error);
    });
  }
  Outcome post_pre() {
    return outcome([&](nvfp4j_error* error) {
      return nvfp4j_hc_post_pre(context, &x_t, &sub_t, &post_t, &comb_t, &fn_t, &base_t, &scale_t,
                                &weight_t, &options, quantize ? &quantize_options_ : nullptr,
                                &out_t, collapse ? &collapsed_t : nullptr, &next_post_t,
                                &next_comb_t, quantized ? &q.descriptor : nullptr, error);
    });
  }
  bool nothing_written() const {
    for (const Bytes* b : {&out, &collapsed, &next_post, &next_comb, &matrices, &q.codes, &q.scales,
                           &q.global_scales}) {
      for (int64_t i = 0; i < b->size(); ++i) {
        if ((*b)[i] != 0xA5) return false;
      }
    }
    return true;
  }

  Context context;
  Bytes x{kT * kN * kD * 2}, sub{kT * kD * 2}, post{kT * kN * 4}, comb{kT * kN * kN * 4},
      fn{24 * kN * kD * 4}, base{24 * 4}, scale{3 * 4}, weight{kD * 4}, logits{kT * kN * kN * 4};
  Bytes out{kT * kN * kD * 2}, collapsed{kT * kD * 2}, next_post{kT * kN * 4},
      next_comb{kT * kN * kN * 4}, matrices{kT * kN * kN * 4};
  Nvfp4 q{kT, kD, NVFP4J_SCALE_LAYOUT_LINEAR, NVFP4J_GLOBAL_SCALE_ROW};
  nvfp4j_tensor x_t = tensor(x.data(), NVFP4J_DTYPE_BF16, {kT, kN, kD});
  nvfp4j_tensor sub_t = tensor(sub.data(), NVFP4J_DTYPE_BF16, {kT, kD});
  nvfp4j_tensor post_t = tensor(post.data(), NVFP4J_DTYPE_F32, {kT, kN});
  nvfp4j_tensor comb_t = tensor(comb.data(), NVFP4J_DTYPE_F32, {kT, kN, kN});
  nvfp4j_tensor fn_t = tensor(fn.data(), NVFP4J_DTYPE_F32, {24, kN* kD});
  nvfp4j_tensor base_t = tensor(base.data(), NVFP4J_DTYPE_F32, {24});
  nvfp4j_tensor scale_t = tensor(scale.data(), NVFP4J_DTYPE_F32, {3});
  nvfp4j_tensor head_fn_t = tensor(fn.data(), NVFP4J_DTYPE_F32, {4, kN* kD});
  nvfp4j_tensor head_base_t = tensor(base.data(), NVFP4J_DTYPE_F32, {4});
  nvfp4j_tensor head_scale_t = tensor(scale.data(), NVFP4J_DTYPE_F32, {1});
  nvfp4j_tensor weight_t = tensor(weight.data(), NVFP4J_DTYPE_F32, {kD});
  nvfp4j_tensor logits_t = tensor(logits.data(), NVFP4J_DTYPE_F32, {kT, kN, kN});
  nvfp4j_tensor out_t = tensor(out.data(), NVFP4J_DTYPE_BF16, {kT, kN, kD});
  nvfp4j_tensor collapsed_t = tensor(collapsed.data(), NVFP4J_DTYPE_BF16, {kT, kD});
  nvfp4j_tensor next_post_t = tensor(next_post.data(), NVFP4J_DTYPE_F32, {kT, kN});
  nvfp4j_tensor next_comb_t = tensor(next_comb.data(), NVFP4J_DTYPE_F32, {kT, kN, kN});
  nvfp4j_tensor matrices_t = tensor(matrices.data(), NVFP4J_DTYPE_F32, {kT, kN, kN});
  nvfp4j_sinkhorn_options sinkhorn_options{sizeof(nvfp4j_sinkhorn_options), 20, 1e-6f, 0};
  nvfp4j_hc_options options{sizeof(nvfp4j_hc_options), 20, 1e-6f, 1e-6f};
  nvfp4j_hc_options head_options{sizeof(nvfp4j_hc_options), 0, 1e-6f, 1e-6f};
  nvfp4j_quantize_options quantize_options_ = quantize_options();
  bool quantize = true, quantized = true, collapse = true;
};

using Op = Outcome (Call::*)();
constexpr auto tensor_argument = Rejections<Call>::tensor_argument;

template <class... Arguments>
void refused(const Arguments&... arguments) {
  Rejections<Call>::refused(arguments...);
}

void module_arguments(const std::string& op, Op run) {
  tensor_argument(op, run, "fn", &Call::fn_t, "F32");
  tensor_argument(op, run, "base", &Call::base_t, "F32");
  tensor_argument(op, run, "scale", &Call::scale_t, "F32");
  refused(op, run, "fn has shape [4, 128], expected [24, 128] (n*(n+2) and n*D of x)",
          [](Call& c) { c.fn_t.shape[0] = 4; });
  refused(op, run, "fn has shape [24, 64], expected [24, 128] (n*(n+2) and n*D of x)",
          [](Call& c) { c.fn_t.shape[1] = 64; });
  refused(op, run, "base has 23 elements, expected 24 (one per row of fn)",
          [](Call& c) { c.base_t.shape[0] = 23; });
  refused(op, run, "scale has 1 elements, expected 3 (pre, post, comb)",
          [](Call& c) { c.scale_t.shape[0] = 1; });
  refused(op, run, "options.iterations is 0, expected 1 or more",
          [](Call& c) { c.options.iterations = 0; });
  refused(op, run, "options.hc_eps is 0, expected 2^-100 (7.9e-31) to 1",
          [](Call& c) { c.options.hc_eps = 0.0f; });
  refused(op, run, "options.rms_eps is 2, expected 2^-100 (7.9e-31) to 1",
          [](Call& c) { c.options.rms_eps = 2.0f; });
  refused(op, run, "options.struct_size is 0, expected 16 (ABI version " NVFP4J_ABI_TEXT ")",
          [](Call& c) { c.options.struct_size = 0; });
}

void residual_arguments(const std::string& op, Op run) {
  tensor_argument(op, run, "x", &Call::x_t, "F32 or BF16");
  refused(op, run, "x has rank 2 (shape [3, 4]), expected rank 3", [](Call& c) { c.x_t.rank = 2; });
  refused(op, run, "x has n = 17 (its second dimension), expected 1 to 16",
          [](Call& c) { c.x_t.shape[1] = 17, c.x_t.shape[0] = 1; });
  refused(op, run, "x has n = 0 (its second dimension), expected 1 to 16",
          [](Call& c) { c.x_t.shape[1] = 0; });
  for (const int64_t columns : {0, 12, 16777224}) {
    refused(op, run,
            "x has D = " + std::to_string(columns) +
                " columns, expected a multiple of 8 from 8 to 2^24",
            [&](Call& c) {
              c.x_t.shape[0] = 1;
              c.x_t.shape[2] = columns;
              c.x_t.stride[1] = columns;
            });
  }
  refused(op, run, "x has stream stride 31 (shape [3, 4, 32]), expected 32 or more",
          [](Call& c) { c.x_t.stride[1] = 31; });
  refused(op, run, "x has token stride 127 (shape [3, 4, 32]), expected 128 or more",
          [](Call& c) { c.x_t.stride[0] = 127; });
  refused(op, run, "x has column stride 2 (shape [3, 4, 32]), expected 1",
          [](Call& c) { c.x_t.stride[2] = 2; });
}

void post_arguments(const std::string& op, Op run) {
  tensor_argument(op, run, "sub", &Call::sub_t, "BF16");
  tensor_argument(op, run, "post", &Call::post_t, "F32");
  tensor_argument(op, run, "comb", &Call::comb_t, "F32");
  tensor_argument(op, run, "out", &Call::out_t, "BF16");
  refused(op, run, "sub has dtype F32, expected BF16",
          [](Call& c) { c.sub_t.dtype = NVFP4J_DTYPE_F32; });
  refused(op, run, "sub has shape [3, 16], expected [3, 32] (T and D of x)",
          [](Call& c) { c.sub_t.shape[1] = 16; });
  refused(op, run, "post has shape [2, 4], expected [3, 4] (T and n of x)",
          [](Call& c) { c.post_t.shape[0] = 2; });
  refused(op, run, "comb has shape [3, 2, 4], expected [3, 4, 4] (T, n and n of x)",
          [](Call& c) { c.comb_t.shape[1] = 2; });
  refused(op, run,
          "comb has row stride 5, expected 4: the elements of a token are "
          "contiguous",
          [](Call& c) { c.comb_t.stride[1] = 5, c.comb_t.stride[0] = 20; });
  refused(op, run, "out has shape [3, 4, 16], expected [3, 4, 32] (the shape of x)",
          [](Call& c) { c.out_t.shape[2] = 16; });
}

std::string overlap(const std::string& written, const std::string& other) {
  return written + " overlaps " + other;
}

/// The call is refused because two buffers share memory.
void overlapping(Op run, const std::string& sentence, const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  const Outcome said = (call.*run)();
  CHECK_EQ(said.status, kInvalid);
  const std::size_t at = said.message.find(" (");
  const std::string written =
      said.message.substr(said.message.find(": ") + 2, at - said.message.find(": ") - 2);
  const std::size_t second = said.message.find("overlaps ") + 9;
  const std::string other = said.message.substr(second, said.message.find(" (", second) - second);
  CHECK_EQ(overlap(written, other), sentence);
}

}  // namespace

TEST(the_calls_are_good) {
  Call c;
  for (const Op run : {&Call::sinkhorn, &Call::pre, &Call::post_, &Call::head, &Call::post_pre}) {
    const Outcome said = (c.*run)();
    CHECK_EQ(said.message, "");
    CHECK_EQ(said.status, NVFP4J_OK);
  }
}

TEST(entries_beyond_the_rank_are_ignored) {
  Call call;
  for (nvfp4j_tensor* t :
       {&call.x_t, &call.fn_t, &call.base_t, &call.scale_t, &call.collapsed_t, &call.next_post_t}) {
    for (std::int32_t i = t->rank; i < NVFP4J_MAX_RANK; ++i) t->shape[i] = t->stride[i] = -1;
  }
  CHECK_EQ(call.pre().status, NVFP4J_OK);
}

TEST(sinkhorn_arguments) {
  const std::string op = "sinkhorn";
  const Op run = &Call::sinkhorn;
  tensor_argument(op, run, "logits", &Call::logits_t, "F32");
  tensor_argument(op, run, "comb", &Call::matrices_t, "F32");
  refused(op, run, "logits has n = 17 (its second dimension), expected 1 to 16",
          [](Call& c) { c.logits_t.shape[0] = 1, c.logits_t.shape[1] = 17; });
  refused(op, run,
          "logits has shape [3, 4, 2], expected [3, 4, 4] (one square matrix "
          "per token)",
          [](Call& c) { c.logits_t.shape[2] = 2; });
  refused(op, run,
          "logits has row stride 5, expected 4: the elements of a token are "
          "contiguous",
          [](Call& c) { c.logits_t.stride[1] = 5, c.logits_t.stride[0] = 20; });
  refused(op, run, "comb has shape [2, 4, 4], expected [3, 4, 4] (the shape of logits)",
          [](Call& c) { c.matrices_t.shape[0] = 2; });
  refused(op, run, "options.iterations is 0, expected 1 or more",
          [](Call& c) { c.sinkhorn_options.iterations = 0; });
  refused(op, run, "options.iterations is -1, expected 1 or more",
          [](Call& c) { c.sinkhorn_options.iterations = -1; });
  refused(op, run, "options.eps is 0, expected 2^-100 (7.9e-31) to 1",
          [](Call& c) { c.sinkhorn_options.eps = 0.0f; });
  refused(op, run, "options.eps is nan, expected 2^-100 (7.9e-31) to 1",
          [](Call& c) { c.sinkhorn_options.eps = std::numeric_limits<float>::quiet_NaN(); });
  refused(op, run, "options.reserved is 1, expected 0",
          [](Call& c) { c.sinkhorn_options.reserved = 1; });
  overlapping(run, "comb overlaps logits",
              [](Call& c) { c.matrices_t.data = c.logits.data() + 4; });
  Call c;
  c.matrices_t = c.logits_t;  // in place
  CHECK_EQ(c.sinkhorn().status, NVFP4J_OK);
  CHECK_FAILS(nvfp4j_sinkhorn(nullptr, &c.logits_t, &c.sinkhorn_options, &c.matrices_t, error),
              kInvalid, "sinkhorn: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_sinkhorn(c.context, nullptr, &c.sinkhorn_options, &c.matrices_t, error),
              kInvalid, "sinkhorn: logits is NULL, expected a structure");
  CHECK_FAILS(nvfp4j_sinkhorn(c.context, &c.logits_t, nullptr, &c.matrices_t, error), kInvalid,
              "sinkhorn: options is NULL, expected a structure");
}

TEST(hc_pre_arguments) {
  const std::string op = "hc_pre";
  const Op run = &Call::pre;
  residual_arguments(op, run);
  module_arguments(op, run);
  tensor_argument(op, run, "collapsed", &Call::collapsed_t, "BF16");
  tensor_argument(op, run, "post", &Call::next_post_t, "F32");
  tensor_argument(op, run, "comb", &Call::next_comb_t, "F32");
  refused(op, run, "collapsed has shape [3, 16], expected [3, 32] (T and D of x)",
          [](Call& c) { c.collapsed_t.shape[1] = 16; });
  overlapping(run, "collapsed overlaps x", [](Call& c) { c.collapsed_t.data = c.x.data() + 64; });
  overlapping(run, "post overlaps comb", [](Call& c) { c.next_post_t.data = c.next_comb.data(); });
  overlapping(run, "comb overlaps fn", [](Call& c) { c.next_comb_t.data = c.fn.data(); });
  Call c;
  CHECK_FAILS(nvfp4j_hc_pre(nullptr, &c.x_t, &c.fn_t, &c.base_t, &c.scale_t, &c.options,
                            &c.collapsed_t, &c.next_post_t, &c.next_comb_t, error),
              kInvalid, "hc_pre: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_hc_pre(c.context, &c.x_t, &c.fn_t, &c.base_t, &c.scale_t, nullptr,
                            &c.collapsed_t, &c.next_post_t, &c.next_comb_t, error),
              kInvalid, "hc_pre: options is NULL, expected a structure");
}

TEST(hc_post_arguments) {
  const std::string op = "hc_post";
  const Op run = &Call::post_;
  residual_arguments(op, run);
  post_arguments(op, run);
  overlapping(run, "out overlaps x", [](Call& c) { c.out_t.data = c.x.data() + 64; });
  overlapping(run, "out overlaps sub", [](Call& c) { c.sub_t.data = c.out.data(); });
  overlapping(run, "out overlaps comb", [](Call& c) { c.comb_t.data = c.out.data(); });
  Call c;
  c.out_t = c.x_t;
  CHECK_EQ(c.post_().status, NVFP4J_OK);
  c.out_t.stride[0] = 256;  // the same begin, other strides
  c.out_t.shape[0] = c.x_t.shape[0] = c.sub_t.shape[0] = c.post_t.shape[0] = c.comb_t.shape[0] = 2;
  CHECK_EQ(c.post_().status, kInvalid);
}

TEST(hc_head_arguments) {
  const std::string op = "hc_head";
  const Op run = &Call::head;
  residual_arguments(op, run);
  tensor_argument(op, run, "fn", &Call::head_fn_t, "F32");
  tensor_argument(op, run, "base", &Call::head_base_t, "F32");
  tensor_argument(op, run, "scale", &Call::head_scale_t, "F32");
  tensor_argument(op, run, "collapsed", &Call::collapsed_t, "BF16");
  refused(op, run, "fn has shape [24, 128], expected [4, 128] (n and n*D of x)",
          [](Call& c) { c.head_fn_t.shape[0] = 24; });
  refused(op, run, "scale has 3 elements, expected 1 (of pre)",
          [](Call& c) { c.head_scale_t.shape[0] = 3; });
  refused(op, run, "options.iterations is 20, expected 0: the head has no comb",
          [](Call& c) { c.head_options.iterations = 20; });
}

TEST(hc_post_pre_arguments) {
  const std::string op = "hc_post_pre";
  const Op run = &Call::post_pre;
  residual_arguments(op, run);
  post_arguments(op, run);
  module_arguments(op, run);
  tensor_argument(op, run, "norm_weight", &Call::weight_t, "F32 or BF16");
  tensor_argument(op, run, "collapsed", &Call::collapsed_t, "BF16");
  tensor_argument(op, run, "next_post", &Call::next_post_t, "F32");
  tensor_argument(op, run, "next_comb", &Call::next_comb_t, "F32");
  refused(op, run, "norm_weight has 16 elements, expected 32 (one per column of x)",
          [](Call& c) { c.weight_t.shape[0] = 16; });
  refused(op, run,
          "quantized is NULL, expected quantized and quantize_options both or "
          "neither",
          [](Call& c) { c.quantized = false; });
  refused(op, run,
          "quantize_options is NULL, expected quantized and quantize_options "
          "both or neither",
          [](Call& c) { c.quantize = false; });
  refused(op, run, "collapsed is NULL, expected a tensor where quantized is NULL too",
          [](Call& c) { c.quantize = c.quantized = c.collapse = false; });
  refused(op, run, "quantize_options.global_scale is 1, expected 0 (DYNAMIC)",
          [](Call& c) { c.quantize_options_.global_scale = NVFP4J_GLOBAL_SCALE_GIVEN; });
  refused(run, [](Call& c) { c.q.descriptor.global_scale_kind = NVFP4J_GLOBAL_SCALE_TENSOR; });
  refused(run, [](Call& c) { c.q.descriptor.rows = 2; });
  refused(run, [](Call& c) { c.q.descriptor.codes_bytes = 1; });
  refused(op, run, "x has D = 24 columns, expected a multiple of 16 to quantise", [](Call& c) {
    for (nvfp4j_tensor* t : {&c.x_t, &c.out_t}) t->shape[2] = 24;
    for (nvfp4j_tensor* t : {&c.sub_t, &c.collapsed_t}) t->shape[1] = 24;
    c.weight_t.shape[0] = 24;
    c.fn_t.shape[1] = 96;
  });
  overlapping(run, "out overlaps x", [](Call& c) { c.out_t.data = c.x.data() + 64; });
  overlapping(run, "out overlaps collapsed", [](Call& c) { c.collapsed_t.data = c.out.data(); });
  overlapping(run, "collapsed overlaps x", [](Call& c) { c.collapsed_t.data = c.x.data(); });
  overlapping(run, "collapsed overlaps norm_weight",
              [](Call& c) { c.weight_t.data = c.collapsed.data(); });
  overlapping(run, "next_post overlaps post", [](Call& c) { c.next_post_t.data = c.post.data(); });
  overlapping(run, "next_comb overlaps comb", [](Call& c) { c.next_comb_t.data = c.comb.data(); });
  overlapping(run, "quantized.codes overlaps fn",
              [](Call& c) { c.q.descriptor.codes = c.fn.data(); });
  Call c;
  c.out_t = c.x_t;
  CHECK_EQ(c.post_pre().status, NVFP4J_OK);
}

TEST(no_structure_at_all) {
  Call c;
  // Calls with an argument that is NULL, which is the one of that number.
  const auto refuses =
      [&](const std::string& op, const std::vector<std::string>& names,
          const std::function<int32_t(const std::vector<const void*>&, nvfp4j_error*)>& run,
          const std::vector<const void*>& arguments) {
        for (std::size_t i = 0; i < names.size(); ++i) {
          std::vector<const void*> spoiled = arguments;
          spoiled[i] = nullptr;
          CHECK_FAILS(run(spoiled, error), kInvalid,
                      op + ": " + names[i] + " is NULL, expected a structure");
          CHECK(c.nothing_written());
        }
      };
  const auto t = [](const void* p) { return static_cast<const nvfp4j_tensor*>(p); };
  const auto o = [](const void* p) { return static_cast<const nvfp4j_hc_options*>(p); };
  refuses("sinkhorn", {"logits", "options", "comb"},
          [&](const std::vector<const void*>& a, nvfp4j_error* error) {
            return nvfp4j_sinkhorn(c.context, t(a[0]),
                                   static_cast<const nvfp4j_sinkhorn_options*>(a[1]), t(a[2]),
                                   error);
          },
          {&c.logits_t, &c.sinkhorn_options, &c.matrices_t});
  refuses("hc_pre", {"x", "fn", "base", "scale", "options", "collapsed", "post", "comb"},
          [&](const std::vector<const void*>& a, nvfp4j_error* error) {
            return nvfp4j_hc_pre(c.context, t(a[0]), t(a[1]), t(a[2]), t(a[3]), o(a[4]), t(a[5]),
                                 t(a[6]), t(a[7]), error);
          },
          {&c.x_t, &c.fn_t, &c.base_t, &c.scale_t, &c.options, &c.collapsed_t, &c.next_post_t,
           &c.next_comb_t});
  refuses("hc_post", {"x", "sub", "post", "comb", "out"},
          [&](const std::vector<const void*>& a, nvfp4j_error* error) {
            return nvfp4j_hc_post(c.context, t(a[0]), t(a[1]), t(a[2]), t(a[3]), t(a[4]), error);
          },
          {&c.x_t, &c.sub_t, &c.post_t, &c.comb_t, &c.out_t});
  refuses("hc_head", {"x", "fn", "base", "scale", "options", "collapsed"},
          [&](const std::vector<const void*>& a, nvfp4j_error* error) {
            return nvfp4j_hc_head(c.context, t(a[0]), t(a[1]), t(a[2]), t(a[3]), o(a[4]), t(a[5]),
                                  error);
          },
          {&c.x_t, &c.head_fn_t, &c.head_base_t, &c.head_scale_t, &c.head_options, &c.collapsed_t});
  refuses("hc_post_pre",
          {"x", "sub", "post", "comb", "fn", "base", "scale", "options", "out", "next_post",
           "next_comb"},
          [&](const std::vector<const void*>& a, nvfp4j_error* error) {
            return nvfp4j_hc_post_pre(c.context, t(a[0]), t(a[1]), t(a[2]), t(a[3]), t(a[4]),
                                      t(a[5]), t(a[6]), nullptr, o(a[7]), nullptr, t(a[8]),
                                      &c.collapsed_t, t(a[9]), t(a[10]), nullptr, error);
          },
          {&c.x_t, &c.sub_t, &c.post_t, &c.comb_t, &c.fn_t, &c.base_t, &c.scale_t, &c.options,
           &c.out_t, &c.next_post_t, &c.next_comb_t});
  CHECK_FAILS(nvfp4j_hc_post(nullptr, &c.x_t, &c.sub_t, &c.post_t, &c.comb_t, &c.out_t, error),
              kInvalid, "hc_post: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_hc_head(nullptr, &c.x_t, &c.head_fn_t, &c.head_base_t, &c.head_scale_t,
                             &c.head_options, &c.collapsed_t, error),
              kInvalid, "hc_head: context is NULL, expected a context");
  CHECK_FAILS(nvfp4j_hc_post_pre(nullptr, &c.x_t, &c.sub_t, &c.post_t, &c.comb_t, &c.fn_t,
                                 &c.base_t, &c.scale_t, nullptr, &c.options, nullptr, &c.out_t,
                                 &c.collapsed_t, &c.next_post_t, &c.next_comb_t, nullptr, error),
              kInvalid, "hc_post_pre: context is NULL, expected a context");
}

TEST(options_out_of_range) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  struct Bad {
    float value;
    const char* text;
  };
  const Bad bad[] = {{0.0f, "0"},        {-1e-6f, "-1e-06"}, {0x1.fffffep-101f, "7.88861e-31"},
                     {1.00000012f, "1"}, {infinity, "inf"},  {-infinity, "-inf"},
                     {nan, "nan"}};
  const std::string expected = ", expected 2^-100 (7.9e-31) to 1";
  for (const Bad& b : bad) {
    refused("sinkhorn", &Call::sinkhorn, std::string("options.eps is ") + b.text + expected,
            [&](Call& c) { c.sinkhorn_options.eps = b.value; });
    for (const auto& [op, run] :
         {std::pair<const char*, Op>{"hc_pre", &Call::pre}, {"hc_post_pre", &Call::post_pre}}) {
      refused(op, run, std::string("options.hc_eps is ") + b.text + expected,
              [&](Call& c) { c.options.hc_eps = b.value; });
      refused(op, run, std::string("options.rms_eps is ") + b.text + expected,
              [&](Call& c) { c.options.rms_eps = b.value; });
    }
    refused("hc_head", &Call::head, std::string("options.hc_eps is ") + b.text + expected,
            [&](Call& c) { c.head_options.hc_eps = b.value; });
    refused("hc_head", &Call::head, std::string("options.rms_eps is ") + b.text + expected,
            [&](Call& c) { c.head_options.rms_eps = b.value; });
  }
  for (const int32_t iterations : {0, -1, INT32_MIN}) {
    for (const auto& [op, run] :
         {std::pair<const char*, Op>{"hc_pre", &Call::pre}, {"hc_post_pre", &Call::post_pre}}) {
      refused(op, run,
              "options.iterations is " + std::to_string(iterations) + ", expected 1 or more",
              [&](Call& c) { c.options.iterations = iterations; });
    }
  }
  for (const int32_t size : {0, 12, 20}) {
    const std::string sentence = "options.struct_size is " + std::to_string(size) +
                                 ", expected 16 (ABI version " NVFP4J_ABI_TEXT ")";
    refused("sinkhorn", &Call::sinkhorn, sentence,
            [&](Call& c) { c.sinkhorn_options.struct_size = size; });
    refused("hc_head", &Call::head, sentence, [&](Call& c) { c.head_options.struct_size = size; });
  }
  // What is just in range.
  for (const float eps : {0x1p-100f, 1.0f}) {
    Call c;
    c.sinkhorn_options.eps = c.options.hc_eps = c.options.rms_eps = c.head_options.hc_eps =
        c.head_options.rms_eps = eps;
    for (const Op run : {&Call::sinkhorn, &Call::pre, &Call::head, &Call::post_pre})
      CHECK_EQ((c.*run)().message, "");
  }
}

TEST(every_output_against_every_other_buffer) {
  // By its first and by its last byte.
  struct Named {
    const char* name;
    nvfp4j_tensor Call::* tensor;
  };
  const std::vector<Named> module = {
      {"fn", &Call::fn_t}, {"base", &Call::base_t}, {"scale", &Call::scale_t}};
  const std::vector<Named> before = {
      {"sub", &Call::sub_t}, {"post", &Call::post_t}, {"comb", &Call::comb_t}};
  const auto pairs = [](Op run, const std::vector<Named>& outputs,
                        const std::vector<Named>& others) {
    for (const Named& output : outputs) {
      for (const Named& other : others) {
        if (output.tensor == other.tensor) continue;
        for (const bool last : {false, true}) {
          Call call;
          nvfp4j_tensor& t = call.*other.tensor;
          const nvfp4j_tensor& to = call.*output.tensor;
          const int64_t bytes =
              (to.shape[0] - 1) * to.stride[0] * element_bytes(to.dtype) +
              (to.rank == 3 ? (to.shape[1] - 1) * to.stride[1] + to.shape[2] : to.shape[1]) *
                  element_bytes(to.dtype);
          t.data = static_cast<std::uint8_t*>(to.data) + (last ? (bytes - 1) / 4 * 4 : 0);
          const Outcome said = (call.*run)();
          CHECK_EQ(said.status, kInvalid);
          const std::string one = std::string(": ") + output.name + " (",
                            two = std::string(" overlaps ") + other.name + " (";
          const std::string three = std::string(": ") + other.name + " (",
                            four = std::string(" overlaps ") + output.name + " (";
          const bool named = (said.message.find(one) != std::string::npos &&
                              said.message.find(two) != std::string::npos) ||
                             (said.message.find(three) != std::string::npos &&
                              said.message.find(four) != std::string::npos);
          if (!named || !said.message.ends_with("), expected separate memory"))
            check::failed(
                __FILE__, __LINE__,
                std::string(output.name) + " against " + other.name + ": " + said.message);
        }
      }
    }
  };
  const auto with = [](std::vector<Named> a, const std::vector<Named>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const std::vector<Named> x = {{"x", &Call::x_t}};
  const std::vector<Named> pre = {{"collapsed", &Call::collapsed_t},
                                  {"post", &Call::next_post_t},
                                  {"comb", &Call::next_comb_t}};
  pairs(&Call::pre, pre, with(with(x, module), pre));
  pairs(&Call::post_, {{"out", &Call::out_t}}, before);
  pairs(&Call::head, {{"collapsed", &Call::collapsed_t}},
        with(x, {{"fn", &Call::head_fn_t},
                 {"base", &Call::head_base_t},
                 {"scale", &Call::head_scale_t}}));
  const std::vector<Named> next = {{"collapsed", &Call::collapsed_t},
                                   {"next_post", &Call::next_post_t},
                                   {"next_comb", &Call::next_comb_t}};
  const std::vector<Named> weight = {{"norm_weight", &Call::weight_t}};
  const std::vector<Named> out = {{"out", &Call::out_t}};
  pairs(&Call::post_pre, next, with(with(with(with(x, before), module), weight), with(next, out)));
  pairs(&Call::post_pre, out, with(with(with(before, module), weight), next));
  // The buffers of what is quantised.
  for (const Named& other : with(with(with(with(x, before), module), weight), with(next, out))) {
    for (const int buffer : {0, 1, 2}) {
      Call call;
      nvfp4j_tensor& t = call.*other.tensor;
      t.data = buffer == 0   ? call.q.descriptor.codes
               : buffer == 1 ? call.q.descriptor.scales
                             : call.q.descriptor.global_scales;
      const Outcome said = call.post_pre();
      CHECK_EQ(said.status, kInvalid);
      CHECK(said.message.find(" overlaps ") != std::string::npos);
      CHECK(said.message.find(other.name) != std::string::npos);
      CHECK(said.message.find("quantized.") != std::string::npos);
    }
  }
  // Of the residual the very same elements are allowed, and nothing else.
  for (const Op run : {&Call::post_, &Call::post_pre}) {
    for (const int64_t offset : {-64, -2, 2, 64}) {
      Call call;
      call.out_t.data = call.x.data() + offset;
      if (offset < 0) call.out_t.data = call.x_t.data, call.x_t.data = call.x.data() - offset;
      CHECK_EQ((call.*run)().status, kInvalid);
    }
  }
}

int main(int count, char** arguments) { return check::main(count, arguments); }
