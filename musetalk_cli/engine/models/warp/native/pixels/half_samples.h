/* What upsampling.c is made of, and the same for x86-64 with AVX2, where one instruction weighs two samples each and adds
 * them. The values are the same.
 *
 * A row is first filtered vertically, and what that gives horizontally. It is worked on BLOCK samples at a time. The last
 * block ends where the row does: some samples are worked on twice, and nothing beyond the row is read or written.
 */
#ifndef WARP_HALF_SAMPLES_H
#define WARP_HALF_SAMPLES_H

#include "native/avx2.h"

enum { TAPS = 8, REACH = 3 };            /* samples before the one at the left of, or above, a half sample */
enum { BLOCK = 32 };                     /* samples that are worked on at a time: the bytes of a vector */
enum { LONGEST_PX = 1024, MARGIN = 16 }; /* of a run of samples, and what there is room for beside it */

/* A run of samples of every row of an image. Samples are counted from the run's first one. */
typedef struct {
    const uint8_t *first; /* that of the image's first row; the others are `stride` bytes apart */
    int32_t height, stride, count;
    int32_t start, stop; /* what the filter reaches: some samples before the run and behind it, where there are any */
} Run;

/* A row of a run, from MARGIN on, and what lies half a sample below it: 64 times that, and 32, which rounds it. */
typedef struct {
    uint8_t own[MARGIN + LONGEST_PX + MARGIN];
    int16_t below[MARGIN + LONGEST_PX + MARGIN];
} Filtered;

/* The rows of which what lies half a sample below a row is filtered. Beyond the image, its first and its last one. */
static inline void find_rows(const uint8_t *rows[TAPS], const Run *run, int32_t row) {
    for (int32_t k = 0; k < TAPS; k++)
        rows[k] = run->first + (size_t)run->stride * (size_t)clamp_i(row + k - REACH, 0, run->height - 1);
}

/* Repeats the ends of what was filtered, as far as the filter reaches. It reaches those where the image ends there. */
static inline void repeat_ends(Filtered *filtered, const Run *run) {
    uint8_t *own = filtered->own + MARGIN;
    int16_t *below = filtered->below + MARGIN;
    const int32_t first = run->start, last = run->stop - 1;
    for (int32_t k = 1; k <= REACH; k++) {
        own[first - k] = own[first];
        below[first - k] = below[first];
    }
    for (int32_t k = 1; k < TAPS - REACH; k++) {
        own[last + k] = own[last];
        below[last + k] = below[last];
    }
}

#if HAS_WINDOWS
/* Two weights for each pair of samples, the first one's in the lower half. */
INLINED_AVX2 __m256i weigh_bytes(int8_t first, int8_t second) {
    return _mm256_set1_epi16((int16_t)(second * 256 + (uint8_t)first));
}
INLINED_AVX2 __m256i weigh_words(int16_t first, int16_t second) {
    return _mm256_set1_epi32(second * 65536 + (uint16_t)first);
}

/* 64 times the values that lie between the samples of four pairs of bytes, sixteen of each. */
INLINED_AVX2 __m256i filter_bytes(__m256i ab, __m256i cd, __m256i ef, __m256i gh) {
    const __m256i outer = _mm256_add_epi16(_mm256_maddubs_epi16(ab, weigh_bytes(-1, 4)),
                                           _mm256_maddubs_epi16(gh, weigh_bytes(4, -1)));
    const __m256i inner = _mm256_add_epi16(_mm256_maddubs_epi16(cd, weigh_bytes(-11, 40)),
                                           _mm256_maddubs_epi16(ef, weigh_bytes(40, -11)));
    return _mm256_add_epi16(outer, inner);
}

/* Values between every second of sixteen neighbours and the next: the first is that between first[3] and first[4]. */
INLINED_AVX2 __m256i filter_words(const int16_t *first) {
    const __m256i outer = _mm256_add_epi32(_mm256_madd_epi16(load(first), weigh_words(-1, 4)),
                                           _mm256_madd_epi16(load(first + 6), weigh_words(4, -1)));
    const __m256i inner = _mm256_add_epi32(_mm256_madd_epi16(load(first + 2), weigh_words(-11, 40)),
                                           _mm256_madd_epi16(load(first + 4), weigh_words(40, -11)));
    return _mm256_srai_epi32(_mm256_add_epi32(outer, inner), 12);
}

/* The bytes of each half of a vector in another order. */
INLINED_AVX2 __m256i reorder(__m256i bytes, __m128i order) {
    return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order));
}

/* filter_columns */
INLINED_AVX2 void filter_columns_avx2(Filtered *filtered, const uint8_t *const rows[TAPS], int32_t start, int32_t stop) {
    for (int32_t i = start; i < stop; i += BLOCK) {
        const int32_t at = min_i(i, stop - BLOCK);
        __m256i low[TAPS / 2], high[TAPS / 2];
        for (int32_t k = 0; k < TAPS; k += 2) {
            const __m256i upper = load(rows[k] + at), lower = load(rows[k + 1] + at);
            low[k / 2] = _mm256_unpacklo_epi8(upper, lower);
            high[k / 2] = _mm256_unpackhi_epi8(upper, lower);
        }
        const __m256i half = _mm256_set1_epi16(32);
        store_unpacked(filtered->below + MARGIN + at,
                       _mm256_add_epi16(filter_bytes(low[0], low[1], low[2], low[3]), half),
                       _mm256_add_epi16(filter_bytes(high[0], high[1], high[2], high[3]), half));
        store(filtered->own + MARGIN + at, load(rows[REACH] + at));
    }
}

/* write_even_row */
INLINED_AVX2 void write_even_row_avx2(uint8_t *doubled, const uint8_t *own, int32_t count) {
    const __m128i in_turn = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    const __m256i sixty_fourth = _mm256_set1_epi16(512); /* of 2^15, and rounded */
    for (int32_t i = 0; i < count; i += BLOCK) {
        const int32_t at = min_i(i, count - BLOCK);
        const uint8_t *first = own + at - REACH, *second = first + 1;
        const __m256i even = filter_bytes(load(first), load(first + 2), load(first + 4), load(first + 6));
        const __m256i odd = filter_bytes(load(second), load(second + 2), load(second + 4), load(second + 6));
        const __m256i apart = _mm256_packus_epi16(_mm256_mulhrs_epi16(even, sixty_fourth),
                                                  _mm256_mulhrs_epi16(odd, sixty_fourth));
        const __m256i between = reorder(apart, in_turn), samples = load(own + at);
        store_unpacked(doubled + 2 * at, _mm256_unpacklo_epi8(samples, between),
                       _mm256_unpackhi_epi8(samples, between));
    }
}

/* write_odd_row */
INLINED_AVX2 void write_odd_row_avx2(uint8_t *doubled, const int16_t *below, int32_t count) {
    /* Of eight samples below and eight between those: the even ones of these first. */
    const __m128i in_turn = _mm_setr_epi8(0, 8, 1, 12, 2, 9, 3, 13, 4, 10, 5, 14, 6, 11, 7, 15);
    for (int32_t i = 0; i < count; i += BLOCK / 2) {
        const int32_t at = min_i(i, count - BLOCK / 2);
        const int16_t *first = below + at - REACH;
        const __m256i between = _mm256_packs_epi32(filter_words(first), filter_words(first + 1));
        const __m256i samples = _mm256_srai_epi16(load(below + at), 6);
        store(doubled + 2 * at, reorder(_mm256_packus_epi16(samples, between), in_turn));
    }
}

/* upsample_run, of a run that is at least as long as a block */
IN_AVX2 void upsample_run_avx2(uint8_t *doubled, size_t stride, const Run *run) {
    Filtered filtered;
    for (int32_t row = 0; row < run->height; row++, doubled += 2 * stride) {
        const uint8_t *rows[TAPS];
        find_rows(rows, run, row);
        filter_columns_avx2(&filtered, rows, run->start, run->stop);
        repeat_ends(&filtered, run);
        write_even_row_avx2(doubled, filtered.own + MARGIN, run->count);
        write_odd_row_avx2(doubled + stride, filtered.below + MARGIN, run->count);
    }
}
#endif
#endif
