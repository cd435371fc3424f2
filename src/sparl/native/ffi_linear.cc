// Linear layers as XLA's foreign functions.
#include <algorithm>

#include "ffi_checks.h"
#include "instruction_sets.h"
#include "partial_sums.h"
#include "threads.h"

namespace sparl {
namespace {

// Columns that are handed over together; a multiple of every panel.
constexpr int64_t kPieceColumns = 128;
// Links times columns of a task, at least: enough that handing it over costs little.
constexpr int64_t kTaskWork = 1 << 18;
// Links of a task for each row that it packs, at least: enough that packing costs little.
constexpr int64_t kLinksPerRow = 4;

// A tile of one batch entry.
struct Piece {
  int64_t entry;
  Tile tile;
};

// A layer's links, from `packed` features, of which a task makes panels, to `computed` ones.
struct Work {
  int64_t batch, columns, links, packed, computed;
};

// How [batch, columns] is cut into pieces, and these into groups. It follows from shapes alone, and
// partial sums are added in the order of the groups. Where groups are fewer than threads, each is
// cut into bands of features, a task each, which does not show in what they compute: so results do
// not depend on the number of threads.
struct Cut {
  int64_t columns, computed, per_entry, pieces, per_group, groups, bands = 1;

  // At most `most` groups.
  Cut(const Work& work, int64_t most, int64_t threads)
      : columns(work.columns),
        computed(work.computed),
        per_entry((columns + kPieceColumns - 1) / kPieceColumns),
        pieces(work.batch * per_entry),
        per_group(std::max(1 + kTaskWork / std::max<int64_t>(1, work.links * kPieceColumns),
                           (pieces + most - 1) / most)),
        groups((pieces + per_group - 1) / per_group) {
    if (groups == 0) return;
    const int64_t useful = std::min(work.links * work.batch * columns / groups / kTaskWork,
                                    work.links / std::max<int64_t>(1, kLinksPerRow * work.packed));
    bands = std::max<int64_t>(1, std::min({threads / groups, useful, computed}));
  }
  int64_t tasks() const { return groups * bands; }
  int64_t group(int64_t task) const { return task / bands; }
  // The first feature of a task's band, and the first past it.
  int64_t begin(int64_t task) const { return task % bands * computed / bands; }
  int64_t end(int64_t task) const { return (task % bands + 1) * computed / bands; }
  // Calls run(piece) for every piece of a task.
  template <class Run>
  void for_each(int64_t task, const Run& run) const {
    const int64_t first = group(task) * per_group, last = std::min(first + per_group, pieces);
    for (int64_t i = first; i < last; ++i) {
      const int64_t column = i % per_entry * kPieceColumns;
      const Tile tile = {column, std::min(column + kPieceColumns, columns), begin(task), end(task)};
      run(Piece{i / per_entry, tile});
    }
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
  const Cut cut({shape.batch, shape.columns, links.count, links.inputs, links.outputs},
                /*most=*/256, pool.num_threads());
  parallel_for(pool, cut.tasks(), [&](int64_t task) {
    float* own = scratch(kernels.forward_scratch(layer), 0);
    cut.for_each(task, [&](Piece piece) {
      Linear<Index, Input> part = layer;
      part.x =
          static_cast<const Input*>(x.untyped_data()) + piece.entry * links.inputs * shape.columns;
      part.y = y->typed_data() + piece.entry * links.outputs * shape.columns;
      kernels.forward(part, piece.tile, own);
    });
  });
  return ffi::Error::Success();
}

template <class Index, class Input>
ffi::Error run_linear_backward(ffi::ThreadPool pool, const LinkBuffers& buffers, Floats values,
                               ffi::AnyBuffer x, Floats y, Floats dy, bool relu, bool wants_dx,
                               bool wants_dw, ffi::Result<Floats> dvalues, ffi::Result<Floats> dbias,
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
  if (wants_dw) {
    SPARL_CHECK(check_shape("dvalues", *dvalues, {links.count}));
    SPARL_CHECK(check_shape("dbias", *dbias, {links.outputs}));
  } else if (!wants_dx) {
    return invalid("a backward pass is to find a gradient, of the input or of the weight");
  }
  layer.relu = relu;
  layer.columns = shape.columns;

  const auto& kernels = kernels_of<Index, Input>().linear;
  const Cut cut({shape.batch, shape.columns, links.count, links.outputs, links.inputs},
                /*most=*/8, pool.num_threads());
  const int64_t size = wants_dw ? links.count + links.outputs : 0;
  float* shared = scratch(links.count + std::max<int64_t>(cut.groups, 1) * size, 1);
  layer.weight.transposed = shared;
  if (wants_dx) transpose(pool, links, values.typed_data(), shared);
  float* parts = shared + links.count;
  parallel_for(pool, cut.tasks(), [&](int64_t task) {
    float* own = scratch(kernels.backward_scratch(layer), 0);
    float* dw = wants_dw ? parts + cut.group(task) * size : nullptr;
    // All bands see the same gradients of outputs; the first sums them up.
    float* db = dw && cut.begin(task) == 0 ? dw + links.count : nullptr;
    if (dw) {
      std::fill(dw + links.column_start[cut.begin(task)], dw + links.column_start[cut.end(task)],
                0.0f);
    }
    if (db) std::fill(db, db + links.outputs, 0.0f);
    cut.for_each(task, [&](Piece piece) {
      const int64_t in = piece.entry * links.inputs * shape.columns;
      const int64_t out = piece.entry * links.outputs * shape.columns;
      Linear<Index, Input> part = layer;
      part.x = static_cast<const Input*>(x.untyped_data()) + in;
      part.y = relu ? const_cast<float*>(y.typed_data()) + out : nullptr;
      part.dy = dy.typed_data() + out;
      part.dx = wants_dx ? dx->typed_data() + in : nullptr;
      kernels.backward(part, piece.tile, own, dw, db);
    });
  });
  if (!wants_dw) return ffi::Error::Success();
  add_up(pool, parts, cut.groups, size);
  transpose_back(pool, links, parts, dvalues->typed_data());
  std::copy(parts + links.count, parts + size, dbias->typed_data());
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
                           ffi::AnyBuffer row, Ints order, bool relu, bool wants_dx, bool wants_dw,
                           ffi::Result<Floats> dvalues, ffi::Result<Floats> dbias,
                           ffi::Result<Floats> dx) {
  const LinkBuffers links{row_start, column, column_start, row, order};
  return dispatch(column, x, [&](auto index, auto input) {
    return run_linear_backward<decltype(index), decltype(input)>(
        pool, links, values, x, y, dy, relu, wants_dx, wants_dw, dvalues, dbias, dx);
  });
}

}  // namespace
}  // namespace sparl

namespace ffi = xla::ffi;
using sparl::Floats;
using sparl::Ints;

#define SPARL_BIND_LINKS \
  Arg<Ints>().Arg<ffi::AnyBuffer>().Arg<Ints>().Arg<ffi::AnyBuffer>().Arg<Ints>()
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
                                  .Attr<bool>("wants_dw")
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>());
