// Linear layers.
#ifndef SPARL_LINEAR_H_
#define SPARL_LINEAR_H_

#include "panels.h"

namespace sparl::SPARL_ISA {
namespace {  // Included once, so the compiler may inline what it sees called once.

template <class Index, class Input>
int64_t linear_forward_scratch(const Linear<Index, Input>& layer) {
  return layer.weight.links.inputs * kPanel;
}

template <class Panel, class Index, class Input>
SPARL_NOINLINE void linear_forward_panel(const Linear<Index, Input>& layer, Tile tile, int64_t c,
                                         int64_t count, float* scratch) {
  const Weight<Index>& w = layer.weight;
  pack(scratch, Panel::columns, layer.x + c, layer.columns, w.links.inputs, count, Panel::columns);
  for (int64_t r = tile.begin; r < tile.end; ++r) {
    Vec acc[Panel::vectors];
    fill(acc, layer.bias[r]);
    accumulate(acc, w.values, w.links.column, w.links.row_start[r], w.links.row_start[r + 1],
               scratch, Panel::columns);
    if (layer.relu) {
      for (int j = 0; j < Panel::vectors; ++j) acc[j] = at_least(acc[j], 0);
    }
    put(layer.y + r * layer.columns + c, acc, count);
  }
}

template <class Index, class Input>
void linear_forward(const Linear<Index, Input>& layer, Tile tile, float* scratch) {
  for (int64_t c = tile.first; c < tile.last; c += kPanel) {
    const int64_t count = min(kPanel, tile.last - c);
    in_narrowest<kVectors>(count, [&](auto panel) {
      linear_forward_panel<decltype(panel)>(layer, tile, c, count, scratch);
    });
  }
}

// A backward pass holds a row of x and one of dx in registers while rows of dy stream by, and needs
// each of them once: for the input gradient and for the weight gradient. Of AVX-512's 32 registers
// both may take eight.
constexpr int kBackwardVectors = kLanes == 16 ? 8 : 4;
constexpr int64_t kBackwardPanel = kBackwardVectors * kLanes;

template <class Index, class Input>
int64_t linear_backward_scratch(const Linear<Index, Input>& layer) {
  return layer.weight.links.outputs * kBackwardPanel;
}

// Packs a panel of dy, zero where the ReLU cut off, and adds the sums of its rows to db, if wanted.
template <class Panel, class Index, class Input>
void pack_output_gradient(const Linear<Index, Input>& layer, int64_t c, int64_t count, float* to,
                          float* db) {
  for (int64_t r = 0; r < layer.weight.links.outputs; ++r, to += Panel::columns) {
    const int64_t at = r * layer.columns + c;
    pack(to, Panel::columns, layer.dy + at, layer.columns, 1, count, Panel::columns);
    if (layer.relu) {
      int64_t i = 0;
      for (; i + kLanes <= count; i += kLanes) {
        store(to + i, load(layer.y + at + i) > 0 ? load(to + i) : Vec{});
      }
      for (; i < count; ++i) to[i] = layer.y[at + i] > 0 ? to[i] : 0;
    }
    if (!db) continue;
    Vec total = load(to);
    for (int j = 1; j < Panel::vectors; ++j) total += load(to + j * kLanes);
    db[r] += sum(total);
  }
}

// dx += w^T dy and dw[k] += x . dy over the links of one input.
template <bool wants_dx, class Panel, class Index>
SPARL_INLINE void through_input(const Weight<Index>& w, int64_t begin, int64_t end, const float* dy,
                                const Vec* x, Vec* dx, float* dw) {
  auto product = [&](int64_t k) __attribute__((always_inline)) {
    const float* row = dy + w.links.row[k] * Panel::columns;
    const Vec value = wants_dx ? all(w.transposed[k]) : Vec{};
    Vec total[2] = {};  // Two sums, so that one multiply-add need not wait for the one before.
    for (int j = 0; j < Panel::vectors; ++j) {
      Vec gradient = load(row + j * kLanes);
      keep_in_register(gradient);
      total[j % 2] += x[j] * gradient;
      if (wants_dx) dx[j] += value * gradient;
    }
    return total[0] + total[1];
  };
  add_products(begin, end, product, dw);
}

// dx += w^T dy over the links of one input, where the weight is not trained.
template <class Panel, class Index>
SPARL_INLINE void into_input(const Weight<Index>& w, int64_t begin, int64_t end, const float* dy,
                             Vec* dx) {
  for (int64_t k = begin; k < end; ++k) {
    const float* row = dy + w.links.row[k] * Panel::columns;
    const Vec value = all(w.transposed[k]);
    for (int j = 0; j < Panel::vectors; ++j) dx[j] += value * load(row + j * kLanes);
  }
}

// Of dx and dw either may be null, but not both.
template <class Panel, class Index, class Input>
SPARL_NOINLINE void linear_backward_panel(const Linear<Index, Input>& layer, Tile tile, int64_t c,
                                          int64_t count, float* scratch, float* dw, float* db) {
  const Weight<Index>& w = layer.weight;
  pack_output_gradient<Panel>(layer, c, count, scratch, db);
  for (int64_t i = tile.begin; i < tile.end; ++i) {
    const int64_t begin = w.links.column_start[i], end = w.links.column_start[i + 1];
    Vec x[Panel::vectors], dx[Panel::vectors] = {};
    if (dw) take(x, layer.x + i * layer.columns + c, count);
    if (dw && layer.dx) {
      through_input<true, Panel>(w, begin, end, scratch, x, dx, dw);
    } else if (dw) {
      through_input<false, Panel>(w, begin, end, scratch, x, dx, dw);
    } else {
      into_input<Panel>(w, begin, end, scratch, dx);
    }
    if (layer.dx) put(layer.dx + i * layer.columns + c, dx, count);
  }
}

template <class Index, class Input>
void linear_backward(const Linear<Index, Input>& layer, Tile tile, float* scratch, float* dw,
                     float* db) {
  for (int64_t c = tile.first; c < tile.last; c += kBackwardPanel) {
    const int64_t count = min(kBackwardPanel, tile.last - c);
    in_narrowest<kBackwardVectors>(count, [&](auto panel) {
      linear_backward_panel<decltype(panel)>(layer, tile, c, count, scratch, dw, db);
    });
  }
}

}  // namespace
}  // namespace sparl::SPARL_ISA

#endif  // SPARL_LINEAR_H_
