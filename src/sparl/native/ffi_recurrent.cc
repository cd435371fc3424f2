// Recurrent nets as XLA's foreign functions.
#include <cstring>

#include "ffi_checks.h"
#include "instruction_sets.h"
#include "partial_sums.h"
#include "threads.h"

namespace sparl {
namespace {

// Buffers come as a list: of each of the four weights its values, bias and links, and then x, h0
// and length.
constexpr int kWeights = 4, kPerWeight = 7, kInputs = kWeights * kPerWeight + 3;
const char* const kNames[kWeights] = {"fc1", "w_ih", "w_hh", "fc2"};

#define SPARL_READ(type, name, i)                                      \
  if (!arguments.get<type>(i).has_value()) {                           \
    return invalid(std::string(#name) + " is missing or of wrong type"); \
  }                                                                    \
  const type name = arguments.get<type>(i).value()

template <class Index>
ffi::Error read_weight(ffi::RemainingArgs arguments, int which, bool backward,
                       Weight<Index>* weight, const float** bias) {
  const int at = which * kPerWeight;
  SPARL_READ(Floats, values, at);
  SPARL_READ(Floats, biases, at + 1);
  SPARL_READ(Ints, row_start, at + 2);
  SPARL_READ(ffi::AnyBuffer, column, at + 3);
  SPARL_READ(Ints, column_start, at + 4);
  SPARL_READ(ffi::AnyBuffer, row, at + 5);
  SPARL_READ(Ints, order, at + 6);
  if (values.dimensions().size() != 1) {
    return invalid(std::string("the values of ") + kNames[which] + " must have one dimension");
  }
  Links<Index>& links = weight->links;
  SPARL_CHECK(read_links({row_start, column, column_start, row, order}, values.element_count(),
                         backward, &links));
  SPARL_CHECK(check_shape("bias", biases, {links.outputs}));
  weight->values = values.typed_data();
  *bias = biases.typed_data();
  return ffi::Error::Success();
}

template <class Index, class Input>
ffi::Error read_net(ffi::RemainingArgs arguments, bool backward, Recurrent<Index, Input>* net) {
  SPARL_CHECK(read_weight(arguments, 0, backward, &net->fc1, &net->b1));
  SPARL_CHECK(read_weight(arguments, 1, backward, &net->w_ih, &net->b_ih));
  SPARL_CHECK(read_weight(arguments, 2, backward, &net->w_hh, &net->b_hh));
  SPARL_CHECK(read_weight(arguments, 3, backward, &net->fc2, &net->b2));
  SPARL_READ(ffi::AnyBuffer, x, kInputs - 3);
  SPARL_READ(Floats, h0, kInputs - 2);
  SPARL_READ(Ints, length, kInputs - 1);
  if (x.dimensions().size() != 3) {
    return invalid("x has shape " + shape_of(x.dimensions()) + ", expected [steps, inputs, columns]");
  }
  net->steps = x.dimensions()[0];
  net->columns = x.dimensions()[2];
  net->inputs = net->fc1.links.inputs;
  net->features = net->fc1.links.outputs;
  net->hidden = net->w_hh.links.inputs;
  net->outputs = net->fc2.links.outputs;
  if (net->w_ih.links.outputs != 3 * net->hidden || net->w_hh.links.outputs != 3 * net->hidden) {
    return invalid("w_ih and w_hh must have three rows for each hidden unit");
  }
  if (net->w_ih.links.inputs != net->features || net->fc2.links.inputs != net->hidden) {
    return invalid("w_ih must take what fc1 returns, and fc2 the hidden state");
  }
  SPARL_CHECK(check_shape("x", x, {net->steps, net->inputs, net->columns}));
  SPARL_CHECK(check_shape("h0", h0, {net->hidden, net->columns}));
  SPARL_CHECK(check_shape("length", length, {net->columns}));
  net->x = static_cast<const Input*>(x.untyped_data());
  net->h0 = h0.typed_data();
  net->length = length.typed_data();
  return ffi::Error::Success();
}

int64_t panels(int64_t columns) { return (columns + kernels().panel - 1) / kernels().panel; }

template <class Index, class Input>
ffi::Error run_recurrent_forward(ffi::ThreadPool pool, ffi::RemainingArgs arguments, bool keep_h,
                                 ffi::Result<Floats> y, ffi::Result<Floats> h) {
  Recurrent<Index, Input> net = {};
  SPARL_CHECK(read_net(arguments, false, &net));
  SPARL_CHECK(check_shape("y", *y, {net.steps, net.outputs, net.columns}));
  if (keep_h) SPARL_CHECK(check_shape("h", *h, {net.steps, net.hidden, net.columns}));
  net.y = y->typed_data();
  net.h = keep_h ? h->typed_data() : nullptr;
  const int64_t panel = kernels().panel;
  const auto& own = kernels_of<Index, Input>().recurrent;
  parallel_for(pool, panels(net.columns), [&](int64_t i) {
    own.forward(net, i * panel, std::min((i + 1) * panel, net.columns),
                scratch(own.forward_scratch(net), 0));
  });
  return ffi::Error::Success();
}

template <class Index, class Input>
ffi::Error run_recurrent_backward(ffi::ThreadPool pool, ffi::RemainingArgs arguments, bool has_dh,
                                  bool wants_dx, ffi::RemainingRets results) {
  Recurrent<Index, Input> net = {};
  SPARL_CHECK(read_net(arguments, true, &net));
  SPARL_READ(Floats, h, kInputs);
  SPARL_READ(Floats, dy, kInputs + 1);
  SPARL_READ(Floats, dh, kInputs + 2);
  SPARL_CHECK(check_shape("h", h, {net.steps, net.hidden, net.columns}));
  SPARL_CHECK(check_shape("dy", dy, {net.steps, net.outputs, net.columns}));
  if (has_dh) SPARL_CHECK(check_shape("dh", dh, {net.steps, net.hidden, net.columns}));
  net.h = const_cast<float*>(h.typed_data());
  net.dy = dy.typed_data();
  net.dh = has_dh ? dh.typed_data() : nullptr;

  // Gradients of each weight's values and bias, then of x and h0.
  Weight<Index>* const weights[kWeights] = {&net.fc1, &net.w_ih, &net.w_hh, &net.fc2};
  if (results.size() != 2 * kWeights + 2) return invalid("expected ten results");
  float* into[2 * kWeights + 2];
  int64_t sizes[2 * kWeights], links = 0, size = 0;
  for (int i = 0; i < 2 * kWeights + 2; ++i) {
    auto result = results.get<Floats>(i);
    if (!result.has_value()) return invalid("results must be float32");
    Floats buffer = *result.value();
    if (i < 2 * kWeights) {
      const Links<Index>& of = weights[i / 2]->links;
      sizes[i] = i % 2 == 0 ? of.count : of.outputs;
      SPARL_CHECK(check_shape("a gradient", buffer, {sizes[i]}));
      size += sizes[i];
      links += i % 2 == 0 ? of.count : 0;
    } else if (i > 2 * kWeights) {
      SPARL_CHECK(check_shape("dh0", buffer, {net.hidden, net.columns}));
    } else if (wants_dx) {
      SPARL_CHECK(check_shape("dx", buffer, {net.steps, net.inputs, net.columns}));
    }
    into[i] = buffer.typed_data();
  }
  net.dx = wants_dx ? into[2 * kWeights] : nullptr;
  net.dh0 = into[2 * kWeights + 1];

  const int64_t count = panels(net.columns);
  float* shared = scratch(links + std::max<int64_t>(count, 1) * size, 1);
  for (Weight<Index>* weight : weights) {
    transpose(pool, weight->links, weight->values, shared);
    weight->transposed = shared;
    shared += weight->links.count;
  }
  const int64_t panel = kernels().panel;
  const auto& own = kernels_of<Index, Input>().recurrent;
  parallel_for(pool, count, [&](int64_t i) {
    float* part = shared + i * size;
    std::memset(part, 0, size * sizeof(float));
    float* of[2 * kWeights];
    for (int k = 0; k < 2 * kWeights; part += sizes[k++]) of[k] = part;
    own.backward(net, i * panel, std::min((i + 1) * panel, net.columns),
                 scratch(own.backward_scratch(net), 0),
                 {of[0], of[2], of[4], of[6], of[1], of[3], of[5], of[7]});
  });
  add_up(pool, shared, count, size);
  for (int k = 0; k < 2 * kWeights; shared += sizes[k++]) {
    std::memcpy(into[k], shared, sizes[k] * sizeof(float));
  }
  return ffi::Error::Success();
}

ffi::Error recurrent_forward(ffi::ThreadPool pool, ffi::RemainingArgs arguments, bool keep_h,
                             ffi::Result<Floats> y, ffi::Result<Floats> h) {
  SPARL_READ(ffi::AnyBuffer, column, 3);
  SPARL_READ(ffi::AnyBuffer, x, kInputs - 3);
  return dispatch(column, x, [&](auto index, auto input) {
    return run_recurrent_forward<decltype(index), decltype(input)>(pool, arguments, keep_h, y, h);
  });
}

ffi::Error recurrent_backward(ffi::ThreadPool pool, ffi::RemainingArgs arguments, bool has_dh,
                              bool wants_dx, ffi::RemainingRets results) {
  SPARL_READ(ffi::AnyBuffer, column, 3);
  SPARL_READ(ffi::AnyBuffer, x, kInputs - 3);
  return dispatch(column, x, [&](auto index, auto input) {
    return run_recurrent_backward<decltype(index), decltype(input)>(pool, arguments, has_dh,
                                                                    wants_dx, results);
  });
}

}  // namespace
}  // namespace sparl

namespace ffi = xla::ffi;
using sparl::Floats;
using sparl::Ints;

XLA_FFI_DEFINE_HANDLER_SYMBOL(SparlRecurrentForward, sparl::recurrent_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .Attr<bool>("keep_h")
                                  .Ret<Floats>()
                                  .Ret<Floats>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(SparlRecurrentBackward, sparl::recurrent_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .Attr<bool>("has_dh")
                                  .Attr<bool>("wants_dx")
                                  .RemainingRets());
