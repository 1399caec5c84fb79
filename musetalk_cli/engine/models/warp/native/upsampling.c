/* An image → what is sampled from: its luma twice as large, and its chroma as pairs. */
#include "kernel.h"

/* Half-sample filter of HEVC (Rec. ITU-T H.265, section 8.5.3.3.3.1): 64 times the value between d and e. Of bytes, the
 * result has 16 bits. */
#define HALF_SAMPLE(type, a, b, c, d, e, f, g, h) \
    (type)(40 * (type)((d) + (e)) - 11 * (type)((c) + (f)) + 4 * (type)((b) + (g)) - (type)((a) + (h)))

static inline uint8_t to_byte(int32_t value) { return (uint8_t)clamp_i(value, 0, 255); }

enum { TAPS = 8, REACH = 3 };  /* samples before the one at the left of, or above, a half sample */
enum { TOGETHER = 64 }; /* samples of a run are filtered so many at a time, the last ones with others that nobody reads */

static int32_t whole_runs(int32_t count) { return (count + TOGETHER - 1) / TOGETHER * TOGETHER; }

/* 64 times the values between the samples of a row, in two parts: 256 · high + low, low 0..255. What is filtered of each
 * has 16 bits, the sum has not. */
typedef struct {
    int16_t high[RUN_PX], low[RUN_PX];
} Between;

/* Filters a row of samples horizontally. `padded`: from REACH samples before it on, and 4 behind. */
HOT static void filter_row(Between *restrict between, const uint8_t *restrict padded, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        const int16_t value = HALF_SAMPLE(int16_t, padded[i], padded[i + 1], padded[i + 2], padded[i + 3],
                                          padded[i + 4], padded[i + 5], padded[i + 6], padded[i + 7]);
        between->high[i] = (int16_t)(value >> 8);
        between->low[i] = value & 255;
    }
}

/* A row of the image and the half samples between its own: of the upsampled image, an even row. */
HOT static void write_even_row(uint8_t *restrict doubled, const uint8_t *restrict own, const Between *restrict between,
                               int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        doubled[2 * i] = own[i];
        doubled[2 * i + 1] = to_byte((int16_t)(4 * between->high[i] + ((between->low[i] + 32) >> 6)));
    }
}

/* Between two rows of the image: of the upsampled image, an odd row. `own` and `between`: of TAPS rows. */
HOT static void write_odd_row(uint8_t *restrict doubled, const uint8_t *const own[TAPS],
                              const Between *const between[TAPS], int32_t count) {
    const uint8_t *o0 = own[0], *o1 = own[1], *o2 = own[2], *o3 = own[3];
    const uint8_t *o4 = own[4], *o5 = own[5], *o6 = own[6], *o7 = own[7];
    const int16_t *h0 = between[0]->high, *h1 = between[1]->high, *h2 = between[2]->high, *h3 = between[3]->high;
    const int16_t *h4 = between[4]->high, *h5 = between[5]->high, *h6 = between[6]->high, *h7 = between[7]->high;
    const int16_t *l0 = between[0]->low, *l1 = between[1]->low, *l2 = between[2]->low, *l3 = between[3]->low;
    const int16_t *l4 = between[4]->low, *l5 = between[5]->low, *l6 = between[6]->low, *l7 = between[7]->low;
    for (int32_t i = 0; i < count; i++) {
        const int16_t below = HALF_SAMPLE(int16_t, o0[i], o1[i], o2[i], o3[i], o4[i], o5[i], o6[i], o7[i]);
        const int16_t high = HALF_SAMPLE(int16_t, h0[i], h1[i], h2[i], h3[i], h4[i], h5[i], h6[i], h7[i]);
        const int16_t low = HALF_SAMPLE(int16_t, l0[i], l1[i], l2[i], l3[i], l4[i], l5[i], l6[i], l7[i]);
        doubled[2 * i] = to_byte((int16_t)(below + 32) >> 6);
        doubled[2 * i + 1] = to_byte((int16_t)(high + ((int16_t)(low + 2048) >> 8)) >> 4);
    }
}

/* Copies a run of a row and its surroundings, the row's ends repeated beyond them, and up to a multiple of TOGETHER. */
static void pad_run(uint8_t *padded, const uint8_t *row, int32_t width, int32_t first, int32_t count) {
    count = whole_runs(count);
    int32_t start = max_i(first - REACH, 0), stop = min_i(first + count + TAPS - 1 - REACH, width);
    int32_t before = start - (first - REACH), copied = stop - start;
    memset(padded, row[0], (size_t)before);
    memcpy(padded + before, row + start, (size_t)copied);
    memset(padded + before + copied, row[width - 1], (size_t)(count + TAPS - 1 - before - copied));
}

/* Writes the two rows of the upsampled image that belong to a row of a run, `stride` bytes apart; own, between: of TAPS
 * rows around it. */
static void write_rows(uint8_t *doubled, size_t stride, const uint8_t *const own[TAPS],
                       const Between *const between[TAPS], int32_t count) {
    uint8_t row[2 * RUN_PX];
    if (count % TOGETHER == 0) {
        write_even_row(doubled, own[REACH], between[REACH], count);
        write_odd_row(doubled + stride, own, between, count);
        return;
    }
    write_even_row(row, own[REACH], between[REACH], whole_runs(count));
    memcpy(doubled, row, 2 * (size_t)count);
    write_odd_row(row, own, between, whole_runs(count));
    memcpy(doubled + stride, row, 2 * (size_t)count);
}

/* Upsamples a plane twice.
 *
 * luma uint8 (height, width), whose rows are `stride` bytes apart → doubled uint8 (2 · height, 2 · width), whose even
 * samples are luma's own. Beyond the edges, luma's edge is repeated.
 */
EXPORT void upsample_luma(const uint8_t *luma, int32_t height, int32_t width, int32_t stride, uint8_t *doubled) {
    uint8_t padded[TAPS][RUN_PX + TAPS]; /* of the last rows; row r lies at r modulo TAPS */
    Between filtered[TAPS];
    for (int32_t first = 0; first < width; first += RUN_PX) {
        int32_t count = min_i(RUN_PX, width - first);
        int32_t ready = -REACH; /* rows up to here, without it, have been filtered */
        for (int32_t row = 0; row < height; row++) {
            for (; ready <= row + TAPS - 1 - REACH; ready++) {
                int32_t slot = (ready + TAPS) % TAPS;
                pad_run(padded[slot], luma + (size_t)stride * (size_t)clamp_i(ready, 0, height - 1), width, first,
                        count);
                filter_row(&filtered[slot], padded[slot], whole_runs(count));
            }
            const uint8_t *own[TAPS];
            const Between *between[TAPS];
            for (int32_t k = 0; k < TAPS; k++) {
                int32_t slot = (row + k - REACH + TAPS) % TAPS;
                own[k] = padded[slot] + REACH;
                between[k] = &filtered[slot];
            }
            write_rows(doubled + 4 * (size_t)width * (size_t)row + 2 * first, 2 * (size_t)width, own, between, count);
        }
    }
}

HOT static void interleave_row(const uint8_t *restrict blue, const uint8_t *restrict red, int32_t count,
                               uint8_t *restrict chroma) {
    for (int32_t i = 0; i < count; i++) {
        chroma[2 * i] = blue[i];
        chroma[2 * i + 1] = red[i];
    }
}

/* Two planes of chroma uint8 (height, width), whose rows are `stride` bytes apart → chroma uint8 (height, width, 2). */
EXPORT void interleave_chroma(const uint8_t *blue, const uint8_t *red, int32_t height, int32_t width, int32_t stride,
                              uint8_t *chroma) {
    for (int32_t row = 0; row < height; row++, blue += stride, red += stride, chroma += 2 * (size_t)width)
        interleave_row(blue, red, width, chroma);
}

/* A region of a frame, planar I420 uint8 (height · 3/2, width), → its luma upsampled and its chroma as pairs. All numbers
 * are even. */
EXPORT void take_region(const uint8_t *frame, int32_t height, int32_t width, int32_t left, int32_t top,
                        int32_t region_height, int32_t region_width, uint8_t *doubled, uint8_t *chroma) {
    const size_t samples = (size_t)height * (size_t)width, column = (size_t)left;
    const uint8_t *blue = frame + samples + (size_t)(top / 2) * (size_t)(width / 2) + column / 2;
    upsample_luma(frame + (size_t)top * (size_t)width + column, region_height, region_width, width, doubled);
    interleave_chroma(blue, blue + samples / 4, region_height / 2, region_width / 2, width / 2, chroma);
}
