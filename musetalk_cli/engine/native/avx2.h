/* Loads and stores of vectors, for x86-64 with AVX2. */
#ifndef NATIVE_AVX2_H
#define NATIVE_AVX2_H

#include "native/kernel.h"

#if HAS_WINDOWS
#include <immintrin.h>
#define IN_AVX2 __attribute__((target("avx2"))) static
#define INLINED_AVX2 __attribute__((target("avx2"), always_inline)) static inline

/* One instruction; clang makes two of the usual load, for processors before AVX2. Sanitizers understand the usual one. */
INLINED_AVX2 __m256i load(const void *from) {
#if HAS_SANITIZER
    return _mm256_loadu_si256((const __m256i *)from);
#else
    return _mm256_lddqu_si256((const __m256i *)from);
#endif
}
INLINED_AVX2 void store(void *to, __m256i values) { _mm256_storeu_si256((__m256i *)to, values); }

enum { VECTOR_BYTES = 32 };

/* Stores two vectors that were unpacked: the first halves of both belong before their second ones. */
INLINED_AVX2 void store_unpacked(void *to, __m256i low, __m256i high) {
    store(to, _mm256_permute2x128_si256(low, high, 0x20));
    store((uint8_t *)to + VECTOR_BYTES, _mm256_permute2x128_si256(low, high, 0x31));
}
#endif
#endif
