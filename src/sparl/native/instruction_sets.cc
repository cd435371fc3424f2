#include "instruction_sets.h"

#include <cstring>

namespace sparl {

#if defined(SPARL_X86)
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
#endif
namespace generic {
extern const Kernels kKernels;
}

namespace {

// Instruction sets that this machine has, the widest first, and then null.
const Kernels* const* available() {
  static const Kernels* const* list = [] {
    static const Kernels* found[4] = {};
    int n = 0;
#if defined(SPARL_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
      found[n++] = &avx512::kKernels;
    }
    // Every processor with AVX2 and FMA also converts half floats.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found[n++] = &avx2::kKernels;
    }
#endif
    found[n++] = &generic::kKernels;
    return found;
  }();
  return list;
}

const Kernels* chosen = available()[0];

}  // namespace

const Kernels& kernels() { return *chosen; }

}  // namespace sparl

// The instruction sets of this machine, the widest first; null past the last.
extern "C" const char* sparl_instruction_set(int i) {
  const sparl::Kernels* kernels = i >= 0 && i < 3 ? sparl::available()[i] : nullptr;
  return kernels ? kernels->name : nullptr;
}

// Uses one of them from now on; 0 if this machine does not have it.
extern "C" int sparl_choose(const char* name) {
  for (int i = 0; sparl::available()[i]; ++i) {
    if (std::strcmp(sparl::available()[i]->name, name) == 0) {
      sparl::chosen = sparl::available()[i];
      return 1;
    }
  }
  return 0;
}

// The one in use.
extern "C" const char* sparl_chosen() { return sparl::chosen->name; }
