/* The motion of control points → the coefficients of thin-plate splines through it (displacement_fields.py); displace.c
 * evaluates them. Points have positions (…, 2) in mouth units.
 */
#include "splines.h"

static const double SOFTENING = 1e-4; /* of the system: landmarks may coincide */

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
