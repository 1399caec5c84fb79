/* Bilinear samples of a block at once, for x86-64 with AVX-512 VBMI: the samples of neighbouring pixels lie near each
 * other, so a window of 128 bytes holds those of one row, and one instruction puts them in order. Where the pixels' rows
 * of samples differ, there is a window for each. The values are those of bilinear.h.
 */
#ifndef WARP_WINDOWS_H
#define WARP_WINDOWS_H

#include "models/warp/native/pixels/positions.h"

#if HAS_WINDOWS
#include <immintrin.h>
#define WITH_WINDOWS "avx512f,avx512bw,avx512vbmi"
#define WINDOWED __attribute__((target(WITH_WINDOWS))) static
#define INLINED __attribute__((target(WITH_WINDOWS), always_inline)) static inline

enum { WINDOW_BYTES = 128, WINDOW_ROWS = 12 };

/* One coordinate of sixteen pixels, between the nodes `cell` and the next of sixteen; rounded down. */
INLINED __m512i expand_sixteen(const float *nodes, __m512i cell, __m512 share) {
    const __m512 all = _mm512_loadu_ps(nodes), from = _mm512_permutexvar_ps(cell, all);
    const __m512 next = _mm512_permutexvar_ps(_mm512_add_epi32(cell, _mm512_set1_epi32(1)), all);
    const __m512 at = _mm512_add_ps(from, _mm512_mul_ps(_mm512_sub_ps(next, from), share));
    return _mm512_cvt_roundps_epi32(at, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

/* expand_row where sixteen pixels lie in fewer than sixteen cells. */
WINDOWED void expand_wide_row(Row *row, const NodeRow *nodes, const Columns *columns) {
    for (int32_t i = 0; i < columns->count; i += 16) {
        const int32_t first = columns->cell_of[i];
        const __m512i cell = _mm512_sub_epi32(_mm512_loadu_si512(columns->cell_of + i), _mm512_set1_epi32(first));
        const __m512 share = _mm512_loadu_ps(columns->share_of + i);
        _mm512_storeu_si512(row->x + columns->before + i, expand_sixteen(nodes->x + first, cell, share));
        _mm512_storeu_si512(row->y + columns->before + i, expand_sixteen(nodes->y + first, cell, share));
    }
}

/* What a block is sampled from: a window that begins at `first`, and as many below it as there are `rows`, and one.
 * Columns and rows of the pixels within, and shares, 16 bits each. */
typedef struct {
    const uint8_t *first;
    ptrdiff_t stride;
    int32_t rows;
    __m512i column_of, row_of, across, along;
} Window;

/* The columns that 32 pixels would show: every second sample of luma, every one of chroma. */
INLINED __m512i unmoved_columns(int32_t step) {
    const __m512i pixels = _mm512_cvtepu8_epi16(
        _mm256_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
                         27, 28, 29, 30, 31));
    return step == 1 ? _mm512_add_epi16(pixels, pixels) : pixels;
}

/* Positions between two rows of nodes: part_of for 32 pixels. */
INLINED __m512i mix_positions(const uint16_t *from, const int16_t *apart, __m512i share) {
    return _mm512_add_epi16(_mm512_loadu_si512(from), _mm512_mulhrs_epi16(_mm512_loadu_si512(apart), share));
}

/* Finds the window of a block, whose pixels would show the samples from `first` on if nothing moved; 0 where it needs
 * too many rows, or does not fit into the plane. */
INLINED int find_window(const SourcePlane *plane, const Block *block, int16_t share, ptrdiff_t first, Window *window) {
    const int32_t low = block->low[0] + ((block->low[1] - block->low[0]) * share >> SHARE_BITS);
    const int32_t high = block->high[0] + (((block->high[1] - block->high[0]) * share + ONE_SHARE - 1) >> SHARE_BITS);
    const int32_t row = low >> STEP_BITS;
    const ptrdiff_t start = plane->step * (first + (ptrdiff_t)row * plane->width + block->column);
    window->stride = plane->step * (ptrdiff_t)plane->width;
    window->rows = (high >> STEP_BITS) - row + 1;
    const ptrdiff_t end = start + window->rows * window->stride + WINDOW_BYTES;
    if (window->rows > WINDOW_ROWS || start < 0 || end > plane->height * window->stride) return 0;
    window->first = plane->values + start;
    const __m512i shares = _mm512_set1_epi16(share), within = _mm512_set1_epi16(SUBPIXELS - 1);
    const __m512i x = mix_positions(block->x, block->across, shares);
    const __m512i y = _mm512_sub_epi16(mix_positions(block->y, block->down, shares),
                                       _mm512_set1_epi16((int16_t)((row - block->row) * STEPS)));
    window->column_of = _mm512_add_epi16(_mm512_srli_epi16(x, STEP_BITS), unmoved_columns(plane->step));
    window->row_of = _mm512_srli_epi16(y, STEP_BITS);
    window->across = _mm512_and_si512(_mm512_srli_epi16(x, STEP_BITS - SUBPIXEL_BITS), within);
    window->along = _mm512_and_si512(_mm512_srli_epi16(y, STEP_BITS - SUBPIXEL_BITS), within);
    return 1;
}

INLINED __m512i load_pairs_of(const uint8_t *first, __m512i order) {
    return _mm512_permutex2var_epi8(_mm512_loadu_si512(first), order, _mm512_loadu_si512(first + WINDOW_BYTES / 2));
}

/* The pairs of neighbours that 32 pixels are between, above and below them. `order`: the bytes of each in the window. */
INLINED void load_window(const Window *window, __m512i order, __m512i *upper, __m512i *lower) {
    const uint8_t *first = window->first;
    *upper = load_pairs_of(first, order);
    *lower = load_pairs_of(first += window->stride, order);
    __m512i above = *lower;
    for (int32_t k = 1; k < window->rows; k++) {
        const __mmask32 is_here = _mm512_cmpeq_epi16_mask(window->row_of, _mm512_set1_epi16((int16_t)k));
        const __m512i below = load_pairs_of(first += window->stride, order);
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

/* The order of pairs: the byte `left`, and the one `distance` bytes behind it. */
INLINED __m512i pairs_at(__m512i left, int32_t distance) {
    const __m512i apart = _mm512_set1_epi16((int16_t)(distance << 8));
    return _mm512_add_epi16(_mm512_or_si512(left, _mm512_slli_epi16(left, 8)), apart);
}

INLINED void sample_luma_window(const Window *window, __mmask32 drawn, uint8_t *samples) {
    __m512i upper, lower;
    __builtin_prefetch(window->first + 3 * window->stride + WINDOW_BYTES / 2); /* what the row of pixels below needs */
    __builtin_prefetch(window->first + 4 * window->stride + WINDOW_BYTES / 2);
    load_window(window, pairs_at(window->column_of, 1), &upper, &lower);
    _mm512_mask_cvtepi16_storeu_epi8(samples, drawn, blend_window(upper, lower, window));
}

INLINED void sample_chroma_window(const Window *window, __mmask32 drawn, uint8_t *samples) {
    const __m512i order = pairs_at(_mm512_add_epi16(window->column_of, window->column_of), 2);
    __m512i upper, lower;
    load_window(window, order, &upper, &lower);
    __m512i blue = blend_window(upper, lower, window);
    load_window(window, _mm512_add_epi8(order, _mm512_set1_epi8(1)), &upper, &lower);
    __m512i red = blend_window(upper, lower, window);
    _mm512_mask_storeu_epi16(samples, drawn, _mm512_or_si512(blue, _mm512_slli_epi16(red, 8)));
}

/* Samples the pixels start … stop of a row, from the beginning of a block on, as long as windows hold them. Returns
 * where one does not. `first`: the sample that the row's first pixel would show if nothing moved. */
WINDOWED int32_t sample_windows(const SourcePlane *plane, const Block *blocks, int16_t share, ptrdiff_t first,
                                int32_t start, int32_t stop, uint8_t *samples) {
    for (; start < stop; start += BLOCK_PX) {
        const Block *block = &blocks[start / BLOCK_PX];
        const __mmask32 drawn = UINT32_MAX >> (BLOCK_PX - min_i(stop - start, BLOCK_PX));
        Window window;
        if (!block->is_near || !find_window(plane, block, share, first + samples_per_px(plane) * start, &window)) break;
        if (plane->step == 1)
            sample_luma_window(&window, drawn, samples + start);
        else
            sample_chroma_window(&window, drawn, samples + 2 * start);
    }
    return start;
}
#endif
#endif
