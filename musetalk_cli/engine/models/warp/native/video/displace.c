/* Thin-plate splines → the displacement of the skin at grid nodes, for one mouth shape (displacement_fields.py). The
 * fields of a still are computed once; every frame of a video needs its own.
 *
 * Splines are evaluated at every second node in both directions, and interpolated between these. That is as good as exact
 * but near the control points, where the kernel bends: what it lacks there is added, point by point.
 *
 * A mouth shape's displacement has four PARTS: x and y of what fades out at the face's outline, as all that moves the
 * lips does, and x and y of the rest. Their sums are planes (layer, part).
 */
#include "models/warp/native/video/splines.h"
#include "models/warp/native/video/video.h"

/* What lies in one line of the cache is stored and loaded in one step. */
#define LINED _Alignas(64)

enum { PARTS = NUM_PARTS, PLANES = 2 * PARTS };
enum { BLOCK = 32, TOGETHER = 4 }; /* nodes, and points, that are worked on at a time */
enum { TAPS = 6, MARGIN = 2 };     /* of the interpolation; every second nodes before the first one that is needed */
enum { LEAST_NEAR = 12 };          /* rows, and columns, from which others can be told: fewer are far apart */
/* Around a point: nodes whose sums are corrected, every second ones that this needs, and how long their rows are. */
enum { PATCH = 15, REACH = 6, COARSE = 12, LANES = 16 };
static const float INNER = 150.0f / 256.0f, MIDDLE = -25.0f / 256.0f, OUTER = 3.0f / 256.0f;

/* Parts of the scratch memory. Sums at every second node, PLANES of (coarse_rows, coarse_columns), and at all, PLANES of
 * (rows, stride), with LANES more at both ends of a row. */
typedef struct {
    float *upper, *lower; /* (count + 3, PARTS): coefficients for the mouth shape */
    float *coarse, *row, *fine;
    int32_t coarse_rows, coarse_columns, stride;
} Sums;

/* Divides the memory; returns how many floats of it are used. */
static size_t divide_scratch(const Splines *splines, const SplineNodes *nodes, float *memory, Sums *sums) {
    sums->coarse_rows = nodes->rows / 2 + 2 * MARGIN + 1;
    sums->coarse_columns = nodes->columns / 2 + 2 * MARGIN + 1;
    sums->stride = nodes->columns + 2 * LANES;
    const size_t coefficients = PARTS * (size_t)(splines->count + 3), columns = (size_t)sums->coarse_columns;
    const size_t coarse = PLANES * (size_t)sums->coarse_rows * columns, start = 2 * coefficients + coarse + columns;
    if (memory != NULL) {
        sums->upper = memory;
        sums->lower = memory + coefficients;
        sums->coarse = memory + 2 * coefficients;
        sums->row = sums->coarse + coarse;
        sums->fine = memory + start;
    }
    const size_t fine = PLANES * (size_t)nodes->rows * (size_t)sums->stride;
    return start + (fine > coarse ? fine : coarse); /* near the edges, few nodes need many more around them */
}

/* How many floats of memory displace_nodes needs. */
EXPORT size_t displace_scratch(const Splines *splines, const SplineNodes *nodes) {
    Sums sums;
    return divide_scratch(splines, nodes, NULL, &sums);
}

static float *plane_of(const SplineNodes *nodes, const Sums *sums, int32_t plane, int32_t row) {
    return sums->fine + ((size_t)plane * (size_t)nodes->rows + (size_t)row) * (size_t)sums->stride + LANES;
}

/* The coefficients (count, PARTS) for a mouth shape, from those of every side (count, num_sides); weights (num_sides /
 * 2,): of the components, whose x and y are two sides. */
static void combine_sides(const Splines *splines, const float *solved, const float *weights, float *coefficients) {
    for (int32_t i = 0; i < splines->count + 3; i++, solved += splines->num_sides, coefficients += PARTS) {
        float4 sums = {0};
        for (int32_t k = 0; k < splines->num_sides; k++)
            sums += solved[k] * weights[k / 2] * *(const float4 *)(splines->parts + PARTS * k);
        *(float4 *)coefficients = sums;
    }
}

/* ---- Every second node ------------------------------------------------------------------------------------------- */

/* Nodes at mouth units x, y, and the sums of the splines. */
typedef struct {
    LINED float x[BLOCK], y[BLOCK], sums[PLANES][BLOCK];
} NodeBlock;

/* Of the rows or columns of every second nodes, those that come near what moves. */
typedef struct {
    int32_t first, count;
} Range;

/* Nodes from number `start` on of those rows and columns, the last one repeated at the end. */
static void place_nodes(const SplineNodes *nodes, Range rows, Range columns, int32_t start, NodeBlock *block) {
    const int32_t last = rows.count * columns.count - 1;
    for (int32_t j = 0; j < BLOCK; j++) {
        const int32_t node = min_i(start + j, last), row = rows.first + node / columns.count;
        const int32_t column = columns.first + node % columns.count;
        const float down = (float)(2 * (row - MARGIN)), across = (float)(2 * (column - MARGIN));
        block->x[j] = nodes->first[0] + across * nodes->across[0] + down * nodes->down[0];
        block->y[j] = nodes->first[1] + across * nodes->across[1] + down * nodes->down[1];
    }
}

/* The kernel at up to TOGETHER points, one after the other; zeros for what is missing. */
static inline void evaluate_kernel(const NodeBlock *block, const float *points, int32_t count,
                                   float values[TOGETHER][BLOCK]) {
    for (int32_t i = 0; i < TOGETHER; i++) {
        if (i >= count) {
            memset(values[i], 0, sizeof values[i]);
            continue;
        }
        const float x = points[2 * i], y = points[2 * i + 1];
        for (int32_t j = 0; j < BLOCK; j++) values[i][j] = kernel_at(block->x[j] - x, block->y[j] - y);
    }
}

/* Add these times their coefficients to the sums: each sum is loaded and stored once for all of them. */
static inline void add_values(float values[TOGETHER][BLOCK], const float *coefficients, int32_t count,
                              float sums[PARTS][BLOCK]) {
    float weights[TOGETHER][PARTS] = {{0}};
    memcpy(weights, coefficients, (size_t)min_i(count, TOGETHER) * sizeof weights[0]);
    for (int32_t part = 0; part < PARTS; part++) {
        const float a = weights[0][part], b = weights[1][part], c = weights[2][part], d = weights[3][part];
        for (int32_t j = 0; j < BLOCK; j++)
            sums[part][j] += a * values[0][j] + b * values[1][j] + (c * values[2][j] + d * values[3][j]);
    }
}

HOT static void evaluate_splines(const Splines *splines, const Sums *solved, NodeBlock *block) {
    const float *upper = solved->upper, *lower = solved->lower;
    LINED float values[TOGETHER][BLOCK];
    memset(block->sums, 0, sizeof block->sums);
    for (int32_t i = 0; i < splines->num_shared; i += TOGETHER) {
        const int32_t count = splines->num_shared - i;
        evaluate_kernel(block, splines->points + 2 * i, count, values);
        add_values(values, upper + PARTS * i, count, block->sums);
        add_values(values, lower + PARTS * i, count, block->sums + PARTS);
    }
    for (int32_t layer = 0; layer < 2; layer++) {
        const float *coefficients = layer ? lower : upper;
        const float *points = splines->points + 2 * (size_t)layer * (size_t)splines->count;
        for (int32_t i = splines->num_shared; i < splines->count; i += TOGETHER) {
            evaluate_kernel(block, points + 2 * i, splines->count - i, values);
            add_values(values, coefficients + PARTS * i, splines->count - i, block->sums + PARTS * layer);
        }
        coefficients += PARTS * (size_t)splines->count;
        for (int32_t part = 0; part < PARTS; part++) {
            float *sums = block->sums[PARTS * layer + part];
            const float level = coefficients[part], across = coefficients[PARTS + part];
            const float down = coefficients[2 * PARTS + part];
            for (int32_t j = 0; j < BLOCK; j++) sums[j] += level + across * block->x[j] + down * block->y[j];
        }
    }
}

/* Whether a row of every second nodes comes within reach: its first node at x, y, and its last one `steps` away. */
static int32_t is_near(const float *reach, float x, float y, const float *step, float steps) {
    const float to_x = x + steps * step[0], to_y = y + steps * step[1];
    return max_f(x, to_x) >= reach[0] && min_f(x, to_x) <= reach[1] && max_f(y, to_y) >= reach[2] &&
           min_f(y, to_y) <= reach[3];
}

/* Which of `count` rows of `length` every second nodes are near; all where fewer than LEAST_NEAR are. along, across: steps
 * from node to node of a row, and from row to row. */
static Range find_near(const SplineNodes *nodes, const float *along, const float *across, int32_t count,
                       int32_t length) {
    Range near = {0, count};
    const float back = -2.0f * MARGIN, steps = 2.0f * (float)(length - 1);
    const float x = nodes->first[0] + back * along[0], y = nodes->first[1] + back * along[1];
    int32_t first = -1, last = -1;
    for (int32_t k = 0; k < count; k++) {
        const float beside = 2.0f * (float)(k - MARGIN);
        if (!is_near(nodes->reach, x + beside * across[0], y + beside * across[1], along, steps)) continue;
        if (first < 0) first = k;
        last = k;
    }
    if (first >= 0 && last - first + 1 >= LEAST_NEAR) near = (Range){first, last - first + 1};
    return near;
}

/* Continues values, `stride` apart, of which those in `near` are known, to all `count` as a parabola does: so far away
 * nothing moves, and they count little in what is interpolated. */
static void continue_values(float *values, ptrdiff_t stride, Range near, int32_t count) {
    for (int32_t k = near.first - 1; k >= 0; k--) {
        float *at = values + k * stride;
        *at = 3.0f * (at[stride] - at[2 * stride]) + at[3 * stride];
    }
    for (int32_t k = near.first + near.count; k < count; k++) {
        float *at = values + k * stride;
        *at = 3.0f * (at[-stride] - at[-2 * stride]) + at[-3 * stride];
    }
}

/* A plane of sums at the near nodes → all of it. */
static void spread_plane(const float *sums, Range rows, Range columns, int32_t num_rows, int32_t num_columns,
                         float *plane) {
    for (int32_t k = 0; k < rows.count; k++) {
        float *row = plane + (size_t)(rows.first + k) * (size_t)num_columns;
        memcpy(row + columns.first, sums + (size_t)k * (size_t)columns.count, (size_t)columns.count * sizeof(float));
        continue_values(row, 1, columns, num_columns);
    }
    if (rows.count == num_rows) return;
    for (int32_t column = 0; column < num_columns; column++)
        continue_values(plane + column, num_columns, rows, num_rows);
}

/* Sums at every second node; `fine` is memory here. */
static void sum_coarse(const Splines *splines, const SplineNodes *nodes, const Sums *sums) {
    const int32_t num_rows = sums->coarse_rows, num_columns = sums->coarse_columns;
    const Range rows = find_near(nodes, nodes->across, nodes->down, num_rows, num_columns);
    const Range columns = find_near(nodes, nodes->down, nodes->across, num_columns, num_rows);
    const int32_t count = rows.count * columns.count;
    NodeBlock block;
    for (int32_t start = 0; start < count; start += BLOCK) {
        const size_t length = (size_t)min_i(BLOCK, count - start);
        place_nodes(nodes, rows, columns, start, &block);
        evaluate_splines(splines, sums, &block);
        for (int32_t plane = 0; plane < PLANES; plane++)
            memcpy(sums->fine + (size_t)plane * (size_t)count + start, block.sums[plane], length * sizeof(float));
    }
    for (int32_t plane = 0; plane < PLANES; plane++)
        spread_plane(sums->fine + (size_t)plane * (size_t)count, rows, columns, num_rows, num_columns,
                     sums->coarse + (size_t)plane * (size_t)num_rows * (size_t)num_columns);
}

/* ---- The nodes between them -------------------------------------------------------------------------------------- */

/* Node row `row` of every second column (count,), from rows of every second node, `stride` floats long. */
static inline void interpolate_down(const float *coarse, int32_t stride, int32_t row, int32_t count,
                                    float *restrict out) {
    const float *a = coarse + (row / 2) * (ptrdiff_t)stride, *b = a + stride, *c = b + stride;
    const float *d = c + stride, *e = d + stride, *f = e + stride;
    if (row % 2 == 0) {
        memcpy(out, c, (size_t)count * sizeof(float));
        return;
    }
    for (int32_t j = 0; j < count; j++) out[j] = INNER * (c[j] + d[j]) + MIDDLE * (b[j] + e[j]) + OUTER * (a[j] + f[j]);
}

/* All columns of a row (count,) from every second one, which begin MARGIN before the first. */
static inline void interpolate_across(const float *coarse, int32_t count, float *restrict out) {
    for (int32_t m = 0; m < count / 2; m++) {
        const float *c = coarse + m;
        out[2 * m] = c[2];
        out[2 * m + 1] = INNER * (c[2] + c[3]) + MIDDLE * (c[1] + c[4]) + OUTER * (c[0] + c[5]);
    }
    if (count % 2) out[count - 1] = coarse[count / 2 + MARGIN];
}

HOT static void interpolate_sums(const SplineNodes *nodes, const Sums *sums) {
    const size_t count = (size_t)sums->coarse_rows * (size_t)sums->coarse_columns;
    for (int32_t plane = 0; plane < PLANES; plane++) {
        for (int32_t row = 0; row < nodes->rows; row++) {
            interpolate_down(sums->coarse + (size_t)plane * count, sums->coarse_columns, row, sums->coarse_columns,
                             sums->row);
            float *fine = plane_of(nodes, sums, plane, row);
            memset(fine - LANES, 0, LANES * sizeof(float));
            interpolate_across(sums->row, nodes->columns, fine);
            memset(fine + nodes->columns, 0, LANES * sizeof(float));
        }
    }
}

/* ---- Around a control point -------------------------------------------------------------------------------------- */

/* Four values of one vector and of another in turns: the first two of both, and the last. */
#if defined(__clang__)
#define FIRST_OF(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define LAST_OF(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
typedef int32_t Order __attribute__((vector_size(16)));
#define FIRST_OF(a, b) __builtin_shuffle(a, b, (Order){0, 4, 1, 5})
#define LAST_OF(a, b) __builtin_shuffle(a, b, (Order){2, 6, 3, 7})
#endif

static inline float4 load4(const float *values) { return *(const float4 *)values; }

/* Of a patch of nodes: the first row and column, and what interpolation lacks of the kernel there. */
typedef struct {
    LINED float lack[PATCH][LANES];
    int32_t row, column;
} Patch;

/* A row of the kernel at LANES nodes `step` steps apart, the first one `down` rows and `across` columns behind the first
 * node; x, y: the point. */
static inline void evaluate_row(const SplineNodes *nodes, float x, float y, int32_t down, int32_t across, int32_t step,
                                float *restrict values) {
    x = nodes->first[0] + (float)down * nodes->down[0] + (float)across * nodes->across[0] - x;
    y = nodes->first[1] + (float)down * nodes->down[1] + (float)across * nodes->across[1] - y;
    const float step_x = (float)step * nodes->across[0], step_y = (float)step * nodes->across[1];
    for (int32_t j = 0; j < LANES; j++) values[j] = kernel_at(x + (float)j * step_x, y + (float)j * step_y);
}

/* Where the patch of a point begins: at an even row and column. 0 where it lies beyond the nodes. */
static int32_t place_patch(const SplineNodes *nodes, float x, float y, Patch *patch) {
    const float *to_cells = nodes->to_cells, far = (float)(2 * LANES);
    x -= nodes->first[0];
    y -= nodes->first[1];
    const float across = clamp_f(to_cells[0] * x + to_cells[1] * y, -far, (float)nodes->columns + far);
    const float down = clamp_f(to_cells[2] * x + to_cells[3] * y, -far, (float)nodes->rows + far);
    patch->column = 2 * (int32_t)floorf(0.5f * across) - REACH;
    patch->row = 2 * (int32_t)floorf(0.5f * down) - REACH;
    return patch->column > -PATCH && patch->column < nodes->columns && patch->row > -PATCH && patch->row < nodes->rows;
}

/* What a row of a patch, the kernel so far, has more than is interpolated from every second column: four of those at a
 * time, and as many between them. (Columns that are stored one by one, and loaded together, would have to wait.) */
static inline void subtract_row(const float *coarse, float *restrict row) {
    for (int32_t m = 0; m < LANES / 2; m += 4) {
        const float *c = coarse + m;
        const float4 own = load4(c + 2);
        const float4 between = INNER * (own + load4(c + 3)) + MIDDLE * (load4(c + 1) + load4(c + 4)) +
                               OUTER * (load4(c) + load4(c + 5));
        *(float4 *)(row + 2 * m) -= FIRST_OF(own, between);
        *(float4 *)(row + 2 * m + 4) -= LAST_OF(own, between);
    }
}

static inline void measure_patch(const SplineNodes *nodes, float x, float y, Patch *patch) {
    LINED float coarse[COARSE][LANES], row[LANES];
    for (int32_t k = 0; k < COARSE; k++)
        evaluate_row(nodes, x, y, patch->row + 2 * (k - MARGIN), patch->column - 2 * MARGIN, 2, coarse[k]);
    for (int32_t k = 0; k < PATCH; k++) {
        float *lack = patch->lack[k];
        evaluate_row(nodes, x, y, patch->row + k, patch->column, 1, lack);
        interpolate_down(coarse[0], LANES, k, LANES, row);
        subtract_row(row, lack);
        lack[PATCH] = 0.0f;
    }
}

/* Add the patch times a point's coefficients to the sums of one layer. */
static inline void add_patch(const SplineNodes *nodes, const Sums *sums, const Patch *patch, const float *coefficients,
                             int32_t layer) {
    const int32_t top = max_i(-patch->row, 0), stop = min_i(nodes->rows - patch->row, PATCH);
    for (int32_t part = 0; part < PARTS; part++) {
        const float weight = coefficients[part];
        for (int32_t k = top; k < stop; k++) {
            float *row = plane_of(nodes, sums, PARTS * layer + part, patch->row + k) + patch->column;
            const float *lack = patch->lack[k];
            for (int32_t j = 0; j < LANES; j++) row[j] += weight * lack[j];
        }
    }
}

HOT static void correct_sums(const Splines *splines, const SplineNodes *nodes, const Sums *sums) {
    Patch patch;
    for (int32_t i = 0; i < 2 * splines->count; i++) {
        const int32_t layer = i >= splines->count, number = i - layer * splines->count;
        const float *point = splines->points + 2 * i;
        if (layer == 1 && number < splines->num_shared) continue;
        if (!place_patch(nodes, point[0], point[1], &patch)) continue;
        measure_patch(nodes, point[0], point[1], &patch);
        if (layer == 0) add_patch(nodes, sums, &patch, sums->upper + PARTS * number, 0);
        if (layer == 1 || number < splines->num_shared)
            add_patch(nodes, sums, &patch, sums->lower + PARTS * number, 1);
    }
}

/* ---- The field --------------------------------------------------------------------------------------------------- */

/* A row of one layer: sums of its parts (…, columns), `stride` apart, → field (columns, 2). */
HOT static void write_row(const SplineNodes *nodes, int32_t row, const float *sums, size_t stride, float *restrict field) {
    const float *to_cells = nodes->to_cells, *reach = nodes->reach;
    const uint8_t *inside = nodes->inside + (size_t)row * (size_t)nodes->columns;
    const float left = nodes->first[0] + (float)row * nodes->down[0], top = nodes->first[1] + (float)row * nodes->down[1];
    for (int32_t j = 0; j < nodes->columns; j++) {
        const float x = left + (float)j * nodes->across[0], y = top + (float)j * nodes->across[1];
        const float within = min_f(min_f(x - reach[0], reach[1] - x), min_f(y - reach[2], reach[3] - y));
        const float window = smoothstep(within, nodes->fade[0], nodes->fade[1]);
        const float share = (float)inside[j] / 255.0f;
        const float move_x = window * (sums[j] * share + sums[2 * stride + j]);
        const float move_y = window * (sums[stride + j] * share + sums[3 * stride + j]);
        field[2 * j] = to_cells[0] * move_x + to_cells[1] * move_y;
        field[2 * j + 1] = to_cells[2] * move_x + to_cells[3] * move_y;
    }
}

/* The displacement of the skin in both layers.
 *
 * weights (num_sides / 2,): of the components. memory: displace_scratch floats. field (2, rows, columns, 2) is written:
 * layer, node; cells.
 */
EXPORT void displace_nodes(const Splines *splines, const SplineNodes *nodes, const float *weights, float *memory,
                           float *field) {
    Sums sums = {0};
    divide_scratch(splines, nodes, memory, &sums);
    combine_sides(splines, splines->solved, weights, sums.upper);
    combine_sides(splines, splines->solved + (size_t)(splines->count + 3) * (size_t)splines->num_sides, weights, sums.lower);
    sum_coarse(splines, nodes, &sums);
    interpolate_sums(nodes, &sums);
    correct_sums(splines, nodes, &sums);
    const size_t plane = (size_t)nodes->rows * (size_t)sums.stride;
    for (int32_t layer = 0; layer < 2; layer++)
        for (int32_t row = 0; row < nodes->rows; row++, field += 2 * (size_t)nodes->columns)
            write_row(nodes, row, plane_of(nodes, &sums, PARTS * layer, row), plane, field);
}
