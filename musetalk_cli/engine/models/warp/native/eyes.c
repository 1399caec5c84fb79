/* Lowering a lid over an eyeball, and turning the eyeball, on the samples of one plane; as _EyeGrid. */
#include "kernel.h"

/* In half widths of the eye; as in eyelids.py and eye_states.py. */
#define LASHES 0.15f
#define RIGID 0.22f
#define SHADOW 0.30f
#define SHADOW_DEPTH 0.11f
#define BLACK 16.0f

/* A part of a plane: the samples on which one eye is drawn. All arrays but the planes are float32 (rows, columns). */
typedef struct {
    int32_t top, left, rows, columns; /* within the plane */
    float half_width;                 /* pixels */
    float edge;                       /* how far below its edge a lid is shown before it is shut */
    float down_x, down_y;             /* one unit downwards, in samples of the plane */
    const float *y, *upper, *lower, *lid_top, *meeting, *within, *eyeball;
} EyeGrid;

/* What the eye does: closure 0 … 1, and how far the eyeball is shifted, in samples of the plane. */
typedef struct {
    float closure, shift_x, shift_y;
} EyePose;

/* uint8 (height, width, channels). */
typedef struct {
    const uint8_t *values;
    int32_t height, width, channels;
} Plane;

/* What a lid shows at a run of samples: how much further down the shut lid is taken from (half widths), and its opacity;
 * and the shadow on what it does not cover. */
typedef struct {
    float along[RUN_PX], alpha[RUN_PX], shadow[RUN_PX];
} Lid;

HOT static void lower_lid(Lid *restrict lid, const EyeGrid *eye, size_t first, int32_t count, float closure) {
    const float *y_of = eye->y + first, *upper = eye->upper + first, *lower = eye->lower + first;
    const float *top = eye->lid_top + first, *meeting = eye->meeting + first, *within = eye->within + first;
    const float half_width = eye->half_width;
    const float lashes = eye->edge + (LASHES - eye->edge) * smoothstep(closure, 0.8f, 1.0f);
    const float opacity = smoothstep(closure, 0.0f, 0.16f);
    const float depth = SHADOW * smoothstep(closure, 0.0f, 0.3f) * (1.0f - smoothstep(closure, 0.85f, 1.0f));
    for (int32_t i = 0; i < count; i++) {
        float y = y_of[i], edge = upper[i] + (meeting[i] - upper[i]) * closure;
        float bottom = edge + LASHES, end = meeting[i] + LASHES;
        /* Distances from the lashes' tips upwards: in the image to be, and on the shut lid. */
        float distance = bottom - y, room = bottom - top[i], whole = end - top[i];
        float rigid = min_f(LASHES + RIGID, 0.6f * room);
        float folded = (distance - rigid) * (whole - rigid) / max_f(room - rigid, 0.02f);
        lid->along[i] = end - (min_f(distance, rigid) + max_f(folded, 0.0f)) - y;
        float alpha = clamp_f(0.5f + (edge + lashes - y) * half_width, 0.0f, 1.0f);
        lid->alpha[i] = alpha * smoothstep(y - top[i], 0.0f, 0.08f) * within[i] * opacity;
        float below = y - edge;
        float shadow = exp_negative(max_f(below, 0.0f) * (-1.0f / SHADOW_DEPTH)) * smoothstep(below, -0.06f, 0.0f);
        lid->shadow[i] = shadow * (1.0f - smoothstep(y - lower[i], -0.05f, 0.05f)) * within[i] * depth;
    }
}

/* One channel at x, y, clamped to the edge. */
static float sample_channel(const Plane *plane, int32_t channel, float x, float y) {
    x = clamp_f(x, 0.0f, (float)(plane->width - 1));
    y = clamp_f(y, 0.0f, (float)(plane->height - 1));
    int32_t column = (int32_t)x, row = (int32_t)y;
    ptrdiff_t right = column < plane->width - 1 ? plane->channels : 0;
    ptrdiff_t down = row < plane->height - 1 ? (ptrdiff_t)plane->width * plane->channels : 0;
    const uint8_t *first = plane->values + ((ptrdiff_t)row * plane->width + column) * plane->channels + channel;
    float across = x - (float)column, along = y - (float)row;
    float above = (float)first[0] + ((float)first[right] - (float)first[0]) * across;
    float below = (float)first[down] + ((float)first[down + right] - (float)first[down]) * across;
    return above + (below - above) * along;
}

/* Draws a run of samples: `out` is the first, at column x and row y of the plane, and number `first` of the eye's. What
 * neither moves nor is covered or darkened stays as it is, as that is most of the box. */
static void draw_run(uint8_t *out, const Plane *opened, const Plane *shut, const EyeGrid *eye, const EyePose *pose,
                     const Lid *lid, size_t first, int32_t count, float x, float y) {
    const int32_t channels = opened->channels;
    for (int32_t i = 0; i < count; i++, x += 1.0f, out += channels) {
        float alpha = lid->alpha[i], eyeball = eye->eyeball[first + (size_t)i];
        float shift_x = eyeball * pose->shift_x, shift_y = eyeball * pose->shift_y;
        int is_moved = shift_x != 0.0f || shift_y != 0.0f;
        if (!is_moved && alpha == 0.0f && lid->shadow[i] == 0.0f) continue;
        float lid_x = x + lid->along[i] * eye->down_x, lid_y = y + lid->along[i] * eye->down_y;
        for (int32_t k = 0; k < channels; k++) {
            float value = is_moved ? sample_channel(opened, k, x - shift_x, y - shift_y) : (float)out[k];
            if (channels == 1) value -= (value - BLACK) * lid->shadow[i];
            if (alpha > 0.0f) value += (sample_channel(shut, k, lid_x, lid_y) - value) * alpha;
            out[k] = (uint8_t)clamp_f(value + 0.5f, 0.0f, 255.0f);
        }
    }
}

/* Draws one eye.
 *
 * open, shut uint8 (height, width, channels): a plane with the eyes open and with them shut, of luma (one channel, whose
 * samples are darkened by the lid's shadow) or chroma. drawn: a copy of the first, written to in the eye's box.
 */
EXPORT void draw_eye(const uint8_t *open, const uint8_t *shut, int32_t height, int32_t width, int32_t channels,
                     const EyeGrid *eye, const EyePose *pose, uint8_t *drawn) {
    const Plane opened = {open, height, width, channels}, closed = {shut, height, width, channels};
    Lid lid;
    memset(&lid, 0, sizeof(lid));
    for (int32_t row = 0; row < eye->rows; row++) {
        for (int32_t start = 0; start < eye->columns; start += RUN_PX) {
            int32_t count = min_i(RUN_PX, eye->columns - start), x = eye->left + start, y = eye->top + row;
            size_t first = (size_t)row * (size_t)eye->columns + (size_t)start;
            if (pose->closure > 0.0f) lower_lid(&lid, eye, first, count, pose->closure);
            uint8_t *out = drawn + ((size_t)y * (size_t)width + (size_t)x) * (size_t)channels;
            draw_run(out, &opened, &closed, eye, pose, &lid, first, count, (float)x, (float)y);
        }
    }
}
