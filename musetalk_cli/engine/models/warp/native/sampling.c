/* Resampling: node positions of a region's grid → its planes.
 *
 * The region's sampling maps are never stored. Rows of the grid are interpolated to pixels, a run of columns at a time,
 * and what they point to is sampled at once. Positions are rounded to 1/32 sample, as cv2.remap rounded them before
 * OpenCV 5.
 */
#include "stages.h"
#include "windows.h"

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

/* A position p in pixels is that of the sample gain · p + bias, in 1/32 samples. */
typedef struct {
    float gain, bias_x, bias_y;
} ToSamples;

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

/* A row of the grid at the columns of a run, in 1/32 samples; with room for the rest of the cells at both ends. */
enum { MAX_CELL_PX = 128, ROW_PX = RUN_PX + 2 * MAX_CELL_PX + 4 };
typedef struct {
    float x[ROW_PX], y[ROW_PX];
} Row;

/* How the columns of a run are interpolated: `cells` from the node `first` on, whose pixels begin with the run's
 * column -`before`. All cells have the same shares. */
typedef struct {
    int32_t first, cells, before, px_per_cell;
    float4 shares[MAX_CELL_PX / 4];
} Columns;

static void find_columns(Columns *columns, int32_t first, int32_t count, int32_t px_per_cell) {
    columns->first = node_before(first, px_per_cell);
    columns->cells = node_before(first + count - 1, px_per_cell) - columns->first + 1;
    columns->px_per_cell = px_per_cell;
    int32_t start = columns->first * px_per_cell - (px_per_cell + 1) / 2;
    columns->before = first - start;
    for (int32_t i = 0; i < px_per_cell; i++)
        columns->shares[i / 4][i % 4] = share_of_next(start + i, px_per_cell, columns->first);
}

/* Interpolates a row of nodes (columns, 2) to pixels, four at a time: the next cell overwrites what is too much. */
static void expand_row(Row *restrict row, const float *restrict nodes, const Columns *restrict columns, ToSamples to) {
    const float *node = nodes + 2 * columns->first;
    for (int32_t cell = 0; cell < columns->cells; cell++, node += 2) {
        float x = node[0] * to.gain + to.bias_x, across = (node[2] - node[0]) * to.gain;
        float y = node[1] * to.gain + to.bias_y, along = (node[3] - node[1]) * to.gain;
        int32_t start = cell * columns->px_per_cell;
        for (int32_t i = 0; i < columns->px_per_cell; i += 4) {
            *(float4 *)(row->x + start + i) = x + across * columns->shares[i / 4];
            *(float4 *)(row->y + start + i) = y + along * columns->shares[i / 4];
        }
    }
}

/* Interpolates between two of these rows, from pixel `start` on, and splits what is between them. */
HOT static void mix_and_split(Run *restrict run, const Between *at, int32_t start, int32_t count, int32_t height,
                              int32_t width) {
    const float *x = at->x + start, *y = at->y + start, *next_x = at->next_x + start, *next_y = at->next_y + start;
    const float share = at->share;
    int32_t largest = 0;
    for (int32_t i = 0; i < count; i++) {
        int32_t offset = split_position(run, i, x[i] + (next_x[i] - x[i]) * share, y[i] + (next_y[i] - y[i]) * share,
                                        height, width);
        largest = max_i(largest, offset);
    }
    run->largest = largest;
}

/* A plane to sample from, of luma or of chroma: pixels per sample, `step`, and bytes, which are as many. */
typedef struct {
    const uint8_t *values;
    int32_t height, width, step;
} SourcePlane;

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

/* Samples the pixels first … stop of a row. */
static void sample_between(const SourcePlane *plane, const Between *at, int32_t first, int32_t stop, uint8_t *samples) {
    Run run;
    int32_t most = RUN_PX;
    for (int32_t start = first; start < stop;) {
#if HAS_WINDOWS
        if (warp_takes_windows) {
            start = sample_windows(plane->values, plane->height, plane->width, plane->step, at, first, start, stop,
                                   samples);
            most = WINDOW_PX;
        }
#endif
        const int32_t count = min_i(stop - start, most);
        mix_and_split(&run, at, start, count, plane->height, plane->width);
        sample_run(plane, &run, count, samples + plane->step * start);
        start += count;
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
static void sample_row(const Map *map, const SourcePlane *plane, const Between *at, ToSamples to, int32_t row,
                       int32_t first, int32_t count, uint8_t *samples) {
    if (!has_lips(map, row, plane->step)) {
        sample_between(plane, at, 0, count, samples);
        return;
    }
    const int32_t step = plane->step, left = map->lips_left / step, right = left + map->lips_width / step;
    const int32_t start = clamp_i(left - first, 0, count), stop = clamp_i(right - first, start, count);
    Run run;
    sample_between(plane, at, 0, start, samples);
    take_lips(&run, map, row, first + start, stop - start, step, to);
    split_positions(&run, stop - start, plane->height, plane->width);
    sample_run(plane, &run, stop - start, samples + step * start);
    sample_between(plane, at, stop, count, samples);
}

/* Samples `count` columns from `first` on of the rows top … stop of a plane: of luma, or of chroma, whose samples are
 * `step` 2 pixels wide. */
static void sample_columns(const Map *map, const Source *source, int32_t step, int32_t first, int32_t count,
                           int32_t top, int32_t stop, uint8_t *values, ptrdiff_t stride) {
    const int32_t px_per_cell = map->cell_px / step;
    const ToSamples to = step == 1 ? to_luma_samples(source) : to_chroma_samples(source);
    const SourcePlane plane = plane_of(source, step);
    Columns columns;
    Row rows[2], *above = &rows[0], *below = &rows[1];
    find_columns(&columns, first, count, px_per_cell);
    int32_t expanded = -1; /* the node row that `above` holds */
    for (int32_t row = top; row < stop; row++) {
        int32_t node = node_before(row, px_per_cell);
        if (node != expanded) {
            const float *nodes = map->positions + 2 * (size_t)map->columns * (size_t)node;
            if (expanded >= 0 && node == expanded + 1) {
                Row *former = above;
                above = below;
                below = former;
            } else {
                expand_row(above, nodes, &columns, to);
            }
            expand_row(below, nodes + 2 * map->columns, &columns, to);
            expanded = node;
        }
        const int32_t before = columns.before;
        const Between at = {above->x + before, above->y + before, below->x + before, below->y + before,
                            share_of_next(row, px_per_cell, node)};
        sample_row(map, &plane, &at, to, row, first, count, values + stride * row + step * first);
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
        for (int32_t first = left / step; first < stop; first += RUN_PX)
            sample_columns(&map, &source, step, first, min_i(RUN_PX, stop - first), top / step,
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
    uint8_t over[2 * RUN_PX];
    for (int32_t first = 0; first < box_width; first += RUN_PX) {
        int32_t count = min_i(RUN_PX, box_width - first);
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
