/* What shrinking.c is made of, and the same for x86-64 with AVX2. The values are the same.
 *
 * A plane is shrunk band by band: rows are averaged vertically, what that gives is turned, so that the samples of a
 * column lie side by side, and these are averaged column by column, as many rows at once as the band has.
 */
#ifndef NATIVE_SHRINKING_H
#define NATIVE_SHRINKING_H

#include "native/avx2.h"

enum { TILE = 16 };        /* rows of a band of the shrunk plane, and columns that are made at a time */
enum { BLOCK = 32 };       /* samples that are averaged vertically at a time: the bytes of a vector */
enum { LONGEST_PX = 512 }; /* columns of a plane that are worked on at a time */
enum { MAX_TAPS = 17 };    /* of a sample of the shrunk plane, in one direction */

/* One direction of a plane. A sample of the shrunk one is the sum of `taps` neighbours by their weights, in 1/65536.
 * first (shrunk,): the first of them; weights (shrunk, taps). */
typedef struct {
    const int32_t *first;
    const uint16_t *weights;
    int32_t size, shrunk, taps;
} Axis;

/* What a level is of a sum in both directions, whose samples count 256: that times `scale`, and `offset`; rounded. */
typedef struct {
    float scale, offset;
} Levels;

/* How a plane is shrunk. */
typedef struct {
    Axis rows, columns;
    Levels levels;
} Shrinking;

/* Columns of the shrunk plane, and those of the plane that they are averaged from: `count` from `first` on. */
typedef struct {
    int32_t start, stop, first, count;
} Run;

/* Of a band, and from a run's first column on: what its rows average vertically, and the same turned. */
typedef struct {
    uint16_t rows[TILE][LONGEST_PX + BLOCK], columns[LONGEST_PX + BLOCK][TILE];
} Band;

/* What a run of a plane is shrunk from and to. A row of the plane has as many bytes as it has columns. */
typedef struct {
    const uint8_t *plane;
    uint8_t *shrunk;
    const Shrinking *how;
    Run run;
} Job;

/* What a row of the shrunk plane is averaged from, in a run: its first sample, how many rows, and by which weights. */
typedef struct {
    const uint8_t *first;
    const uint16_t *weights;
    int32_t taps;
} RowTaps;

/* Below the shrunk plane, its last row. Taps without weight are left out. */
static inline RowTaps find_row(const Job *job, int32_t row) {
    const Axis *axis = &job->how->rows;
    const size_t at = (size_t)min_i(row, axis->shrunk - 1);
    RowTaps found = {.weights = axis->weights + at * (size_t)axis->taps, .taps = axis->taps};
    found.first = job->plane + (size_t)axis->first[at] * (size_t)job->how->columns.size + job->run.first;
    while (found.taps > 1 && !found.weights[found.taps - 1]) found.taps--;
    return found;
}

/* Where a tile belongs, and how much of it. */
typedef struct {
    uint8_t *first;
    size_t stride;
    int32_t rows, columns;
} Place;

static inline Place find_place(const Job *job, int32_t row, int32_t column) {
    const size_t stride = (size_t)job->how->columns.shrunk;
    return (Place){
        .first = job->shrunk + (size_t)row * stride + column,
        .stride = stride,
        .rows = min_i(job->how->rows.shrunk - row, TILE),
        .columns = min_i(job->run.stop - column, TILE),
    };
}

static inline void write_part(const Place *place, const uint8_t tile[TILE * TILE]) {
    for (int32_t row = 0; row < place->rows; row++)
        memcpy(place->first + (size_t)row * place->stride, tile + TILE * row, (size_t)place->columns);
}

#if HAS_WINDOWS
/* A block of rows; `weights`: as from->weights, each in a whole vector */
INLINED_AVX2 void average_block_avx2(uint16_t *averages, const uint8_t *samples, const __m256i *weights, int32_t width,
                                     int32_t taps) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i low = zero, high = zero;
    for (int32_t k = 0; k < taps; k++, samples += width) {
        const __m256i bytes = load(samples);
        low = _mm256_add_epi16(low, _mm256_mulhi_epu16(_mm256_unpacklo_epi8(zero, bytes), weights[k]));
        high = _mm256_add_epi16(high, _mm256_mulhi_epu16(_mm256_unpackhi_epi8(zero, bytes), weights[k]));
    }
    store_unpacked(averages, low, high);
}

/* average_rows, of at least as many samples as a block has. `taps`: from->taps, which a compiler may know */
INLINED_AVX2 void average_rows_avx2(uint16_t *averages, const RowTaps *from, int32_t width, int32_t count,
                                    int32_t taps) {
    __m256i weights[MAX_TAPS];
    for (int32_t k = 0; k < taps; k++) weights[k] = _mm256_set1_epi16((int16_t)from->weights[k]);
    for (int32_t i = 0; i < count; i += BLOCK) {
        const int32_t at = min_i(i, count - BLOCK);
        average_block_avx2(averages + at, from->first + at, weights, width, taps);
    }
}

/* As many rows as a band has. */
INLINED_AVX2 void average_band_avx2(Band *band, const Job *job, int32_t row) {
    const int32_t width = job->how->columns.size, count = job->run.count;
    for (int32_t k = 0; k < TILE; k++) {
        const RowTaps from = find_row(job, row + k);
        switch (from.taps) {
        case 2: average_rows_avx2(band->rows[k], &from, width, count, 2); break;
        case 3: average_rows_avx2(band->rows[k], &from, width, count, 3); break;
        default: average_rows_avx2(band->rows[k], &from, width, count, from.taps); break;
        }
    }
}

/* The elements of the first half of the vectors between those of the second half, pair by pair. As often as there are
 * bits in a vector's number, it turns rows into columns. */
INLINED_AVX2 void interleave_words(__m256i vectors[TILE / 2]) {
    __m256i mixed[TILE / 2];
    for (int32_t k = 0; k < TILE / 4; k++) {
        mixed[2 * k] = _mm256_unpacklo_epi16(vectors[k], vectors[k + TILE / 4]);
        mixed[2 * k + 1] = _mm256_unpackhi_epi16(vectors[k], vectors[k + TILE / 4]);
    }
    for (int32_t k = 0; k < TILE / 2; k++) vectors[k] = mixed[k];
}
INLINED_AVX2 void interleave_bytes(__m256i vectors[TILE / 2]) {
    __m256i mixed[TILE / 2];
    for (int32_t k = 0; k < TILE / 4; k++) {
        mixed[2 * k] = _mm256_unpacklo_epi8(vectors[k], vectors[k + TILE / 4]);
        mixed[2 * k + 1] = _mm256_unpackhi_epi8(vectors[k], vectors[k + TILE / 4]);
    }
    for (int32_t k = 0; k < TILE / 2; k++) vectors[k] = mixed[k];
}

INLINED_AVX2 __m256i load_halves(const uint16_t *first, const uint16_t *second) {
    const __m128i low = _mm_loadu_si128((const __m128i *)first), high = _mm_loadu_si128((const __m128i *)second);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* turn_band: eight columns at a time, whose upper eight rows are in the first halves of vectors */
INLINED_AVX2 void turn_band_avx2(Band *band, int32_t count) {
    for (int32_t i = 0; i < count; i += TILE / 2) {
        __m256i vectors[TILE / 2];
        for (int32_t k = 0; k < TILE / 2; k++)
            vectors[k] = load_halves(band->rows[k] + i, band->rows[k + TILE / 2] + i);
        for (int32_t k = 0; k < 3; k++) interleave_words(vectors);
        for (int32_t k = 0; k < TILE / 2; k++) store(band->columns[i + k], vectors[k]);
    }
}

/* A column of levels, 16 bits each. */
INLINED_AVX2 __m256i average_column_avx2(const uint16_t (*columns)[TILE], const uint16_t *weights, int32_t taps,
                                         const Levels *levels) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256 scale = _mm256_set1_ps(levels->scale), offset = _mm256_set1_ps(levels->offset);
    __m256i sum = zero;
    for (int32_t k = 0; k < taps; k++)
        sum = _mm256_add_epi16(sum, _mm256_mulhi_epu16(load(columns[k]), _mm256_set1_epi16((int16_t)weights[k])));
    const __m256 low = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(sum, zero));
    const __m256 high = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(sum, zero));
    return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_add_ps(_mm256_mul_ps(low, scale), offset)),
                              _mm256_cvtps_epi32(_mm256_add_ps(_mm256_mul_ps(high, scale), offset)));
}

/* average_tile: two rows in each vector. `taps`: those of the axis */
INLINED_AVX2 void average_tile_avx2(uint8_t *tile, size_t stride, const Band *band, const Job *job, int32_t start,
                                    int32_t taps) {
    const Axis *axis = &job->how->columns;
    __m256i vectors[TILE / 2];
    for (int32_t k = 0; k < TILE / 2; k++) {
        __m256i levels[2];
        for (int32_t side = 0; side < 2; side++) {
            const int32_t column = min_i(start + 2 * k + side, job->run.stop - 1);
            levels[side] = average_column_avx2(band->columns + (axis->first[column] - job->run.first),
                                               axis->weights + (size_t)column * (size_t)taps, taps, &job->how->levels);
        }
        vectors[k] = _mm256_packus_epi16(levels[0], levels[1]);
    }
    for (int32_t k = 0; k < 4; k++) interleave_bytes(vectors);
    for (int32_t k = 0; k < TILE / 2; k++, tile += stride) {
        _mm_storeu_si128((__m128i *)tile, _mm256_castsi256_si128(vectors[k]));
        _mm_storeu_si128((__m128i *)(tile + TILE / 2 * stride), _mm256_extracti128_si256(vectors[k], 1));
    }
}

/* average_columns; `taps`: those of the axis, which a compiler may know */
INLINED_AVX2 void average_columns_avx2(const Band *band, const Job *job, int32_t row, int32_t taps) {
    for (int32_t column = job->run.start; column < job->run.stop; column += TILE) {
        const Place place = find_place(job, row, column);
        if (place.rows == TILE && place.columns == TILE) {
            average_tile_avx2(place.first, place.stride, band, job, column, taps);
        } else {
            uint8_t tile[TILE * TILE];
            average_tile_avx2(tile, TILE, band, job, column, taps);
            write_part(&place, tile);
        }
    }
}

/* shrink_run, of at least as many columns as a block has */
IN_AVX2 void shrink_run_avx2(const Job *job) {
    Band band;
    for (int32_t row = 0; row < job->how->rows.shrunk; row += TILE) {
        average_band_avx2(&band, job, row);
        turn_band_avx2(&band, job->run.count);
        switch (job->how->columns.taps) {
        case 2: average_columns_avx2(&band, job, row, 2); break;
        case 3: average_columns_avx2(&band, job, row, 3); break;
        case 4: average_columns_avx2(&band, job, row, 4); break;
        default: average_columns_avx2(&band, job, row, job->how->columns.taps); break;
        }
    }
}
#endif
#endif
