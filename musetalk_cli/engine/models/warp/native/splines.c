/* The motion of control points → thin-plate splines through it → the displacement of the skin at grid nodes, for one
 * mouth shape (displacement_fields.py). The fields of a still are computed once; every frame of a video needs its own.
 *
 * Points have positions (…, 2) in mouth units. A mouth shape's displacement has four PARTS: x and y of what fades out at
 * the face's outline, as all that moves the lips does, and x and y of the rest.
 */
#include "kernel.h"

enum { PARTS = 4, BLOCK = 32, TOGETHER = 4 }; /* nodes, and points, that are worked on at a time */
static const float TINY = 1e-12f;     /* added to squared distances, whose logarithm is taken */
static const double SOFTENING = 1e-4; /* of the system: landmarks may coincide */

/* The natural logarithm of a positive, normal number; absolute error below 1e-6. Without branches. */
static inline float logarithm(float x) {
    union { float value; int32_t bits; } split = {x};
    int32_t doublings = (split.bits - 0x3f3504f3) >> 23; /* to √½ … √2 */
    split.bits -= doublings * (1 << 23);
    float s = (split.value - 1.0f) / (split.value + 1.0f), squared = s * s;
    float series = 1.0f + squared * (1.0f / 3.0f + squared * (1.0f / 5.0f + squared * (1.0f / 7.0f)));
    return (float)doublings * 0.693147181f + 2.0f * s * series;
}

/* r² log r², at a distance of dx, dy. */
static inline float kernel_at(float dx, float dy) {
    float squared = dx * dx + dy * dy + TINY;
    return squared * logarithm(squared);
}

/* ---- Coefficients ------------------------------------------------------------------------------------------------ */

/* Exchange row `column` with the one below it that has the largest value in this column. 0 where all are zero. */
static int32_t find_pivot(double *system, int32_t size, int32_t width, int32_t column) {
    int32_t best = column;
    for (int32_t row = column + 1; row < size; row++) {
        if (fabs(system[(size_t)row * width + column]) > fabs(system[(size_t)best * width + column])) best = row;
    }
    double *first = system + (size_t)column * width, *second = system + (size_t)best * width;
    for (int32_t k = 0; best != column && k < width; k++) {
        double value = first[k];
        first[k] = second[k];
        second[k] = value;
    }
    return first[column] != 0.0;
}

static inline void subtract_row(double *restrict row, const double *restrict pivot, double factor, int32_t length) {
    for (int32_t k = 0; k < length; k++) row[k] -= factor * pivot[k];
}

/* Solve a system (size, width) in place, its right sides behind its matrix. 0 where it is singular. */
HOT static int32_t solve_system(double *system, int32_t size, int32_t width) {
    for (int32_t column = 0; column < size; column++) {
        if (!find_pivot(system, size, width, column)) return 0;
        const double *pivot = system + (size_t)column * width + column;
        for (int32_t row = column + 1; row < size; row++) {
            double *other = system + (size_t)row * width + column;
            subtract_row(other + 1, pivot + 1, other[0] / pivot[0], width - column - 1);
        }
    }
    for (int32_t row = size - 1; row >= 0; row--) {
        double *own = system + (size_t)row * width, *sides = own + size;
        for (int32_t later = row + 1; later < size; later++) {
            subtract_row(sides, system + (size_t)later * width + size, own[later], width - size);
        }
        for (int32_t side = 0; side < width - size; side++) sides[side] /= own[row];
    }
    return 1;
}

/* The kernel between a point and the first `count`. */
HOT static void fill_row(double *restrict row, const float *restrict points, int32_t point, int32_t count) {
    const float x = points[2 * point], y = points[2 * point + 1];
    for (int32_t j = 0; j < count; j++) row[j] = kernel_at(x - points[2 * j], y - points[2 * j + 1]);
}

/* The coefficients of splines through the points' motion.
 *
 * points (count, 2); motion (count, num_sides); scratch (count + 3, count + 3 + num_sides) doubles. coefficients
 * (count + 3, num_sides) is written: of the kernel at each point, of 1, x and y; zeros where the points determine none.
 */
EXPORT void solve_splines(const float *points, const float *motion, int32_t count, int32_t num_sides, double *scratch,
                          float *coefficients) {
    const int32_t size = count + 3, width = size + num_sides;
    memset(scratch + (size_t)count * (size_t)width, 0, 3 * (size_t)width * sizeof(double));
    for (int32_t i = 0; i < count; i++) {
        double *row = scratch + (size_t)i * (size_t)width;
        const double affine[3] = {1.0, points[2 * i], points[2 * i + 1]};
        fill_row(row, points, i, count);
        row[i] += SOFTENING;
        for (int32_t k = 0; k < 3; k++) row[count + k] = scratch[(count + k) * (size_t)width + (size_t)i] = affine[k];
        for (int32_t side = 0; side < num_sides; side++) row[size + side] = motion[num_sides * i + side];
    }
    const int32_t is_solved = solve_system(scratch, size, width);
    for (int32_t i = 0; i < size; i++) {
        const double *sides = scratch + (size_t)i * (size_t)width + size;
        for (int32_t k = 0; k < num_sides; k++) *coefficients++ = is_solved ? (float)sides[k] : 0.0f;
    }
}

/* ---- Displacements ----------------------------------------------------------------------------------------------- */

/* Splines of both layers: points (2, count, 2), of which the first num_shared are the same in both. upper and lower
 * (count + 3, PARTS): their coefficients for a mouth shape. */
typedef struct {
    const float *points, *upper, *lower;
    int32_t num_shared, count;
} Splines;

/* Nodes where they are evaluated. positions (rows, columns, 2): pixels; `stride` floats from one row to the next. inside
 * (rows, columns): share, 0..1, of what fades out at the outline. to_units (2, 3): pixels to mouth units. reach: left,
 * right, top and bottom of all motion, mouth units, and the distances from there between which it fades in. to_cells
 * (2, 2): mouth units to cells. */
typedef struct {
    const float *positions;
    ptrdiff_t stride;
    const float *inside;
    int32_t rows, columns;
    float to_units[6], reach[4], fade[2], to_cells[4];
} SplineNodes;

/* Nodes at mouth units x, y, the share of all motion there, and the sums of the splines: (layer, part). */
typedef struct {
    float x[BLOCK], y[BLOCK], window[BLOCK], sums[2][PARTS][BLOCK];
} NodeBlock;

/* Nodes from number `start` on, the last one repeated at the end. 0 where nothing moves. */
static int32_t place_nodes(const SplineNodes *nodes, int32_t start, NodeBlock *block) {
    const float *to_units = nodes->to_units, *reach = nodes->reach;
    const int32_t last = nodes->rows * nodes->columns - 1;
    int32_t is_moved = 0;
    for (int32_t j = 0; j < BLOCK; j++) {
        const int32_t node = min_i(start + j, last), row = node / nodes->columns;
        const float *position = nodes->positions + row * nodes->stride + 2 * (node - row * nodes->columns);
        const float x = to_units[0] * position[0] + to_units[1] * position[1] + to_units[2];
        const float y = to_units[3] * position[0] + to_units[4] * position[1] + to_units[5];
        float within = min_f(min_f(x - reach[0], reach[1] - x), min_f(y - reach[2], reach[3] - y));
        block->x[j] = x;
        block->y[j] = y;
        block->window[j] = smoothstep(within, nodes->fade[0], nodes->fade[1]);
        is_moved |= block->window[j] > 0.0f;
    }
    return is_moved;
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

HOT static void evaluate_splines(const Splines *splines, NodeBlock *block) {
    const float *upper = splines->upper, *lower = splines->lower;
    float values[TOGETHER][BLOCK];
    memset(block->sums, 0, sizeof block->sums);
    for (int32_t i = 0; i < splines->num_shared; i += TOGETHER) {
        const int32_t count = splines->num_shared - i;
        evaluate_kernel(block, splines->points + 2 * i, count, values);
        add_values(values, upper + PARTS * i, count, block->sums[0]);
        add_values(values, lower + PARTS * i, count, block->sums[1]);
    }
    for (int32_t layer = 0; layer < 2; layer++) {
        const float *coefficients = layer ? lower : upper;
        const float *points = splines->points + 2 * (size_t)layer * (size_t)splines->count;
        for (int32_t i = splines->num_shared; i < splines->count; i += TOGETHER) {
            evaluate_kernel(block, points + 2 * i, splines->count - i, values);
            add_values(values, coefficients + PARTS * i, splines->count - i, block->sums[layer]);
        }
        coefficients += PARTS * (size_t)splines->count;
        for (int32_t part = 0; part < PARTS; part++) {
            const float level = coefficients[part], across = coefficients[PARTS + part];
            const float down = coefficients[2 * PARTS + part];
            for (int32_t j = 0; j < BLOCK; j++) {
                block->sums[layer][part][j] += level + across * block->x[j] + down * block->y[j];
            }
        }
    }
}

/* The block's displacement in one layer: field (length, 2). */
static void write_field(const SplineNodes *nodes, const NodeBlock *block, float sums[PARTS][BLOCK],
                        const float *inside, int32_t length, float *field) {
    const float *to_cells = nodes->to_cells;
    for (int32_t j = 0; j < length; j++) {
        const float whole = block->window[j];
        float x = whole * (sums[0][j] * inside[j] + sums[2][j]), y = whole * (sums[1][j] * inside[j] + sums[3][j]);
        field[2 * j] = to_cells[0] * x + to_cells[1] * y;
        field[2 * j + 1] = to_cells[2] * x + to_cells[3] * y;
    }
}

/* The displacement of the skin in both layers: field (2, rows, columns, 2) is written: layer, node; cells. */
EXPORT void displace_nodes(const Splines *splines, const SplineNodes *nodes, float *field) {
    const int32_t count = nodes->rows * nodes->columns;
    NodeBlock block;
    for (int32_t start = 0; start < count; start += BLOCK) {
        const int32_t length = min_i(BLOCK, count - start);
        float *upper = field + 2 * (size_t)start, *lower = upper + 2 * (size_t)count;
        if (!place_nodes(nodes, start, &block)) {
            memset(upper, 0, 2 * (size_t)length * sizeof(float));
            memset(lower, 0, 2 * (size_t)length * sizeof(float));
            continue;
        }
        evaluate_splines(splines, &block);
        write_field(nodes, &block, block.sums[0], nodes->inside + start, length, upper);
        write_field(nodes, &block, block.sums[1], nodes->inside + start, length, lower);
    }
}
