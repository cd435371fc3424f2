// Links from masks, and values between links and dense arrays, as XLA's foreign functions.
#include <algorithm>

#include "ffi_checks.h"

namespace sparl {
namespace {

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

namespace ffi = xla::ffi;
using sparl::Floats;
using sparl::Ints;

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
