/* What all files of the native kernel share: conventions, and helpers that are inlined.
 *
 * Arrays are numpy's, C-contiguous, and named as in the Python code. A comment gives each one's shape. Positions are
 * float32 (…, 2), x before y. Every size is int32 and comes from the array's own shape: a stage never reads or writes
 * outside of what it was given, whatever the values in it (not finite ones included).
 *
 * The planes of a frame or of a region of it: `luma` uint8 (height, width) and `chroma` uint8 (height / 2, width / 2, 2)
 * as Cb, Cr; height and width are even. So the rows of both are `width` bytes long. A box within them is given by its
 * top, left, height and width in pixels of luma, all even.
 *
 * No stage keeps anything between calls or allocates memory: what it needs lies on the stack, in rows of limited
 * length, or is passed in as `scratch`. So all of them may run in several threads at once.
 */
#ifndef NATIVE_KERNEL_H
#define NATIVE_KERNEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Neighbouring bytes are loaded at once and taken apart. Numpy does the work of what is not compiled. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for little-endian processors"
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* Loops over pixels, compiled anew for processors with AVX2, and with AVX-512 where the compiler knows how to ask for it;
 * which one runs is chosen once, when the library is loaded. That needs glibc, and sanitizers cannot follow it. */
#if defined(__has_feature)
#define HAS_SANITIZER (__has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_UNDEFINED__)
#define HAS_SANITIZER 1
#else
#define HAS_SANITIZER 0
#endif
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && !HAS_SANITIZER
#define HAS_CLONES 1
#if __GNUC__ >= 12
#define HOT __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
#else
#define HOT __attribute__((target_clones("avx2", "default")))
#endif
#else
#define HAS_CLONES 0
#define HOT
#endif

/* Whether windows.h and what uses avx2.h are compiled: old compilers do not know the instructions, and gcc does not align
 * the stack for them on Windows. */
#if defined(__x86_64__) && (defined(__clang__) || (__GNUC__ >= 8 && !defined(_WIN32)))
#define HAS_WINDOWS 1
#else
#define HAS_WINDOWS 0
#endif

/* Whether this processor has what they are written for: 0 until native_abi has looked. */
extern EXPORT int native_takes_windows, native_takes_avx2;

/* Pixels that are worked on at a time. Rows are longer: a stage goes through them in runs of this length at most. */
enum { RUN_PX = 512 };

/* Four values of one pixel or node, e.g. Y, Cb, Cr and alpha. Loads and stores need no alignment. */
typedef float float4 __attribute__((vector_size(16), aligned(4)));
typedef int32_t int4 __attribute__((vector_size(16), aligned(4)));

static inline int32_t min_i(int32_t a, int32_t b) { return a < b ? a : b; }
static inline int32_t max_i(int32_t a, int32_t b) { return a > b ? a : b; }
static inline int32_t clamp_i(int32_t value, int32_t low, int32_t high) { return max_i(low, min_i(value, high)); }

static inline float min_f(float a, float b) { return a < b ? a : b; }
static inline float max_f(float a, float b) { return a > b ? a : b; }

/* `value` within low … high; low where it is not a number. So the result may be converted to an integer. */
static inline float clamp_f(float value, float low, float high) {
    float raised = value > low ? value : low;
    return raised < high ? raised : high;
}

/* 0 below low, 1 above high, and the cubic 3t² - 2t³ between. With constant ends the division becomes a factor. */
static inline float smoothstep(float value, float low, float high) {
    float t = clamp_f((value - low) * (1.0f / (high - low)), 0.0f, 1.0f);
    return t * t * (3.0f - 2.0f * t);
}

/* e to the power of x, for x ≤ 0; relative error below 1e-5. Without branches, so that loops of it vectorise. */
static inline float exp_negative(float x) {
    union { float value; int32_t bits; } halvings = {-1.44269504f * x};
    halvings.bits = min_i(halvings.bits & INT32_MAX, 0x42fc0000); /* that of 126, where it is more or not a number */
    int32_t whole = (int32_t)(halvings.value + 0.5f);
    float f = (float)whole - halvings.value;
    float power = 0.00961813f + f * 0.00133336f;
    power = 1.0f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * power)));
    union { int32_t bits; float value; } scale = {(127 - whole) * (1 << 23)};
    return power * scale.value;
}

/* Linear interpolation from a grid's nodes to pixels, as cv2.resize's INTER_LINEAR with half-pixel centres: pixel
 * `pixel` behind the outer cells (PAD of them, on every side) lies between node k and k + 1, at `share` of the way. */
static inline int32_t node_before(int32_t pixel, int32_t px_per_cell) {
    return (2 * pixel + px_per_cell + 1) / (2 * px_per_cell);
}
static inline float share_of_next(int32_t pixel, int32_t px_per_cell, int32_t node) {
    return (float)(2 * pixel + px_per_cell + 1 - 2 * px_per_cell * node) / (float)(2 * px_per_cell);
}

#endif
