/* Landmarks of the inner lips → their lines y(x), and the line where they meet once closed (lip_contours.py). */
#include "models/warp/native/video/contours.h"

/* How far the corners of an open mouth lie outside of its landmarks, mouth units, by its gap. */
static float corner_inset(float gap) {
    return between(gap, 0.3f, 0.5f, 0.035f, 0.06f) * smoothstep(gap, 0.08f, 0.3f);
}

/* Numbers from `first` to `last` at equal steps. */
static void even_steps(float first, float last, float *steps) {
    const float step = (last - first) / (float)(LINE_POINTS - 1);
    for (int32_t i = 0; i < LINE_POINTS; i++) steps[i] = first + (float)i * step;
    steps[LINE_POINTS - 1] = last;
}

/* The y of a curve that runs left to right, at x (LINE_POINTS,). Its points are sorted: on a turned head a few may step
 * back. */
static void as_function(Point *curve, const float *x, float *y) {
    float curve_x[LINE_POINTS], curve_y[LINE_POINTS];
    for (int32_t i = 0; i < LINE_POINTS; i++) {
        int32_t place = i;
        for (; place > 0 && curve_x[place - 1] > curve[i].x; place--) {
            curve_x[place] = curve_x[place - 1];
            curve_y[place] = curve_y[place - 1];
        }
        curve_x[place] = curve[i].x;
        curve_y[place] = curve[i].y;
    }
    int32_t before = 0;
    for (int32_t i = 0; i < LINE_POINTS; i++) y[i] = line_near(x[i], curve_x, curve_y, LINE_POINTS, &before);
}

static float widest_gap(const LipLines *lips) {
    float widest = 0.0f;
    for (int32_t i = 0; i < LINE_POINTS; i++) widest = max_f(lips->lower[i] - lips->upper[i], widest);
    return widest;
}

/* Moves the edges of an open mouth apart, a little inside of the lips; the gap sets in smoothly. */
static void open_lines(LipLines *lips, float widest) {
    const float share = smoothstep(widest, 0.006f, 0.016f);
    for (int32_t i = 0; i < LINE_POINTS; i++) {
        const float middle = 0.5f * (lips->upper[i] + lips->lower[i]);
        const float apart = 0.5f * (lips->lower[i] - lips->upper[i]) * share;
        const float inset = 0.018f * smoothstep(2.0f * apart, 0.0f, 0.04f);
        lips->upper[i] = middle - apart - inset;
        lips->lower[i] = middle + apart + inset;
    }
}

/* Where the lips meet: between the upper lip and the line through the corners, but always between the lips. */
static void close_lines(LipLines *lips) {
    float straight[LINE_POINTS];
    const float to_corners = between(lips->own_gap, 0.25f, 0.5f, 0.65f, 0.85f);
    const float least = between(lips->own_gap, 0.12f, 0.3f, 0.12f, 0.3f);
    const int32_t last = LINE_POINTS - 1;
    even_steps(0.5f * (lips->upper[0] + lips->lower[0]), 0.5f * (lips->upper[last] + lips->lower[last]), straight);
    for (int32_t i = 0; i < LINE_POINTS; i++) {
        const float upper = lips->upper[i], gap = lips->lower[i] - upper;
        const float settled = upper + to_corners * (straight[i] - upper);
        lips->closed[i] = min_f(max_f(settled, upper + least * gap), lips->lower[i] - 0.3f * gap);
    }
}

/* LipContours.of.
 *
 * upper, lower (num_points, 2), at least two: the inner lips from the left corner to the right one, mouth units. lips is
 * written.
 */
void measure_lips(const Point *upper, const Point *lower, int32_t num_points, LipLines *lips) {
    Point curves[2][LINE_POINTS];
    const int32_t last = LINE_POINTS - 1;
    smooth_curve(upper, num_points, curves[0], LINE_POINTS);
    smooth_curve(lower, num_points, curves[1], LINE_POINTS);
    const float left = 0.5f * (curves[0][0].x + curves[1][0].x), right = 0.5f * (curves[0][last].x + curves[1][last].x);
    even_steps(left, right, lips->x);
    as_function(curves[0], lips->x, lips->upper);
    as_function(curves[1], lips->x, lips->lower);
    for (int32_t i = 0; i < LINE_POINTS; i++) lips->lower[i] = max_f(lips->lower[i], lips->upper[i]);
    const float widest = widest_gap(lips), wider = corner_inset(widest);
    even_steps(left - wider, right + wider, lips->x);
    open_lines(lips, widest);
    lips->own_gap = widest_gap(lips);
    close_lines(lips);
    lips->middle = 0.5f * (left + right);
    lips->half_width = max_f(0.5f * (right - left) + wider, 0.05f);
}
