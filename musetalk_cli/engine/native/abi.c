#include "native/kernel.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Counts the changes of what Python calls: library.py has the same number, and takes no library with another. */
#define NATIVE_ABI 17

int native_takes_windows, native_takes_avx2;

/* NATIVE_ABI; 0 on a processor that lacks the instructions that this library was compiled for. */
EXPORT int native_abi(void);

#if defined(__x86_64__)
/* What the processor and the system say: words 1 and 7 of cpuid, and the registers that the system saves, of XCR0. */
typedef struct {
    unsigned features, wide, wider, saved;
} Processor;

enum { AVX_STATE = 0x06, AVX512_STATE = 0xe6 };

static Processor find_processor(void) {
    Processor found = {0, 0, 0, 0};
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) found.features = c;
#if HAS_WINDOWS || defined(__AVX2__)
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        found.wide = b;
        found.wider = c;
    }
#endif
    if (found.features & bit_OSXSAVE) {
        unsigned high;
        __asm__ volatile("xgetbv" : "=a"(found.saved), "=d"(high) : "c"(0));
    }
    return found;
}

int native_abi(void) {
    const Processor found = find_processor();
#if HAS_WINDOWS || defined(__AVX2__)
    const int has_avx2 = (found.features & bit_AVX) && (found.saved & AVX_STATE) == AVX_STATE && (found.wide & bit_AVX2);
#endif
#if HAS_WINDOWS
    native_takes_avx2 = has_avx2;
    const unsigned windows = bit_AVX512F | bit_AVX512BW;
    native_takes_windows = (found.saved & AVX512_STATE) == AVX512_STATE && (found.wide & windows) == windows &&
                         (found.wider & bit_AVX512VBMI) != 0;
#endif
#if defined(__SSE4_2__)
    if (!(found.features & bit_SSE4_2)) return 0;
#endif
#if defined(__AVX2__)
    if (!has_avx2) return 0;
#endif
    return NATIVE_ABI;
}
#else
int native_abi(void) { return NATIVE_ABI; }
#endif
