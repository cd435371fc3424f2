// The kernels as XLA's foreign functions: every size and every index is checked here, then the work
// is cut into tasks.
//
// How the work is cut depends on shapes alone, and partial sums are added in the order of the
// tasks, so results do not depend on the number of threads.
#include <algorithm>
#include <cstring>
#include <string>

#include "kernels.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace sparl {

#if defined(SPARL_X86)
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
#endif
namespace generic {
extern const Kernels kKernels;
}

namespace {

using Floats = ffi::Buffer<ffi::F32>;
using Ints = ffi::Buffer<ffi::S32>;

// Instruction sets that this machine has, the widest first.
const Kernels* const* available() {
  static const Kernels* const* list = [] {
    static const Kernels* found[4] = {};
    int n = 0;
#if defined(SPARL_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
      found[n++] = &avx512::kKernels;
    }
    // Every processor with AVX2 and FMA also converts half floats.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found[n++] = &avx2::kKernels;
    }
#endif
    found[n++] = &generic::kKernels;
    return found;
  }();
  return list;
}

const Kernels* chosen = available()[0];

ffi::Error invalid(const std::string& message) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "sparl: " + message);
}

using Shape = xla::ffi::Span<const int64_t>;

std::string shape_of(Shape shape) {
  std::string text = "[";
  for (int64_t d : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(d);
  return text + "]";
}

template <class Buffer>
ffi::Error check_shape(const char* name, const Buffer& buffer,
                       std::initializer_list<int64_t> wanted) {
  const Shape shape = buffer.dimensions();
  if (std::equal(shape.begin(), shape.end(), wanted.begin(), wanted.end())) {
    return ffi::Error::Success();
  }
  return invalid(std::string(name) + " has shape " + shape_of(shape) + ", expected " +
                 shape_of(Shape(wanted.begin(), wanted.size())));
}

#define SPARL_CHECK(expression)                                   \
  if (ffi::Error error = (expression); error.failure()) return error

// start[0] = 0 <= start[1] <= ... <= start[n] = count.
ffi::Error check_starts(const char* name, const int32_t* start, int64_t n, int64_t count) {
  bool ok = start[0] == 0 && start[n] == count;
  for (int64_t i = 0; i < n; ++i) ok &= start[i] <= start[i + 1];
  if (ok) return ffi::Error::Success();
  return invalid(std::string(name) + " must rise from 0 to the number of links, " +
                 std::to_string(count));
}

template <class Index>
ffi::Error check_below(const char* name, const Index* index, int64_t count, int64_t bound) {
  bool ok = true;
  for (int64_t i = 0; i < count; ++i) {
    ok &= static_cast<uint64_t>(static_cast<int64_t>(index[i])) < static_cast<uint64_t>(bound);
  }
  if (ok) return ffi::Error::Success();
  return invalid(std::string(name) + " has an index outside of [0, " + std::to_string(bound) + ")");
}

// The links of one weight, as arguments of a call. For a forward pass only the first two count.
struct LinkBuffers {
  Ints row_start;
  ffi::AnyBuffer column;
  Ints column_start;
  ffi::AnyBuffer row;
  Ints order;
};

template <class Index>
ffi::Error read_links(const LinkBuffers& from, int64_t count, bool backward, Links<Index>* links) {
  if (from.row_start.dimensions().size() != 1 || from.row_start.element_count() < 1 ||
      from.column_start.dimensions().size() != 1 || from.column_start.element_count() < 1) {
    return invalid("row_start and column_start must have one dimension and at least one entry");
  }
  SPARL_CHECK(check_shape("column", from.column, {count}));
  SPARL_CHECK(check_shape("row", from.row, {count}));
  SPARL_CHECK(check_shape("order", from.order, {count}));
  if (from.row.element_type() != from.column.element_type()) {
    return invalid("row and column must be of one type");
  }
  links->outputs = static_cast<int64_t>(from.row_start.element_count()) - 1;
  links->inputs = static_cast<int64_t>(from.column_start.element_count()) - 1;
  links->count = count;
  links->row_start = from.row_start.typed_data();
  links->column = static_cast<const Index*>(from.column.untyped_data());
  links->column_start = from.column_start.typed_data();
  links->row = static_cast<const Index*>(from.row.untyped_data());
  links->order = from.order.typed_data();
  SPARL_CHECK(check_starts("row_start", links->row_start, links->outputs, count));
  SPARL_CHECK(check_below("column", links->column, count, links->inputs));
  if (backward) {
    SPARL_CHECK(check_starts("column_start", links->column_start, links->inputs, count));
    SPARL_CHECK(check_below("row", links->row, count, links->outputs));
    SPARL_CHECK(check_below("order", links->order, count, count));
  }
  return ffi::Error::Success();
}

// Values column by column.
template <class Index>
void transpose(const Links<Index>& links, const float* values, float* to) {
  for (int64_t k = 0; k < links.count; ++k) to[k] = values[links.order[k]];
}

// Adds up the parts, one after the other, into the first.
void add_up(float* parts, int64_t count, int64_t size) {
  if (count == 0) std::memset(parts, 0, size * sizeof(float));
  for (int64_t i = 1; i < count; ++i) {
    for (int64_t k = 0; k < size; ++k) parts[k] += parts[i * size + k];
  }
}

template <class Index, class Input>
const KernelsOf<Index, Input>& kernels_of() {
  if constexpr (sizeof(Index) == 2 && sizeof(Input) == 4) return chosen->narrow_float;
  if constexpr (sizeof(Index) == 2 && sizeof(Input) == 2) return chosen->narrow_half;
  if constexpr (sizeof(Index) == 4 && sizeof(Input) == 4) return chosen->wide_float;
  if constexpr (sizeof(Index) == 4 && sizeof(Input) == 2) return chosen->wide_half;
}

// Calls run(Index{}, Input{}) for the types of the indices and of x.
template <class Run>
ffi::Error dispatch(ffi::AnyBuffer index, ffi::AnyBuffer x, const Run& run) {
  const ffi::DataType index_type = index.element_type(), input_type = x.element_type();
  const bool narrow = index_type == ffi::U16, half = input_type == ffi::F16;
  if ((!narrow && index_type != ffi::S32) || (!half && input_type != ffi::F32)) {
    return invalid("indices must be uint16 or int32, inputs float32 or float16");
  }
  if (narrow) return half ? run(uint16_t{}, uint16_t{}) : run(uint16_t{}, float{});
  return half ? run(int32_t{}, uint16_t{}) : run(int32_t{}, float{});
}

// ---- Linear -------------------------------------------------------------------------------------

constexpr int64_t kPieceColumns = 256;
// Links times columns of a task, at least: enough that handing it over costs little.
constexpr int64_t kTaskWork = 1 << 17;
constexpr int64_t kMostParts = 16;

// A range of columns of one batch entry.
struct Piece {
  int64_t entry, first, last;
};

// Cuts [batch, columns] into pieces of whole panels.
struct Pieces {
  int64_t batch, columns, width, per_entry;

  Pieces(int64_t batch, int64_t columns)
      : batch(batch), columns(columns), width(std::min(columns, kPieceColumns)) {
    per_entry = width ? (columns + width - 1) / width : 0;
  }
  int64_t count() const { return batch * per_entry; }
  // How many make a task, for a weight of so many links.
  int64_t per_task(int64_t links) const {
    return 1 + kTaskWork / std::max<int64_t>(1, links * width);
  }
  Piece operator[](int64_t i) const {
    const int64_t first = i % per_entry * width;
    return {i / per_entry, first, std::min(first + width, columns)};
  }
};

struct LinearShape {
  int64_t batch = 1, columns = 0;
};

ffi::Error read_linear_shape(const char* name, Shape dims, int64_t features, LinearShape* shape) {
  if (dims.size() < 2 || dims[dims.size() - 2] != features) {
    return invalid(std::string(name) + " has shape " + shape_of(dims) + ", expected [..., " +
                   std::to_string(features) + ", columns]");
  }
  shape->columns = dims.back();
  shape->batch = 1;
  for (size_t i = 0; i + 2 < dims.size(); ++i) shape->batch *= dims[i];
  return ffi::Error::Success();
}

ffi::Error check_same_columns(const char* name, Shape dims, int64_t features,
                              const LinearShape& wanted) {
  LinearShape own;
  SPARL_CHECK(read_linear_shape(name, dims, features, &own));
  if (own.batch == wanted.batch && own.columns == wanted.columns) return ffi::Error::Success();
  return invalid(std::string(name) + " has shape " + shape_of(dims) +
                 ", which does not go with the input");
}

template <class Index, class Input>
ffi::Error run_linear_forward(ffi::ThreadPool pool, const LinkBuffers& buffers, Floats values,
                              Floats bias, ffi::AnyBuffer x, bool relu, ffi::Result<Floats> y) {
  Linear<Index, Input> layer = {};
  if (values.dimensions().size() != 1) return invalid("values must have one dimension");
  Links<Index>& links = layer.weight.links;
  SPARL_CHECK(read_links(buffers, values.element_count(), false, &links));
  LinearShape shape;
  SPARL_CHECK(read_linear_shape("x", x.dimensions(), links.inputs, &shape));
  SPARL_CHECK(check_same_columns("y", y->dimensions(), links.outputs, shape));
  SPARL_CHECK(check_shape("bias", bias, {links.outputs}));
  layer.weight.values = values.typed_data();
  layer.bias = bias.typed_data();
  layer.relu = relu;
  layer.columns = shape.columns;

  const auto& kernels = kernels_of<Index, Input>().linear;
  const Pieces pieces(shape.batch, shape.columns);
  const int64_t pieces_each = pieces.per_task(links.count);
  const int64_t tasks = (pieces.count() + pieces_each - 1) / pieces_each;
  parallel_for(pool, tasks, [&](int64_t task) {
    float* own = scratch(kernels.forward_scratch(layer), 0);
    const int64_t end = std::min((task + 1) * pieces_each, pieces.count());
    for (int64_t i = task * pieces_each; i < end; ++i) {
      const Piece piece = pieces[i];
      Linear<Index, Input> part = layer;
      part.x = static_cast<const Input*>(x.untyped_data()) + piece.entry * links.inputs * shape.columns;
      part.y = y->typed_data() + piece.entry * links.outputs * shape.columns;
      kernels.forward(part, piece.first, piece.last, own);
    }
  });
  return ffi::Error::Success();
}

template <class Index, class Input>
ffi::Error run_linear_backward(ffi::ThreadPool pool, const LinkBuffers& buffers, Floats values,
                               ffi::AnyBuffer x, Floats y, Floats dy, bool relu, bool wants_dx,
                               ffi::Result<Floats> dvalues, ffi::Result<Floats> dbias,
                               ffi::Result<Floats> dx) {
  Linear<Index, Input> layer = {};
  if (values.dimensions().size() != 1) return invalid("values must have one dimension");
  Links<Index>& links = layer.weight.links;
  SPARL_CHECK(read_links(buffers, values.element_count(), true, &links));
  LinearShape shape;
  SPARL_CHECK(read_linear_shape("x", x.dimensions(), links.inputs, &shape));
  SPARL_CHECK(check_same_columns("dy", dy.dimensions(), links.outputs, shape));
  if (relu) SPARL_CHECK(check_same_columns("y", y.dimensions(), links.outputs, shape));
  if (wants_dx) SPARL_CHECK(check_same_columns("dx", dx->dimensions(), links.inputs, shape));
  SPARL_CHECK(check_shape("dvalues", *dvalues, {links.count}));
  SPARL_CHECK(check_shape("dbias", *dbias, {links.outputs}));
  layer.relu = relu;
  layer.columns = shape.columns;

  const auto& kernels = kernels_of<Index, Input>().linear;
  const Pieces pieces(shape.batch, shape.columns);
  const int64_t size = links.count + links.outputs;
  const int64_t pieces_each =
      std::max(pieces.per_task(links.count), (pieces.count() + kMostParts - 1) / kMostParts);
  const int64_t tasks = (pieces.count() + pieces_each - 1) / pieces_each;
  float* shared = scratch(links.count + std::max<int64_t>(tasks, 1) * size, 1);
  layer.weight.transposed = shared;
  transpose(links, values.typed_data(), shared);
  float* parts = shared + links.count;
  parallel_for(pool, tasks, [&](int64_t task) {
    float* own = scratch(kernels.backward_scratch(layer), 0);
    float* dw = parts + task * size;
    std::memset(dw, 0, size * sizeof(float));
    const int64_t end = std::min((task + 1) * pieces_each, pieces.count());
    for (int64_t i = task * pieces_each; i < end; ++i) {
      const Piece piece = pieces[i];
      const int64_t in = piece.entry * links.inputs * shape.columns;
      const int64_t out = piece.entry * links.outputs * shape.columns;
      Linear<Index, Input> part = layer;
      part.x = static_cast<const Input*>(x.untyped_data()) + in;
      part.y = relu ? const_cast<float*>(y.typed_data()) + out : nullptr;
      part.dy = dy.typed_data() + out;
      part.dx = wants_dx ? dx->typed_data() + in : nullptr;
      kernels.backward(part, piece.first, piece.last, own, dw, dw + links.count);
    }
  });
  add_up(parts, tasks, size);
  std::memcpy(dvalues->typed_data(), parts, links.count * sizeof(float));
  std::memcpy(dbias->typed_data(), parts + links.count, links.outputs * sizeof(float));
  return ffi::Error::Success();
}

ffi::Error linear_forward(ffi::ThreadPool pool, Floats values, Floats bias, ffi::AnyBuffer x,
                          Ints row_start, ffi::AnyBuffer column, Ints column_start,
                          ffi::AnyBuffer row, Ints order, bool relu, ffi::Result<Floats> y) {
  const LinkBuffers links{row_start, column, column_start, row, order};
  return dispatch(column, x, [&](auto index, auto input) {
    return run_linear_forward<decltype(index), decltype(input)>(pool, links, values, bias, x, relu,
                                                                y);
  });
}

ffi::Error linear_backward(ffi::ThreadPool pool, Floats values, ffi::AnyBuffer x, Floats y,
                           Floats dy, Ints row_start, ffi::AnyBuffer column, Ints column_start,
                           ffi::AnyBuffer row, Ints order, bool relu, bool wants_dx,
                           ffi::Result<Floats> dvalues, ffi::Result<Floats> dbias,
                           ffi::Result<Floats> dx) {
  const LinkBuffers links{row_start, column, column_start, row, order};
  return dispatch(column, x, [&](auto index, auto input) {
    return run_linear_backward<decltype(index), decltype(input)>(
        pool, links, values, x, y, dy, relu, wants_dx, dvalues, dbias, dx);
  });
}

// ---- Recurrent ----------------------------------------------------------------------------------

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
  if ((column.element_type() == ffi::U16) != (sizeof(Index) == 2)) {
    return invalid("the indices of all weights must be of one type, uint16 or int32");
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

int64_t panels(int64_t columns) { return (columns + chosen->panel - 1) / chosen->panel; }

template <class Index, class Input>
ffi::Error run_recurrent_forward(ffi::ThreadPool pool, ffi::RemainingArgs arguments, bool keep_h,
                                 ffi::Result<Floats> y, ffi::Result<Floats> h) {
  Recurrent<Index, Input> net = {};
  SPARL_CHECK(read_net(arguments, false, &net));
  SPARL_CHECK(check_shape("y", *y, {net.steps, net.outputs, net.columns}));
  if (keep_h) SPARL_CHECK(check_shape("h", *h, {net.steps, net.hidden, net.columns}));
  net.y = y->typed_data();
  net.h = keep_h ? h->typed_data() : nullptr;
  const auto& kernels = kernels_of<Index, Input>().recurrent;
  parallel_for(pool, panels(net.columns), [&](int64_t i) {
    const int64_t first = i * chosen->panel;
    kernels.forward(net, first, std::min(first + chosen->panel, net.columns),
                    scratch(kernels.forward_scratch(net), 0));
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
    transpose(weight->links, weight->values, shared);
    weight->transposed = shared;
    shared += weight->links.count;
  }
  const auto& kernels = kernels_of<Index, Input>().recurrent;
  parallel_for(pool, count, [&](int64_t i) {
    float* part = shared + i * size;
    std::memset(part, 0, size * sizeof(float));
    float* of[2 * kWeights];
    for (int k = 0; k < 2 * kWeights; part += sizes[k++]) of[k] = part;
    const int64_t first = i * chosen->panel;
    kernels.backward(net, first, std::min(first + chosen->panel, net.columns),
                     scratch(kernels.backward_scratch(net), 0),
                     {of[0], of[2], of[4], of[6], of[1], of[3], of[5], of[7]});
  });
  add_up(shared, count, size);
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

// ---- Batches ------------------------------------------------------------------------------------

// Turns rows of episodes into what agents see: [T, obs + actions + agents, episodes x agents], the
// observation, the last action and the agent, both one-hot. See sparl.replay.batch.
template <class Action>
ffi::Error run_agent_inputs(ffi::ThreadPool pool, ffi::Buffer<ffi::F16> obs, ffi::AnyBuffer actions,
                            Ints length, ffi::Result<ffi::Buffer<ffi::F16>> inputs) {
  if (obs.dimensions().size() != 4 || inputs->dimensions().size() != 3) {
    return invalid("obs must have four dimensions, inputs three");
  }
  const int64_t episodes = obs.dimensions()[0], steps = obs.dimensions()[1];
  const int64_t agents = obs.dimensions()[2], size = obs.dimensions()[3];
  const int64_t columns = episodes * agents;
  const int64_t features = inputs->dimensions()[1], num_actions = features - size - agents;
  SPARL_CHECK(check_shape("actions", actions, {episodes, steps, agents}));
  SPARL_CHECK(check_shape("length", length, {episodes}));
  SPARL_CHECK(check_shape("inputs", *inputs, {steps, features, columns}));
  if (num_actions < 1) return invalid("inputs leave no room for a last action");
  const uint16_t* from = reinterpret_cast<const uint16_t*>(obs.typed_data());
  const Action* taken = static_cast<const Action*>(actions.untyped_data());
  const int32_t* lengths = length.typed_data();
  uint16_t* to = reinterpret_cast<uint16_t*>(inputs->typed_data());
  constexpr uint16_t kOne = 0x3c00;
  parallel_for(pool, steps, [=](int64_t t) {
    uint16_t* step = to + t * features * columns;
    for (int64_t b = 0; b < episodes; ++b) {
      const bool seen = t <= lengths[b];
      const uint16_t* rows = from + (b * steps + t) * agents * size;
      uint16_t* own = step + b * agents;
      if (seen) {
        for (int64_t f = 0; f < size; ++f) {
          for (int64_t a = 0; a < agents; ++a) own[f * columns + a] = rows[a * size + f];
        }
      }
      const int64_t first = seen ? size : 0;
      for (int64_t f = first; f < features; ++f) {
        for (int64_t a = 0; a < agents; ++a) own[f * columns + a] = 0;
      }
      for (int64_t a = 0; a < agents; ++a) {
        own[(size + num_actions + a) * columns + a] = kOne;
        if (!seen || t == 0) continue;
        const int64_t action = taken[(b * steps + t - 1) * agents + a];
        if (action < num_actions) own[(size + action) * columns + a] = kOne;
      }
    }
  });
  return ffi::Error::Success();
}

ffi::Error agent_inputs(ffi::ThreadPool pool, ffi::Buffer<ffi::F16> obs, ffi::AnyBuffer actions,
                        Ints length, ffi::Result<ffi::Buffer<ffi::F16>> inputs) {
  if (actions.element_type() == ffi::U8) {
    return run_agent_inputs<uint8_t>(pool, obs, actions, length, inputs);
  }
  if (actions.element_type() == ffi::U16) {
    return run_agent_inputs<uint16_t>(pool, obs, actions, length, inputs);
  }
  return invalid("actions must be uint8 or uint16");
}

// ---- Links --------------------------------------------------------------------------------------

template <class Index>
ffi::Error run_links_of(ffi::Buffer<ffi::PRED> mask, ffi::Result<Ints> row_start,
                        ffi::Result<ffi::AnyBuffer> column, ffi::Result<Ints> column_start,
                        ffi::Result<ffi::AnyBuffer> row, ffi::Result<Ints> order) {
  if (mask.dimensions().size() != 2) return invalid("a mask must have two dimensions");
  const int64_t outputs = mask.dimensions()[0], inputs = mask.dimensions()[1];
  const int64_t count = column->element_count();
  SPARL_CHECK(check_shape("row_start", *row_start, {outputs + 1}));
  SPARL_CHECK(check_shape("column_start", *column_start, {inputs + 1}));
  SPARL_CHECK(check_shape("row", *row, {count}));
  SPARL_CHECK(check_shape("order", *order, {count}));
  if (sizeof(Index) == 2 && std::max(outputs, inputs) > 65536) {
    return invalid("a dimension above 65536 needs indices of type int32");
  }
  const bool* present = mask.typed_data();
  if (std::count(present, present + outputs * inputs, true) != count) {
    return invalid("the mask does not have " + std::to_string(count) + " links");
  }
  int32_t* rows = row_start->typed_data();
  int32_t* columns = column_start->typed_data();
  Index* of_row = static_cast<Index*>(column->untyped_data());
  Index* of_column = static_cast<Index*>(row->untyped_data());
  std::fill(columns, columns + inputs + 1, 0);
  int32_t k = 0;
  for (int64_t r = 0; r < outputs; ++r) {
    rows[r] = k;
    for (int64_t c = 0; c < inputs; ++c) {
      if (!present[r * inputs + c]) continue;
      of_row[k++] = static_cast<Index>(c);
      ++columns[c + 1];
    }
  }
  rows[outputs] = k;
  for (int64_t c = 0; c < inputs; ++c) columns[c + 1] += columns[c];
  // Filling each column moves its start on to the next one's, which is mended afterwards.
  k = 0;
  for (int64_t r = 0; r < outputs; ++r) {
    for (; k < rows[r + 1]; ++k) {
      const int32_t to = columns[of_row[k]]++;
      of_column[to] = static_cast<Index>(r);
      order->typed_data()[to] = k;
    }
  }
  for (int64_t c = inputs; c > 0; --c) columns[c] = columns[c - 1];
  columns[0] = 0;
  return ffi::Error::Success();
}

ffi::Error links_of(ffi::Buffer<ffi::PRED> mask, ffi::Result<Ints> row_start,
                    ffi::Result<ffi::AnyBuffer> column, ffi::Result<Ints> column_start,
                    ffi::Result<ffi::AnyBuffer> row, ffi::Result<Ints> order) {
  if (column->element_type() != row->element_type()) {
    return invalid("row and column must be of one type");
  }
  if (column->element_type() == ffi::U16) {
    return run_links_of<uint16_t>(mask, row_start, column, column_start, row, order);
  }
  if (column->element_type() == ffi::S32) {
    return run_links_of<int32_t>(mask, row_start, column, column_start, row, order);
  }
  return invalid("indices must be uint16 or int32");
}

// Calls at(k, position in the dense array) for every link.
template <class Index, class At>
ffi::Error for_each_link(Ints row_start, ffi::AnyBuffer column, Shape dense, At at) {
  if (dense.size() != 2) return invalid("a dense weight must have two dimensions");
  const int64_t count = column.element_count();
  SPARL_CHECK(check_shape("row_start", row_start, {dense[0] + 1}));
  SPARL_CHECK(check_starts("row_start", row_start.typed_data(), dense[0], count));
  const Index* columns = static_cast<const Index*>(column.untyped_data());
  SPARL_CHECK(check_below("column", columns, count, dense[1]));
  for (int64_t r = 0; r < dense[0]; ++r) {
    for (int32_t k = row_start.typed_data()[r]; k < row_start.typed_data()[r + 1]; ++k) {
      at(k, r * dense[1] + columns[k]);
    }
  }
  return ffi::Error::Success();
}

template <class At>
ffi::Error for_each_link(Ints row_start, ffi::AnyBuffer column, Shape dense, At at) {
  if (column.element_type() == ffi::U16) {
    return for_each_link<uint16_t>(row_start, column, dense, at);
  }
  if (column.element_type() == ffi::S32) {
    return for_each_link<int32_t>(row_start, column, dense, at);
  }
  return invalid("indices must be uint16 or int32");
}

ffi::Error take(Floats dense, Ints row_start, ffi::AnyBuffer column, ffi::Result<Floats> values) {
  SPARL_CHECK(check_shape("values", *values, {static_cast<int64_t>(column.element_count())}));
  const float* from = dense.typed_data();
  float* to = values->typed_data();
  return for_each_link(row_start, column, dense.dimensions(),
                       [=](int64_t k, int64_t place) { to[k] = from[place]; });
}

ffi::Error put(Floats values, Ints row_start, ffi::AnyBuffer column, ffi::Result<Floats> dense) {
  SPARL_CHECK(check_shape("values", values, {static_cast<int64_t>(column.element_count())}));
  const float* from = values.typed_data();
  float* to = dense->typed_data();
  std::fill(to, to + dense->element_count(), 0.0f);
  return for_each_link(row_start, column, dense->dimensions(),
                       [=](int64_t k, int64_t place) { to[place] = from[k]; });
}

}  // namespace
}  // namespace sparl

using sparl::Floats;
using sparl::Ints;

#define SPARL_BIND_LINKS Arg<Ints>().Arg<ffi::AnyBuffer>().Arg<Ints>().Arg<ffi::AnyBuffer>().Arg<Ints>()
XLA_FFI_DEFINE_HANDLER_SYMBOL(SparlLinearForward, sparl::linear_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<ffi::AnyBuffer>()
                                  .SPARL_BIND_LINKS.Attr<bool>("relu")
                                  .Ret<Floats>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(SparlLinearBackward, sparl::linear_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .SPARL_BIND_LINKS.Attr<bool>("relu")
                                  .Attr<bool>("wants_dx")
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>());

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

XLA_FFI_DEFINE_HANDLER_SYMBOL(SparlAgentInputs, sparl::agent_inputs,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F16>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Ints>()
                                  .Ret<ffi::Buffer<ffi::F16>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(SparlLinksOf, sparl::links_of,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<Ints>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<Ints>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<Ints>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    SparlTake, sparl::take,
    ffi::Ffi::Bind().Arg<Floats>().Arg<Ints>().Arg<ffi::AnyBuffer>().Ret<Floats>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    SparlPut, sparl::put,
    ffi::Ffi::Bind().Arg<Floats>().Arg<Ints>().Arg<ffi::AnyBuffer>().Ret<Floats>());

// The instruction sets of this machine, the widest first; null past the last.
extern "C" const char* sparl_instruction_set(int i) {
  const sparl::Kernels* kernels = i >= 0 && i < 3 ? sparl::available()[i] : nullptr;
  return kernels ? kernels->name : nullptr;
}

// Uses one of them from now on; 0 if this machine does not have it.
extern "C" int sparl_choose(const char* name) {
  for (int i = 0; sparl::available()[i]; ++i) {
    if (std::strcmp(sparl::available()[i]->name, name) == 0) {
      sparl::chosen = sparl::available()[i];
      return 1;
    }
  }
  return 0;
}

// The one in use.
extern "C" const char* sparl_chosen() { return sparl::chosen->name; }
