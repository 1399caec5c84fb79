/* The two small nets that find and measure faces, on processors with AVX2 and FMA; OpenCV runs them elsewhere.
 *
 * `engine/avatar/preparation/nets/` reads a net's file and lays it out as steps: int32 (steps, STEP_FIELDS), offsets in
 * floats. Maps are float32 (height, width, channels), their channels filled up with zeros to a multiple of WIDE. A step
 * is a convolution of the image or of a map, or a block: a depthwise convolution, then one by 1 × 1, to which the
 * block's input is added, or the maxima of its 2 × 2 pixels. All end in max(x, 0) + slope · min(x, 0).
 *
 * Weights are packed for `multiply`: panels of 2 · WIDE outputs, the last one of WIDE where that many are left.
 */
#include "native/kernel.h"

/* Counts the changes of what Python calls: face_net.py has the same number. */
#define NETS_ABI 1

/* NETS_ABI; 0 where the processor or the library cannot run nets. */
EXPORT int nets_abi(void);
EXPORT void nets_run(
    int32_t num_steps, const int32_t *steps, const float *weights, float *arena, float *scratch, const uint8_t *image,
    int32_t height, int32_t width, float factor, float offset
);

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <cpuid.h>
#include <immintrin.h>

#define FAST __attribute__((target("avx2,fma")))
#define INLINED static inline __attribute__((always_inline, target("avx2,fma")))

enum { WIDE = 8, TILE_PX = 6, CHUNK_PX = 48, NUM_TAPS = 9 };

typedef struct {
    int32_t kind, input, height, width, channels;     /* kind: MAP or BLOCK; where the input is, and its size */
    int32_t output, out_height, out_width, out_channels;
    int32_t kernel, stride, pad_top, pad_left;
    int32_t residual, residual_channels, is_pooled;   /* -1: nothing is added */
    int32_t taps;   /* BLOCK: taps (9, channels), then biases (channels) */
    int32_t matrix; /* packed weights; then biases and slopes, each (out_channels) */
} Step;

enum { STEP_FIELDS = sizeof(Step) / sizeof(int32_t) };
enum { MAP, BLOCK };

int nets_abi(void) {
    unsigned a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX) || !(c & bit_FMA)) return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 6) != 6) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) ? NETS_ABI : 0;
}

/* What is done with the sums of some pixels' outputs: `residual` may be NULL. */
typedef struct {
    const float *biases, *slopes, *residual;
    int32_t residual_channels, out_channels;
} Ending;

/* Outputs `first` … of `num` pixels: rows (num, depth) times a panel (depth, WIDE · vectors). The numbers are constants
 * where it is inlined, so that the sums stay in registers. */
INLINED void multiply(
    int num, int vectors, const float *rows, const float *panel, int32_t depth, int32_t first, const Ending *end, float *out
) {
    __m256 sums[TILE_PX][2];
    for (int m = 0; m < num; m++)
        for (int v = 0; v < vectors; v++) sums[m][v] = _mm256_loadu_ps(end->biases + first + WIDE * v);
    for (int32_t k = 0; k < depth; k++) {
        __m256 weights[2];
        for (int v = 0; v < vectors; v++) weights[v] = _mm256_loadu_ps(panel + (size_t)k * WIDE * vectors + WIDE * v);
        for (int m = 0; m < num; m++) {
            __m256 value = _mm256_broadcast_ss(rows + (size_t)m * depth + k);
            for (int v = 0; v < vectors; v++) sums[m][v] = _mm256_fmadd_ps(value, weights[v], sums[m][v]);
        }
    }
    __m256 zero = _mm256_setzero_ps();
    for (int v = 0; v < vectors; v++) {
        int32_t at = first + WIDE * v;
        int has_residual = end->residual && at < end->residual_channels;
        __m256 slope = _mm256_loadu_ps(end->slopes + at);
        for (int m = 0; m < num; m++) {
            __m256 sum = sums[m][v];
            if (has_residual)
                sum = _mm256_add_ps(sum, _mm256_loadu_ps(end->residual + (size_t)m * end->residual_channels + at));
            sum = _mm256_fmadd_ps(slope, _mm256_min_ps(sum, zero), _mm256_max_ps(sum, zero));
            _mm256_storeu_ps(out + (size_t)m * end->out_channels + at, sum);
        }
    }
}

INLINED void multiply_some(
    int num, int vectors, const float *rows, const float *panel, int32_t depth, int32_t first, const Ending *end, float *out
) {
    switch (num) {
    case 1: multiply(1, vectors, rows, panel, depth, first, end, out); break;
    case 2: multiply(2, vectors, rows, panel, depth, first, end, out); break;
    case 3: multiply(3, vectors, rows, panel, depth, first, end, out); break;
    case 4: multiply(4, vectors, rows, panel, depth, first, end, out); break;
    case 5: multiply(5, vectors, rows, panel, depth, first, end, out); break;
    default: multiply(TILE_PX, vectors, rows, panel, depth, first, end, out);
    }
}

/* All outputs of `num` pixels: `rows` (num, depth). */
FAST static void multiply_all(
    int32_t num, const float *rows, const float *matrix, int32_t depth, Ending end, float *out
) {
    const float *residual = end.residual;
    for (int32_t first = 0; first < end.out_channels; first += 2 * WIDE) {
        const float *panel = matrix + (size_t)first * (size_t)depth;
        for (int32_t done = 0; done < num; done += TILE_PX) {
            int32_t count = min_i(TILE_PX, num - done);
            const float *at = rows + (size_t)done * (size_t)depth;
            float *to = out + (size_t)done * (size_t)end.out_channels;
            end.residual = residual ? residual + (size_t)done * (size_t)end.residual_channels : NULL;
            if (end.out_channels - first > WIDE) multiply_some(count, 2, at, panel, depth, first, &end, to);
            else multiply_some(count, 1, at, panel, depth, first, &end, to);
        }
    }
}

/* One row of a depthwise convolution by 3 × 3: `rows` are the three of the input; one outside of it is all zeros. */
FAST static void convolve_depthwise(const Step *step, const float *const *rows, const float *taps, float *out) {
    int32_t channels = step->channels, stride = step->stride, width = step->width;
    for (int32_t c = 0; c < channels; c += WIDE) {
        __m256 weights[NUM_TAPS], bias = _mm256_loadu_ps(taps + NUM_TAPS * channels + c);
        for (int t = 0; t < NUM_TAPS; t++) weights[t] = _mm256_loadu_ps(taps + t * channels + c);
        for (int32_t x = 0; x < step->out_width; x++) {
            int32_t left = x * stride - step->pad_left;
            __m256 sum = bias;
            if (left >= 0 && left + 3 <= width) {
                for (int t = 0; t < NUM_TAPS; t++) {
                    const float *at = rows[t / 3] + (size_t)(left + t % 3) * (size_t)channels + c;
                    sum = _mm256_fmadd_ps(weights[t], _mm256_loadu_ps(at), sum);
                }
            } else {
                for (int t = 0; t < NUM_TAPS; t++) {
                    int32_t column = left + t % 3;
                    if (column < 0 || column >= width) continue;
                    const float *at = rows[t / 3] + (size_t)column * (size_t)channels + c;
                    sum = _mm256_fmadd_ps(weights[t], _mm256_loadu_ps(at), sum);
                }
            }
            _mm256_storeu_ps(out + (size_t)x * (size_t)channels + c, sum);
        }
    }
}

/* One row of the maxima of 2 × 2 pixels. */
FAST static void pool(const float *rows, int32_t width, int32_t channels, float *out) {
    const float *below = rows + (size_t)width * (size_t)channels;
    for (int32_t x = 0; x < width / 2; x++) {
        for (int32_t c = 0; c < channels; c += WIDE) {
            size_t at = 2 * (size_t)x * (size_t)channels + (size_t)c, next = at + (size_t)channels;
            __m256 above = _mm256_max_ps(_mm256_loadu_ps(rows + at), _mm256_loadu_ps(rows + next));
            __m256 under = _mm256_max_ps(_mm256_loadu_ps(below + at), _mm256_loadu_ps(below + next));
            _mm256_storeu_ps(out + (size_t)x * (size_t)channels + c, _mm256_max_ps(above, under));
        }
    }
}

/* What one output pixel of a convolution sees of its input, (kernel, kernel, channels); zeros outside of it. */
FAST static void gather(const Step *step, const float *input, int32_t y, int32_t x, float *out) {
    int32_t channels = step->channels, kernel = step->kernel;
    int32_t left = x * step->stride - step->pad_left, first = max_i(left, 0);
    int32_t count = max_i(0, min_i(left + kernel, step->width) - first);
    for (int32_t ky = 0; ky < kernel; ky++, out += kernel * channels) {
        int32_t row = y * step->stride - step->pad_top + ky;
        if (row < 0 || row >= step->height || count < kernel) memset(out, 0, sizeof(float) * (size_t)(kernel * channels));
        if (row < 0 || row >= step->height || count == 0) continue;
        const float *at = input + ((size_t)row * (size_t)step->width + (size_t)first) * (size_t)channels;
        memcpy(out + (first - left) * channels, at, sizeof(float) * (size_t)(count * channels));
    }
}

/* The rows (pixels, depth) of a step's output rows `top` … `bottom`, in `scratch` or where they are already. */
FAST static const float *collect(
    const Step *step, const float *weights, const float *input, int32_t top, int32_t bottom, const float *zeros,
    float *scratch
) {
    int32_t width = step->width, channels = step->channels;
    if (step->kind == BLOCK) {
        for (int32_t y = top; y < bottom; y++) {
            const float *rows[3];
            for (int32_t k = 0; k < 3; k++) {
                int32_t row = y * step->stride - step->pad_top + k;
                rows[k] = row < 0 || row >= step->height ? zeros : input + (size_t)row * (size_t)(width * channels);
            }
            float *out = scratch + (size_t)(y - top) * (size_t)(step->out_width * channels);
            convolve_depthwise(step, rows, weights + step->taps, out);
        }
        return scratch;
    }
    if (step->kernel == 1 && step->stride == 1) return input + (size_t)top * (size_t)(width * channels);
    size_t depth = (size_t)(step->kernel * step->kernel * channels);
    float *out = scratch;
    for (int32_t y = top; y < bottom; y++)
        for (int32_t x = 0; x < step->out_width; x++, out += depth) gather(step, input, y, x, out);
    return scratch;
}

FAST static void run_step(const Step *step, const float *weights, float *arena, const float *input, float *scratch) {
    int32_t depth = step->kind == BLOCK ? step->channels : step->kernel * step->kernel * step->channels;
    int32_t rows = max_i(1, CHUNK_PX / step->out_width);
    size_t num_zeros = (size_t)(step->width * step->channels);
    size_t num_pooled = (size_t)(rows * step->out_width * step->residual_channels);
    float *zeros = scratch, *pooled = scratch + num_zeros, *work = pooled + num_pooled;
    memset(zeros, 0, sizeof(float) * num_zeros);
    const float *matrix = weights + step->matrix, *biases = matrix + (size_t)depth * (size_t)step->out_channels;
    Ending end = {biases, biases + step->out_channels, NULL, step->residual_channels, step->out_channels};
    for (int32_t top = 0; top < step->out_height; top += rows) {
        int32_t bottom = min_i(top + rows, step->out_height);
        size_t before = (size_t)top * (size_t)step->out_width;
        const float *collected = collect(step, weights, input, top, bottom, zeros, work);
        if (step->residual >= 0 && step->is_pooled) {
            int32_t width = 2 * step->out_width;
            for (int32_t y = top; y < bottom; y++)
                pool(
                    arena + step->residual + (size_t)(2 * y * width) * (size_t)step->residual_channels, width,
                    step->residual_channels, pooled + (size_t)((y - top) * step->out_width * step->residual_channels)
                );
            end.residual = pooled;
        } else if (step->residual >= 0) {
            end.residual = arena + step->residual + before * (size_t)step->residual_channels;
        }
        float *out = arena + step->output + before * (size_t)step->out_channels;
        multiply_all((bottom - top) * step->out_width, collected, matrix, depth, end, out);
    }
}

/* Run a net on an image uint8 (height, width, 3), BGR, of which it sees RGB as value · factor + offset.
 *
 * `arena` takes all maps; the image's comes first. `scratch` is as long as the longest step needs: zeros, a chunk of
 * pooled pixels and one of collected ones. */
FAST void nets_run(
    int32_t num_steps, const int32_t *steps, const float *weights, float *arena, float *scratch, const uint8_t *image,
    int32_t height, int32_t width, float factor, float offset
) {
    size_t count = (size_t)height * (size_t)width;
    for (size_t i = 0; i < count; i++)
        for (int channel = 0; channel < 3; channel++)
            arena[3 * i + channel] = (float)image[3 * i + 2 - channel] * factor + offset;
    for (int32_t i = 0; i < num_steps; i++) {
        const Step *step = (const Step *)(steps + (size_t)i * STEP_FIELDS);
        run_step(step, weights, arena, arena + step->input, scratch);
    }
}

#else

int nets_abi(void) { return 0; }

void nets_run(
    int32_t num_steps, const int32_t *steps, const float *weights, float *arena, float *scratch, const uint8_t *image,
    int32_t height, int32_t width, float factor, float offset
) {
    (void)num_steps, (void)steps, (void)weights, (void)arena, (void)scratch, (void)image;
    (void)height, (void)width, (void)factor, (void)offset;
}

#endif
