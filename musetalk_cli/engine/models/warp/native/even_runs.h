/* Bilinear samples of pixels whose positions are almost even, as most of a moved face's are.
 *
 * Eight pixels in a row lie two samples of luma (or one of chroma) apart and drift against that by less than one. So
 * their samples are two loads of neighbouring bytes, taken pixel by pixel from the one or the other; and where the row
 * of samples changes between them, from the next row. Nothing is stored in between. For processors with AVX2, sixteen
 * pixels at a time; the values are those of bilinear.h.
 */
#ifndef WARP_EVEN_RUNS_H
#define WARP_EVEN_RUNS_H

#include "bilinear.h"

/* A row of pixels between two rows of drifts, 1/32 samples: how far pixel i is from the sample column + i · spacing of
 * the row `row`. `share`: of the next row. */
typedef struct {
    const float *x, *y, *next_x, *next_y;
    float share;
    int32_t column, row, spacing, is_tame; /* whether all of them are between LEAST_DRIFT and MOST_DRIFT */
} Drifts;

/* Whether the last pixels drifted back, towards smaller columns and rows. */
typedef struct {
    int32_t x, y;
} Backwards;

enum { EVEN_PX = 16, HALF_PX = 8, LEAST_DRIFT = 2 * SUBPIXELS, MOST_DRIFT = UINT16_MAX - 2 * SUBPIXELS };

/* The drift of pixel `i`, rounded down where it is not negative; what is not a number is far below. */
static inline int32_t drift_at(const float *above, const float *below, float share, int32_t i) {
    return (int32_t)clamp_f(above[i] + (below[i] - above[i]) * share, -1e9f, 1e9f);
}

#if HAS_WIDE_SHUFFLES
/* Sixteen pixels: shares, and masks of those that are taken from the next column and row; for each half, the sample of
 * its first pixel, or the one before or above. */
typedef struct {
    __m256i across, along, is_right, is_below;
    int32_t columns[2], rows[2], changes_row;
} EvenRun;

/* Drifts of eight pixels, rounded down. */
WIDE __m256i mix_eight(const float *above, const float *below, __m256 share) {
    __m256 from = _mm256_loadu_ps(above), apart = _mm256_sub_ps(_mm256_loadu_ps(below), from);
    return _mm256_cvttps_epi32(_mm256_add_ps(from, _mm256_mul_ps(apart, share)));
}

/* Drifts of sixteen pixels → their shares, and whole steps from the first of each half on, or from one before where they
 * go back. `firsts`: whole steps of these first ones. */
WIDE void split_sixteen(const float *above, const float *below, __m256 share, int32_t is_back, __m256i *shares,
                        __m256i *steps, int32_t firsts[2]) {
    __m256i drifts = _mm256_packus_epi32(mix_eight(above, below, share), mix_eight(above + 8, below + 8, share));
    drifts = _mm256_permute4x64_epi64(drifts, 0xd8);
    __m256i whole = _mm256_srli_epi16(drifts, SUBPIXEL_BITS);
    *shares = _mm256_and_si256(drifts, _mm256_set1_epi16(SUBPIXELS - 1));
    *steps = _mm256_sub_epi16(_mm256_add_epi16(whole, _mm256_set1_epi16((int16_t)is_back)),
                              _mm256_shuffle_epi8(whole, _mm256_set1_epi16(0x0100)));
    firsts[0] = _mm256_extract_epi16(whole, 0) - is_back;
    firsts[1] = _mm256_extract_epi16(whole, HALF_PX) - is_back;
}

/* Whether the halves of sixteen pixels from number `i` on are even, and their samples within a plane that has room for
 * so many first ones, `columns` and `rows`; `run` is written. */
WIDE int find_even(const Drifts *at, int32_t i, Backwards back, uint32_t rows, uint32_t columns, EvenRun *run) {
    const __m256 share = _mm256_set1_ps(at->share);
    const __m256i none = _mm256_setzero_si256();
    __m256i right, below;
    split_sixteen(at->x + i, at->next_x + i, share, back.x, &run->across, &right, run->columns);
    split_sixteen(at->y + i, at->next_y + i, share, back.y, &run->along, &below, run->rows);
    run->columns[0] += at->column + at->spacing * i;
    run->columns[1] += at->column + at->spacing * (i + HALF_PX);
    run->rows[0] += at->row;
    run->rows[1] += at->row;
    run->is_right = _mm256_sub_epi16(none, right);
    run->is_below = _mm256_sub_epi16(none, below);
    run->changes_row = !_mm256_testz_si256(below, below);
    return _mm256_testz_si256(_mm256_or_si256(right, below), _mm256_set1_epi16(~1)) &&
           (uint32_t)run->columns[0] < columns && (uint32_t)run->columns[1] < columns &&
           (uint32_t)run->rows[0] < rows && (uint32_t)run->rows[1] < rows;
}

/* Looks which way the drift goes between two pixels; whether that is another one than before. */
static int turn_round(const Drifts *at, int32_t from, int32_t to, Backwards *back) {
    const Backwards before = *back;
    back->x = drift_at(at->x, at->next_x, at->share, to) < drift_at(at->x, at->next_x, at->share, from);
    back->y = drift_at(at->y, at->next_y, at->share, to) < drift_at(at->y, at->next_y, at->share, from);
    return back->x != before.x || back->y != before.y;
}

/* 16 bytes at each of two places. */
WIDE __m256i load_two(const uint8_t *first, const uint8_t *second) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)first)),
                                   _mm_loadu_si128((const __m128i *)second), 1);
}

/* Pairs of neighbours of luma, from two rows of samples. */
WIDE __m256i load_pairs_at(const uint8_t *first, const uint8_t *second, __m256i is_right) {
    return _mm256_blendv_epi8(load_two(first, second), load_two(first + 1, second + 1), is_right);
}

/* Samples luma from pixel `i` on, as long as the run is even, and returns where it is not. */
WIDE int32_t sample_wide_luma(const uint8_t *plane, int32_t height, int32_t width, const Drifts *drifts, Backwards *back,
                              int32_t i, int32_t count, uint8_t *samples) {
    const Drifts at = *drifts;
    const ptrdiff_t stride = width;
    const uint32_t rows = (uint32_t)max_i(height - 2, 0), columns = (uint32_t)max_i(width - 2 * HALF_PX, 0);
    EvenRun run;
    for (; i + EVEN_PX <= count; i += EVEN_PX) {
        while (!find_even(&at, i, *back, rows, columns, &run))
            if (!turn_round(&at, i, i + EVEN_PX - 1, back)) return i;
        const uint8_t *first = plane + run.rows[0] * stride + run.columns[0];
        const uint8_t *second = plane + run.rows[1] * stride + run.columns[1];
        __builtin_prefetch(first + 3 * stride); /* what the row of pixels below will need */
        __builtin_prefetch(first + 4 * stride);
        __m256i upper = load_pairs_at(first, second, run.is_right);
        __m256i lower = load_pairs_at(first + stride, second + stride, run.is_right);
        if (run.changes_row) {
            upper = _mm256_blendv_epi8(upper, lower, run.is_below);
            lower = _mm256_blendv_epi8(lower, load_pairs_at(first + 2 * stride, second + 2 * stride, run.is_right),
                                       run.is_below);
        }
        __m256i levels = blend_sixteen(upper, lower, run.across, run.along);
        levels = _mm256_permute4x64_epi64(_mm256_packus_epi16(levels, levels), 0x08);
        _mm_storeu_si128((__m128i *)(samples + i), _mm256_castsi256_si128(levels));
    }
    return i;
}

/* Left and right neighbours of chroma, from two rows of samples. */
WIDE void load_neighbours(const uint8_t *first, const uint8_t *second, __m256i is_right, __m256i pair[2]) {
    __m256i middle = load_two(first + 2, second + 2);
    pair[0] = _mm256_blendv_epi8(load_two(first, second), middle, is_right);
    pair[1] = _mm256_blendv_epi8(middle, load_two(first + 4, second + 4), is_right);
}

/* Blends the four pixels of chroma in the lower or the upper half of each lane. */
WIDE __m256i blend_low(const __m256i upper[2], const __m256i lower[2], __m256i across, __m256i along) {
    return blend_sixteen(_mm256_unpacklo_epi8(upper[0], upper[1]), _mm256_unpacklo_epi8(lower[0], lower[1]),
                         _mm256_unpacklo_epi16(across, across), _mm256_unpacklo_epi16(along, along));
}
WIDE __m256i blend_high(const __m256i upper[2], const __m256i lower[2], __m256i across, __m256i along) {
    return blend_sixteen(_mm256_unpackhi_epi8(upper[0], upper[1]), _mm256_unpackhi_epi8(lower[0], lower[1]),
                         _mm256_unpackhi_epi16(across, across), _mm256_unpackhi_epi16(along, along));
}

/* The same for chroma. */
WIDE int32_t sample_wide_chroma(const uint8_t *plane, int32_t height, int32_t width, const Drifts *drifts,
                                Backwards *back, int32_t i, int32_t count, uint8_t *samples) {
    const Drifts at = *drifts;
    const ptrdiff_t stride = 2 * (ptrdiff_t)width;
    const uint32_t rows = (uint32_t)max_i(height - 2, 0), columns = (uint32_t)max_i(width - HALF_PX - 1, 0);
    EvenRun run;
    for (; i + EVEN_PX <= count; i += EVEN_PX) {
        while (!find_even(&at, i, *back, rows, columns, &run))
            if (!turn_round(&at, i, i + EVEN_PX - 1, back)) return i;
        const uint8_t *first = plane + run.rows[0] * stride + 2 * run.columns[0];
        const uint8_t *second = plane + run.rows[1] * stride + 2 * run.columns[1];
        __m256i upper[2], lower[2], below[2];
        load_neighbours(first, second, run.is_right, upper);
        load_neighbours(first + stride, second + stride, run.is_right, lower);
        if (run.changes_row) {
            load_neighbours(first + 2 * stride, second + 2 * stride, run.is_right, below);
            for (int32_t k = 0; k < 2; k++) {
                upper[k] = _mm256_blendv_epi8(upper[k], lower[k], run.is_below);
                lower[k] = _mm256_blendv_epi8(lower[k], below[k], run.is_below);
            }
        }
        __m256i levels = _mm256_packus_epi16(blend_low(upper, lower, run.across, run.along),
                                             blend_high(upper, lower, run.across, run.along));
        _mm256_storeu_si256((__m256i *)(samples + 2 * i), levels);
    }
    return i;
}
#endif

/* Whether this processor has even runs. */
static int has_even_runs(void) {
#if HAS_WIDE_SHUFFLES
    return IS_WIDE();
#else
    return 0;
#endif
}

/* Samples a plane of luma (spacing 2) or chroma (1) from pixel `i` on, as long as the run is even, and returns where it
 * is not. */
static int32_t sample_even(const uint8_t *plane, int32_t height, int32_t width, const Drifts *at, Backwards *back,
                           int32_t i, int32_t count, uint8_t *samples) {
#if HAS_WIDE_SHUFFLES
    if (!at->is_tame) return i;
    return at->spacing == 2 ? sample_wide_luma(plane, height, width, at, back, i, count, samples)
                            : sample_wide_chroma(plane, height, width, at, back, i, count, samples);
#else
    (void)plane, (void)height, (void)width, (void)at, (void)back, (void)count, (void)samples;
    return i;
#endif
}
#endif
