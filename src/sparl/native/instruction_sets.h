// Which of the instruction sets' kernels are in use.
#ifndef SPARL_INSTRUCTION_SETS_H_
#define SPARL_INSTRUCTION_SETS_H_

#include "kernels.h"

namespace sparl {

// The kernels in use: the widest of this machine, unless another set was chosen.
const Kernels& kernels();

// Those for the types of indices and inputs.
template <class Index, class Input>
const KernelsOf<Index, Input>& kernels_of() {
  if constexpr (sizeof(Index) == 2 && sizeof(Input) == 4) return kernels().narrow_float;
  if constexpr (sizeof(Index) == 2 && sizeof(Input) == 2) return kernels().narrow_half;
  if constexpr (sizeof(Index) == 4 && sizeof(Input) == 4) return kernels().wide_float;
  if constexpr (sizeof(Index) == 4 && sizeof(Input) == 2) return kernels().wide_half;
}

}  // namespace sparl

#endif  // SPARL_INSTRUCTION_SETS_H_
