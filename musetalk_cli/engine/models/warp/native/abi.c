#include "kernel.h"

#if defined(__SSE4_2__)
#include <cpuid.h>
#endif

/* Counts the changes of what Python calls: library.py has the same number, and takes no library with another. */
#define WARP_ABI 10

/* WARP_ABI; 0 on a processor that lacks the instructions that this library was compiled for. */
EXPORT int warp_abi(void);

int warp_abi(void) {
#if defined(__SSE4_2__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_2)) return 0;
#endif
#if defined(__AVX2__)
    /* The system has to save the wide registers, too: it says so in the first bits of XCR0. */
    unsigned saved, high;
    if (!(c & bit_OSXSAVE) || !(c & bit_AVX)) return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 6) != 6) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2)) return 0;
#endif
    return WARP_ABI;
}
