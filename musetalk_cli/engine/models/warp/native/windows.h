/* Bilinear samples of 32 pixels at once, for x86-64 with AVX-512 VBMI: the samples of neighbouring pixels lie near each
 * other, so a window of 128 bytes holds those of one row, and one instruction puts them in order. Where the pixels' rows
 * of samples differ, there is a window for each. The values are those of bilinear.h.
 */
#ifndef WARP_WINDOWS_H
#define WARP_WINDOWS_H

#include "bilinear.h"

#if HAS_WINDOWS
#include <immintrin.h>
#define WITH_WINDOWS "avx512f,avx512bw,avx512vbmi"
#define WINDOWED __attribute__((target(WITH_WINDOWS))) static
#define INLINED __attribute__((target(WITH_WINDOWS), always_inline)) static inline
#endif

/* Positions of a row of pixels, 1/32 samples: between two rows of them, `share` of the way to the next. */
typedef struct {
    const float *x, *y, *next_x, *next_y;
    float share;
} Between;

#if HAS_WINDOWS
enum { WINDOW_PX = 32, WINDOW_BYTES = 128, WINDOW_ROWS = 4 };

/* What 32 pixels are sampled from: a window at `column` and `row` of the plane, and as many below it as there are
 * `rows`, and one; columns and rows of the pixels within, and shares, 16 bits each. */
typedef struct {
    __m512i column_of, row_of, across, along;
    int32_t column, row, rows;
} Window;

/* Positions of 16 pixels, rounded down; what is negative or not a number is more than any plane is wide. */
INLINED __m512i mix_sixteen(const float *above, const float *below, __m512 share) {
    __m512 from = _mm512_loadu_ps(above), apart = _mm512_sub_ps(_mm512_loadu_ps(below), from);
    return _mm512_cvttps_epi32(_mm512_add_ps(from, _mm512_mul_ps(apart, share)));
}

/* Positions of 32 pixels relative to a sample → 16 bits each. 0 where one is beyond `limit` samples or before the
 * first. */
INLINED int pack_positions(__m512i first, __m512i second, int32_t origin, int32_t limit, __m512i *packed) {
    const __m512i start = _mm512_set1_epi32(SUBPIXELS * origin), end = _mm512_set1_epi32(SUBPIXELS * limit);
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    first = _mm512_sub_epi32(first, start);
    second = _mm512_sub_epi32(second, start);
    *packed = _mm512_permutexvar_epi64(order, _mm512_packus_epi32(first, second));
    return (_mm512_cmplt_epu32_mask(first, end) & _mm512_cmplt_epu32_mask(second, end)) == 0xffff;
}

/* Finds the window of the 32 pixels from number `i` on; 0 where their samples do not fit into one, or not into the plane.
 * `reach`: how many samples a window is wide. */
INLINED int find_window(const Between *at, int32_t i, int32_t height, int32_t width, int32_t reach, Window *window) {
    const __m512 share = _mm512_set1_ps(at->share);
    const __m512i y = mix_sixteen(at->y + i, at->next_y + i, share);
    const __m512i last_y = mix_sixteen(at->y + i + 16, at->next_y + i + 16, share);
    const __m512i x = mix_sixteen(at->x + i, at->next_x + i, share);
    const __m512i last_x = mix_sixteen(at->x + i + 16, at->next_x + i + 16, share);
    const int32_t column = _mm_cvtsi128_si32(_mm512_castsi512_si128(x)) >> SUBPIXEL_BITS;
    const int32_t row = _mm_cvtsi128_si32(_mm512_castsi512_si128(y)) >> SUBPIXEL_BITS;
    const int32_t last_row = _mm_extract_epi32(_mm512_extracti32x4_epi32(last_y, 3), 3) >> SUBPIXEL_BITS;
    window->column = max_i(column - reach / 8, 0);
    window->row = min_i(row, last_row);
    window->rows = max_i(row, last_row) - window->row + 1;
    if (column < 0 || column >= width - 1) return 0;
    if (window->row < 0 || window->rows > WINDOW_ROWS || window->row + window->rows >= height) return 0;
    if ((window->row + window->rows) * width + window->column + reach > height * width) return 0;
    __m512i across, along;
    if (!pack_positions(x, last_x, window->column, min_i(reach - 1, width - 1 - window->column), &across)) return 0;
    if (!pack_positions(y, last_y, window->row, window->rows, &along)) return 0;
    const __m512i within = _mm512_set1_epi16(SUBPIXELS - 1);
    window->column_of = _mm512_srli_epi16(across, SUBPIXEL_BITS);
    window->row_of = _mm512_srli_epi16(along, SUBPIXEL_BITS);
    window->across = _mm512_and_si512(across, within);
    window->along = _mm512_and_si512(along, within);
    return 1;
}

/* The pairs of neighbours that 32 pixels are between, above and below them. `first`: the window; `order`: the bytes of
 * each pair in it. */
INLINED void load_window(const uint8_t *first, ptrdiff_t stride, const Window *window, __m512i order, __m512i *upper,
                          __m512i *lower) {
    *upper = _mm512_permutex2var_epi8(_mm512_loadu_si512(first), order, _mm512_loadu_si512(first + 64));
    first += stride;
    *lower = _mm512_permutex2var_epi8(_mm512_loadu_si512(first), order, _mm512_loadu_si512(first + 64));
    __m512i above = *lower;
    for (int32_t k = 1; k < window->rows; k++) {
        const __mmask32 is_here = _mm512_cmpeq_epi16_mask(window->row_of, _mm512_set1_epi16((int16_t)k));
        first += stride;
        __m512i below = _mm512_permutex2var_epi8(_mm512_loadu_si512(first), order, _mm512_loadu_si512(first + 64));
        *upper = _mm512_mask_mov_epi16(*upper, is_here, above);
        *lower = _mm512_mask_mov_epi16(*lower, is_here, below);
        above = below;
    }
}

/* blend_eight for 32 values, which are left in 16 bits each. */
INLINED __m512i blend_window(__m512i upper, __m512i lower, const Window *window) {
    __m512i left = _mm512_sub_epi16(_mm512_set1_epi16(SUBPIXELS), window->across);
    __m512i shares = _mm512_or_si512(_mm512_slli_epi16(window->across, 8), left);
    __m512i top = _mm512_maddubs_epi16(upper, shares), bottom = _mm512_maddubs_epi16(lower, shares);
    __m512i apart = _mm512_slli_epi16(_mm512_sub_epi16(bottom, top), 2);
    __m512i down = _mm512_mulhrs_epi16(apart, _mm512_slli_epi16(window->along, 9));
    __m512i sum = _mm512_add_epi16(_mm512_add_epi16(top, top), _mm512_add_epi16(down, _mm512_set1_epi16(SUBPIXELS)));
    return _mm512_srai_epi16(sum, 6);
}

/* Samples 32 pixels of luma from number `i` on; 0 where they do not fit into a window. */
INLINED int sample_luma_window(const uint8_t *plane, int32_t height, int32_t width, const Between *at, int32_t i,
                                uint8_t *samples) {
    Window window;
    if (!find_window(at, i, height, width, WINDOW_BYTES, &window)) return 0;
    const uint8_t *first = plane + (ptrdiff_t)window.row * width + window.column;
    const __m512i left = window.column_of, right = _mm512_add_epi16(left, _mm512_set1_epi16(1));
    __m512i upper, lower;
    __builtin_prefetch(first + 3 * (ptrdiff_t)width + WINDOW_BYTES / 2); /* what the row of pixels below will need */
    __builtin_prefetch(first + 4 * (ptrdiff_t)width + WINDOW_BYTES / 2);
    load_window(first, width, &window, _mm512_or_si512(left, _mm512_slli_epi16(right, 8)), &upper, &lower);
    __m512i levels = blend_window(upper, lower, &window);
    _mm256_storeu_si256((__m256i *)(samples + i), _mm512_cvtepi16_epi8(levels));
    return 1;
}

/* The same for chroma. */
INLINED int sample_chroma_window(const uint8_t *plane, int32_t height, int32_t width, const Between *at, int32_t i,
                                  uint8_t *samples) {
    Window window;
    if (!find_window(at, i, height, width, WINDOW_BYTES / 2, &window)) return 0;
    const uint8_t *first = plane + 2 * ((ptrdiff_t)window.row * width + window.column);
    const __m512i left = _mm512_add_epi16(window.column_of, window.column_of);
    const __m512i right = _mm512_add_epi16(left, _mm512_set1_epi16(2));
    const __m512i order = _mm512_or_si512(left, _mm512_slli_epi16(right, 8));
    __m512i upper, lower;
    load_window(first, 2 * (ptrdiff_t)width, &window, order, &upper, &lower);
    __m512i blue = blend_window(upper, lower, &window);
    load_window(first, 2 * (ptrdiff_t)width, &window, _mm512_add_epi8(order, _mm512_set1_epi8(1)), &upper, &lower);
    __m512i red = blend_window(upper, lower, &window);
    _mm512_storeu_si512(samples + 2 * i, _mm512_or_si512(blue, _mm512_slli_epi16(red, 8)));
    return 1;
}

/* Samples the pixels start … stop of luma or chroma, of one or two `channels`, as long as windows hold them, and returns
 * where one does not. The last one may begin before `start`, but not before `first`. */
WINDOWED int32_t sample_windows(const uint8_t *plane, int32_t height, int32_t width, int32_t channels,
                                const Between *at, int32_t first, int32_t start, int32_t stop, uint8_t *samples) {
    while (start < stop) {
        const int32_t i = min_i(start, stop - WINDOW_PX);
        if (i < first) return start;
        const int is_done = channels == 1 ? sample_luma_window(plane, height, width, at, i, samples)
                                          : sample_chroma_window(plane, height, width, at, i, samples);
        if (!is_done) return start;
        start = i + WINDOW_PX;
    }
    return start;
}
#endif
#endif
