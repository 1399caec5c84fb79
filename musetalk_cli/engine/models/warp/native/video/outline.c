/* The mask of a face's outline → how far lips move the skin at grid nodes: less and less towards the outline, so that they
 * move neither hair nor background (displacement_fields.inside_face). */
#include "models/warp/native/video/video.h"

enum { MAX_RADIUS = 64, MAX_TAPS = 2 * MAX_RADIUS + 1, BLOCK = 16 };

/* Half of a BLOCK of values. */
typedef float Half __attribute__((vector_size(2 * BLOCK), aligned(4)));

/* A Gaussian, as wide as OpenCV makes it. */
typedef struct {
    float taps[MAX_TAPS];
    int32_t radius;
} Gaussian;

static void make_gaussian(float deviation, Gaussian *blur) {
    const float widest = (float)MAX_RADIUS / 4.0f - 1.0f, used = clamp_f(deviation, 0.3f, widest);
    float sum = 0.0f;
    blur->radius = (int32_t)(8.0f * used + 1.5f) / 2;
    for (int32_t k = -blur->radius; k <= blur->radius; k++)
        sum += blur->taps[k + blur->radius] = expf(-0.5f * (float)(k * k) / (used * used));
    for (int32_t k = 0; k <= 2 * blur->radius; k++) blur->taps[k] /= sum;
}

/* The sums of up to BLOCK columns, from number `start` on, of rows of values weighed by the taps: row k begins at
 * rows[k]. */
static inline void blur_block(const float *const rows[], const Gaussian *blur, int32_t start, int32_t count,
                              float *restrict out) {
    Half left = {0}, right = {0};
    for (int32_t k = 0; k <= 2 * blur->radius; k++) {
        const float *from = rows[k] + start, tap = blur->taps[k];
        left += tap * *(const Half *)from;
        right += tap * *(const Half *)(from + BLOCK / 2);
    }
    float sums[BLOCK];
    *(Half *)sums = left;
    *(Half *)(sums + BLOCK / 2) = right;
    memcpy(out + start, sums, (size_t)min_i(BLOCK, count - start) * sizeof(float));
}

/* A row (count,) blurred. rows: what its taps weigh, BLOCK values longer. */
HOT static void blur_row(const float *const rows[], const Gaussian *blur, int32_t count, float *restrict out) {
    for (int32_t start = 0; start < count; start += BLOCK) blur_block(rows, blur, start, count, out);
}

/* A row (count,) of a mask, its ends repeated for the radius. */
HOT static void pad_row(const uint8_t *mask, int32_t count, int32_t radius, float *restrict padded) {
    for (int32_t j = 0; j < radius; j++) padded[j] = (float)mask[0];
    for (int32_t j = 0; j < count; j++) padded[radius + j] = (float)mask[j];
    for (int32_t j = 0; j < radius; j++) padded[radius + count + j] = (float)mask[count - 1];
}

HOT static void write_shares(const float *restrict blurred, int32_t count, float outline, uint8_t *restrict shares) {
    for (int32_t j = 0; j < count; j++)
        shares[j] = (uint8_t)(int32_t)(smoothstep(blurred[j], outline, 0.98f) * 255.0f + 0.5f);
}

/* How many floats of memory fade_at_outline needs. */
EXPORT size_t outline_scratch(int32_t rows, int32_t columns) {
    return ((size_t)rows + 2) * (size_t)columns + 2 * MAX_RADIUS + 2 * BLOCK;
}

/* mask uint8 (rows, columns): 1 within the outline. per_unit: nodes in a mouth unit. yaw: tangent of the head's; of a
 * turned head, the outline that landmarks give lies outside the far cheek. memory: outline_scratch floats. inside uint8
 * (rows, columns) is written: 255 well inside, 0 outside.
 */
EXPORT void fade_at_outline(const uint8_t *mask, int32_t rows, int32_t columns, float per_unit, float yaw,
                            float *memory, uint8_t *inside) {
    const size_t count = (size_t)columns;
    const float outline = 0.5f + 0.25f * clamp_f((fabsf(yaw) - 0.1f) / 0.25f, 0.0f, 1.0f);
    float *across = memory, *row = across + (size_t)rows * count + BLOCK, *padded = row + count;
    const float *from[MAX_TAPS];
    Gaussian blur;
    make_gaussian(0.1f * per_unit, &blur);
    memset(across, 0, outline_scratch(rows, columns) * sizeof(float));
    for (int32_t i = 0; i < rows; i++) {
        pad_row(mask + (size_t)i * count, columns, blur.radius, padded);
        for (int32_t k = 0; k <= 2 * blur.radius; k++) from[k] = padded + k;
        blur_row(from, &blur, columns, across + (size_t)i * count);
    }
    for (int32_t i = 0; i < rows; i++) {
        for (int32_t k = 0; k <= 2 * blur.radius; k++)
            from[k] = across + (size_t)clamp_i(i + k - blur.radius, 0, rows - 1) * count;
        blur_row(from, &blur, columns, row);
        write_shares(row, columns, outline, inside + (size_t)i * count);
    }
}
