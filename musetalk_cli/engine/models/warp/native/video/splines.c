/* The motion of control points → the coefficients of thin-plate splines through it (displacement_fields.py); displace.c
 * evaluates them. Points have positions (…, 2) in mouth units. Single precision suffices: what it changes in a face's
 * displacement is below 2e-4 mouth units.
 *
 * Three of the points, the poles, and the affine part are eliminated first. What is left is the kernel less its linear
 * interpolation between the poles in both arguments, which is symmetric and positive definite (Wendland, "Scattered
 * Data Approximation", 2005, chapter 10): no pivots are searched, and its upper triangle is enough. The points that both
 * layers share come next, once for both, and then each layer's own.
 */
#include "models/warp/native/video/splines.h"
#include "models/warp/native/video/video.h"

/* Values lie in memory in whole GROUPs. ROWS of them are worked on together, in sums that stay in registers. */
enum { POLES = 3, ROWS = 4, GROUP = 8 };
typedef float Group __attribute__((vector_size(4 * GROUP), aligned(4)));
typedef struct {
    Group of[ROWS];
} Block;

static const float SOFTENING = 1e-4f; /* of the system: landmarks may coincide */
static const float FAR_LOG = 2.2f;    /* log r² at three mouth units, the size of a face */
static const float FLAT = 1e-5f;      /* a triangle, by its area ÷ the square of a side */

/* Columns are those of the shared points, of the upper layer's own, of the lower layer's, and right sides: `shared`,
 * `own`, `own` and `sides` of them, filled up to whole GROUPs. There is a row for each column but those of sides. */
typedef struct {
    int32_t num_shared, num_own, num_sides, shared, own, columns, sides, width;
    int32_t pole[POLES];
    float affine[POLES][POLES]; /* of 1, x and y in the linear functions that are 1 at one pole, 0 at the others */
    float *x, *y, *is_free;     /* (width,): positions; 0 for poles and what columns are filled up with, else 1 */
    float *half, *linear;       /* (POLES, width): see fill_poles */
    float *kernel;              /* (ROWS, width): between each pole and all points; last, the squares of positions */
    float *rows, *inverse;      /* (columns, width), and what divides their diagonals (width,) */
    float *solved, *at_poles;   /* (shared + own, sides), of one layer, and (ROWS, sides): see solve_poles */
} System;

static int32_t whole_groups(int32_t count) { return (count + GROUP - 1) / GROUP * GROUP; }

static void set_sizes(System *system, int32_t num_shared, int32_t count, int32_t num_sides) {
    system->num_shared = num_shared;
    system->num_own = count - num_shared;
    system->num_sides = num_sides;
    system->shared = whole_groups(num_shared);
    system->own = whole_groups(count - num_shared);
    system->columns = system->shared + 2 * system->own;
    system->sides = whole_groups(num_sides);
    system->width = system->columns + system->sides;
}

/* How many floats of memory solve_splines needs. */
EXPORT size_t splines_scratch(int32_t num_shared, int32_t count, int32_t num_sides) {
    System system;
    set_sizes(&system, num_shared, count, num_sides);
    return (size_t)system.width * (size_t)(3 + 2 * POLES + ROWS + system.columns + 1) +
           (size_t)system.sides * (size_t)(system.shared + system.own + ROWS);
}

static void lay_out(System *system, float *memory) {
    const size_t width = (size_t)system->width;
    system->x = memory;
    system->y = system->x + width;
    system->is_free = system->y + width;
    system->half = system->is_free + width;
    system->linear = system->half + POLES * width;
    system->kernel = system->linear + POLES * width;
    system->rows = system->kernel + ROWS * width;
    system->inverse = system->rows + (size_t)system->columns * width;
    system->solved = system->inverse + width;
    system->at_poles = system->solved + (size_t)(system->shared + system->own) * (size_t)system->sides;
}

/* ---- Poles ------------------------------------------------------------------------------------------------------- */

/* The point farthest from x, y; farthest along a direction, where one is given. */
static int32_t farthest(const float *points, int32_t count, float x, float y, float across, float down) {
    const int32_t is_directed = across != 0.0f || down != 0.0f;
    int32_t best = 0;
    float most = -1.0f;
    for (int32_t i = 0; i < count; i++) {
        const float dx = points[2 * i] - x, dy = points[2 * i + 1] - y;
        const float away = is_directed ? fabsf(across * dx + down * dy) : dx * dx + dy * dy;
        best = away > most ? i : best;
        most = away > most ? away : most;
    }
    return best;
}

static int32_t farthest_from_middle(const float *points, int32_t count) {
    float x = 0.0f, y = 0.0f;
    for (int32_t i = 0; i < count; i++) {
        x += points[2 * i];
        y += points[2 * i + 1];
    }
    return farthest(points, count, x / (float)count, y / (float)count, 0.0f, 0.0f);
}

/* Three shared points far from each other, and their linear functions; 0 where all lie on one line. */
static int32_t choose_poles(const float *points, System *system) {
    const int32_t count = system->num_shared;
    int32_t *pole = system->pole;
    pole[0] = farthest_from_middle(points, count);
    const float *a = points + 2 * pole[0];
    pole[1] = farthest(points, count, a[0], a[1], 0.0f, 0.0f);
    const float *b = points + 2 * pole[1], across = b[0] - a[0], down = b[1] - a[1];
    pole[2] = farthest(points, count, a[0], a[1], -down, across);
    const float *c = points + 2 * pole[2], *corners[POLES] = {a, b, c};
    const float area = across * (c[1] - a[1]) - down * (c[0] - a[0]);
    for (int32_t k = 0; k < POLES; k++) {
        const float *next = corners[(k + 1) % POLES], *last = corners[(k + 2) % POLES];
        system->affine[k][0] = (next[0] * last[1] - last[0] * next[1]) / area;
        system->affine[k][1] = (next[1] - last[1]) / area;
        system->affine[k][2] = (last[0] - next[0]) / area;
    }
    return fabsf(area) > FLAT * (across * across + down * down);
}

/* ---- The system -------------------------------------------------------------------------------------------------- */

/* The positions of `count` points, from a column on, and of what fills them up to `stored`. */
static void place_columns(const System *system, const float *points, int32_t count, int32_t stored, int32_t column) {
    for (int32_t i = 0; i < stored; i++) {
        system->x[column + i] = i < count ? points[2 * i] : 0.0f;
        system->y[column + i] = i < count ? points[2 * i + 1] : 0.0f;
        system->is_free[column + i] = i < count ? 1.0f : 0.0f;
    }
}

/* kernel_at less r² FAR_LOG: its values across a face are smaller, so less is lost by rounding. r² has nothing that is
 * not linear in one of the two points, so this changes no coefficient but those of the affine part (write_affine). */
static inline float near_kernel_at(float dx, float dy) {
    const float squared = dx * dx + dy * dy + TINY;
    return squared * (logarithm(squared) - FAR_LOG);
}

/* The kernel between a pole and all points. */
HOT static void fill_kernel(const System *system, int32_t pole, float *restrict kernel) {
    const float *restrict x = system->x, *restrict y = system->y, at_x = x[pole], at_y = y[pole];
    for (int32_t j = 0; j < system->columns; j++) kernel[j] = near_kernel_at(x[j] - at_x, y[j] - at_y);
    kernel[pole] += SOFTENING;
}

/* `linear`: the linear functions at all points. `half`: the kernel at each pole, less half of its linear interpolation
 * between the poles. What the poles take from the system is linear times half, and half times linear. */
HOT static void fill_poles(const System *system) {
    const size_t width = (size_t)system->width;
    const float *restrict x = system->x, *restrict y = system->y, *restrict is_free = system->is_free;
    float *restrict squares = system->kernel + POLES * width;
    for (int32_t j = 0; j < system->columns; j++) squares[j] = x[j] * x[j] + y[j] * y[j];
    for (int32_t k = 0; k < POLES; k++) {
        const float *affine = system->affine[k], level = affine[0], across = affine[1], down = affine[2];
        float *restrict linear = system->linear + (size_t)k * width;
        for (int32_t j = 0; j < system->columns; j++) linear[j] = is_free[j] * (level + across * x[j] + down * y[j]);
    }
    const float *restrict first = system->linear, *restrict second = first + width, *restrict third = second + width;
    for (int32_t k = 0; k < POLES; k++) {
        float *restrict kernel = system->kernel + (size_t)k * width, *restrict half = system->half + (size_t)k * width;
        fill_kernel(system, system->pole[k], kernel);
        const float a = kernel[system->pole[0]], b = kernel[system->pole[1]], c = kernel[system->pole[2]];
        for (int32_t j = 0; j < system->columns; j++)
            half[j] = is_free[j] * (kernel[j] - 0.5f * (a * first[j] + b * second[j] + c * third[j]));
    }
}

/* A row of the kernel, between two columns, and of right sides; of the identity, where the row is not free. */
static inline void fill_row(const System *system, int32_t row, int32_t from, int32_t to, const float *motion) {
    float *restrict out = system->rows + (size_t)row * (size_t)system->width;
    const float *restrict x = system->x, *restrict y = system->y, *restrict is_free = system->is_free;
    memset(out + system->columns, 0, (size_t)system->sides * sizeof(float));
    if (is_free[row] == 0.0f) {
        memset(out + from, 0, (size_t)(to - from) * sizeof(float));
        out[row] = 1.0f;
        return;
    }
    const float at_x = x[row], at_y = y[row];
    for (int32_t j = from; j < to; j++) out[j] = is_free[j] * near_kernel_at(x[j] - at_x, y[j] - at_y);
    out[row] += SOFTENING;
    memcpy(out + system->columns, motion, (size_t)system->num_sides * sizeof(float));
}

/* The upper triangle of the system, from which the poles have taken nothing yet. */
HOT static void fill_rows(const System *system, const float *motion) {
    const size_t sides = (size_t)system->num_sides;
    const float *own = motion + (size_t)system->num_shared * sides;
    for (int32_t row = 0; row < system->shared; row++)
        fill_row(system, row, row / GROUP * GROUP, system->columns, motion + (size_t)row * sides);
    for (int32_t layer = 0; layer < 2; layer++, own += (size_t)(system->num_shared + system->num_own) * sides) {
        const int32_t first = system->shared + layer * system->own, stop = first + system->own;
        for (int32_t row = first; row < stop; row++)
            fill_row(system, row, row / GROUP * GROUP, stop, own + (size_t)(row - first) * sides);
    }
}

static void fill_system(const System *system, const float *points, const float *motion) {
    const size_t width = (size_t)system->width, sides = (size_t)system->sides;
    const int32_t num_shared = system->num_shared, num_own = system->num_own, own = system->own;
    place_columns(system, points, num_shared, system->shared, 0);
    place_columns(system, points + 2 * (size_t)num_shared, num_own, own, system->shared);
    place_columns(system, points + 2 * (size_t)(2 * num_shared + num_own), num_own, own, system->shared + own);
    for (size_t k = 0; k < POLES; k++) {
        const size_t pole = (size_t)system->pole[k], num_sides = (size_t)system->num_sides;
        float *half = system->half + k * width + system->columns, *linear = system->linear + k * width + system->columns;
        system->is_free[pole] = 0.0f;
        memset(linear, 0, sides * sizeof(float));
        memset(half, 0, sides * sizeof(float));
        memcpy(half, motion + pole * num_sides, num_sides * sizeof(float));
    }
    fill_poles(system);
    fill_rows(system, motion);
}

/* ---- Elimination ------------------------------------------------------------------------------------------------- */

static inline Block load_block(const float *from, int32_t width) {
    Block block;
    for (int32_t i = 0; i < ROWS; i++) block.of[i] = *(const Group *)(from + i * width);
    return block;
}

static inline void store_block(const Block *block, float *to, int32_t width) {
    for (int32_t i = 0; i < ROWS; i++) *(Group *)(to + i * width) = block->of[i];
}

/* Subtract `count` rows (…, width) times their factors. A row's factors, one for each row of the block, are `apart` from
 * each other, and a `step` from those of the next row. */
static inline void subtract_rows(Block *block, const float *rows, int32_t width, const float *factors, int32_t apart,
                                 int32_t step, int32_t count) {
    Block sums = *block;
    for (int32_t j = 0; j < count; j++, rows += width, factors += step)
        for (int32_t i = 0; i < ROWS; i++) sums.of[i] -= factors[i * apart] * *(const Group *)rows;
    *block = sums;
}

/* An upper triangle whose rows times themselves, transposed, add up to a block of the system. inverse: of its diagonal. */
typedef struct {
    float of[ROWS][ROWS], inverse[ROWS];
} Root;

/* 0 where it is not finite. A pivot is less than SOFTENING by rounding alone. */
static inline int32_t find_root(const float *triangle, int32_t width, Root *root) {
    for (int32_t i = 0; i < ROWS; i++) {
        float *own = root->of[i];
        for (int32_t k = i; k < ROWS; k++) {
            own[k] = triangle[i * width + k];
            for (int32_t above = 0; above < i; above++) own[k] -= root->of[above][i] * root->of[above][k];
        }
        if (!(fabsf(own[i]) < INFINITY)) return 0;
        root->inverse[i] = 1.0f / sqrtf(max_f(own[i], SOFTENING));
        for (int32_t k = i; k < ROWS; k++) own[k] *= root->inverse[i];
    }
    return 1;
}

static inline void divide_down(const Root *root, Block *block) {
    for (int32_t i = 0; i < ROWS; i++) {
        for (int32_t above = 0; above < i; above++) block->of[i] -= root->of[above][i] * block->of[above];
        block->of[i] *= root->inverse[i];
    }
}

/* What is taken from a block by the poles, by the shared points above it, and by the rows above it from `first` on. */
static inline void subtract_above(const System *system, Block *block, int32_t row, int32_t column, int32_t first) {
    const int32_t width = system->width;
    const float *shared = system->rows, *own = shared + (size_t)first * (size_t)width;
    subtract_rows(block, system->half + column, width, system->linear + row, 1, width, POLES);
    subtract_rows(block, system->linear + column, width, system->half + row, 1, width, POLES);
    if (first > 0) subtract_rows(block, shared + column, width, shared + row, 1, width, system->shared);
    subtract_rows(block, own + column, width, own + row, 1, width, row - first);
}

/* Replace rows first … stop, those of the shared points or of a layer's own, by those of the system's root (Cholesky).
 * 0 if they are not finite. */
HOT static int32_t eliminate(const System *system, int32_t first, int32_t stop) {
    const int32_t width = system->width;
    for (int32_t row = first; row < stop; row += ROWS) {
        float *rows = system->rows + (size_t)row * (size_t)width;
        Root root;
        for (int32_t column = row / GROUP * GROUP; column < width; column += GROUP) {
            if (first > 0 && column == stop) column = system->columns;
            Block block = load_block(rows + column, width);
            subtract_above(system, &block, row, column, first);
            if (column <= row) {
                store_block(&block, rows + column, width);
                if (!find_root(rows + row, width, &root)) return 0;
                memcpy(system->inverse + row, root.inverse, sizeof root.inverse);
            }
            divide_down(&root, &block);
            store_block(&block, rows + column, width);
        }
    }
    return 1;
}

/* ---- Coefficients ------------------------------------------------------------------------------------------------ */

/* Solve the rows of a block, the last one first. rows: of the root, at their diagonal. */
static inline void divide_up(const float *rows, int32_t width, const float *inverse, Block *block) {
    for (int32_t i = ROWS - 1; i >= 0; i--) {
        for (int32_t below = i + 1; below < ROWS; below++) block->of[i] -= rows[i * width + below] * block->of[below];
        block->of[i] *= inverse[i];
    }
}

/* A layer's coefficients of the kernel, `solved`, but for the poles. */
HOT static void solve_layer(const System *system, int32_t layer) {
    const int32_t shared = system->shared, end = shared + system->own, width = system->width, sides = system->sides;
    const int32_t skipped = layer * system->own; /* columns, of the layer above */
    for (int32_t row = end - ROWS; row >= 0; row -= ROWS) {
        const int32_t column = row < shared ? row : row + skipped, next = row + ROWS, own = max_i(next, shared);
        const float *rows = system->rows + (size_t)column * (size_t)width;
        for (int32_t k = 0; k < sides; k += GROUP) {
            float *solved = system->solved + k;
            Block block = load_block(rows + system->columns + k, width);
            subtract_rows(&block, solved + (size_t)own * (size_t)sides, sides, rows + own + skipped, width, 1, end - own);
            subtract_rows(&block, solved + (size_t)next * (size_t)sides, sides, rows + next, width, 1, shared - next);
            divide_up(rows + column, width, system->inverse + column, &block);
            store_block(&block, solved + (size_t)row * (size_t)sides, sides);
        }
    }
}

/* The poles' coefficients, too, and at_poles: the affine part there, with the kernel less r² FAR_LOG; last, minus the sum
 * of the squares of positions times coefficients (the row behind `half` has 0 for right sides). */
HOT static void solve_poles(const System *system, int32_t layer) {
    const int32_t width = system->width, sides = system->sides, own = system->shared + layer * system->own;
    const float *linear = system->linear, *kernel = system->kernel, *motion = system->half + system->columns;
    for (int32_t k = 0; k < sides; k += GROUP) {
        float *solved = system->solved + k, *own_solved = solved + (size_t)system->shared * (size_t)sides;
        Block weights = {{{0}}}, affine = load_block(motion + k, width);
        subtract_rows(&weights, solved, sides, linear, width, 1, system->shared);
        subtract_rows(&weights, own_solved, sides, linear + own, width, 1, system->own);
        for (int32_t i = 0; i < POLES; i++)
            *(Group *)(solved + (size_t)system->pole[i] * (size_t)sides) = weights.of[i];
        subtract_rows(&affine, solved, sides, kernel, width, 1, system->shared);
        subtract_rows(&affine, own_solved, sides, kernel + own, width, 1, system->own);
        store_block(&affine, system->at_poles + k, sides);
    }
}

/* The affine part (3, num_sides). The coefficients of the kernel add up to 0, alone and times positions; so what they
 * make of r² FAR_LOG is the same everywhere. */
static void write_affine(const System *system, float *coefficients) {
    const size_t sides = (size_t)system->sides, num_sides = (size_t)system->num_sides;
    const float *a = system->at_poles, *b = a + sides, *c = b + sides, *squares = c + sides;
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < num_sides; i++)
            *coefficients++ = system->affine[0][k] * a[i] + system->affine[1][k] * b[i] + system->affine[2][k] * c[i] +
                              (k == 0 ? FAR_LOG * squares[i] : 0.0f);
}

/* ---- Both layers ------------------------------------------------------------------------------------------------- */

/* `count` rows, without what fills them up; returns what follows. */
static float *copy_rows(const System *system, int32_t first, int32_t count, float *out) {
    const float *from = system->solved + (size_t)first * (size_t)system->sides;
    for (int32_t i = 0; i < count; i++, from += system->sides, out += system->num_sides)
        memcpy(out, from, (size_t)system->num_sides * sizeof(float));
    return out;
}

/* The coefficients of splines through the points' motion, in both layers.
 *
 * points (2, count, 2), motion (2, count, num_sides): the first num_shared, at least 1, are the same in both layers.
 * memory: splines_scratch floats. coefficients (2, count + 3, num_sides) is written: of the kernel at each point, of 1,
 * x and y; zeros where a layer's points determine none, or all shared ones lie on one line.
 */
EXPORT void solve_splines(const float *points, const float *motion, int32_t num_shared, int32_t count, int32_t num_sides,
                          float *memory, float *coefficients) {
    const size_t length = (size_t)(count + 3) * (size_t)num_sides;
    System system;
    set_sizes(&system, num_shared, count, num_sides);
    lay_out(&system, memory);
    int32_t is_solved = choose_poles(points, &system);
    if (is_solved) {
        fill_system(&system, points, motion);
        is_solved = eliminate(&system, 0, system.shared);
    }
    for (int32_t layer = 0; layer < 2; layer++, coefficients += length) {
        const int32_t first = system.shared + layer * system.own;
        if (!is_solved || !eliminate(&system, first, first + system.own)) {
            memset(coefficients, 0, length * sizeof(float));
            continue;
        }
        solve_layer(&system, layer);
        solve_poles(&system, layer);
        write_affine(&system, copy_rows(&system, system.shared, system.num_own,
                                        copy_rows(&system, 0, num_shared, coefficients)));
    }
}
