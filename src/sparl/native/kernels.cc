// The kernels, compiled once per instruction set: SPARL_ISA names it, SPARL_VECTOR_BYTES is the
// width of its vectors.
//
// Only functions of this namespace are used, and not the standard library's: a linker would merge
// inline functions, and might keep the copy that older processors cannot run.
#include "linear.h"
#include "recurrent.h"

namespace sparl::SPARL_ISA {
namespace {

template <class Index, class Input>
constexpr KernelsOf<Index, Input> kKernelsOf = {
    {linear_forward<Index, Input>, linear_forward_scratch<Index, Input>,
     linear_backward<Index, Input>, linear_backward_scratch<Index, Input>},
    {recurrent_forward<Index, Input>, recurrent_forward_scratch<Index, Input>,
     recurrent_backward<Index, Input>, recurrent_backward_scratch<Index, Input>}};

}  // namespace

#define SPARL_QUOTE_(x) #x
#define SPARL_QUOTE(x) SPARL_QUOTE_(x)

extern const Kernels kKernels;
const Kernels kKernels = {
    SPARL_QUOTE(SPARL_ISA),
    kPanel,
    kKernelsOf<uint16_t, float>,
    kKernelsOf<uint16_t, uint16_t>,
    kKernelsOf<int32_t, float>,
    kKernelsOf<int32_t, uint16_t>,
};

}  // namespace sparl::SPARL_ISA
