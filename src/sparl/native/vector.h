// Vectors of floats as wide as the instruction set has them, by the compilers' own vector types.
//
// Included once per instruction set, with SPARL_VECTOR_BYTES and SPARL_ISA (the namespace) defined.
#ifndef SPARL_VECTOR_H_
#define SPARL_VECTOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#if SPARL_VECTOR_BYTES > 16
#include <immintrin.h>
#endif

// For what works on vectors in registers: a compiler that does not inline it puts them in memory.
#define SPARL_INLINE inline __attribute__((always_inline))
// For what would leave too few registers to those that it is inlined into.
#define SPARL_NOINLINE __attribute__((noinline))

namespace sparl::SPARL_ISA {

constexpr int kLanes = SPARL_VECTOR_BYTES / sizeof(float);

typedef float Vec __attribute__((vector_size(SPARL_VECTOR_BYTES)));
typedef uint32_t VecBits __attribute__((vector_size(SPARL_VECTOR_BYTES)));
typedef float Unaligned __attribute__((vector_size(SPARL_VECTOR_BYTES), aligned(4), may_alias));

inline Vec load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vec x) { *reinterpret_cast<Unaligned*>(to) = x; }
// Keeps compilers from loading x again at each of its uses: ports for loads are scarce.
inline void keep_in_register(Vec& x) {
#if SPARL_VECTOR_BYTES == 64
  asm("" : "+v"(x));
#elif SPARL_VECTOR_BYTES == 32
  asm("" : "+x"(x));
#else
  (void)x;
#endif
}
inline Vec all(float x) { return x - Vec{}; }
// x where all bits of the mask are set, zero where none is, whatever x is there.
inline Vec only(Vec x, VecBits mask) { return (Vec)((VecBits)x & mask); }
// In this order of the operands a NaN in x stays one. Compilers make two instructions each of the
// last form.
#if SPARL_VECTOR_BYTES == 64
inline Vec at_least(Vec x, float bound) {
  return (Vec)_mm512_max_ps((__m512)all(bound), (__m512)x);
}
inline Vec at_most(Vec x, float bound) { return (Vec)_mm512_min_ps((__m512)all(bound), (__m512)x); }
#elif SPARL_VECTOR_BYTES == 32
inline Vec at_least(Vec x, float bound) {
  return (Vec)_mm256_max_ps((__m256)all(bound), (__m256)x);
}
inline Vec at_most(Vec x, float bound) { return (Vec)_mm256_min_ps((__m256)all(bound), (__m256)x); }
#else
inline Vec at_least(Vec x, float bound) { return all(bound) > x ? all(bound) : x; }
inline Vec at_most(Vec x, float bound) { return all(bound) < x ? all(bound) : x; }
#endif

// Shuffles. Each works on the groups of four lanes of two vectors, of which the first holds
// a0 a1 a2 a3 and the second b0 b1 b2 b3.
#if SPARL_VECTOR_BYTES == 64
inline Vec interleave_low(Vec a, Vec b) { return (Vec)_mm512_unpacklo_ps((__m512)a, (__m512)b); }
inline Vec interleave_high(Vec a, Vec b) { return (Vec)_mm512_unpackhi_ps((__m512)a, (__m512)b); }
inline Vec pair_low(Vec a, Vec b) { return (Vec)_mm512_shuffle_ps((__m512)a, (__m512)b, 0x44); }
inline Vec pair_high(Vec a, Vec b) { return (Vec)_mm512_shuffle_ps((__m512)a, (__m512)b, 0xee); }
#elif SPARL_VECTOR_BYTES == 32
inline Vec interleave_low(Vec a, Vec b) { return (Vec)_mm256_unpacklo_ps((__m256)a, (__m256)b); }
inline Vec interleave_high(Vec a, Vec b) { return (Vec)_mm256_unpackhi_ps((__m256)a, (__m256)b); }
inline Vec pair_low(Vec a, Vec b) { return (Vec)_mm256_shuffle_ps((__m256)a, (__m256)b, 0x44); }
inline Vec pair_high(Vec a, Vec b) { return (Vec)_mm256_shuffle_ps((__m256)a, (__m256)b, 0xee); }
#else
inline Vec interleave_low(Vec a, Vec b) { return Vec{a[0], b[0], a[1], b[1]}; }
inline Vec interleave_high(Vec a, Vec b) { return Vec{a[2], b[2], a[3], b[3]}; }
inline Vec pair_low(Vec a, Vec b) { return Vec{a[0], a[1], b[0], b[1]}; }
inline Vec pair_high(Vec a, Vec b) { return Vec{a[2], a[3], b[2], b[3]}; }
#endif

typedef float Quad __attribute__((vector_size(16)));

// The sum of a vector's groups of four lanes.
SPARL_INLINE Quad add_quads(Vec x) {
  Quad parts[kLanes / 4];
  std::memcpy(parts, &x, sizeof(x));
  for (int width = kLanes / 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
  }
  return parts[0];
}

SPARL_INLINE float sum(Vec x) {
  const Quad sums = add_quads(x);
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// 1 / x to within 1 unit in the last place or so.
SPARL_INLINE Vec reciprocal(Vec x) {
#if SPARL_VECTOR_BYTES == 64
  const Vec guess = (Vec)_mm512_rcp14_ps((__m512)x);
  return guess * (2.0f - x * guess);  // One step of Newton's method doubles its 14 bits.
#else
  return 1.0f / x;
#endif
}

// tanh to within 4 units in the last place: an odd rational approximation, as Eigen and XLA have
// it. Past the bounds it stays where it is, at 1 - 4e-7.
SPARL_INLINE Vec tanh(Vec x) {
  x = at_least(at_most(x, 7.90531110763549805f), -7.90531110763549805f);
  const Vec s = x * x;
  Vec p = all(-2.76076847742355e-16f);
  p = p * s + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vec q = all(1.19825839466702e-06f);
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p * reciprocal(q);
}

// 1 / (1 + 2^t) at t = -x log2(e), to within 1.5e-7. 2^t is 2^n p(t - n), where n is the whole
// number next to t and p a polynomial that errs by 1e-7 at most.
SPARL_INLINE Vec sigmoid(Vec x) {
  constexpr float kMinusLog2e = -1.44269504f;
  // 1.5 2^23: what is added to it is rounded to a whole number.
  constexpr float kWhole = 12582912.0f;
  // Where n fits the exponent of a float.
  x = at_least(at_most(x, 87.0f), -87.0f);
  const Vec shifted = x * kMinusLog2e + kWhole;  // Its last bits are those of n.
  const Vec f = x * kMinusLog2e - (shifted - kWhole);
  const Vec s = f * f;
  const Vec low = f * 0.693147004f + 1.0f;
  const Vec middle = f * 0.0555073358f + 0.240222424f;
  const Vec high = f * 0.00132647273f + 0.00967151299f;
  const Vec p = (high * s + middle) * s + low;
  // 2^n by its bits, the exponent plus that of one; multiplied, so that a NaN stays one.
  const Vec power = (Vec)(((VecBits)shifted << 23) + 0x3f800000u);
  return reciprocal(1.0f + p * power);
}

inline float half_to_float(uint16_t half) {
  const uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
  float x;
  if (exponent == 0) {
    // Not by way of a subnormal float, as XLA's threads take those for zero.
    x = static_cast<float>(fraction) * 0x1p-24f;
  } else {
    const uint32_t bits = (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    std::memcpy(&x, &bits, 4);
  }
  return half & 0x8000 ? -x : x;
}

inline Vec load(const uint16_t* from) {
#if SPARL_VECTOR_BYTES == 64
  return (Vec)_mm512_maskz_cvtph_ps(0xffff,
                                    _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif SPARL_VECTOR_BYTES == 32
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  Vec x;
  for (int i = 0; i < kLanes; ++i) x[i] = half_to_float(from[i]);
  return x;
#endif
}

}  // namespace sparl::SPARL_ISA

#endif  // SPARL_VECTOR_H_
