/* The motion of control points → the coefficients of thin-plate splines through it (displacement_fields.py); displace.c
 * evaluates them. Points have positions (…, 2) in mouth units. Single precision suffices: what it changes in a face's
 * displacement is below 1e-4 mouth units.
 */
#include "splines.h"

/* Rows of a system are made of GROUPs of values: what a few of them hold too much is never read. TOGETHER of them lose
 * their share of a pivot at once. */
enum { GROUP = 8, TOGETHER = 4 };
typedef float Group __attribute__((vector_size(4 * GROUP), aligned(4)));

static const float SOFTENING = 1e-4f; /* of the system: landmarks may coincide */

/* The row with the largest value in a column so far. */
typedef struct {
    float value;
    int32_t row;
} Pivot;

static inline void consider(Pivot *best, float value, int32_t row) {
    if (!(fabsf(value) > best->value)) return;
    best->value = fabsf(value);
    best->row = row;
}

static inline void exchange_rows(float *restrict first, float *restrict second, int32_t width) {
    for (int32_t k = 0; k < width; k += GROUP) {
        const Group values = *(const Group *)(first + k);
        *(Group *)(first + k) = *(const Group *)(second + k);
        *(Group *)(second + k) = values;
    }
}

/* Subtract so much of the pivot from `count` rows, at most TOGETHER, that nothing is left in its column; from the group
 * of that column on. `next`: the best of the next column. */
static inline void clear_column(float *restrict system, const float *restrict pivot, int32_t width, int32_t column,
                                int32_t row, int32_t count, Pivot *next) {
    float factors[TOGETHER], *rows = system + (size_t)row * (size_t)width;
    for (int32_t i = 0; i < count; i++) factors[i] = rows[i * width + column] / pivot[column];
    for (int32_t k = column / GROUP * GROUP; k < width; k += GROUP) {
        const Group values = *(const Group *)(pivot + k);
        for (int32_t i = 0; i < count; i++) *(Group *)(rows + i * width + k) -= factors[i] * values;
    }
    for (int32_t i = 0; i < count; i++) consider(next, rows[i * width + column + 1], row + i);
}

/* The solution of a row, `own`, in place of its right sides: those of the rows below it are known. */
static inline void solve_row(float *restrict own, const float *restrict below, int32_t row, int32_t size,
                             int32_t width, int32_t sides) {
    for (int32_t k = sides; k < width; k += GROUP) {
        Group values = *(const Group *)(own + k);
        const float *later = below + k;
        for (int32_t i = row + 1; i < size; i++, later += width) values -= own[i] * *(const Group *)later;
        *(Group *)(own + k) = values / own[row];
    }
}

/* Solve a system (size, width) in place, its right sides from column `sides` on. 0 where it is singular. */
HOT static int32_t solve_system(float *system, int32_t size, int32_t width, int32_t sides) {
    Pivot best = {-1.0f, 0};
    for (int32_t row = 0; row < size; row++) consider(&best, system[(size_t)row * (size_t)width], row);
    for (int32_t column = 0; column < size; column++) {
        float *pivot = system + (size_t)column * (size_t)width;
        if (best.row != column) exchange_rows(pivot, system + (size_t)best.row * (size_t)width, width);
        if (pivot[column] == 0.0f) return 0;
        int32_t row = column + 1;
        best = (Pivot){-1.0f, row};
        for (; row + TOGETHER <= size; row += TOGETHER)
            clear_column(system, pivot, width, column, row, TOGETHER, &best);
        for (; row < size; row++) clear_column(system, pivot, width, column, row, 1, &best);
    }
    for (int32_t row = size - 1; row >= 0; row--) {
        float *own = system + (size_t)row * (size_t)width;
        solve_row(own, own + width, row, size, width, sides);
    }
    return 1;
}

/* The kernel between a point and the first `count`. */
HOT static void fill_row(float *restrict row, const float *restrict points, int32_t point, int32_t count) {
    const float x = points[2 * point], y = points[2 * point + 1];
    for (int32_t j = 0; j < count; j++) row[j] = kernel_at(x - points[2 * j], y - points[2 * j + 1]);
}

static int32_t whole_groups(int32_t count) { return (count + GROUP - 1) / GROUP * GROUP; }

/* How many floats of memory solve_splines needs. */
EXPORT size_t splines_scratch(int32_t count, int32_t num_sides) {
    return (size_t)(count + 3) * (size_t)(whole_groups(count + 3) + whole_groups(num_sides));
}

/* The system of one layer, its points' motion on its right sides. */
static void fill_system(const float *points, const float *motion, int32_t count, int32_t num_sides, int32_t width,
                        float *system) {
    const int32_t sides = whole_groups(count + 3);
    memset(system, 0, (size_t)(count + 3) * (size_t)width * sizeof(float));
    for (int32_t i = 0; i < count; i++) {
        float *row = system + (size_t)i * (size_t)width;
        const float affine[3] = {1.0f, points[2 * i], points[2 * i + 1]};
        fill_row(row, points, i, count);
        row[i] += SOFTENING;
        for (int32_t k = 0; k < 3; k++) row[count + k] = system[(size_t)(count + k) * (size_t)width + (size_t)i] = affine[k];
        memcpy(row + sides, motion + (size_t)num_sides * (size_t)i, (size_t)num_sides * sizeof(float));
    }
}

/* The coefficients of splines through the points' motion, in both layers.
 *
 * points (2, count, 2); motion (2, count, num_sides); memory: splines_scratch floats. coefficients (2, count + 3,
 * num_sides) is written: of the kernel at each point, of 1, x and y; zeros where the points determine none.
 */
EXPORT void solve_splines(const float *points, const float *motion, int32_t count, int32_t num_sides, float *memory,
                          float *coefficients) {
    const int32_t size = count + 3, sides = whole_groups(size), width = sides + whole_groups(num_sides);
    for (int32_t layer = 0; layer < 2; layer++, points += 2 * (size_t)count, motion += (size_t)num_sides * (size_t)count) {
        fill_system(points, motion, count, num_sides, width, memory);
        const int32_t is_solved = solve_system(memory, size, width, sides);
        for (int32_t i = 0; i < size; i++) {
            const float *row = memory + (size_t)i * (size_t)width + sides;
            for (int32_t k = 0; k < num_sides; k++) *coefficients++ = is_solved ? row[k] : 0.0f;
        }
    }
}
