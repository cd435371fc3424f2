// The kernels as plain functions over plain memory, one set per instruction set.
//
// Activations are feature-major, [features, columns]. A weight [out, in] is the values of its links
// row by row (compressed sparse rows) and, for products with its transpose, where they lie column
// by column. Nothing here allocates, throws or knows of XLA; sizes and indices were checked.
#ifndef SPARL_KERNELS_H_
#define SPARL_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace sparl {

// Where a weight has its links. Index is uint16_t, or int32_t where a dimension needs it.
template <class Index>
struct Links {
  int64_t outputs, inputs, count;
  const int32_t* row_start;     // [outputs + 1], into column
  const Index* column;          // [count]
  const int32_t* column_start;  // [inputs + 1], into row and order
  const Index* row;             // [count], ascending within a column
  const int32_t* order;         // [count]: the position, row by row, of each link column by column
};

template <class Index>
struct Weight {
  Links<Index> links;
  const float* values;      // [count], row by row
  const float* transposed;  // [count], column by column; backward passes only
};

// A linear layer over one batch entry: y [outputs, columns] = w x [inputs, columns] + bias.
template <class Index, class Input>
struct Linear {
  Weight<Index> weight;
  const float* bias;  // [outputs]
  bool relu;
  int64_t columns;
  const Input* x;
  float* y;  // Read by the backward pass if relu.
  const float* dy;
  float* dx;  // Or null.
};

// Linear, ReLU, GRU, linear over whole sequences, the gates in the order reset, update, candidate.
template <class Index, class Input>
struct Recurrent {
  Weight<Index> fc1, w_ih, w_hh, fc2;
  const float *b1, *b_ih, *b_hh, *b2;
  int64_t steps, inputs, features, hidden, outputs, columns;
  const Input* x;         // [steps, inputs, columns]
  const float* h0;        // [hidden, columns]
  const int32_t* length;  // [columns]: hidden states past a column's own steps are 0
  float* y;               // [steps, outputs, columns]
  float* h;               // [steps, hidden, columns]; or null
  const float* dy;        // [steps, outputs, columns]
  const float* dh;        // [steps, hidden, columns]; or null
  float* dx;              // [steps, inputs, columns]; or null
  float* dh0;             // [hidden, columns]
};

// Where the gradients of a recurrent net are added to.
struct RecurrentGradients {
  float *fc1, *w_ih, *w_hh, *fc2, *b1, *b_ih, *b_hh, *b2;
};

// What one call of a linear layer works on: columns [first, last), and of the features that it
// returns, outputs or gradients of inputs, [begin, end). What it computes for a feature does not
// depend on which others there are.
struct Tile {
  int64_t first, last, begin, end;
};

// One instruction set's kernels. Every call works on columns [first, last) and may run beside
// others on other columns; `first` is a multiple of the panel. `scratch` holds as many floats as
// the function beside it says. How a sum is rounded may depend on how many columns there are, but
// not on which call has them.
template <class Index, class Input>
struct RecurrentKernels {
  void (*forward)(const Recurrent<Index, Input>&, int64_t first, int64_t last, float* scratch);
  int64_t (*forward_scratch)(const Recurrent<Index, Input>&);
  void (*backward)(const Recurrent<Index, Input>&, int64_t first, int64_t last, float* scratch,
                   const RecurrentGradients& gradients);
  int64_t (*backward_scratch)(const Recurrent<Index, Input>&);
};

template <class Index, class Input>
struct LinearKernels {
  void (*forward)(const Linear<Index, Input>&, Tile, float* scratch);
  int64_t (*forward_scratch)(const Linear<Index, Input>&);
  // Adds to dw [count], column by column, what the tile's inputs have there, and unless it is null
  // to db [outputs]. Calls on the same columns may share dw, if only one of them has db.
  void (*backward)(const Linear<Index, Input>&, Tile, float* scratch, float* dw, float* db);
  int64_t (*backward_scratch)(const Linear<Index, Input>&);
};

template <class Index, class Input>
struct KernelsOf {
  LinearKernels<Index, Input> linear;
  RecurrentKernels<Index, Input> recurrent;
};

struct Kernels {
  const char* name;
  int64_t panel;  // Columns of a recurrent net that are worked on at a time.
  KernelsOf<uint16_t, float> narrow_float;
  KernelsOf<uint16_t, uint16_t> narrow_half;
  KernelsOf<int32_t, float> wide_float;
  KernelsOf<int32_t, uint16_t> wide_half;
};

}  // namespace sparl

#endif  // SPARL_KERNELS_H_
