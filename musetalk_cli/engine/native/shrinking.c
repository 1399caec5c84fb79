/* A frame of the avatar made smaller: every sample is the mean of the area that it covers. */
#include "native/shrinking.h"

/* How a frame is shrunk: its luma, and each of its planes of chroma. */
typedef struct {
    Shrinking luma, chroma;
} FrameShrinking;

EXPORT void shrink_plane(const uint8_t *plane, const Shrinking *how, uint8_t *shrunk);
EXPORT void shrink_frame(const uint8_t *frame, const FrameShrinking *how, uint8_t *shrunk);

/* The mean of the rows that a row of the shrunk plane covers, in 1/256 level; `width`: bytes from one to the next. */
HOT static void average_rows(uint16_t *restrict averages, const RowTaps *from, int32_t width, int32_t count) {
    memset(averages, 0, sizeof(uint16_t) * (size_t)count);
    for (int32_t k = 0; k < from->taps; k++) {
        const uint8_t *restrict samples = from->first + (size_t)k * (size_t)width;
        const uint32_t weight = from->weights[k];
        for (int32_t i = 0; i < count; i++)
            averages[i] = (uint16_t)(averages[i] + (((uint32_t)samples[i] << 8) * weight >> 16));
    }
}

static void turn_band(Band *band, int32_t count) {
    for (int32_t i = 0; i < count; i++)
        for (int32_t row = 0; row < TILE; row++) band->columns[i][row] = band->rows[row][i];
}

/* The nearest level, the even one of two: adding 3 · 2^22 leaves no bits for a fraction. */
static inline uint8_t to_level(uint16_t sum, Levels levels) {
    union { float value; int32_t bits; } nearest = {(float)sum * levels.scale + levels.offset + 12582912.0f};
    return (uint8_t)nearest.bits;
}

/* Averages the columns of a tile, of a band whose rows were averaged. */
HOT static void average_tile(uint8_t tile[TILE * TILE], const Band *band, const Job *job, const Place *place,
                             int32_t start) {
    const Axis *axis = &job->how->columns;
    for (int32_t k = 0; k < place->columns; k++) {
        const uint16_t *weights = axis->weights + (size_t)(start + k) * (size_t)axis->taps;
        const uint16_t(*column)[TILE] = band->columns + (axis->first[start + k] - job->run.first);
        uint16_t sums[TILE] = {0};
        for (int32_t tap = 0; tap < axis->taps; tap++)
            for (int32_t row = 0; row < TILE; row++)
                sums[row] = (uint16_t)(sums[row] + ((uint32_t)column[tap][row] * weights[tap] >> 16));
        for (int32_t row = 0; row < TILE; row++) tile[TILE * row + k] = to_level(sums[row], job->how->levels);
    }
}

static void average_columns(const Band *band, const Job *job, int32_t row) {
    for (int32_t column = job->run.start; column < job->run.stop; column += TILE) {
        const Place place = find_place(job, row, column);
        uint8_t tile[TILE * TILE];
        average_tile(tile, band, job, &place, column);
        write_part(&place, tile);
    }
}

static void shrink_run(const Job *job) {
    Band band;
    for (int32_t row = 0; row < job->how->rows.shrunk; row += TILE) {
        for (int32_t k = 0; k < TILE; k++) {
            const RowTaps from = find_row(job, row + k);
            average_rows(band.rows[k], &from, job->how->columns.size, job->run.count);
        }
        turn_band(&band, job->run.count);
        average_columns(&band, job, row);
    }
}

/* The columns from `start` on, whole tiles of them, as long as LONGEST_PX hold what they are averaged from. That is at
 * least a block, where the plane has one. */
static Run find_run(const Axis *axis, int32_t start) {
    const int32_t first = axis->first[start], limit = first + LONGEST_PX - axis->taps;
    Run run = {.start = start, .stop = min_i(start + TILE, axis->shrunk)};
    for (int32_t stop; run.stop < axis->shrunk; run.stop = stop) {
        stop = min_i(run.stop + TILE, axis->shrunk);
        if (axis->first[stop - 1] > limit) break;
    }
    const int32_t end = max_i(axis->first[run.stop - 1] + axis->taps, min_i(BLOCK, axis->size));
    run.first = max_i(min_i(first, end - BLOCK), 0);
    run.count = end - run.first;
    return run;
}

/* Shrinks a plane uint8 (height, width) to another: both have the sizes in `how`. Each direction shrinks up to 16 times,
 * or stays. */
EXPORT void shrink_plane(const uint8_t *plane, const Shrinking *how, uint8_t *shrunk) {
    for (int32_t start = 0; start < how->columns.shrunk;) {
        const Job job = {.plane = plane, .shrunk = shrunk, .how = how, .run = find_run(&how->columns, start)};
        start = job.run.stop;
#if HAS_WINDOWS
        if (native_takes_avx2 && job.run.count >= BLOCK) {
            shrink_run_avx2(&job);
            continue;
        }
#endif
        shrink_run(&job);
    }
}

/* The same for a frame, planar I420 uint8 (height · 3/2, width). */
EXPORT void shrink_frame(const uint8_t *frame, const FrameShrinking *how, uint8_t *shrunk) {
    shrink_plane(frame, &how->luma, shrunk);
    frame += (size_t)how->luma.rows.size * (size_t)how->luma.columns.size;
    shrunk += (size_t)how->luma.rows.shrunk * (size_t)how->luma.columns.shrunk;
    for (int32_t plane = 0; plane < 2; plane++) {
        shrink_plane(frame, &how->chroma, shrunk);
        frame += (size_t)how->chroma.rows.size * (size_t)how->chroma.columns.size;
        shrunk += (size_t)how->chroma.rows.shrunk * (size_t)how->chroma.columns.shrunk;
    }
}
