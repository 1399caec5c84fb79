/* The motion of control points → the coefficients of thin-plate splines through it (displacement_fields.py); displace.c
 * evaluates them. Points have positions (…, 2) in mouth units. Single precision suffices: what it changes in a face's
 * displacement is below 1e-4 mouth units.
 */
#include "splines.h"

/* Rows of a system are made of GROUPs of values: what a few of them hold too much is never read. */
enum { GROUP = 8 };
typedef float float8 __attribute__((vector_size(4 * GROUP), aligned(4)));

static const float SOFTENING = 1e-4f; /* of the system: landmarks may coincide */

/* Exchange row `column` with the one below it that has the largest value in this column. 0 where all are zero. */
static int32_t find_pivot(float *system, int32_t size, int32_t width, int32_t column) {
    int32_t best = column;
    for (int32_t row = column + 1; row < size; row++) {
        if (fabsf(system[(size_t)row * width + column]) > fabsf(system[(size_t)best * width + column])) best = row;
    }
    float *first = system + (size_t)column * width, *second = system + (size_t)best * width;
    for (int32_t k = 0; best != column && k < width; k++) {
        float value = first[k];
        first[k] = second[k];
        second[k] = value;
    }
    return first[column] != 0.0f;
}

/* Subtract factor · pivot from a row; both `length` values long, a multiple of GROUP. */
static inline void subtract_row(float *restrict row, const float *restrict pivot, float factor, int32_t length) {
    for (int32_t k = 0; k < length; k += GROUP) *(float8 *)(row + k) -= factor * *(const float8 *)(pivot + k);
}

/* Solve a system (size, width) in place, its right sides from column `sides` on. 0 where it is singular. */
HOT static int32_t solve_system(float *system, int32_t size, int32_t width, int32_t sides) {
    for (int32_t column = 0; column < size; column++) {
        if (!find_pivot(system, size, width, column)) return 0;
        const int32_t start = column / GROUP * GROUP;
        const float *pivot = system + (size_t)column * width;
        for (int32_t row = column + 1; row < size; row++) {
            float *other = system + (size_t)row * width;
            subtract_row(other + start, pivot + start, other[column] / pivot[column], width - start);
        }
    }
    for (int32_t row = size - 1; row >= 0; row--) {
        float *own = system + (size_t)row * width;
        for (int32_t later = row + 1; later < size; later++) {
            subtract_row(own + sides, system + (size_t)later * width + sides, own[later], width - sides);
        }
        for (int32_t k = sides; k < width; k++) own[k] /= own[row];
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
