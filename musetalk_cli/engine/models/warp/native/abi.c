#include "kernel.h"

#if defined(__SSE4_2__)
#include <cpuid.h>
#endif

/* Counts the changes of what Python calls: library.py has the same number, and takes no library with another. */
#define WARP_ABI 6

/* WARP_ABI; 0 on a processor that lacks the instructions that this library was compiled for. */
EXPORT int warp_abi(void);

int warp_abi(void) {
#if defined(__SSE4_2__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_2)) return 0;
#endif
    return WARP_ABI;
}
