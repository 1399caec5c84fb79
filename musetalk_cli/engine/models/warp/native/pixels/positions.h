/* What a grid's nodes show → where the pixels of its rows come from.
 *
 * Rows of nodes are interpolated to pixels, a run of columns at a time. A position is kept as its distance from the
 * sample that the pixel would show unmoved. Those of 32 neighbouring pixels, a block, are almost alike, so 16 bits hold
 * them, and each row of pixels between two rows of nodes is a multiplication and an addition away. All processors
 * compute the same whole numbers.
 */
#ifndef WARP_POSITIONS_H
#define WARP_POSITIONS_H

#include "models/warp/native/pixels/bilinear.h"

/* Distances are in steps of 1/2048 sample: 16 bits hold 32 samples. */
enum { STEP_BITS = 11, STEPS = 1 << STEP_BITS, STEPS_PER_SUBPIXEL = STEPS / SUBPIXELS, REACH = 32 };
enum { SHARE_BITS = 15, ONE_SHARE = 1 << SHARE_BITS };
enum { BLOCK_PX = 32, MAX_BLOCKS = SPAN_PX / BLOCK_PX };
#define FAR_STEPS 6.72e7f /* further than any plane is wide */

/* A position p in pixels is that of the sample gain · p + bias, in 1/32 samples, to be rounded down. */
typedef struct {
    float gain, bias_x, bias_y;
} ToSamples;

/* Distances at some nodes of a row, in steps; with room for sixteen more. */
typedef struct {
    float x[SPAN_PX + 16], y[SPAN_PX + 16];
} NodeRow;

/* The same at the columns of a run; with room for the rest of the cells at both ends, and of a block. */
enum { MAX_CELL_PX = 128, ROW_PX = SPAN_PX + 2 * MAX_CELL_PX + BLOCK_PX };
typedef struct {
    int32_t x[ROW_PX], y[ROW_PX];
} Row;

/* How the `count` columns of a run from `start` on are interpolated: `cells` from the node `first` on, whose pixels
 * begin with the run's column -`before`. All cells have the same `shares`. For each column, and up to a multiple of
 * sixteen, its cell and share of the next node. `scale`: samples per pixel of the plane. */
typedef struct {
    int32_t start, count, first, cells, before, px_per_cell, scale;
    float4 shares[MAX_CELL_PX / 4];
    int32_t cell_of[SPAN_PX];
    float share_of[SPAN_PX];
} Columns;

/* Distances of 32 pixels at one row of nodes, and what is added up to the next; in steps, from `column` and `row`
 * samples on. `low`, `high`: the least and the largest y at both rows of nodes. */
typedef struct {
    uint16_t x[BLOCK_PX], y[BLOCK_PX];
    int16_t across[BLOCK_PX], down[BLOCK_PX];
    int32_t column, row, low[2], high[2];
    int is_near; /* 0 where they are not alike, or do not all lie within the plane */
} Block;

static void find_columns(Columns *columns, int32_t start, int32_t count, int32_t px_per_cell, int32_t scale) {
    const int32_t first = node_before(start, px_per_cell), cell_start = first * px_per_cell - (px_per_cell + 1) / 2;
    columns->start = start;
    columns->count = count;
    columns->first = first;
    columns->cells = node_before(start + count - 1, px_per_cell) - first + 1;
    columns->before = start - cell_start;
    columns->px_per_cell = px_per_cell;
    columns->scale = scale;
    for (int32_t i = 0; i < (px_per_cell + 3) / 4 * 4; i++) /* four are worked on at a time */
        columns->shares[i / 4][i % 4] = share_of_next(cell_start + i, px_per_cell, first);
    for (int32_t i = 0, cell = 0, within = columns->before; i < (count + 15) / 16 * 16; i++, within++) {
        if (within == px_per_cell) {
            within = 0;
            cell++;
        }
        columns->cell_of[i] = cell;
        columns->share_of[i] = columns->shares[within / 4][within % 4];
    }
}

/* The sample that node number `node` of a column or row would show unmoved, in steps. */
static inline float steps_of_node(int32_t node, const Columns *columns) {
    const int32_t px = columns->px_per_cell;
    return (float)(STEPS / 2 * columns->scale) * (float)(2 * px * node - px - 1);
}

/* Distances of the nodes (columns, 2) of row number `row`. */
HOT static void find_distances(NodeRow *restrict distances, const float *restrict nodes, int32_t row,
                               const Columns *restrict columns, ToSamples to) {
    const float left = steps_of_node(columns->first, columns), top = steps_of_node(row, columns);
    const float width = (float)(STEPS * columns->scale * columns->px_per_cell);
    nodes += 2 * columns->first;
    for (int32_t i = 0; i < columns->cells + 1; i++) {
        const float x = (nodes[2 * i] * to.gain + to.bias_x) * STEPS_PER_SUBPIXEL - (left + (float)i * width);
        const float y = (nodes[2 * i + 1] * to.gain + to.bias_y) * STEPS_PER_SUBPIXEL - top;
        distances->x[i] = clamp_f(x + 0.5f, -FAR_STEPS, FAR_STEPS);
        distances->y[i] = clamp_f(y + 0.5f, -FAR_STEPS, FAR_STEPS);
    }
}

static inline int4 floor_four(float4 values) {
    const int4 whole = __builtin_convertvector(values, int4);
    return whole + (values < __builtin_convertvector(whole, float4));
}

/* Interpolates nodes to pixels, four at a time: the next cell overwrites what is too much. */
static void expand_row(Row *restrict row, const NodeRow *restrict nodes, const Columns *restrict columns) {
    for (int32_t cell = 0; cell < columns->cells; cell++) {
        const float x = nodes->x[cell], across = nodes->x[cell + 1] - x;
        const float y = nodes->y[cell], down = nodes->y[cell + 1] - y;
        const int32_t start = cell * columns->px_per_cell;
        for (int32_t i = 0; i < columns->px_per_cell; i += 4) {
            *(int4 *)(row->x + start + i) = floor_four(x + across * columns->shares[i / 4]);
            *(int4 *)(row->y + start + i) = floor_four(y + down * columns->shares[i / 4]);
        }
    }
}

/* The last pixel, again, where its block has more. */
static void fill_last_block(Row *row, const Columns *columns) {
    const int32_t stop = columns->before + columns->count;
    for (int32_t i = stop; i < stop + BLOCK_PX - 1; i++) {
        row->x[i] = row->x[stop - 1];
        row->y[i] = row->y[stop - 1];
    }
}

static inline void find_span(const int32_t *values, int32_t *low, int32_t *high) {
    int32_t least = values[0], most = values[0];
    for (int32_t i = 1; i < BLOCK_PX; i++) {
        least = min_i(least, values[i]);
        most = max_i(most, values[i]);
    }
    *low = least;
    *high = most;
}

/* One coordinate of a block, at the rows of nodes above and below it, from `origin` on. 0 where it reaches too far. */
static inline int pack_block(const int32_t *restrict above, const int32_t *restrict below, int32_t origin,
                             uint16_t *restrict from, int16_t *restrict apart) {
    uint32_t furthest = 0;
    for (int32_t i = 0; i < BLOCK_PX; i++) {
        const uint32_t first = (uint32_t)above[i] - (uint32_t)origin, last = (uint32_t)below[i] - (uint32_t)origin;
        const uint32_t between = last - first;
        furthest |= first | last | (between ^ (0u - (between >> 31))) << 1;
        from[i] = (uint16_t)first;
        apart[i] = (int16_t)between;
    }
    return furthest <= UINT16_MAX;
}

/* Whether a block's columns lie within the plane; `left`: the column that its first pixel would show unmoved. */
static int has_columns(const Block *block, const int32_t *above, const int32_t *below, int32_t left, int32_t scale,
                       int32_t width) {
    const int32_t first = block->column + left, last = first + scale * (BLOCK_PX - 1) + REACH;
    if (first >= 0 && last < width) return 1;
    for (int32_t i = 0; i < BLOCK_PX; i++) {
        const int32_t unmoved = left + scale * i;
        const int32_t one = (above[i] >> STEP_BITS) + unmoved, other = (below[i] >> STEP_BITS) + unmoved;
        if (min_i(one, other) < 0 || max_i(one, other) >= width - 1) return 0;
    }
    return 1;
}

/* Whether its rows do, which would be those from `top` to `bottom` unmoved. */
static int has_rows(const Block *block, int32_t top, int32_t bottom, int32_t height) {
    return (min_i(block->low[0], block->low[1]) >> STEP_BITS) + top >= 0 &&
           (max_i(block->high[0], block->high[1]) >> STEP_BITS) + bottom < height - 1;
}

/* Finds the block of the pixels from number `i` on, for rows of pixels from `top` to `bottom`. */
HOT static void find_block(Block *restrict block, const Row *restrict above, const Row *restrict below, int32_t i,
                           int32_t top, int32_t bottom, const Columns *restrict columns, int32_t height,
                           int32_t width) {
    const int32_t at = columns->before + i, scale = columns->scale;
    const int32_t *x = above->x + at, *y = above->y + at, *next_x = below->x + at, *next_y = below->y + at;
    block->column = (x[BLOCK_PX / 2] >> STEP_BITS) - REACH / 2;
    block->row = (y[BLOCK_PX / 2] >> STEP_BITS) - REACH / 2;
    const int is_wide = pack_block(x, next_x, block->column * STEPS, block->x, block->across);
    const int is_high = pack_block(y, next_y, block->row * STEPS, block->y, block->down);
    find_span(y, &block->low[0], &block->high[0]);
    find_span(next_y, &block->low[1], &block->high[1]);
    block->is_near = is_wide && is_high && has_rows(block, scale * top, scale * bottom, height) &&
                     has_columns(block, x, next_x, scale * (columns->start + i), scale, width);
}

/* `share` of the way, of ONE_SHARE, rounded: one instruction of SSSE3 and of Neon. */
static inline int16_t part_of(int16_t way, int16_t share) {
    return (int16_t)(((way * share >> (SHARE_BITS - 1)) + 1) >> 1);
}

/* Splits a block's positions at `share` of the way to the row of nodes below, as numbers `at` and following of a run.
 * `first`: the sample from which on it lies; `scale`: samples per pixel. */
HOT static void split_block(Run *restrict run, const Block *restrict block, int16_t share, int32_t at, int32_t first,
                            int32_t scale, int32_t width) {
    for (int32_t i = 0; i < BLOCK_PX; i++) {
        const uint16_t x = (uint16_t)(block->x[i] + part_of(block->across[i], share));
        const uint16_t y = (uint16_t)(block->y[i] + part_of(block->down[i], share));
        run->offset[at + i] = first + (y >> STEP_BITS) * width + (x >> STEP_BITS) + scale * i;
        run->across[at + i] = (int16_t)(x / STEPS_PER_SUBPIXEL % SUBPIXELS);
        run->along[at + i] = (int16_t)(y / STEPS_PER_SUBPIXEL % SUBPIXELS);
    }
}
#endif
