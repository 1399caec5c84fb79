/* An image → what is sampled from: its luma twice as large, and its chroma as pairs. */
#include "kernel.h"

/* Half-sample filter of HEVC (Rec. ITU-T H.265, section 8.5.3.3.3.1): 64 times the value between d and e. Of bytes, the
 * result has 16 bits. */
#define HALF_SAMPLE(type, a, b, c, d, e, f, g, h) \
    (type)(40 * (type)((d) + (e)) - 11 * (type)((c) + (f)) + 4 * (type)((b) + (g)) - (type)((a) + (h)))

static inline uint8_t to_byte(int32_t value) { return (uint8_t)clamp_i(value, 0, 255); }

enum { TAPS = 8, REACH = 3 }; /* samples before the one at the left of, or above, a half sample */

/* Filters a row of samples horizontally: 64 times the values between them. `padded`: from REACH samples before it on,
 * and 4 behind. */
HOT static void filter_row(int16_t *restrict between, const uint8_t *restrict padded, int32_t count) {
    for (int32_t i = 0; i < count; i++)
        between[i] = HALF_SAMPLE(int16_t, padded[i], padded[i + 1], padded[i + 2], padded[i + 3], padded[i + 4],
                                 padded[i + 5], padded[i + 6], padded[i + 7]);
}

/* A row of the image and the half samples between its own: of the upsampled image, an even row. */
HOT static void write_even_row(uint8_t *restrict doubled, const uint8_t *restrict own, const int16_t *restrict between,
                               int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        doubled[2 * i] = own[i];
        doubled[2 * i + 1] = to_byte((int16_t)(between[i] + 32) >> 6);
    }
}

/* Between two rows of the image: of the upsampled image, an odd row. `own` and `between`: of TAPS rows. */
HOT static void write_odd_row(uint8_t *restrict doubled, const uint8_t *const own[TAPS],
                              const int16_t *const between[TAPS], int32_t count) {
    const uint8_t *o0 = own[0], *o1 = own[1], *o2 = own[2], *o3 = own[3];
    const uint8_t *o4 = own[4], *o5 = own[5], *o6 = own[6], *o7 = own[7];
    const int16_t *b0 = between[0], *b1 = between[1], *b2 = between[2], *b3 = between[3];
    const int16_t *b4 = between[4], *b5 = between[5], *b6 = between[6], *b7 = between[7];
    for (int32_t i = 0; i < count; i++) {
        int16_t below = HALF_SAMPLE(int16_t, o0[i], o1[i], o2[i], o3[i], o4[i], o5[i], o6[i], o7[i]);
        int32_t across = HALF_SAMPLE(int32_t, b0[i], b1[i], b2[i], b3[i], b4[i], b5[i], b6[i], b7[i]);
        doubled[2 * i] = to_byte((int16_t)(below + 32) >> 6);
        doubled[2 * i + 1] = to_byte((across + 2048) >> 12);
    }
}

/* Copies a run of a row and its surroundings, the row's ends repeated beyond them. */
static void pad_run(uint8_t *padded, const uint8_t *row, int32_t width, int32_t first, int32_t count) {
    int32_t start = max_i(first - REACH, 0), stop = min_i(first + count + TAPS - 1 - REACH, width);
    int32_t before = start - (first - REACH), copied = stop - start;
    memset(padded, row[0], (size_t)before);
    memcpy(padded + before, row + start, (size_t)copied);
    memset(padded + before + copied, row[width - 1], (size_t)(count + TAPS - 1 - before - copied));
}

/* Upsamples a plane twice.
 *
 * luma uint8 (height, width), whose rows are `stride` bytes apart → doubled uint8 (2 · height, 2 · width), whose even
 * samples are luma's own. Beyond the edges, luma's edge is repeated.
 */
EXPORT void upsample_luma(const uint8_t *luma, int32_t height, int32_t width, int32_t stride, uint8_t *doubled) {
    uint8_t padded[TAPS][RUN_PX + TAPS]; /* of the last rows; row r lies at r modulo TAPS */
    int16_t filtered[TAPS][RUN_PX];
    for (int32_t first = 0; first < width; first += RUN_PX) {
        int32_t count = min_i(RUN_PX, width - first);
        int32_t ready = -REACH; /* rows up to here, without it, have been filtered */
        for (int32_t row = 0; row < height; row++) {
            for (; ready <= row + TAPS - 1 - REACH; ready++) {
                int32_t slot = (ready + TAPS) % TAPS;
                pad_run(padded[slot], luma + (size_t)stride * (size_t)clamp_i(ready, 0, height - 1), width, first,
                        count);
                filter_row(filtered[slot], padded[slot], count);
            }
            const uint8_t *own[TAPS];
            const int16_t *between[TAPS];
            for (int32_t k = 0; k < TAPS; k++) {
                int32_t slot = (row + k - REACH + TAPS) % TAPS;
                own[k] = padded[slot] + REACH;
                between[k] = filtered[slot];
            }
            uint8_t *even = doubled + 4 * (size_t)width * (size_t)row + 2 * first, *odd = even + 2 * (size_t)width;
            write_even_row(even, own[REACH], between[REACH], count);
            write_odd_row(odd, own, between, count);
        }
    }
}

/* Two planes of chroma uint8 (height, width), whose rows are `stride` bytes apart → chroma uint8 (height, width, 2). */
EXPORT void interleave_chroma(const uint8_t *blue, const uint8_t *red, int32_t height, int32_t width, int32_t stride,
                              uint8_t *chroma) {
    for (int32_t row = 0; row < height; row++, blue += stride, red += stride, chroma += 2 * (size_t)width) {
        for (int32_t i = 0; i < width; i++) {
            chroma[2 * i] = blue[i];
            chroma[2 * i + 1] = red[i];
        }
    }
}
