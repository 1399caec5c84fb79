/* Thin-plate splines: what solving and evaluating them share. */
#ifndef WARP_SPLINES_H
#define WARP_SPLINES_H

#include "native/kernel.h"

static const float TINY = 1e-12f; /* added to squared distances, whose logarithm is taken */

/* The natural logarithm of a positive, normal number; absolute error below 1e-6. Without branches. */
static inline float logarithm(float x) {
    union { float value; int32_t bits; } split = {x};
    int32_t doublings = (split.bits - 0x3f3504f3) >> 23; /* to √½ … √2 */
    split.bits -= doublings * (1 << 23);
    float s = (split.value - 1.0f) / (split.value + 1.0f), squared = s * s;
    float series = 1.0f + squared * (1.0f / 3.0f + squared * (1.0f / 5.0f + squared * (1.0f / 7.0f)));
    return (float)doublings * 0.693147181f + 2.0f * s * series;
}

/* r² log r², at a distance of dx, dy. */
static inline float kernel_at(float dx, float dy) {
    float squared = dx * dx + dy * dy + TINY;
    return squared * logarithm(squared);
}

#endif
