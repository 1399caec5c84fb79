/* Component weights and grid nodes → where the skin of each node and pixel around a mouth comes from, in two layers
 * (skin_layers.py, mouth_warp.py): backward map, distances to the lips' edges, and the pixels of the lips' box.
 *
 * Distances are interleaved at the nodes, in the order of LayerDistances: upper, lower, softness, inward, and where the
 * image shows an open mouth, the two depths: `num_distances` is 4 or 6.
 */
#include "models/warp/native/stages.h"

enum { UPPER, LOWER, SOFTNESS, INWARD, UPPER_DEPTH, LOWER_DEPTH, MAX_DISTANCES };
enum { INVERSE_STEPS = 3 };
static const float MIN_SLOPE = 0.3f;
static const float SEAM_SPREAD = 0.6f; /* softness of the seam, in pixels per pixel beyond the corners */
static const float STRETCHED = 3.0f;   /* times the rim's depth, over which the rest of a lip is stretched */
static const float BLACK = 16.0f;

/* ---- Backward map ------------------------------------------------------------------------------------------------ */

/* The weighted sum of one layer's fields. fields: the layer's first (…, count), `stride` floats apart; sum (count,). */
HOT static void add_fields(const float *fields, const float *weights, int32_t num_components, size_t stride,
                           size_t count, float *restrict sum) {
    memset(sum, 0, count * sizeof(float));
    for (int32_t k = 0; k < num_components; k++) {
        const float weight = weights[k], *field = fields + (size_t)k * stride;
        if (weight == 0.0f) continue;
        for (size_t i = 0; i < count; i++) sum[i] += weight * field[i];
    }
}

static float rate(float slope) { return 1.0f / max_f(slope + 1.0f, MIN_SLOPE); }

/* What Newton's method needs of a displacement field (rows, columns, 2): steps (rows, columns, 4), the displacement
 * and the step factors 1 / (1 + dx/dx) and 1 / (1 + dy/dy). */
static void add_rates(const float *field, int32_t rows, int32_t columns, float *restrict steps) {
    for (int32_t row = 0; row < rows; row++) {
        const float *above = field + 2 * (size_t)columns * (size_t)max_i(row - 1, 0);
        const float *below = field + 2 * (size_t)columns * (size_t)min_i(row + 1, rows - 1);
        const float *here = field + 2 * (size_t)columns * (size_t)row;
        for (int32_t column = 0; column < columns; column++, steps += 4) {
            const int32_t before = max_i(column - 1, 0), after = min_i(column + 1, columns - 1);
            steps[0] = here[2 * column];
            steps[1] = here[2 * column + 1];
            steps[2] = rate(0.5f * (here[2 * after] - here[2 * before]));
            steps[3] = rate(0.5f * (below[2 * column + 1] - above[2 * column + 1]));
        }
    }
}

/* Positions of a run of nodes, cells: where they are looked for, and where they have been found so far. */
typedef struct {
    float target_x[RUN_PX], target_y[RUN_PX], x[RUN_PX], y[RUN_PX];
    float across[RUN_PX], along[RUN_PX]; /* shares of the next column and row */
    int32_t offset[RUN_PX];              /* of the node before them in a field, in nodes */
    float4 step[RUN_PX];                 /* there: as from add_rates */
} NodeRun;

/* Split the positions into nodes of a field (rows, columns), at least 2 by 2, and shares, clamped to its edge. */
static inline void split_positions(NodeRun *run, int32_t rows, int32_t columns, int32_t length) {
    for (int32_t j = 0; j < length; j++) {
        float x = clamp_f(run->x[j], 0.0f, (float)(columns - 1)), y = clamp_f(run->y[j], 0.0f, (float)(rows - 1));
        int32_t column = min_i((int32_t)x, columns - 2), row = min_i((int32_t)y, rows - 2);
        run->across[j] = x - (float)column;
        run->along[j] = y - (float)row;
        run->offset[j] = row * columns + column;
    }
}

/* One step of Newton's method towards the roots of source + field(source) - target; steps as from add_rates. */
static inline void step_sources(const float *steps, int32_t columns, int32_t length, NodeRun *run) {
    for (int32_t j = 0; j < length; j++) {
        const float *first = steps + 4 * (size_t)run->offset[j], *below = first + 4 * (size_t)columns;
        float4 a = *(const float4 *)first, b = *(const float4 *)(first + 4);
        float4 c = *(const float4 *)below, d = *(const float4 *)(below + 4);
        float4 top = a + (b - a) * run->across[j], bottom = c + (d - c) * run->across[j];
        run->step[j] = top + (bottom - top) * run->along[j];
    }
    for (int32_t j = 0; j < length; j++) {
        run->x[j] += run->step[j][2] * (run->target_x[j] - run->x[j] - run->step[j][0]);
        run->y[j] += run->step[j][3] * (run->target_y[j] - run->y[j] - run->step[j][1]);
    }
}

/* Find the sources of a run of nodes: positions `out` (length, 2), of those in `target` (length, 2); pixels. own: the
 * run's first node in steps (rows, columns, 4). */
HOT static void find_sources(const float *steps, const float *own, int32_t rows, int32_t columns, const float *target,
                         const float *origin, float cell_px, int32_t length, float *out) {
    const float per_px = 1.0f / cell_px;
    NodeRun run;
    for (int32_t j = 0; j < length; j++) {
        run.target_x[j] = (target[2 * j] - origin[0]) * per_px;
        run.target_y[j] = (target[2 * j + 1] - origin[1]) * per_px;
        run.x[j] = run.target_x[j] - own[4 * j];
        run.y[j] = run.target_y[j] - own[4 * j + 1];
    }
    for (int32_t k = 0; k < INVERSE_STEPS; k++) {
        split_positions(&run, rows, columns, length);
        step_sources(steps, columns, length, &run);
    }
    for (int32_t j = 0; j < length; j++) {
        out[2 * j] = run.x[j] * cell_px + origin[0];
        out[2 * j + 1] = run.y[j] * cell_px + origin[1];
    }
}

/* SkinLayers.backward_map.
 *
 * fields (num_components, 2, rows, columns, 2): component, layer, node; displacements in cells; at least 2 by 2 nodes.
 * weights (num_components,). targets (rows, columns, 2): pixels; target_stride floats from one row to the next. origin
 * (2,): position of the first node, pixels. scratch (rows, columns, 6). mapped (2, rows, columns, 2) is written: layer,
 * node; pixels.
 */
EXPORT void backward_map(const float *fields, const float *weights, int32_t num_components, const float *targets,
                         ptrdiff_t target_stride, const float *origin, int32_t cell_px, int32_t rows,
                         int32_t columns, float *scratch, float *mapped) {
    const size_t nodes = (size_t)rows * (size_t)columns;
    float *steps = scratch, *field = scratch + 4 * nodes;
    for (size_t layer = 0; layer < 2; layer++) {
        add_fields(fields + layer * 2 * nodes, weights, num_components, 4 * nodes, 2 * nodes, field);
        add_rates(field, rows, columns, steps);
        for (int32_t row = 0; row < rows; row++) {
            for (int32_t start = 0; start < columns; start += RUN_PX) {
                const size_t at = (size_t)row * (size_t)columns + (size_t)start;
                find_sources(steps, steps + 4 * at, rows, columns, targets + row * target_stride + 2 * start, origin,
                             (float)cell_px, min_i(RUN_PX, columns - start), mapped + 2 * (layer * nodes + at));
            }
        }
    }
}

/* ---- Distances to the lips' edges -------------------------------------------------------------------------------- */

/* The line (num_points,) of a lip's edge; the lower one tucked by `tuck` 0..1. */
static float edge_at(const LipContours *lips, int32_t layer, float tuck, int32_t point) {
    if (layer == UPPER) return lips->upper[point];
    float side = (lips->first_x + (float)point * lips->step_x - lips->middle) / lips->half_width;
    return lips->lower[point] + tuck * lips->most_tucked * (1.0f - side * side);
}

/* Linear interpolation of line (num_points,) at x, level beyond its ends. */
static inline float interpolate_line(const float *line, const LipContours *lips, float x) {
    float last = (float)(lips->num_points - 1), per_step = lips->step_x > 0.0f ? 1.0f / lips->step_x : 0.0f;
    float at = clamp_f((x - lips->first_x) * per_step, 0.0f, last);
    int32_t before = (int32_t)at, after = min_i(before + 1, lips->num_points - 1);
    return line[before] + (line[after] - line[before]) * (at - (float)before);
}

/* How far every node is inside one layer, pixels of the image: depth (nodes,). `away` (nodes,): half its distance from
 * the mouth's middle is added, mouth units. */
HOT static void measure_depth(const float *restrict mapped, const LipContours *restrict lips, const float *restrict line,
                              const float *restrict to_units, float sign, size_t nodes, float *restrict depth,
                              float *restrict away) {
    for (size_t i = 0; i < nodes; i++) {
        float x_px = mapped[2 * i], y_px = mapped[2 * i + 1];
        float x = to_units[0] * x_px + to_units[1] * y_px + to_units[2];
        float y = to_units[3] * x_px + to_units[4] * y_px + to_units[5];
        depth[i] = sign * (interpolate_line(line, lips, x) - y);
        away[i] += 0.5f * fabsf(x - lips->middle);
    }
}

/* Depth divided by the warp's own slope, so that stretched edges keep their width on screen. */
static inline float over_slope(float depth, float across, float down, float per_px) {
    return depth / max_f(sqrtf(across * across + down * down) * per_px, 0.5f);
}

/* That of every node, into plane `layer` of distances (rows, columns, num_distances). */
HOT static void divide_by_slope(const float *restrict depth, int32_t rows, int32_t columns, int32_t cell_px,
                                int32_t num_distances, float *restrict distances) {
    const float per_px = 0.5f / (float)cell_px;
    const int32_t last = columns - 1;
    for (int32_t row = 0; row < rows; row++, distances += columns * num_distances) {
        const float *here = depth + (size_t)row * (size_t)columns;
        const float *above = row > 0 && row < rows - 1 ? here - columns : here;
        const float *below = row > 0 && row < rows - 1 ? here + columns : here;
        distances[0] = over_slope(here[0], 0.0f, below[0] - above[0], per_px);
        for (int32_t i = 1; i < last; i++)
            distances[i * num_distances] = over_slope(here[i], here[i + 1] - here[i - 1], below[i] - above[i], per_px);
        distances[last * num_distances] = over_slope(here[last], 0.0f, below[last] - above[last], per_px);
    }
}

/* SkinLayers.layer_distances.
 *
 * mapped (2, rows, columns, 2): as from backward_map. to_units (2, 3): pixels to mouth units, of which one has
 * unit_px. tuck 0..1: how far the lower lip is tucked. scratch (3 · rows · columns + num_points,). distances (rows,
 * columns, num_distances) is written.
 */
EXPORT void layer_distances(const float *mapped, const LipContours *lips, const float *to_units, float unit_px,
                            int32_t cell_px, float tuck, int32_t rows, int32_t columns, int32_t num_distances,
                            float *scratch, float *distances) {
    const size_t nodes = (size_t)rows * (size_t)columns;
    float *away = scratch + 2 * nodes, *line = scratch + 3 * nodes;
    memset(away, 0, nodes * sizeof(float));
    for (int32_t layer = UPPER; layer <= LOWER; layer++) {
        const float *own = mapped + (size_t)layer * 2 * nodes;
        float *depth = scratch + (size_t)layer * nodes;
        for (int32_t point = 0; point < lips->num_points; point++) line[point] = edge_at(lips, layer, tuck, point);
        measure_depth(own, lips, line, to_units, layer == UPPER ? unit_px : -unit_px, nodes, depth, away);
        divide_by_slope(depth, rows, columns, cell_px, num_distances, distances + layer);
    }
    for (size_t i = 0; i < nodes; i++, distances += num_distances) {
        float inward = lips->half_width - away[i];
        distances[SOFTNESS] = max_f(-inward, 0.0f) * (SEAM_SPREAD * unit_px) + 0.5f;
        distances[INWARD] = inward;
        if (num_distances < MAX_DISTANCES) continue;
        distances[UPPER_DEPTH] = scratch[i];
        distances[LOWER_DEPTH] = scratch[nodes + i];
    }
}

/* Opacity of the upper layer over the lower, 0..1. */
static inline float upper_alpha(float upper, float lower, float softness, float min_softness_px) {
    return clamp_f(0.5f + (upper - lower) / (4.0f * max_f(softness, min_softness_px)), 0.0f, 1.0f);
}

/* The nodes' positions in the layer that each shows, softened by a cell at least.
 *
 * mapped, distances: as above. positions (rows, columns, 2) is written; `stride` floats from one row to the next.
 */
EXPORT void blend_layers(const float *mapped, const float *distances, int32_t cell_px, int32_t rows,
                         int32_t columns, int32_t num_distances, ptrdiff_t stride, float *positions) {
    const float *upper = mapped, *lower = mapped + 2 * (size_t)rows * (size_t)columns;
    for (int32_t row = 0; row < rows; row++) {
        float *out = positions + row * stride;
        for (int32_t column = 0; column < columns; column++, out += 2, upper += 2, lower += 2) {
            float alpha = upper_alpha(distances[UPPER], distances[LOWER], distances[SOFTNESS], (float)cell_px);
            out[0] = lower[0] + (upper[0] - lower[0]) * alpha;
            out[1] = lower[1] + (upper[1] - lower[1]) * alpha;
            distances += num_distances;
        }
    }
}

/* ---- The lips' box, per pixel ------------------------------------------------------------------------------------ */

/* What a row of nodes holds, and a row of pixels that it is interpolated to: distances, and positions in two layers. */
enum { UPPER_X = MAX_DISTANCES, UPPER_Y, LOWER_X, LOWER_Y, NUM_PLANES };
enum { LANES = 16 }; /* pixels that are worked on at a time, the last ones with others that nobody reads */
typedef float PixelRow[NUM_PLANES][RUN_PX];

/* Interpolate row `row` of the nodes from left to right: `length` pixels from `start` on. */
HOT static void expand_row(const LipNodes *nodes, int32_t row, int32_t start, int32_t length, PixelRow out) {
    row = clamp_i(nodes->top + row, 0, nodes->rows - 1);
    const size_t first = (size_t)row * (size_t)nodes->columns;
    const float *distances = nodes->distances + first * (size_t)nodes->num_distances;
    const float *upper = nodes->mapped + 2 * first;
    const float *lower = upper + 2 * (size_t)nodes->rows * (size_t)nodes->columns;
    for (int32_t j = 0; j < length; j++) {
        int32_t node = node_before(start + j, nodes->cell_px);
        float share = share_of_next(start + j, nodes->cell_px, node);
        int32_t a = clamp_i(nodes->left + node, 0, nodes->columns - 1), b = min_i(a + 1, nodes->columns - 1);
        const float *p = distances + a * nodes->num_distances, *q = distances + b * nodes->num_distances;
        for (int32_t k = 0; k < nodes->num_distances; k++) out[k][j] = p[k] + (q[k] - p[k]) * share;
        for (int32_t k = 0; k < 2; k++) {
            out[UPPER_X + k][j] = upper[2 * a + k] + (upper[2 * b + k] - upper[2 * a + k]) * share;
            out[LOWER_X + k][j] = lower[2 * a + k] + (lower[2 * b + k] - lower[2 * a + k]) * share;
        }
    }
}

HOT static void interpolate_rows(PixelRow above, PixelRow below, float share, int32_t num_distances, int32_t length,
                             PixelRow out) {
    for (int32_t k = 0; k < NUM_PLANES; k++) {
        if (k >= num_distances && k < MAX_DISTANCES) continue;
        const float *restrict a = above[k], *restrict b = below[k];
        float *restrict to = out[k];
        for (int32_t j = 0; j < length; j++) to[j] = a[j] + (b[j] - a[j]) * share;
    }
}

/* How much deeper in a lip a pixel is taken from, pixels (MouthWarp._stretch). */
static inline float stretch(float depth, float rim_px) {
    float clipped = max_f(depth, 0.0f);
    return clipped - depth + max_f(rim_px - clipped * (1.0f / STRETCHED), 0.0f);
}

HOT static void stretch_lips(PixelRow row, const LipRims *rims, int32_t length) {
    for (int32_t j = 0; j < length; j++) {
        float height = 0.5f + 0.5f * smoothstep(row[INWARD][j], 0.0f, 0.25f);
        float upper = stretch(row[UPPER_DEPTH][j], rims->upper_px * height);
        float lower = stretch(row[LOWER_DEPTH][j], rims->lower_px * height);
        row[UPPER_X][j] -= upper * rims->down_x;
        row[UPPER_Y][j] -= upper * rims->down_y;
        row[LOWER_X][j] += lower * rims->down_x;
        row[LOWER_Y][j] += lower * rims->down_y;
    }
}

/* Write a row of the box from pixel number `at` on. */
HOT static void write_row(PixelRow row, int32_t length, size_t at, const LipPixels *pixels) {
    memcpy(pixels->upper + at, row[UPPER], (size_t)length * sizeof(float));
    memcpy(pixels->lower + at, row[LOWER], (size_t)length * sizeof(float));
    memcpy(pixels->inward + at, row[INWARD], (size_t)length * sizeof(float));
    float *restrict alpha = pixels->alpha + at, *restrict positions = pixels->lower_positions + 2 * at;
    for (int32_t j = 0; j < length; j++) alpha[j] = upper_alpha(row[UPPER][j], row[LOWER][j], row[SOFTNESS][j], 0.5f);
    if (pixels->upper_positions == NULL) {
        for (int32_t j = 0; j < length; j++) {
            positions[2 * j] = row[LOWER_X][j] + (row[UPPER_X][j] - row[LOWER_X][j]) * alpha[j];
            positions[2 * j + 1] = row[LOWER_Y][j] + (row[UPPER_Y][j] - row[LOWER_Y][j]) * alpha[j];
        }
        return;
    }
    float *restrict over = pixels->upper_positions + 2 * at;
    for (int32_t j = 0; j < length; j++) {
        positions[2 * j] = row[LOWER_X][j];
        positions[2 * j + 1] = row[LOWER_Y][j];
        over[2 * j] = row[UPPER_X][j];
        over[2 * j + 1] = row[UPPER_Y][j];
    }
}

/* MouthWarp._nearby and _upsample_map: the nodes' distances and positions, per pixel of the lips' box. */
EXPORT void lip_pixels(const LipNodes *nodes, const LipRims *rims, const LipPixels *pixels) {
    PixelRow rows[2], row;
    for (int32_t start = 0; start < pixels->width; start += RUN_PX) {
        const int32_t length = min_i(RUN_PX, pixels->width - start), whole = (length + LANES - 1) / LANES * LANES;
        int32_t known = -1, upper = 0; /* node row `known` is in rows[upper], the next one in the other */
        for (int32_t y = 0; y < pixels->height; y++) {
            const int32_t node = node_before(y, nodes->cell_px);
            if (node != known) {
                upper = known < 0 ? 0 : 1 - upper;
                if (known < 0) expand_row(nodes, node, start, whole, rows[upper]);
                expand_row(nodes, node + 1, start, whole, rows[1 - upper]);
                known = node;
            }
            interpolate_rows(rows[upper], rows[1 - upper], share_of_next(y, nodes->cell_px, node),
                             nodes->num_distances, whole, row);
            if (pixels->upper_positions != NULL) stretch_lips(row, rims, whole);
            write_row(row, length, (size_t)y * (size_t)pixels->width + (size_t)start, pixels);
        }
    }
}

enum { SHADED_PX = 32 }; /* that are shaded, or left alone, together */

/* ---- Pixels ------------------------------------------------------------------------------------------------------ */

/* 0 where a value is negative; without a branch, so that loops of it vectorise. */
static inline float positive(float value) { return 0.5f * (value + fabsf(value)); }

/* How dark the lips' edges are, 0..1, where they part; upper, lower, inward: distances in mouth units. */
static inline float edge_shade(float upper, float lower, float inward) {
    float dark = 0.30f * smoothstep(-lower, 0.01f, 0.10f) * exp_negative(positive(upper) * (-1.0f / 0.022f));
    dark += 0.22f * smoothstep(-upper, 0.01f, 0.10f) * exp_negative(positive(lower) * (-1.0f / 0.018f));
    return dark * smoothstep(inward, -0.02f, 0.06f);
}

/* The same for the seam between lips that the image shows open. */
static inline float seam_shade(float upper, float lower, float inward) {
    float apart = (upper - lower) * (0.5f / 0.016f);
    float line = exp_negative(-apart * apart) * (1.0f - smoothstep(-upper - lower, 0.0f, 0.04f));
    return line * smoothstep(inward, -0.02f, 0.06f);
}

/* Whether any of these pixels is darkened by half a level or more. */
static inline int32_t are_shaded(const float *upper, const float *lower, float unit_px, int32_t has_seam, int32_t length) {
    const float parted = -0.01f * unit_px, far = 0.15f * unit_px, seam = 0.11f * unit_px;
    int32_t any = 0;
    for (int32_t j = 0; j < length; j++) {
        const float a = upper[j], b = lower[j];
        any |= ((b < parted) & (a < far)) | ((a < parted) & (b < far)) | (has_seam & (fabsf(a - b) < seam));
    }
    return any;
}

/* A row of `length` pixels; seam: how dark the seam is, 0..1. */
HOT static void shade_row(uint8_t *restrict luma, const float *restrict upper, const float *restrict lower,
                          const float *restrict inward, float unit_px, float seam, int32_t length) {
    float dark[SHADED_PX];
    const float per_px = 1.0f / unit_px;
    for (int32_t start = 0; start < length; start += SHADED_PX) {
        const int32_t count = min_i(SHADED_PX, length - start);
        const float *a = upper + start, *b = lower + start, *c = inward + start;
        uint8_t *levels = luma + start;
        if (!are_shaded(a, b, unit_px, seam > 0.0f, count)) continue;
        for (int32_t j = 0; j < count; j++) dark[j] = edge_shade(a[j] * per_px, b[j] * per_px, c[j]);
        if (seam > 0.0f)
            for (int32_t j = 0; j < count; j++) dark[j] += seam * seam_shade(a[j] * per_px, b[j] * per_px, c[j]);
        for (int32_t j = 0; j < count; j++) {
            float value = (float)levels[j];
            levels[j] = (uint8_t)(int32_t)(value - (value - BLACK) * dark[j] + 0.5f);
        }
    }
}

/* _shade_lips: darken the lips' inner edges where they part, and draw the seam of lips that the image shows open.
 *
 * luma: the box's first pixel, rows `stride` bytes apart; changed in place. upper, lower (height, width): distances in
 * pixels, of which unit_px are one mouth unit; inward (height, width), mouth units. own_gap: lip gap of the image,
 * mouth units.
 */
EXPORT void shade_lips(uint8_t *luma, ptrdiff_t stride, const float *upper, const float *lower, const float *inward,
                       float unit_px, float own_gap, int32_t height, int32_t width) {
    const float seam = 0.4f * smoothstep(own_gap, 0.0f, 0.06f);
    for (int32_t y = 0; y < height; y++) {
        const size_t at = (size_t)y * (size_t)width;
        shade_row(luma + y * stride, upper + at, lower + at, inward + at, unit_px, seam, width);
    }
}
