/* The motion of control points → thin-plate splines through it → the displacement of the skin at grid nodes, for one
 * mouth shape (displacement_fields.py). The fields of a still are computed once; every frame of a video needs its own.
 *
 * Points have positions (…, 2) in mouth units. A mouth shape's displacement has four PARTS: x and y of what fades out at
 * the face's outline, as all that moves the lips does, and x and y of the rest.
 */
#include "kernel.h"

enum { PARTS = 4, BLOCK = 32 };
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

HOT static void subtract_row(double *restrict row, const double *restrict pivot, double factor, int32_t length) {
    for (int32_t k = 0; k < length; k++) row[k] -= factor * pivot[k];
}

/* Solve a system (size, width) in place, its right sides behind its matrix. 0 where it is singular. */
static int32_t solve_system(double *system, int32_t size, int32_t width) {
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

/* The coefficients of splines through the points' motion.
 *
 * points (count, 2); motion (count, num_sides); scratch (count + 3, count + 3 + num_sides) doubles. coefficients
 * (count + 3, num_sides) is written: of the kernel at each point, of 1, x and y; zeros where the points determine none.
 */
EXPORT void solve_splines(const float *points, const float *motion, int32_t count, int32_t num_sides, double *scratch,
                          float *coefficients) {
    const int32_t size = count + 3, width = size + num_sides;
    memset(scratch, 0, (size_t)size * (size_t)width * sizeof(double));
    for (int32_t i = 0; i < count; i++) {
        double *row = scratch + (size_t)i * (size_t)width;
        const double x = points[2 * i], y = points[2 * i + 1], affine[3] = {1.0, x, y};
        for (int32_t j = 0; j <= i; j++) {
            double dx = x - points[2 * j], dy = y - points[2 * j + 1], squared = dx * dx + dy * dy + TINY;
            row[j] = scratch[(size_t)j * (size_t)width + (size_t)i] = squared * log(squared);
        }
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

/* Splines of both layers: `shared` (num_shared, 2) points, and those of each layer, `own` (2, num_own, 2). upper and
 * lower (num_shared + num_own + 3, PARTS): their coefficients for a mouth shape. */
typedef struct {
    const float *shared, *own, *upper, *lower;
    int32_t num_shared, num_own;
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

static inline void evaluate_kernel(const NodeBlock *block, const float *point, float *values) {
    for (int32_t j = 0; j < BLOCK; j++) values[j] = kernel_at(block->x[j] - point[0], block->y[j] - point[1]);
}

static inline void add_values(const float *values, const float *coefficients, float sums[PARTS][BLOCK]) {
    for (int32_t part = 0; part < PARTS; part++) {
        for (int32_t j = 0; j < BLOCK; j++) sums[part][j] += coefficients[part] * values[j];
    }
}

HOT static void evaluate_splines(const Splines *splines, NodeBlock *block) {
    const float *upper = splines->upper, *lower = splines->lower;
    float values[BLOCK];
    memset(block->sums, 0, sizeof block->sums);
    for (int32_t i = 0; i < splines->num_shared; i++) {
        evaluate_kernel(block, splines->shared + 2 * i, values);
        add_values(values, upper + PARTS * i, block->sums[0]);
        add_values(values, lower + PARTS * i, block->sums[1]);
    }
    for (int32_t layer = 0; layer < 2; layer++) {
        const float *coefficients = (layer ? lower : upper) + PARTS * (size_t)splines->num_shared;
        const float *own = splines->own + 2 * (size_t)layer * (size_t)splines->num_own;
        for (int32_t i = 0; i < splines->num_own; i++) {
            evaluate_kernel(block, own + 2 * i, values);
            add_values(values, coefficients + PARTS * i, block->sums[layer]);
        }
        coefficients += PARTS * (size_t)splines->num_own;
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
