// What arrays from outside are checked by before anything of them is read.
#ifndef SPARL_FFI_CHECKS_H_
#define SPARL_FFI_CHECKS_H_

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace sparl {

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;
using Ints = ffi::Buffer<ffi::S32>;

inline ffi::Error invalid(const std::string& message) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "sparl: " + message);
}

using Shape = xla::ffi::Span<const int64_t>;

inline std::string shape_of(Shape shape) {
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
inline ffi::Error check_starts(const char* name, const int32_t* start, int64_t n, int64_t count) {
  bool ok = start[0] == 0 && start[n] == count;
  for (int64_t i = 0; i < n; ++i) ok &= start[i] <= start[i + 1];
  if (ok) return ffi::Error::Success();
  return invalid(std::string(name) + " must rise from 0 to the number of links, " +
                 std::to_string(count));
}

// 0 <= index[i] < bound.
template <class Index>
ffi::Error check_below(const char* name, const Index* index, int64_t count, int64_t bound) {
  // As unsigned numbers negative ones are the largest.
  using Unsigned = std::make_unsigned_t<Index>;
  Unsigned largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, static_cast<Unsigned>(index[i]));
  }
  if (count == 0 || static_cast<int64_t>(largest) < bound) return ffi::Error::Success();
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
  if (from.column.element_type() != (sizeof(Index) == 2 ? ffi::U16 : ffi::S32)) {
    return invalid("the indices of all weights must be of one type, uint16 or int32");
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

}  // namespace sparl

#endif  // SPARL_FFI_CHECKS_H_
