/* Bilinear samples of a plane of bytes, for a run of positions in 1/32 samples.
 *
 * The loops are written out in C, and for x86-64 with SSSE3 and SSE4.1 a second time: neighbouring pixels are taken from
 * almost neighbouring samples, so one load brings those of four pixels, and a shuffle puts them in order. Where a run
 * does not go on that evenly, the samples are loaded one by one. Both give the same values.
 */
#ifndef WARP_BILINEAR_H
#define WARP_BILINEAR_H

#include "native/kernel.h"

#if defined(__SSSE3__) && defined(__SSE4_1__)
#include <immintrin.h>
#define HAS_SHUFFLES 1
#else
#define HAS_SHUFFLES 0
#endif
#if defined(__AVX2__)
#define HAS_WIDE_SHUFFLES 1
#define WIDE static inline
#define IS_WIDE() 1
#elif HAS_SHUFFLES && HAS_CLONES
#define HAS_WIDE_SHUFFLES 1
#define WIDE __attribute__((target("avx2"))) static
#define IS_WIDE() __builtin_cpu_supports("avx2")
#else
#define HAS_WIDE_SHUFFLES 0
#endif

enum { SUBPIXELS = 32, SUBPIXEL_BITS = 5, CACHE_LINE = 64 };

/* Pixels of a row that are sampled at a time: a whole row of most faces, as each further run takes all rows once more. */
enum { SPAN_PX = 1024 };

/* Positions of a run of pixels in 1/32 samples, to be rounded down; and the same split for sampling. */
typedef struct {
    float x[SPAN_PX], y[SPAN_PX];
    int32_t offset[SPAN_PX]; /* of the upper left one of four samples */
    int32_t largest;        /* of all offsets */
    int16_t across[SPAN_PX], along[SPAN_PX]; /* 0 … 32 */
} Run;

/* A plane to sample from, of luma or of chroma: pixels per sample, `step`, and bytes, which are as many. */
typedef struct {
    const uint8_t *values;
    int32_t height, width, step;
} SourcePlane;

/* Samples from one pixel of a row to the next: luma is upsampled to twice its size. */
static inline int32_t samples_per_px(const SourcePlane *plane) { return 2 / plane->step; }

/* Between two pairs of samples; 16 bits suffice. The second rounding is to 1/64 level. */
static inline uint8_t blend_four(int16_t a, int16_t b, int16_t c, int16_t d, int16_t across, int16_t along) {
    int16_t top = (int16_t)(a * SUBPIXELS + (int16_t)((b - a) * across));
    int16_t bottom = (int16_t)(c * SUBPIXELS + (int16_t)((d - c) * across));
    int16_t apart = (int16_t)((bottom - top) * 4), share = (int16_t)(along * 512);
    int16_t down = (int16_t)((apart * share + (1 << 14)) >> 15); /* one instruction of SSSE3 and of Neon */
    return (uint8_t)((int16_t)(top * 2 + down + SUBPIXELS) >> 6);
}

#if HAS_SHUFFLES
enum { WINDOW = 16 }; /* bytes of a load */

/* How far the samples of four pixels lie behind the first one's. */
static inline __m128i from_first(const int32_t *offset) {
    return _mm_sub_epi32(_mm_loadu_si128((const __m128i *)offset), _mm_set1_epi32(offset[0]));
}

/* Whether all of these are 0 … WINDOW - 1 - `reach`. */
static inline int are_near(__m128i distances, int32_t reach) {
    __m128i furthest = _mm_add_epi32(distances, _mm_set1_epi32(reach));
    return _mm_testz_si128(_mm_or_si128(distances, furthest), _mm_set1_epi32(-WINDOW));
}

/* The pairs of neighbours, two bytes each, of four pixels; their left ones are `left` bytes behind the first. */
static inline __m128i shuffle_pairs(const uint8_t *first, __m128i left) {
    const __m128i twice = _mm_setr_epi8(0, 0, 4, 4, 8, 8, 12, 12, -1, -1, -1, -1, -1, -1, -1, -1);
    __m128i order = _mm_add_epi8(_mm_shuffle_epi8(left, twice), _mm_set1_epi16(0x0100));
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)first), order);
}

static inline __m128i load_pairs(const uint8_t *values, const int32_t *offset) {
    uint16_t pairs[4];
    for (int32_t k = 0; k < 4; k++) memcpy(&pairs[k], values + offset[k], 2);
    return _mm_loadl_epi64((const __m128i *)pairs);
}

/* The same of chroma: Cb of both, and Cr of both. */
static inline __m128i shuffle_chroma(const uint8_t *first, __m128i left) {
    const __m128i repeat = _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
    __m128i order = _mm_add_epi8(_mm_shuffle_epi8(left, repeat), _mm_set1_epi32(0x03010200));
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)first), order);
}

static inline __m128i load_chroma(const uint8_t *values, const int32_t *offset) {
    uint32_t pairs[4];
    for (int32_t k = 0; k < 4; k++) memcpy(&pairs[k], values + 2 * (ptrdiff_t)offset[k], 4);
    const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)pairs), order);
}

/* blend_four for eight values: pairs above and below, and the shares in 16 bits each. */
static inline __m128i blend_eight(__m128i upper, __m128i lower, __m128i across, __m128i along) {
    __m128i shares = _mm_or_si128(_mm_slli_epi16(across, 8), _mm_sub_epi16(_mm_set1_epi16(SUBPIXELS), across));
    __m128i top = _mm_maddubs_epi16(upper, shares), bottom = _mm_maddubs_epi16(lower, shares);
    __m128i apart = _mm_slli_epi16(_mm_sub_epi16(bottom, top), 2);
    __m128i down = _mm_mulhrs_epi16(apart, _mm_slli_epi16(along, 9));
    __m128i sum = _mm_add_epi16(_mm_add_epi16(top, top), _mm_add_epi16(down, _mm_set1_epi16(SUBPIXELS)));
    sum = _mm_srai_epi16(sum, 6);
    return _mm_packus_epi16(sum, sum);
}

#if HAS_WIDE_SHUFFLES
/* The same for eight pixels, four in each half: pairs above and below, in the low half of each. 0 where they are uneven. */
WIDE int shuffle_eight(const uint8_t *plane, int32_t width, const int32_t *offset, __m256i *upper, __m256i *lower) {
    const __m256i twice = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 0, 4, 4, 8, 8, 12, 12, -1, -1, -1, -1, -1, -1, -1, -1));
    __m256i at = _mm256_loadu_si256((const __m256i *)offset);
    __m256i left = _mm256_sub_epi32(at, _mm256_shuffle_epi32(at, 0));
    __m256i furthest = _mm256_add_epi32(left, _mm256_set1_epi32(1));
    if (!_mm256_testz_si256(_mm256_or_si256(left, furthest), _mm256_set1_epi32(-WINDOW))) return 0;
    __m256i order = _mm256_add_epi8(_mm256_shuffle_epi8(left, twice), _mm256_set1_epi16(0x0100));
    const uint8_t *first = plane + offset[0], *second = plane + offset[4];
    *upper = _mm256_shuffle_epi8(_mm256_loadu2_m128i((const __m128i *)second, (const __m128i *)first), order);
    first += width;
    second += width;
    *lower = _mm256_shuffle_epi8(_mm256_loadu2_m128i((const __m128i *)second, (const __m128i *)first), order);
    return 1;
}

/* blend_eight for sixteen. */
WIDE __m256i blend_sixteen(__m256i upper, __m256i lower, __m256i across, __m256i along) {
    __m256i shares =
        _mm256_or_si256(_mm256_slli_epi16(across, 8), _mm256_sub_epi16(_mm256_set1_epi16(SUBPIXELS), across));
    __m256i top = _mm256_maddubs_epi16(upper, shares), bottom = _mm256_maddubs_epi16(lower, shares);
    __m256i apart = _mm256_slli_epi16(_mm256_sub_epi16(bottom, top), 2);
    __m256i down = _mm256_mulhrs_epi16(apart, _mm256_slli_epi16(along, 9));
    __m256i sum = _mm256_add_epi16(_mm256_add_epi16(top, top), _mm256_add_epi16(down, _mm256_set1_epi16(SUBPIXELS)));
    sum = _mm256_srai_epi16(sum, 6);
    return _mm256_packus_epi16(sum, sum);
}

/* Samples sixteen pixels after the other, as long as they are even, and returns how many. All lie at `last` at most. */
WIDE int32_t sample_sixteens(const uint8_t *plane, int32_t width, const Run *restrict run, int32_t i, int32_t count,
                             uint8_t *restrict samples) {
    for (; i + 16 <= count; i += 16) {
        __m256i upper[2], lower[2]; /* pixels 0 … 3 and 4 … 7; 8 … 11 and 12 … 15 */
        if (!shuffle_eight(plane, width, run->offset + i, &upper[0], &lower[0])) break;
        if (!shuffle_eight(plane, width, run->offset + i + 8, &upper[1], &lower[1])) break;
        __m256i across = _mm256_loadu_si256((const __m256i *)(run->across + i));
        __m256i along = _mm256_loadu_si256((const __m256i *)(run->along + i));
        __m256i levels = blend_sixteen(_mm256_unpacklo_epi64(upper[0], upper[1]),
                                       _mm256_unpacklo_epi64(lower[0], lower[1]),
                                       _mm256_permute4x64_epi64(across, 0xd8), _mm256_permute4x64_epi64(along, 0xd8));
        __m128i first = _mm256_castsi256_si128(levels), second = _mm256_extracti128_si256(levels, 1);
        _mm_storeu_si128((__m128i *)(samples + i), _mm_unpacklo_epi32(first, second));
    }
    return i;
}
#endif

/* Samples as many pixels of a run as are a multiple of eight, and returns how many. */
static inline int32_t sample_eights(const uint8_t *plane, int32_t height, int32_t width, const Run *restrict run,
                                    int32_t count, uint8_t *restrict samples) {
    const ptrdiff_t last = (ptrdiff_t)(height - 1) * width - WINDOW; /* where a window of both rows may begin */
    int32_t i = 0;
#if HAS_WIDE_SHUFFLES
    const int is_wide = IS_WIDE() && run->largest <= last;
#endif
    for (; i + 8 <= count; i += 8) {
#if HAS_WIDE_SHUFFLES
        if (is_wide) i = sample_sixteens(plane, width, run, i, count, samples);
        if (i + 8 > count) break;
#endif
        __m128i upper[2], lower[2];
        for (int32_t k = 0; k < 2; k++) {
            const int32_t *offset = run->offset + i + 4 * k;
            const uint8_t *first = plane + offset[0];
            __m128i left = from_first(offset);
            int is_even = are_near(left, 1) && offset[0] <= last;
            upper[k] = is_even ? shuffle_pairs(first, left) : load_pairs(plane, offset);
            lower[k] = is_even ? shuffle_pairs(first + width, left) : load_pairs(plane + width, offset);
        }
        __m128i across = _mm_loadu_si128((const __m128i *)(run->across + i));
        __m128i along = _mm_loadu_si128((const __m128i *)(run->along + i));
        __m128i levels = blend_eight(_mm_unpacklo_epi64(upper[0], upper[1]), _mm_unpacklo_epi64(lower[0], lower[1]),
                                     across, along);
        _mm_storel_epi64((__m128i *)(samples + i), levels);
    }
    return i;
}

/* The same for chroma, as many as are a multiple of four. */
static inline int32_t sample_fours(const uint8_t *chroma, int32_t height, int32_t width, const Run *restrict run,
                                   int32_t count, uint8_t *restrict samples) {
    const ptrdiff_t last = (ptrdiff_t)(height - 1) * width - WINDOW / 2, row = 2 * (ptrdiff_t)width;
    int32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const int32_t *offset = run->offset + i;
        const uint8_t *first = chroma + 2 * (ptrdiff_t)offset[0];
        __m128i left = _mm_slli_epi32(from_first(offset), 1);
        int is_even = are_near(left, 3) && offset[0] <= last;
        __m128i upper = is_even ? shuffle_chroma(first, left) : load_chroma(chroma, offset);
        __m128i lower = is_even ? shuffle_chroma(first + row, left) : load_chroma(chroma + row, offset);
        __m128i across = _mm_loadl_epi64((const __m128i *)(run->across + i));
        __m128i along = _mm_loadl_epi64((const __m128i *)(run->along + i));
        __m128i levels =
            blend_eight(upper, lower, _mm_unpacklo_epi16(across, across), _mm_unpacklo_epi16(along, along));
        _mm_storel_epi64((__m128i *)(samples + 2 * i), levels);
    }
    return i;
}
#else
static inline int32_t sample_eights(const uint8_t *plane, int32_t height, int32_t width, const Run *restrict run,
                                    int32_t count, uint8_t *restrict samples) {
    (void)plane, (void)height, (void)width, (void)run, (void)count, (void)samples;
    return 0;
}

static inline int32_t sample_fours(const uint8_t *chroma, int32_t height, int32_t width, const Run *restrict run,
                                   int32_t count, uint8_t *restrict samples) {
    return sample_eights(chroma, height, width, run, count, samples);
}
#endif

/* Bilinear samples of a plane (height, width), for a run that has been split. */
HOT static void sample_plane(const uint8_t *plane, int32_t height, int32_t width, const Run *restrict run,
                             int32_t count, uint8_t *restrict samples) {
    uint16_t upper[SPAN_PX], lower[SPAN_PX]; /* pairs of neighbours */
    for (int32_t i = 0; i < count; i += CACHE_LINE / 2) {
        __builtin_prefetch(plane + run->offset[i] + 2 * width); /* what the row of pixels below will need */
        __builtin_prefetch(plane + run->offset[i] + 3 * width);
    }
    const int32_t start = sample_eights(plane, height, width, run, count, samples);
    for (int32_t i = start; i < count; i++) {
        const uint8_t *first = plane + run->offset[i];
        memcpy(&upper[i], first, 2);
        memcpy(&lower[i], first + width, 2);
    }
    for (int32_t i = start; i < count; i++)
        samples[i] = blend_four(upper[i] & 255, (int16_t)(upper[i] >> 8), lower[i] & 255, (int16_t)(lower[i] >> 8),
                                run->across[i], run->along[i]);
}

/* The same for chroma (height, width, 2). */
HOT static void sample_chroma(const uint8_t *chroma, int32_t height, int32_t width, const Run *restrict run,
                              int32_t count, uint8_t *restrict samples) {
    uint32_t upper[SPAN_PX], lower[SPAN_PX];
    const int32_t start = sample_fours(chroma, height, width, run, count, samples);
    for (int32_t i = start; i < count; i++) {
        const uint8_t *first = chroma + 2 * (ptrdiff_t)run->offset[i];
        memcpy(&upper[i], first, 4);
        memcpy(&lower[i], first + 2 * (ptrdiff_t)width, 4);
    }
    for (int32_t i = start; i < count; i++)
        for (int32_t k = 0; k < 2; k++)
            samples[2 * i + k] = blend_four((upper[i] >> 8 * k) & 255, (upper[i] >> (8 * k + 16)) & 255,
                                            (lower[i] >> 8 * k) & 255, (lower[i] >> (8 * k + 16)) & 255,
                                            run->across[i], run->along[i]);
}
#endif
