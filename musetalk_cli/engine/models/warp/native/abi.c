#include "kernel.h"

/* Counts the changes of what Python calls: library.py has the same number, and takes no library with another. */
#define WARP_ABI 3

/* WARP_ABI; 0 on a processor that lacks the instructions that this library was compiled for. */
EXPORT int warp_abi(void);

int warp_abi(void) {
#if defined(__SSE4_2__)
    if (!__builtin_cpu_supports("sse4.2")) return 0;
#endif
    return WARP_ABI;
}
