/* Resampling: node positions of a region's grid → its planes.
 *
 * The region's sampling maps are never stored. Rows of the grid are interpolated to pixels, a run of columns at a time,
 * and what they point to is sampled at once. Positions are rounded to 1/32 sample, as cv2.remap rounded them before
 * OpenCV 5.
 */
#include "models/warp/native/pixels/region.h"
#include "models/warp/native/pixels/windows.h"

/* An image to sample from, as UpsampledImage: luma (2 · height, 2 · width), chroma (height / 2, width / 2, 2). */
typedef struct {
    const uint8_t *luma, *chroma;
    int32_t height, width;     /* pixels */
    float corner_x, corner_y;  /* position of its first pixel in the image that positions refer to */
} Source;

/* Where pixels come from. */
typedef struct {
    const float *positions; /* (rows, columns, 2), of the grid's nodes */
    int32_t columns, cell_px;
    const float *lips; /* (lips_height, lips_width, 2), pixel by pixel, in place of the grid's; or NULL */
    int32_t lips_top, lips_left, lips_height, lips_width;
} Map;

static ToSamples to_luma_samples(const Source *source) {
    float gain = 2.0f * SUBPIXELS;
    return (ToSamples){gain, 0.5f - gain * source->corner_x, 0.5f - gain * source->corner_y};
}

/* A sample of chroma stands between its four pixels. */
static ToSamples to_chroma_samples(const Source *source) {
    float gain = 0.5f * SUBPIXELS, bias = 0.5f - 0.25f * SUBPIXELS;
    return (ToSamples){gain, bias - gain * source->corner_x, bias - gain * source->corner_y};
}

/* Splits one pixel's position, clamped to the edges of a plane of at least two by two samples. */
static inline int32_t split_position(Run *restrict run, int32_t i, float x, float y, int32_t height, int32_t width) {
    const float last_x = (float)(SUBPIXELS * (width - 1)), last_y = (float)(SUBPIXELS * (height - 1));
    int32_t across = (int32_t)clamp_f(x, 0.0f, last_x), along = (int32_t)clamp_f(y, 0.0f, last_y);
    int32_t column = min_i(across >> SUBPIXEL_BITS, width - 2), row = min_i(along >> SUBPIXEL_BITS, height - 2);
    run->offset[i] = row * width + column;
    run->across[i] = (int16_t)(across - SUBPIXELS * column);
    run->along[i] = (int16_t)(along - SUBPIXELS * row);
    return run->offset[i];
}

/* Splits the run's positions. */
HOT static void split_positions(Run *restrict run, int32_t count, int32_t height, int32_t width) {
    int32_t largest = 0;
    for (int32_t i = 0; i < count; i++)
        largest = max_i(largest, split_position(run, i, run->x[i], run->y[i], height, width));
    run->largest = largest;
}

static SourcePlane plane_of(const Source *source, int32_t step) {
    if (step == 1) return (SourcePlane){source->luma, 2 * source->height, 2 * source->width, step};
    return (SourcePlane){source->chroma, source->height / 2, source->width / 2, step};
}

static void sample_run(const SourcePlane *plane, const Run *run, int32_t count, uint8_t *samples) {
    if (plane->step == 1)
        sample_plane(plane->values, plane->height, plane->width, run, count, samples);
    else
        sample_chroma(plane->values, plane->height, plane->width, run, count, samples);
}

/* The columns of a run between two rows of nodes, and `share` of the way to the lower one. Unmoved, its first pixel would
 * show the sample at `row` and `column`. */
typedef struct {
    const Columns *columns;
    const Row *above, *below;
    const Block *blocks;
    int32_t row, column;
    int16_t share;
} Between;

/* Splits the positions of a block of pixels that are not alike, from number `start` on, as numbers `at` and following of
 * a run. */
HOT static void split_apart(Run *restrict run, const Between *between, int32_t start, int32_t at, int32_t height,
                            int32_t width) {
    const int32_t scale = between->columns->scale, i = between->columns->before + start;
    const int32_t *x = between->above->x + i, *next_x = between->below->x + i;
    const int32_t *y = between->above->y + i, *next_y = between->below->y + i;
    const float share = (float)between->share / ONE_SHARE, subpixels = 1.0f / STEPS_PER_SUBPIXEL;
    const float left = (float)(SUBPIXELS * (between->column + scale * start)), top = (float)(SUBPIXELS * between->row);
    int32_t largest = run->largest;
    for (int32_t k = 0; k < BLOCK_PX; k++) {
        const float across = (float)x[k] + ((float)next_x[k] - (float)x[k]) * share;
        const float along = (float)y[k] + ((float)next_y[k] - (float)y[k]) * share;
        largest = max_i(largest, split_position(run, at + k, left + (float)(SUBPIXELS * scale * k) + across * subpixels,
                                                top + along * subpixels, height, width));
    }
    run->largest = largest;
}

/* Splits one that lies within the plane. */
static void split_near(Run *run, const Between *between, int32_t start, int32_t at, int32_t width) {
    const Block *block = &between->blocks[start / BLOCK_PX];
    const int32_t scale = between->columns->scale, row = between->row + block->row;
    const int32_t last = between->row + (max_i(block->high[0], block->high[1]) >> STEP_BITS);
    const int32_t first = row * width + between->column + scale * start + block->column;
    split_block(run, block, between->share, at, first, scale, width);
    run->largest = max_i(run->largest, (last + 1) * width);
}

/* Samples the pixels first … stop of a row, from the beginning of a block to the end of one, or of the row. */
static void sample_blocks(const SourcePlane *plane, const Between *between, int32_t first, int32_t stop,
                          uint8_t *samples) {
    Run run;
    int32_t most = SPAN_PX;
    for (int32_t start = first; start < stop; start += most) {
#if HAS_WINDOWS
        if (native_takes_windows) {
            const ptrdiff_t unmoved = (ptrdiff_t)between->row * plane->width + between->column;
            start = sample_windows(plane, between->blocks, between->share, unmoved, start, stop, samples);
            most = BLOCK_PX;
            if (start >= stop) break;
        }
#endif
        const int32_t count = min_i(stop - start, most);
        run.largest = 0;
        for (int32_t i = 0; i < count; i += BLOCK_PX) {
            if (between->blocks[(start + i) / BLOCK_PX].is_near)
                split_near(&run, between, start + i, i, plane->width);
            else
                split_apart(&run, between, start + i, i, plane->height, plane->width);
        }
        sample_run(plane, &run, count, samples + plane->step * start);
    }
}

/* Whether a row of a plane has positions of the map's own; `step`: its pixels per sample. */
static int has_lips(const Map *map, int32_t row, int32_t step) {
    int32_t within = row - map->lips_top / step;
    return map->lips != NULL && within >= 0 && within < map->lips_height / step;
}

/* Positions of pixels (or of their means over two by two, for chroma) in place of the grid's, where the map has them.
 * `row`, `first`: of the run; both and the box in samples of the plane, of `step` pixels each. */
static void take_lips(Run *restrict run, const Map *map, int32_t row, int32_t first, int32_t count, int32_t step,
                      ToSamples to) {
    int32_t within = row - map->lips_top / step, left = map->lips_left / step;
    int32_t start = max_i(first, left), stop = min_i(first + count, left + map->lips_width / step);
    const float *above = map->lips + 2 * (size_t)map->lips_width * (size_t)(within * step);
    const float *below = above + 2 * (size_t)map->lips_width;
    for (int32_t i = start; i < stop; i++) {
        const float *upper = above + 2 * step * (i - left), *lower = below + 2 * step * (i - left);
        float x = upper[0], y = upper[1];
        if (step == 2) {
            x = 0.25f * (upper[0] + upper[2] + lower[0] + lower[2]);
            y = 0.25f * (upper[1] + upper[3] + lower[1] + lower[3]);
        }
        run->x[i - first] = x * to.gain + to.bias_x;
        run->y[i - first] = y * to.gain + to.bias_y;
    }
}

/* Samples a run of a row, `count` samples from number `first` on. */
static void sample_row(const Map *map, const SourcePlane *plane, const Between *between, ToSamples to, int32_t row,
                       int32_t first, int32_t count, uint8_t *samples) {
    if (!has_lips(map, row, plane->step)) {
        sample_blocks(plane, between, 0, count, samples);
        return;
    }
    const int32_t step = plane->step, left = map->lips_left / step, right = left + map->lips_width / step;
    const int32_t start = clamp_i(left - first, 0, count), stop = clamp_i(right - first, start, count);
    Run run;
    sample_blocks(plane, between, 0, min_i((start + BLOCK_PX - 1) / BLOCK_PX * BLOCK_PX, count), samples);
    sample_blocks(plane, between, stop / BLOCK_PX * BLOCK_PX, count, samples);
    take_lips(&run, map, row, first + start, stop - start, step, to);
    split_positions(&run, stop - start, plane->height, plane->width);
    sample_run(plane, &run, stop - start, samples + step * start);
}

/* Interpolates row number `row` of the grid's nodes to pixels. */
static void expand(Row *expanded, const Map *map, int32_t row, const Columns *columns, ToSamples to) {
    NodeRow nodes;
    find_distances(&nodes, map->positions + 2 * (size_t)map->columns * (size_t)row, row, columns, to);
#if HAS_WINDOWS
    const int is_wide = native_takes_windows && columns->px_per_cell > 1;
    if (is_wide) expand_wide_row(expanded, &nodes, columns);
#else
    const int is_wide = 0;
#endif
    if (!is_wide) expand_row(expanded, &nodes, columns);
    fill_last_block(expanded, columns);
}

/* Goes on to the rows of nodes `node` and the next; `expanded`: the one that `rows` begin with. */
static void expand_rows(Row *rows[2], const Map *map, int32_t node, int32_t expanded, const Columns *columns,
                        ToSamples to) {
    Row *former = rows[0];
    rows[0] = rows[1];
    rows[1] = former;
    if (node != expanded + 1) expand(rows[0], map, node, columns, to);
    expand(rows[1], map, node + 1, columns, to);
}

/* Samples `count` columns from `first` on of the rows top … stop of a plane: of luma, or of chroma, whose samples are
 * `step` 2 pixels wide. */
static void sample_columns(const Map *map, const Source *source, int32_t step, int32_t first, int32_t count,
                           int32_t top, int32_t stop, uint8_t *values, ptrdiff_t stride) {
    const ToSamples to = step == 1 ? to_luma_samples(source) : to_chroma_samples(source);
    const SourcePlane plane = plane_of(source, step);
    const int32_t px_per_cell = map->cell_px / step, scale = samples_per_px(&plane);
    Columns columns;
    Row memory[2], *rows[2] = {&memory[0], &memory[1]};
    Block blocks[MAX_BLOCKS];
    find_columns(&columns, first, count, px_per_cell, scale);
    int32_t expanded = -2;
    for (int32_t row = top; row < stop; row++) {
        const int32_t node = node_before(row, px_per_cell);
        if (node != expanded) {
            const int32_t last = min_i(node * px_per_cell + px_per_cell / 2, stop) - 1;
            expand_rows(rows, map, node, expanded, &columns, to);
            for (int32_t i = 0; i < count; i += BLOCK_PX)
                find_block(&blocks[i / BLOCK_PX], rows[0], rows[1], i, row, last, &columns, plane.height, plane.width);
            expanded = node;
        }
        const int16_t share = (int16_t)(share_of_next(row, px_per_cell, node) * ONE_SHARE);
        const Between between = {&columns, rows[0], rows[1], blocks, scale * row, scale * first, share};
        sample_row(map, &plane, &between, to, row, first, count, values + stride * row + step * first);
    }
}

/* Samples a box of a region.
 *
 * positions float32 (rows, columns, 2): what the grid's nodes show, pixels of the image.
 * lips float32 (lips_height, lips_width, 2) or NULL: the same for each pixel of a box of the region.
 * source_luma uint8 (2 · source_height, 2 · source_width), source_chroma (source_height / 2, source_width / 2, 2): the
 * image, or a part of it whose first pixel is that at corner_x, corner_y; at least 4 by 4 pixels.
 * planes: of the region, written to in the box.
 */
EXPORT void sample_region(const float *positions, int32_t columns, int32_t cell_px, const float *lips,
                          int32_t lips_top, int32_t lips_left, int32_t lips_height, int32_t lips_width,
                          const uint8_t *source_luma, const uint8_t *source_chroma, int32_t source_height,
                          int32_t source_width, float corner_x, float corner_y, const BoxPlanes *planes, int32_t top,
                          int32_t left, int32_t box_height, int32_t box_width) {
    Map map = {positions, columns, cell_px, lips, lips_top, lips_left, lips_height, lips_width};
    Source source = {source_luma, source_chroma, source_height, source_width, corner_x, corner_y};
    for (int32_t step = 1; step <= 2; step++) {
        uint8_t *plane = step == 1 ? planes->luma : planes->chroma;
        ptrdiff_t stride = step == 1 ? planes->luma_stride : planes->chroma_stride;
        int32_t stop = (left + box_width) / step;
        for (int32_t first = left / step; first < stop; first += SPAN_PX)
            sample_columns(&map, &source, step, first, min_i(SPAN_PX, stop - first), top / step,
                           (top + box_height) / step, plane, stride);
    }
}

/* Composites one layer onto another: samples at positions with alpha over those that are there.
 *
 * positions float32 (height, width, 2) and alpha float32 (height, width): of a box of the region at top, left.
 * The image and the planes: as for sample_region.
 */
EXPORT void blend_layer(const float *positions, const float *alpha, int32_t height, int32_t box_width,
                        const uint8_t *source_luma, const uint8_t *source_chroma, int32_t source_height,
                        int32_t source_width, const BoxPlanes *planes, int32_t top, int32_t left) {
    /* The grid's positions are not used: all pixels of the box have their own. */
    Map map = {NULL, 0, 2, positions, top, left, height, box_width};
    Source source = {source_luma, source_chroma, source_height, source_width, 0.0f, 0.0f};
    Run run;
    uint8_t over[2 * SPAN_PX];
    for (int32_t first = 0; first < box_width; first += SPAN_PX) {
        int32_t count = min_i(SPAN_PX, box_width - first);
        for (int32_t row = 0; row < height; row++) {
            take_lips(&run, &map, top + row, left + first, count, 1, to_luma_samples(&source));
            split_positions(&run, count, 2 * source_height, 2 * source_width);
            sample_plane(source_luma, 2 * source_height, 2 * source_width, &run, count, over);
            uint8_t *under = planes->luma + planes->luma_stride * (top + row) + left + first;
            const float *share = alpha + (size_t)box_width * (size_t)row + first;
            for (int32_t i = 0; i < count; i++)
                under[i] = (uint8_t)((float)under[i] + ((float)over[i] - (float)under[i]) * share[i] + 0.5f);
        }
        for (int32_t row = 0; row < height / 2; row++) {
            take_lips(&run, &map, top / 2 + row, (left + first) / 2, count / 2, 2, to_chroma_samples(&source));
            split_positions(&run, count / 2, source_height / 2, source_width / 2);
            sample_chroma(source_chroma, source_height / 2, source_width / 2, &run, count / 2, over);
            uint8_t *under = planes->chroma + planes->chroma_stride * (top / 2 + row) + left + first;
            const float *share = alpha + 2 * (size_t)box_width * (size_t)row + first, *next = share + box_width;
            for (int32_t i = 0; i < count; i++) {
                int32_t k = i / 2 * 2;
                float mean = 0.25f * (share[k] + share[k + 1] + next[k] + next[k + 1]);
                under[i] = (uint8_t)((float)under[i] + ((float)over[i] - (float)under[i]) * mean + 0.5f);
            }
        }
    }
}
