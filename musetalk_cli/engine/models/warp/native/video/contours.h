/* The lips of a mouth as lines, and the control points that move its skin: what a frame of a video is prepared with. */
#ifndef WARP_CONTOURS_H
#define WARP_CONTOURS_H

#include "native/kernel.h"

enum { LINE_POINTS = 96 };

/* The inner lips of a face, as in lip_contours.LipContours; mouth units. */
typedef struct {
    float x[LINE_POINTS], upper[LINE_POINTS], lower[LINE_POINTS], closed[LINE_POINTS];
    float middle, half_width, own_gap;
} LipLines;

typedef struct {
    float x, y;
} Point;

/* y at `x` of a line (count,) whose x ascend, level beyond its ends; as np.interp. */
static inline float line_at(float x, const float *line_x, const float *line_y, int32_t count) {
    int32_t before = 0, after = count - 1;
    if (!(x > line_x[0])) return line_y[0];
    if (x >= line_x[after]) return line_y[after];
    while (after - before > 1) {
        const int32_t between = (before + after) / 2;
        if (line_x[between] <= x)
            before = between;
        else
            after = between;
    }
    const float slope = (line_y[after] - line_y[before]) / (line_x[after] - line_x[before]);
    return line_y[before] + slope * (x - line_x[before]);
}

/* The same, for one x after the other: found from the point before the last one on. */
static inline float line_near(float x, const float *line_x, const float *line_y, int32_t count, int32_t *before) {
    const int32_t last = count - 1;
    if (!(x > line_x[0])) return line_y[0];
    if (x >= line_x[last]) return line_y[last];
    if (!(line_x[*before] <= x)) *before = 0;
    while (*before < last - 1 && line_x[*before + 1] <= x) ++*before;
    const float slope = (line_y[*before + 1] - line_y[*before]) / (line_x[*before + 1] - line_x[*before]);
    return line_y[*before] + slope * (x - line_x[*before]);
}

/* The same between two points: `low` at x_low, `high` at x_high. */
static inline float between(float x, float x_low, float x_high, float low, float high) {
    return low + (high - low) * clamp_f((x - x_low) / (x_high - x_low), 0.0f, 1.0f);
}

/* One value of a Catmull-Rom curve between p1 and p2, at t 0..1. */
static inline float curve_at(float p0, float p1, float p2, float p3, float t) {
    return p1 + 0.5f * t * (p2 - p0 + t * (2.0f * p0 - 5.0f * p1 + 4.0f * p2 - p3 + t * (3.0f * (p1 - p2) + p3 - p0)));
}

/* geometry.smooth_curve: through points (num_points,), sampled at curve (count,); at least two of each. */
static inline void smooth_curve(const Point *points, int32_t num_points, Point *curve, int32_t count) {
    const int32_t last = num_points - 1;
    for (int32_t i = 0; i < count; i++) {
        const double position = (double)i * last / (count - 1);
        const int32_t index = min_i((int32_t)position, last - 1);
        const float t = (float)(position - index);
        const Point *p = points + index;
        Point p0, p3;
        p0.x = index > 0 ? p[-1].x : 2.0f * p[0].x - p[1].x;
        p0.y = index > 0 ? p[-1].y : 2.0f * p[0].y - p[1].y;
        p3.x = index < last - 1 ? p[2].x : 2.0f * p[1].x - p[0].x;
        p3.y = index < last - 1 ? p[2].y : 2.0f * p[1].y - p[0].y;
        curve[i].x = curve_at(p0.x, p[0].x, p[1].x, p3.x, t);
        curve[i].y = curve_at(p0.y, p[0].y, p[1].y, p3.y, t);
    }
}

void measure_lips(const Point *upper, const Point *lower, int32_t num_points, LipLines *lips);

#endif
