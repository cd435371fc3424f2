// Linear, ReLU, GRU, linear over whole sequences.
#ifndef SPARL_RECURRENT_H_
#define SPARL_RECURRENT_H_

#include "panels.h"

namespace sparl::SPARL_ISA {
namespace {  // Included once, so the compiler may inline what it sees called once.

constexpr int kBlocks = 2;  // Panels, of one step each, that a weight gradient sums over at a time.

// dw[k] += the dot product of row r of dy and row column[k] of x, for every link k = (r, column),
// and db[r] += the sum of row r of dy. Rows are `held` vectors, held in registers.
template <int held, class Index>
void weight_gradient(const Links<Index>& links, const float* dy, const float* x, int64_t stride,
                     float* dw, float* db) {
  for (int64_t r = 0; r < links.outputs; ++r) {
    const int64_t begin = links.row_start[r], end = links.row_start[r + 1];
    Vec row[held];
    for (int j = 0; j < held; ++j) row[j] = load(dy + r * stride + j * kLanes);
    Vec whole = row[0];
    for (int j = 1; j < held; ++j) whole += row[j];
    db[r] += sum(whole);
    auto product = [&](int64_t k) __attribute__((always_inline)) {
      const float* other = x + links.column[k] * stride;
      Vec total[2] = {};
      for (int j = 0; j < held; ++j) total[j % 2] += row[j] * load(other + j * kLanes);
      return total[0] + total[1];
    };
    add_products(begin, end, product, dw);
  }
}

inline int64_t wide_stride(int64_t width) {
  return width + kLanes;  // Not a power of two, so that rows spread over the sets of the cache.
}

template <class Net>
int64_t longest(const Net& net, int64_t first, int64_t count) {
  int64_t steps = 0;
  for (int64_t c = first; c < first + count; ++c) steps = max(steps, net.length[c]);
  return min(steps, net.steps);
}

template <class Net>
int64_t shortest(const Net& net, int64_t first, int64_t count) {
  int64_t steps = net.steps;
  for (int64_t c = first; c < first + count; ++c) steps = min(steps, net.length[c]);
  return steps;
}

// Makes zero what rows of a panel hold where the mask is not set.
template <int vectors>
void clear_ended(float* rows, int64_t count, int64_t stride, const VecBits (&mask)[vectors]) {
  for (int64_t r = 0; r < count; ++r, rows += stride) {
    for (int j = 0; j < vectors; ++j) {
      store(rows + j * kLanes, only(load(rows + j * kLanes), mask[j]));
    }
  }
}

// All bits set where a column has not ended at `step`, else none.
template <int vectors, class Net>
void running(const Net& net, int64_t first, int64_t count, int64_t step, VecBits (&mask)[vectors]) {
  for (int j = 0; j < vectors; ++j) {
    for (int i = 0; i < kLanes; ++i) {
      const int64_t c = j * kLanes + i;
      mask[j][i] = c < count && net.length[first + c] > step ? ~0u : 0u;
    }
  }
}

// to[r] = w x + b of a panel, its positive part if `relu`.
template <int vectors, bool relu, class Index>
inline void product(const Weight<Index>& w, const float* bias, const float* x, int64_t stride,
                    float* to) {
  for (int64_t r = 0; r < w.links.outputs; ++r) {
    Vec acc[vectors];
    fill(acc, bias[r]);
    accumulate(acc, w.values, w.links.column, w.links.row_start[r], w.links.row_start[r + 1], x,
               stride);
    for (int j = 0; relu && j < vectors; ++j) acc[j] = at_least(acc[j], 0);
    put(to + r * stride, acc);
  }
}

// Hidden units whose gates are computed together. One vector's sigmoid is a long chain of steps
// that wait for each other: it takes many vectors at a time to keep the multipliers busy.
constexpr int64_t kUnits = 8;

// A panel of each unit: what a gate sums up, before its sigmoid or tanh.
template <class Panel>
struct GateSums {
  static constexpr int64_t kSize = kUnits * Panel::columns;
  alignas(64) float reset[kSize], update[kSize], candidate[kSize];
  // The candidate's recurrent product, which the reset gate multiplies.
  alignas(64) float recurrent[kSize];
};

// acc += row r of w times a panel.
template <int vectors, class Index>
SPARL_INLINE void add_row(Vec (&acc)[vectors], const Weight<Index>& w, int64_t r,
                          const float* panel, int64_t stride) {
  accumulate(acc, w.values, w.links.column, w.links.row_start[r], w.links.row_start[r + 1], panel,
             stride);
}

// The sums of `count` units from `first` on.
template <class Panel, class Net>
SPARL_NOINLINE void sum_gates(const Net& net, int64_t first, int64_t count, const float* x,
                              const float* h, int64_t stride, GateSums<Panel>& sums) {
  constexpr int64_t kWidth = Panel::columns;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t reset = first + i, update = net.hidden + reset, candidate = net.hidden + update;
    Vec acc[Panel::vectors];
    auto add_both = [&](int64_t r, float* to) __attribute__((always_inline)) {
      fill(acc, net.b_ih[r] + net.b_hh[r]);
      add_row(acc, net.w_ih, r, x, stride);
      add_row(acc, net.w_hh, r, h, stride);
      put(to + i * kWidth, acc);
    };
    add_both(reset, sums.reset);
    add_both(update, sums.update);
    fill(acc, net.b_ih[candidate]);
    add_row(acc, net.w_ih, candidate, x, stride);
    put(sums.candidate + i * kWidth, acc);
    fill(acc, net.b_hh[candidate]);
    add_row(acc, net.w_hh, candidate, h, stride);
    put(sums.recurrent + i * kWidth, acc);
  }
}

struct Gates {
  Vec reset, update, candidate, recurrent;
};

// One vector of gates.
template <class Panel>
SPARL_INLINE Gates gates_of(const GateSums<Panel>& sums, int64_t at) {
  Gates gates;
  gates.reset = sigmoid(load(sums.reset + at));
  gates.update = sigmoid(load(sums.update + at));
  gates.recurrent = load(sums.recurrent + at);
  gates.candidate = tanh(load(sums.candidate + at) + gates.reset * gates.recurrent);
  return gates;
}

template <class Index, class Input>
int64_t recurrent_forward_scratch(const Recurrent<Index, Input>& net) {
  return (net.inputs + net.features + 2 * net.hidden + net.outputs) * kPanel;
}

template <class Panel, class Index, class Input>
SPARL_NOINLINE void recurrent_forward_panel(const Recurrent<Index, Input>& net, int64_t first,
                                            int64_t count, float* scratch) {
  constexpr int64_t kWidth = Panel::columns;
  const int64_t hidden = net.hidden, columns = net.columns;
  float* x = scratch;
  float* features = x + net.inputs * kWidth;
  float* y = features + net.features * kWidth;
  float* h = y + net.outputs * kWidth;
  float* next = h + hidden * kWidth;
  const int64_t end = longest(net, first, count), ended = shortest(net, first, count);
  pack(h, kWidth, net.h0 + first, columns, hidden, count, kWidth);
  for (int64_t t = 0; t < net.steps; ++t) {
    float* out = net.y + t * net.outputs * columns + first;
    float* states = net.h ? net.h + t * hidden * columns + first : nullptr;
    if (t >= end) {  // Only biases are left.
      for (int64_t r = 0; r < net.outputs; ++r) {
        for (int64_t c = 0; c < count; ++c) out[r * columns + c] = net.b2[r];
      }
      if (states) clear(states, hidden, columns, count);
      continue;
    }
    pack(x, kWidth, net.x + t * net.inputs * columns + first, columns, net.inputs, count, kWidth);
    if (t + 1 < end) {
      fetch(net.x + (t + 1) * net.inputs * columns + first, columns, net.inputs, count);
      if (states) fetch<true>(states + hidden * columns, columns, hidden, count);
    }
    VecBits mask[Panel::vectors] = {};
    running(net, first, count, t, mask);
    if (t >= ended) clear_ended(x, net.inputs, kWidth, mask);
    product<Panel::vectors, true>(net.fc1, net.b1, x, kWidth, features);
    for (int64_t u = 0; u < hidden; u += kUnits) {
      const int64_t units = min(kUnits, hidden - u);
      GateSums<Panel> sums;
      sum_gates(net, u, units, features, h, kWidth, sums);
      for (int64_t i = 0; i < units * kWidth; i += kLanes) {
        const Gates gates = gates_of(sums, i);
        const Vec before = load(h + u * kWidth + i);
        const Vec state = gates.candidate + gates.update * (before - gates.candidate);
        store(next + u * kWidth + i, only(state, mask[i % kWidth / kLanes]));
      }
      if (states) unpack(states + u * columns, columns, next + u * kWidth, kWidth, units, count);
    }
    product<Panel::vectors, false>(net.fc2, net.b2, next, kWidth, y);
    unpack(out, columns, y, kWidth, net.outputs, count);
    float* swap = h;
    h = next;
    next = swap;
  }
}

template <class Index, class Input>
void recurrent_forward(const Recurrent<Index, Input>& net, int64_t first, int64_t last,
                       float* scratch) {
  for (int64_t c = first; c < last; c += kPanel) {
    const int64_t count = min(kPanel, last - c);
    in_narrowest<kVectors>(count, [&](auto panel) {
      recurrent_forward_panel<decltype(panel)>(net, c, count, scratch);
    });
  }
}

template <class Index, class Input>
int64_t recurrent_backward_scratch(const Recurrent<Index, Input>& net) {
  return (net.inputs + 2 * net.features + 8 * net.hidden + net.outputs) *
             wide_stride(kBlocks * kPanel) +
         net.hidden * kPanel;
}

// Nothing but inputs and hidden states was kept: the rest is computed again, which costs less than
// to write it to memory and to read it back.
template <class Panel, class Index, class Input>
SPARL_NOINLINE void recurrent_backward_panel(const Recurrent<Index, Input>& net, int64_t first,
                                             int64_t count, float* scratch,
                                             const RecurrentGradients& gradients) {
  constexpr int64_t kWidth = Panel::columns;
  const int64_t hidden = net.hidden, columns = net.columns;
  const int64_t stride = wide_stride(kBlocks * kWidth);
  // Each holds a block of steps side by side.
  float* x = scratch;
  float* features = x + net.inputs * stride;
  float* d_features = features + net.features * stride;
  float* before = d_features + net.features * stride;
  float* after = before + hidden * stride;
  float* from_x = after + hidden * stride;       // Gradients of W_ih x + b_ih.
  float* from_h = from_x + 3 * hidden * stride;  // Gradients of W_hh h + b_hh.
  float* dy = from_h + 3 * hidden * stride;
  float* dh = dy + net.outputs * stride;  // Of one step.
  const Links<Index>& ih = net.w_ih.links;
  const Links<Index>& hh = net.w_hh.links;
  const int64_t end = longest(net, first, count), ended = shortest(net, first, count);
  clear(dh, hidden, kWidth, kWidth);

  for (int64_t t = end - 1; t >= 0; --t) {
    const int64_t slot = (end - 1 - t) % kBlocks * kWidth;
    VecBits mask[Panel::vectors] = {};
    running(net, first, count, t, mask);

    // What the forward pass had.
    pack(x + slot, stride, net.x + t * net.inputs * columns + first, columns, net.inputs, count,
         kWidth);
    if (t >= ended) clear_ended(x + slot, net.inputs, stride, mask);
    product<Panel::vectors, true>(net.fc1, net.b1, x + slot, stride, features + slot);
    const float* earlier = t ? net.h + (t - 1) * hidden * columns : net.h0;
    pack(before + slot, stride, earlier + first, columns, hidden, count, kWidth);
    pack(after + slot, stride, net.h + t * hidden * columns + first, columns, hidden, count,
         kWidth);
    pack(dy + slot, stride, net.dy + t * net.outputs * columns + first, columns, net.outputs, count,
         kWidth);

    if (t > 0) {
      fetch(net.x + (t - 1) * net.inputs * columns + first, columns, net.inputs, count);
      fetch(net.dy + (t - 1) * net.outputs * columns + first, columns, net.outputs, count);
    }
    if (t > 1) fetch(net.h + (t - 2) * hidden * columns + first, columns, hidden, count);

    // Through fc2.
    for (int64_t u = 0; u < hidden; ++u) {
      Vec total[Panel::vectors];
      for (int j = 0; j < Panel::vectors; ++j) total[j] = load(dh + u * kWidth + j * kLanes);
      accumulate(total, net.fc2.transposed, net.fc2.links.row, net.fc2.links.column_start[u],
                 net.fc2.links.column_start[u + 1], dy + slot, stride);
      if (net.dh) {
        float own[kWidth];
        pack(own, kWidth, net.dh + (t * hidden + u) * columns + first, columns, 1, count, kWidth);
        for (int j = 0; j < Panel::vectors; ++j) total[j] += load(own + j * kLanes);
      }
      put(dh + u * kWidth, total);
    }

    // Through the gates.
    for (int64_t u = 0; u < hidden; u += kUnits) {
      const int64_t units = min(kUnits, hidden - u);
      GateSums<Panel> sums;
      sum_gates(net, u, units, features + slot, before + slot, stride, sums);
      for (int64_t i = 0; i < units * kWidth; i += kLanes) {
        const Gates gates = gates_of(sums, i);
        const Vec reset = gates.reset, update = gates.update, candidate = gates.candidate;
        float* d_hidden = dh + u * kWidth + i;
        const int64_t to = (u + i / kWidth) * stride + slot + i % kWidth;
        const Vec d_state = only(load(d_hidden), mask[i % kWidth / kLanes]);
        const Vec kept = d_state * update;
        const Vec d_candidate = (d_state - kept) * (1 - candidate * candidate);
        const Vec d_update = kept * (1 - update) * (load(before + to) - candidate);
        const Vec d_reset = d_candidate * gates.recurrent * reset * (1 - reset);
        store(from_x + to, d_reset);
        store(from_h + to, d_reset);
        store(from_x + hidden * stride + to, d_update);
        store(from_h + hidden * stride + to, d_update);
        store(from_x + 2 * hidden * stride + to, d_candidate);
        store(from_h + 2 * hidden * stride + to, d_candidate * reset);
        store(d_hidden, kept);
      }
    }
    for (int64_t i = 0; i < hidden; ++i) {
      Vec acc[Panel::vectors];
      for (int j = 0; j < Panel::vectors; ++j) acc[j] = load(dh + i * kWidth + j * kLanes);
      accumulate(acc, net.w_hh.transposed, hh.row, hh.column_start[i], hh.column_start[i + 1],
                 from_h + slot, stride);
      put(dh + i * kWidth, acc);
    }

    // Through fc1.
    for (int64_t i = 0; i < net.features; ++i) {
      Vec acc[Panel::vectors] = {};
      accumulate(acc, net.w_ih.transposed, ih.row, ih.column_start[i], ih.column_start[i + 1],
                 from_x + slot, stride);
      for (int j = 0; j < Panel::vectors; ++j) {
        const int64_t to = i * stride + slot + j * kLanes;
        store(d_features + to, load(features + to) > 0 ? acc[j] : Vec{});
      }
    }
    if (net.dx) {
      const Links<Index>& links = net.fc1.links;
      for (int64_t i = 0; i < net.inputs; ++i) {
        Vec acc[Panel::vectors] = {};
        accumulate(acc, net.fc1.transposed, links.row, links.column_start[i],
                   links.column_start[i + 1], d_features + slot, stride);
        put(net.dx + (t * net.inputs + i) * columns + first, acc, count);
      }
    }

    if (slot == (kBlocks - 1) * kWidth || t == 0) {
      const int64_t unused = (kBlocks - 1) * kWidth - slot;
      // Nothing comes from steps that there are not; all that lies before dh is rows of one stride.
      clear(scratch + slot + kWidth, (dh - scratch) / stride, stride, unused);
      weight_gradient<Panel::vectors * kBlocks>(net.fc1.links, d_features, x, stride, gradients.fc1,
                                                gradients.b1);
      weight_gradient<Panel::vectors * kBlocks>(ih, from_x, features, stride, gradients.w_ih,
                                                gradients.b_ih);
      weight_gradient<Panel::vectors * kBlocks>(hh, from_h, before, stride, gradients.w_hh,
                                                gradients.b_hh);
      weight_gradient<Panel::vectors * kBlocks>(net.fc2.links, dy, after, stride, gradients.fc2,
                                                gradients.b2);
    }
  }

  // Past the end the outputs were the biases, and the inputs had no effect.
  for (int64_t t = end; t < net.steps; ++t) {
    if (net.dx) clear(net.dx + t * net.inputs * columns + first, net.inputs, columns, count);
    for (int64_t r = 0; r < net.outputs; ++r) {
      const float* row = net.dy + (t * net.outputs + r) * columns + first;
      for (int64_t c = 0; c < count; ++c) gradients.b2[r] += row[c];
    }
  }
  unpack(net.dh0 + first, columns, dh, kWidth, hidden, count);
}

template <class Index, class Input>
void recurrent_backward(const Recurrent<Index, Input>& net, int64_t first, int64_t last,
                        float* scratch, const RecurrentGradients& gradients) {
  for (int64_t c = first; c < last; c += kPanel) {
    const int64_t count = min(kPanel, last - c);
    in_narrowest<kVectors>(count, [&](auto panel) {
      recurrent_backward_panel<decltype(panel)>(net, c, count, scratch, gradients);
    });
  }
}

}  // namespace
}  // namespace sparl::SPARL_ISA

#endif  // SPARL_RECURRENT_H_
