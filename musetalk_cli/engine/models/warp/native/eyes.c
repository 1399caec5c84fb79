/* Lowering a lid over an eyeball, and turning the eyeball, on the samples of one plane; as _EyeGrid. */
#include "native/kernel.h"

/* In half widths of the eye; as in eyelids.py and eye_states.py. */
#define LASHES 0.15f
#define RIGID 0.22f
#define SHADOW 0.30f
#define SHADOW_DEPTH 0.11f
#define BLACK 16.0f

/* A part of a plane: the samples on which one eye is drawn. All arrays but the spans are float32 (rows, columns). */
typedef struct {
    int32_t top, left, rows, columns; /* within the plane */
    float half_width;                 /* pixels */
    float edge;                       /* how far below its edge a lid is shown before it is shut */
    float down_x, down_y;             /* one unit downwards, in samples of the plane */
    const float *y, *upper, *lower, *lid_top, *meeting, *within, *eyeball;
    const int32_t *spans; /* (rows, 2): the columns of each row that lids or eyeball ever change */
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

/* What follows from the closure alone: how far below its edge the lid is shown, its opacity, and that of its shadow. */
typedef struct {
    float closure, lashes, opacity, depth;
} Closure;

static Closure close_lid(const EyeGrid *eye, float closure) {
    return (Closure){closure, eye->edge + (LASHES - eye->edge) * smoothstep(closure, 0.8f, 1.0f),
                     smoothstep(closure, 0.0f, 0.16f),
                     SHADOW * smoothstep(closure, 0.0f, 0.3f) * (1.0f - smoothstep(closure, 0.85f, 1.0f))};
}

/* `count` samples from number `first` of the eye's on. */
HOT static void lower_lid(Lid *restrict lid, const EyeGrid *restrict eye, size_t first, int32_t count,
                          const Closure *restrict closed) {
    const float *restrict y_of = eye->y + first, *restrict upper = eye->upper + first;
    const float *restrict lower = eye->lower + first, *restrict top = eye->lid_top + first;
    const float *restrict meeting = eye->meeting + first, *restrict within = eye->within + first;
    const float half_width = eye->half_width, closure = closed->closure, lashes = closed->lashes;
    const float opacity = closed->opacity, depth = closed->depth;
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
        float below = y - edge; /* twice what is positive of it, without a branch: so that the loop vectorises */
        float shadow = exp_negative((below + fabsf(below)) * (-0.5f / SHADOW_DEPTH)) * smoothstep(below, -0.06f, 0.0f);
        lid->shadow[i] = shadow * (1.0f - smoothstep(y - lower[i], -0.05f, 0.05f)) * within[i] * depth;
    }
}

/* Where a run of samples is taken from in a plane: the number of the one above on the left, and the shares of the next
 * column and of the next row. */
typedef struct {
    int32_t first[RUN_PX];
    float across[RUN_PX], along[RUN_PX];
} Places;

/* What is there: the four neighbours of each. */
typedef struct {
    uint8_t first[RUN_PX], right[RUN_PX], below[RUN_PX], below_right[RUN_PX];
} Neighbours;

/* `count` samples from x, y on: each is taken from by[i] times dx, dy further on, clamped to the plane's edge. */
HOT static void place(Places *restrict places, const Plane *restrict plane, float x, float y, const float *restrict by,
                      float dx, float dy, int32_t count) {
    const float right = (float)(plane->width - 1), bottom = (float)(plane->height - 1);
    const int32_t width = plane->width, column_before = max_i(width - 2, 0), row_before = max_i(plane->height - 2, 0);
    for (int32_t i = 0; i < count; i++) {
        float at_x = clamp_f(x + (float)i + by[i] * dx, 0.0f, right), at_y = clamp_f(y + by[i] * dy, 0.0f, bottom);
        int32_t column = min_i((int32_t)at_x, column_before), row = min_i((int32_t)at_y, row_before);
        places->first[i] = row * width + column;
        places->across[i] = at_x - (float)column;
        places->along[i] = at_y - (float)row;
    }
}

static void gather(Neighbours *restrict neighbours, const Plane *plane, int32_t channel, const int32_t *restrict first,
                   int32_t count) {
    const size_t channels = (size_t)plane->channels, right = plane->width > 1 ? channels : 0;
    const size_t down = plane->height > 1 ? (size_t)plane->width * channels : 0;
    const uint8_t *values = plane->values + channel;
    for (int32_t i = 0; i < count; i++) {
        const uint8_t *at = values + (size_t)first[i] * channels;
        neighbours->first[i] = at[0];
        neighbours->right[i] = at[right];
        neighbours->below[i] = at[down];
        neighbours->below_right[i] = at[down + right];
    }
}

HOT static void mix(const Neighbours *restrict from, const Places *restrict places, int32_t count,
                    float *restrict values) {
    for (int32_t i = 0; i < count; i++) {
        float first = (float)from->first[i], left = (float)from->below[i], across = places->across[i];
        float above = first + ((float)from->right[i] - first) * across;
        float below = left + ((float)from->below_right[i] - left) * across;
        values[i] = above + (below - above) * places->along[i];
    }
}

/* Narrows a span to where values are not zero. */
static void narrow(const float *values, int32_t *start, int32_t *stop) {
    while (*start < *stop && values[*start] == 0.0f) (*start)++;
    while (*stop > *start && values[*stop - 1] == 0.0f) (*stop)--;
}

/* The image under the lid darkened by its shadow, and the lid over it. */
HOT static void cover(const Lid *restrict lid, const float *restrict under, const float *restrict shown, int32_t count,
                      uint8_t *restrict drawn) {
    for (int32_t i = 0; i < count; i++) {
        float value = under[i] - (under[i] - BLACK) * lid->shadow[i];
        value += (shown[i] - value) * lid->alpha[i];
        drawn[i] = (uint8_t)(int32_t)clamp_f(value + 0.5f, 0.0f, 255.0f);
    }
}

/* One row of an eye while it is drawn. */
typedef struct {
    Lid lid;
    Places eyeball, places; /* of what moves, and of what the lid shows */
    Neighbours neighbours;
    float under[RUN_PX], shown[RUN_PX];
    uint8_t drawn[RUN_PX];
} EyeRow;

/* What an eye is drawn from, and how. */
typedef struct {
    Plane opened, shut;
    const EyeGrid *eye;
    EyePose pose;
    Closure closed;
} DrawnEye;

/* A run of `count` samples: `out` is the first, at column x and row y of the plane, and number `first` of the eye's. */
static void draw_run(const DrawnEye *drawn, EyeRow *row, size_t first, int32_t count, float x, float y, uint8_t *out) {
    const EyeGrid *eye = drawn->eye;
    const int32_t channels = drawn->opened.channels;
    const float *eyeball = eye->eyeball + first, dx = -drawn->pose.shift_x, dy = -drawn->pose.shift_y;
    int32_t moved = 0, moved_to = dx != 0.0f || dy != 0.0f ? count : 0, covered = 0, covered_to = 0;
    narrow(eyeball, &moved, &moved_to);
    place(&row->eyeball, &drawn->opened, x + (float)moved, y, eyeball + moved, dx, dy, moved_to - moved);
    if (drawn->pose.closure > 0.0f) {
        lower_lid(&row->lid, eye, first, count, &drawn->closed);
        covered_to = count;
        narrow(row->lid.alpha, &covered, &covered_to);
        place(&row->places, &drawn->shut, x + (float)covered, y, row->lid.along + covered, eye->down_x, eye->down_y,
              covered_to - covered);
        if (channels > 1) memset(row->lid.shadow, 0, (size_t)count * sizeof(float));
    }
    for (int32_t k = 0; k < channels; k++) {
        for (int32_t i = 0; i < count; i++) row->under[i] = (float)out[i * channels + k];
        gather(&row->neighbours, &drawn->opened, k, row->eyeball.first, moved_to - moved);
        mix(&row->neighbours, &row->eyeball, moved_to - moved, row->under + moved);
        gather(&row->neighbours, &drawn->shut, k, row->places.first, covered_to - covered);
        mix(&row->neighbours, &row->places, covered_to - covered, row->shown + covered);
        cover(&row->lid, row->under, row->shown, count, row->drawn);
        for (int32_t i = 0; i < count; i++) out[i * channels + k] = row->drawn[i];
    }
}

/* Draws one eye.
 *
 * open, shut uint8 (height, width, channels): a plane with the eyes open and with them shut, of luma (one channel, whose
 * samples are darkened by the lid's shadow) or chroma. drawn: a copy of the first, written to in the eye's box.
 */
EXPORT void draw_eye(const uint8_t *open, const uint8_t *shut, int32_t height, int32_t width, int32_t channels,
                     const EyeGrid *eye, const EyePose *pose, uint8_t *drawn) {
    const DrawnEye what = {{open, height, width, channels}, {shut, height, width, channels}, eye, *pose,
                           close_lid(eye, pose->closure)};
    EyeRow run;
    memset(&run, 0, sizeof(run));
    for (int32_t row = 0; row < eye->rows; row++) {
        const int32_t stop = min_i(eye->spans[2 * row + 1], eye->columns), y = eye->top + row;
        for (int32_t start = max_i(eye->spans[2 * row], 0); start < stop; start += RUN_PX) {
            size_t first = (size_t)row * (size_t)eye->columns + (size_t)start, x = (size_t)(eye->left + start);
            uint8_t *out = drawn + ((size_t)y * (size_t)width + x) * (size_t)channels;
            draw_run(&what, &run, first, min_i(RUN_PX, stop - start), (float)x, (float)y, out);
        }
    }
}
