// Panels: a few vectors of columns of a few rows, packed densely, and sums over them.
//
// Products accumulate in registers over a panel, so that a row is stored once and not once per
// link; panels are packed because rows at strides of 4 KiB fall into the same sets of the cache.
#ifndef SPARL_PANELS_H_
#define SPARL_PANELS_H_

#include "kernels.h"
#include "vector.h"

namespace sparl::SPARL_ISA {
namespace {  // Included once, so the compiler may inline what it sees called once.

constexpr int kVectors = 4;                    // Vectors of a panel, all in registers.
constexpr int64_t kPanel = kVectors * kLanes;  // Columns of a panel.

// Panels of so many vectors, of which a template is to be made.
template <int n>
struct Width {
  static constexpr int vectors = n;
  static constexpr int64_t columns = n * kLanes;
};

// Calls run(Width<n>{}) for the narrowest panel, of `most` vectors or a half, a quarter ... of
// them, that holds `count` columns.
template <int most, class Run>
inline void in_narrowest(int64_t count, const Run& run) {
  if constexpr (most > 1) {
    if (count <= Width<most / 2>::columns) return in_narrowest<most / 2>(count, run);
  }
  run(Width<most>{});
}

inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

// Copies `count` columns of `rows` rows into panels of `width`; missing ones become zero.
template <class Input>
inline void pack(float* to, int64_t to_stride, const Input* from, int64_t from_stride, int64_t rows,
                 int64_t count, int64_t width) {
  for (int64_t r = 0; r < rows; ++r, to += to_stride, from += from_stride) {
    int64_t c = 0;
    for (; c + kLanes <= count; c += kLanes) store(to + c, load(from + c));
    if (c < count) {
      Input rest[kLanes] = {};
      for (int64_t i = c; i < count; ++i) rest[i - c] = from[i];
      store(to + c, load(rest));
      c += kLanes;
    }
    for (; c < width; c += kLanes) store(to + c, Vec{});
  }
}

// Asks for the memory of a panel that will be packed, or with `write` written, a step later, as
// processors do not foresee rows that lie far apart.
template <bool write = false, class Element>
inline void fetch(const Element* from, int64_t stride, int64_t rows, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(Element);
  for (int64_t r = 0; r < rows; ++r, from += stride) {
    for (int64_t c = 0; c < count; c += kLine) {
      __builtin_prefetch(from + c, write, /*second level*/ 2);
    }
  }
}

inline void clear(float* to, int64_t rows, int64_t stride, int64_t width) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) to[r * stride + c] = 0;
  }
}

// Copies the first `count` columns of panels.
inline void unpack(float* to, int64_t to_stride, const float* from, int64_t from_stride,
                   int64_t rows, int64_t count) {
  for (int64_t r = 0; r < rows; ++r, to += to_stride, from += from_stride) {
    int64_t c = 0;
    for (; c + kLanes <= count; c += kLanes) store(to + c, load(from + c));
    for (; c < count; ++c) to[c] = from[c];
  }
}

// Reads `count` columns of one row; missing ones become zero.
template <int vectors, class Input>
SPARL_INLINE void take(Vec (&x)[vectors], const Input* from, int64_t count) {
  if (count == vectors * kLanes) {
    for (int j = 0; j < vectors; ++j) x[j] = load(from + j * kLanes);
    return;
  }
  float all_columns[vectors * kLanes];
  pack(all_columns, 0, from, 0, 1, count, vectors * kLanes);
  for (int j = 0; j < vectors; ++j) x[j] = load(all_columns + j * kLanes);
}

template <int vectors>
SPARL_INLINE void put(float* to, const Vec (&x)[vectors]) {
  for (int j = 0; j < vectors; ++j) store(to + j * kLanes, x[j]);
}

// Writes the first `count` columns of one row.
template <int vectors>
SPARL_INLINE void put(float* to, const Vec (&x)[vectors], int64_t count) {
  if (count == vectors * kLanes) return put(to, x);
  float all_columns[vectors * kLanes];
  put(all_columns, x);
  for (int64_t c = 0; c < count; ++c) to[c] = all_columns[c];
}

template <int vectors>
SPARL_INLINE void fill(Vec (&x)[vectors], float value) {
  for (int j = 0; j < vectors; ++j) x[j] = all(value);
}

// to += value * panel row, of one link.
template <int vectors, class Index>
SPARL_INLINE void add_link(Vec* to, const float* values, const Index* index, int64_t k,
                           const float* panel, int64_t stride) {
  const Vec value = all(values[k]);
  const float* x = panel + index[k] * stride;
  for (int j = 0; j < vectors; ++j) to[j] += value * load(x + j * kLanes);
}

// acc += sum of value * panel row over one compressed row.
template <int vectors, class Index>
SPARL_INLINE void accumulate(Vec (&acc)[vectors], const float* values, const Index* index,
                             int64_t begin, int64_t end, const float* panel, int64_t stride) {
  int64_t k = begin;
  // A multiply-add waits for the one before it, so narrow panels have several sums.
  if constexpr (vectors < kVectors) {
    constexpr int kSums = kVectors / vectors;
    if (k + kSums <= end) {
      Vec sums[kSums][vectors] = {};
      for (; k + kSums <= end; k += kSums) {
        for (int i = 0; i < kSums; ++i) {
          add_link<vectors>(sums[i], values, index, k + i, panel, stride);
        }
      }
      for (int i = 0; i < kSums; ++i) {
        for (int j = 0; j < vectors; ++j) acc[j] += sums[i][j];
      }
    }
  }
  for (; k < end; ++k) add_link<vectors>(acc, values, index, k, panel, stride);
}

// to[i] += the sum of x[i], for four vectors.
SPARL_INLINE void add_sums(const Vec* x, float* to) {
  const Vec ab = interleave_low(x[0], x[1]) + interleave_high(x[0], x[1]);
  const Vec cd = interleave_low(x[2], x[3]) + interleave_high(x[2], x[3]);
  const Quad sums = add_quads(pair_low(ab, cd) + pair_high(ab, cd));
  for (int i = 0; i < 4; ++i) to[i] += sums[i];
}

// to[k] += the sum of product(k), a vector, for every k from begin to end.
template <class Product>
SPARL_INLINE void add_products(int64_t begin, int64_t end, const Product& product, float* to) {
  int64_t k = begin;
  for (; k + 4 <= end; k += 4) {
    const Vec four[4] = {product(k), product(k + 1), product(k + 2), product(k + 3)};
    add_sums(four, to + k);
  }
  for (; k < end; ++k) to[k] += sum(product(k));
}

}  // namespace
}  // namespace sparl::SPARL_ISA

#endif  // SPARL_PANELS_H_
