// What the tasks of a backward pass share: values in the other order, and gradients in parts.
#ifndef SPARL_PARTIAL_SUMS_H_
#define SPARL_PARTIAL_SUMS_H_

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace sparl {

// Runs work(begin, end) on slices of [0, count).
template <class Work>
void parallel_slices(xla::ffi::ThreadPool& pool, int64_t count, const Work& work) {
  constexpr int64_t kSlice = 1 << 14;
  parallel_for(pool, (count + kSlice - 1) / kSlice, [&](int64_t i) {
    work(i * kSlice, std::min(count, (i + 1) * kSlice));
  });
}

// Values column by column.
template <class Index>
void transpose(xla::ffi::ThreadPool& pool, const Links<Index>& links, const float* values,
               float* to) {
  parallel_slices(pool, links.count, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) to[k] = values[links.order[k]];
  });
}

// Adds up parts that lie `size` apart, one after the other, into the first.
inline void add_up(xla::ffi::ThreadPool& pool, float* parts, int64_t count, int64_t size) {
  parallel_slices(pool, size, [&](int64_t begin, int64_t end) {
    if (count == 0) std::fill(parts + begin, parts + end, 0.0f);
    for (int64_t i = 1; i < count; ++i) {
      for (int64_t k = begin; k < end; ++k) parts[k] += parts[i * size + k];
    }
  });
}

}  // namespace sparl

#endif  // SPARL_PARTIAL_SUMS_H_
