/* An image → what is sampled from: its luma twice as large, and its chroma as pairs. */
#include "models/warp/native/pixels/half_samples.h"
#include "models/warp/native/pixels/region.h"

/* Half-sample filter of HEVC (Rec. ITU-T H.265, section 8.5.3.3.3.1), of the sums of d and e, c and f, b and g, a and h:
 * 64 times the value between d and e. Of bytes, the result has 16 bits. */
#define HALF_SAMPLE(type, de, cf, bg, ah) (type)(40 * (type)(de) - 11 * (type)(cf) + 4 * (type)(bg) - (type)(ah))

static inline uint8_t to_byte(int32_t value) { return (uint8_t)clamp_i(value, 0, 255); }

/* Where a block begins of what lies from `start` to `stop`: the last one ends there, and begins earlier for it. */
static inline int32_t block_at(int32_t i, int32_t start, int32_t stop) { return max_i(min_i(i, stop - BLOCK), start); }

/* Copies a row of a run, and filters vertically. */
static void filter_columns(Filtered *restrict filtered, const uint8_t *const rows[TAPS], int32_t start, int32_t stop) {
    const int32_t num = min_i(stop - start, BLOCK);
    for (int32_t i = start; i < stop; i += BLOCK) {
        const int32_t at = block_at(i, start, stop);
        const uint8_t *r0 = rows[0] + at, *r1 = rows[1] + at, *r2 = rows[2] + at, *r3 = rows[3] + at;
        const uint8_t *r4 = rows[4] + at, *r5 = rows[5] + at, *r6 = rows[6] + at, *r7 = rows[7] + at;
        uint8_t *restrict own = filtered->own + MARGIN + at;
        int16_t *restrict below = filtered->below + MARGIN + at;
        for (int32_t k = 0; k < num; k++) {
            own[k] = r3[k];
            below[k] = (int16_t)(HALF_SAMPLE(int16_t, r3[k] + r4[k], r2[k] + r5[k], r1[k] + r6[k], r0[k] + r7[k]) + 32);
        }
    }
}

/* A row of the image and the half samples between its own: of the upsampled image, an even row. */
static void write_even_row(uint8_t *restrict doubled, const uint8_t *restrict own, int32_t count) {
    const int32_t num = min_i(count, BLOCK);
    for (int32_t i = 0; i < count; i += BLOCK) {
        const int32_t at = block_at(i, 0, count);
        const uint8_t *restrict s = own + at - REACH;
        uint8_t *restrict to = doubled + 2 * at;
        for (int32_t k = 0; k < num; k++) {
            const int16_t between = HALF_SAMPLE(int16_t, s[k + 3] + s[k + 4], s[k + 2] + s[k + 5], s[k + 1] + s[k + 6],
                                                s[k] + s[k + 7]);
            to[2 * k] = s[k + REACH];
            to[2 * k + 1] = to_byte((int16_t)(between + 32) >> 6);
        }
    }
}

/* The sum of two values of `below`, of each of which 128 levels are taken away, so that it has 16 bits. */
static inline int16_t sum_16(int16_t a, int16_t b) { return (int16_t)((uint16_t)(a + b) - 16384u); }

/* Between two rows of the image: of the upsampled image, an odd row. */
static void write_odd_row(uint8_t *restrict doubled, const int16_t *restrict below, int32_t count) {
    const int32_t num = min_i(count, BLOCK);
    for (int32_t i = 0; i < count; i += BLOCK) {
        const int32_t at = block_at(i, 0, count);
        const int16_t *restrict s = below + at - REACH;
        uint8_t *restrict to = doubled + 2 * at;
        for (int32_t k = 0; k < num; k++) {
            const int32_t between = HALF_SAMPLE(int32_t, sum_16(s[k + 3], s[k + 4]), sum_16(s[k + 2], s[k + 5]),
                                                sum_16(s[k + 1], s[k + 6]), sum_16(s[k], s[k + 7]));
            to[2 * k] = to_byte(s[k + REACH] >> 6);
            to[2 * k + 1] = to_byte((between >> 12) + 128);
        }
    }
}

/* Writes what belongs to a run of the upsampled image, whose rows are `stride` bytes apart. */
static void upsample_run(uint8_t *doubled, size_t stride, const Run *run) {
    Filtered filtered;
    for (int32_t row = 0; row < run->height; row++, doubled += 2 * stride) {
        const uint8_t *rows[TAPS];
        find_rows(rows, run, row);
        filter_columns(&filtered, rows, run->start, run->stop);
        repeat_ends(&filtered, run);
        write_even_row(doubled, filtered.own + MARGIN, run->count);
        write_odd_row(doubled + stride, filtered.below + MARGIN, run->count);
    }
}

/* Upsamples a plane twice.
 *
 * luma uint8 (height, width), whose rows are `stride` bytes apart → doubled uint8 (2 · height, 2 · width), whose even
 * samples are luma's own. Beyond the edges, luma's edge is repeated.
 */
EXPORT void upsample_luma(const uint8_t *luma, int32_t height, int32_t width, int32_t stride, uint8_t *doubled) {
    for (int32_t begin = 0; begin < width; begin += LONGEST_PX) {
        const int32_t first = block_at(begin, 0, width); /* no run is shorter than a block but a narrow image's */
        const Run run = {
            .first = luma + first,
            .height = height,
            .stride = stride,
            .count = min_i(width - first, LONGEST_PX),
            .start = max_i(-REACH, -first),
            .stop = min_i(LONGEST_PX + TAPS - 1 - REACH, width - first),
        };
#if HAS_WINDOWS
        if (native_takes_avx2 && run.count >= BLOCK) {
            upsample_run_avx2(doubled + 2 * first, 2 * (size_t)width, &run);
            continue;
        }
#endif
        upsample_run(doubled + 2 * first, 2 * (size_t)width, &run);
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
