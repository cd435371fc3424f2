// What the tasks of a backward pass share: values in the other order, and gradients in parts.
#ifndef SPARL_PARTIAL_SUMS_H_
#define SPARL_PARTIAL_SUMS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "threads.h"
#include "xla/ffi/api/ffi.h"

namespace sparl {

constexpr int64_t kSlice = 1 << 14;  // Links of a task.

// Runs work(begin, end) on slices of [0, count).
template <class Work>
void parallel_slices(xla::ffi::ThreadPool& pool, int64_t count, const Work& work) {
  parallel_for(pool, (count + kSlice - 1) / kSlice, [&](int64_t i) {
    work(i * kSlice, std::min(count, (i + 1) * kSlice));
  });
}

// Values column by column, from row by row.
template <class Index>
void transpose(xla::ffi::ThreadPool& pool, const Links<Index>& links, const float* values,
               float* to) {
  parallel_slices(pool, links.count, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) to[k] = values[links.order[k]];
  });
}

// Values row by row, from column by column. It gathers, as scattering is several times slower.
template <class Index>
void transpose_back(xla::ffi::ThreadPool& pool, const Links<Index>& links, const float* values,
                    float* to) {
  const int64_t slices = std::min(links.outputs, (links.count + kSlice - 1) / kSlice);
  parallel_for(pool, slices, [&](int64_t slice) {
    const int64_t first = slice * links.outputs / slices;
    const int64_t last = (slice + 1) * links.outputs / slices;
    // Where each column goes on: its links lie in the order of their rows.
    std::vector<int32_t> next(links.inputs);
    for (int64_t c = 0; c < links.inputs; ++c) {
      const Index* begin = links.row + links.column_start[c];
      const Index* end = links.row + links.column_start[c + 1];
      const int64_t at = std::lower_bound(begin, end, first) - links.row;
      next[c] = static_cast<int32_t>(std::min(at, links.count - 1));
    }
    for (int32_t k = links.row_start[first]; k < links.row_start[last]; ++k) {
      int32_t& at = next[links.column[k]];
      to[k] = values[at];
      at += at + 1 < links.count;  // The last column's end, or links that are not of one mask.
    }
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
