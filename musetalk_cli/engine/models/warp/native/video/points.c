/* A mouth's landmarks and lines → the control points that move its skin, and their motion (control_points.py). The
 * amounts are those of control_points.py. */
#include "models/warp/native/video/video.h"

enum { LIP = 11, INNER = 21, NUM_OWN = INNER + LIP };
_Static_assert(NUM_POINTS == NUM_SHARED + NUM_OWN, "points of a layer");
enum { JAW_LINE = 17, CHIN_LINE = 5, NOSE = 5, NUM_FIXED = 20 };

/* A face's landmarks in their order, mouth units. */
typedef struct {
    Point outer_upper[LIP], outer_lower[LIP], inner_upper[LIP], inner_lower[LIP];
    Point left_upper_lid[9], left_lower_lid[9], right_upper_lid[9], right_lower_lid[9];
    Point left_brow[5], right_brow[5], nose[NOSE], oval[36];
} Face;

/* How the lips close: from the mouth that the image shows to the same head's mouth at rest, once closed. */
typedef struct {
    const LipLines *own, *rest;
} Closure;

/* Points of one layer that are filled one after the other. */
typedef struct {
    Point *position;
    Motion *motion;
} Cursor;

static const float FULL_GAP = 0.30f, UPPER_SHARE = 0.13f, PRESSED = 0.005f, JAW_TRAVEL = 0.27f;
static const float DENTAL_LOWER = 0.040f, DENTAL_UPPER = 0.014f;

static float squared(float value) { return value * value; }

/* A further point, which nothing moves so far. */
static Motion *add_point(Cursor *at, float x, float y) {
    Motion *motion = at->motion++;
    *at->position++ = (Point){x, y};
    memset(motion, 0, sizeof *motion);
    return motion;
}

static Point along(const LipLines *lips, const float *line, float side) {
    const float x = lips->middle + side * lips->half_width;
    return (Point){x, line_at(x, lips->x, line, LINE_POINTS)};
}

static const float *edge_of(const LipLines *lips, int32_t is_lower) { return is_lower ? lips->lower : lips->upper; }

/* Displacement that closes an inner contour, at `side` from corner (-1) to corner (1). */
static Point inner_displacement(const Closure *lips, float side, int32_t is_lower) {
    const Point from = along(lips->own, edge_of(lips->own, is_lower), side);
    const Point to = along(lips->rest, lips->rest->closed, side);
    return (Point){to.x - from.x, to.y - from.y};
}

/* ---- Lips -------------------------------------------------------------------------------------------------------- */

/* A contour of a lip: its middle and half width, and what its landmarks lack to those at rest. */
typedef struct {
    const Point *points, *rest; /* rest: NULL for an inner contour */
    int32_t count, is_lower;
    float middle, half_width;
} Contour;

/* What all components do to the heights of a contour's points, at `side`; outer contours follow by a little less. */
static void lift(const Contour *contour, float side, Motion *motion) {
    const int32_t is_inner = contour->rest == NULL;
    const float arch = powf(max_f(1.0f - squared(side / 0.92f), 0.0f), 0.62f);
    const float pinch = powf(max_f(1.0f - squared(side / 0.82f), 0.0f), 0.75f) - arch;
    const float bow = 1.0f - side * side, flank = 2.6f * fabsf(side) * bow, follows = is_inner ? 1.0f : 0.93f;
    const float opens = FULL_GAP * follows * (contour->is_lower ? 1.0f - UPPER_SHARE : -UPPER_SHARE);
    Point *of = motion->of;
    of[GAP].y = opens * arch;
    of[PURSE].y = opens * pinch;
    if (contour->is_lower) {
        of[PRESS].y = bow * (is_inner ? -PRESSED : -0.034f);
        of[DENTAL].y = bow * (is_inner ? -DENTAL_LOWER : -0.050f);
        of[ROUND].y = is_inner ? 0.0f : 0.041f * bow + 0.025f * flank;
        of[SPREAD].y = is_inner ? 0.0f : -0.012f * bow;
    } else {
        of[PRESS].y = bow * (is_inner ? PRESSED : 0.024f);
        of[DENTAL].y = -bow * DENTAL_UPPER;
        of[ROUND].y = is_inner ? 0.0f : -0.019f * bow - 0.022f * flank;
        of[SPREAD].y = is_inner ? 0.0f : 0.008f * bow;
    }
    of[JAW].y = 0.12f * powf(fabsf(side), 2.5f);
    of[SPREAD].y -= 0.018f * side * side;
}

/* What they do across. */
static void widen(int32_t is_inner, float side, Motion *motion) {
    motion->of[ROUND].x = (is_inner ? -0.23f : -0.20f) * side;
    motion->of[SPREAD].x = 0.11f * side;
    motion->of[PRESS].x = -0.035f * side;
    motion->of[DENTAL].x = -0.02f * side;
}

static float side_of(const Contour *contour, int32_t i) {
    if (i == 0) return -1.0f;
    if (i == contour->count - 1) return 1.0f;
    return clamp_f((contour->points[i].x - contour->middle) / contour->half_width, -1.0f, 1.0f);
}

/* control_points._contour_points. */
static void add_contour(const Contour *contour, const Closure *lips, Cursor *at) {
    const LipLines *own = lips->own, *rest = lips->rest;
    const float *edge = edge_of(own, contour->is_lower), to_edge = smoothstep(own->own_gap, 0.02f, 0.1f);
    for (int32_t i = 0; i < contour->count; i++) {
        const float side = side_of(contour, i);
        Point point = contour->points[i], close;
        if (contour->rest == NULL) {
            const Point on_edge = along(own, edge, side);
            point.x += to_edge * (on_edge.x - point.x);
            point.y += to_edge * (on_edge.y - point.y);
            close = inner_displacement(lips, side, contour->is_lower);
        } else {
            const float from = along(rest, edge_of(rest, contour->is_lower), side).y;
            close.x = contour->rest[i].x - point.x;
            close.y = contour->rest[i].y - point.y + 0.93f * (along(rest, rest->closed, side).y - from);
        }
        Motion *motion = add_point(at, point.x, point.y);
        lift(contour, side, motion);
        widen(contour->rest == NULL, side, motion);
        motion->of[CLOSE] = close;
    }
}

/* control_points.lip_points: NUM_OWN of them. */
static void add_lip(const Face *face, const Face *rest, const Closure *lips, int32_t is_lower, Cursor *at) {
    Point inner[INNER];
    smooth_curve(is_lower ? face->inner_lower : face->inner_upper, LIP, inner, INNER);
    const Contour edge = {inner, NULL, INNER, is_lower, lips->own->middle, lips->own->half_width};
    add_contour(&edge, lips, at);
    const Point *outer = is_lower ? face->outer_lower : face->outer_upper;
    const float left = outer[0].x, right = outer[LIP - 1].x;
    const Contour outline = {outer, is_lower ? rest->outer_lower : rest->outer_upper,
                             LIP,   is_lower,
                             0.5f * (left + right), max_f(0.5f * (right - left), 0.05f)};
    add_contour(&outline, lips, at);
}

/* ---- Chin, cheeks, and what stays -------------------------------------------------------------------------------- */

/* lip_contours.smile_of. */
static float smile_of(const Face *face) {
    const Point *lip = face->outer_upper, *left = face->left_upper_lid, *right = face->right_upper_lid + 8;
    const float mouth = sqrtf(squared(lip[LIP - 1].x - lip[0].x) + squared(lip[LIP - 1].y - lip[0].y));
    const float eyes = sqrtf(squared(right->x - left->x) + squared(right->y - left->y));
    return smoothstep(mouth * 1.85f / max_f(eyes, 1e-6f), 1.0f, 1.25f);
}

/* How far the chin rises to close the mouth, which faulty landmarks may overstate. A smile parts the lips more than the
 * jaw. */
static float chin_rise(const Face *face, const Face *rest, const Closure *lips) {
    float to_rest = 0.0f;
    for (int32_t i = 16; i < 21; i++) to_rest += 0.2f * (rest->oval[i].y - face->oval[i].y);
    const float most = 0.03f + lips->own->own_gap, closes = 0.6f + smile_of(rest) * (0.25f - 0.6f);
    return clamp_f(to_rest, -most, 0.06f) - closes * lips->rest->own_gap;
}

/* The jaw line and the neck. A lowered chin covers the neck, so that a collar does not move. */
static void add_jaw(const Face *face, float rise, Cursor *at) {
    const Point *jaw = face->oval + 10, chin = face->oval[18];
    float hang[JAW_LINE];
    for (int32_t i = 0; i < JAW_LINE; i++) {
        hang[i] = powf(clamp_f((jaw[i].y + 0.1f) / max_f(chin.y - 0.1f, 0.3f), 0.0f, 1.0f), 1.3f);
        Motion *motion = add_point(at, jaw[i].x, jaw[i].y);
        motion->of[JAW] = (Point){-0.03f * jaw[i].x * hang[i], JAW_TRAVEL * hang[i]};
        motion->of[CLOSE].y = rise * hang[i];
    }
    for (int32_t i = 4; i < 4 + 2 * CHIN_LINE; i += 2) {
        Motion *motion = add_point(at, jaw[i].x, jaw[i].y + 0.2f);
        motion->of[JAW].y = 0.42f * JAW_TRAVEL * hang[i];
        motion->of[CLOSE].y = 0.5f * rise * hang[i];
    }
    for (int32_t i = 4; i < 4 + 2 * CHIN_LINE; i += 2) add_point(at, jaw[i].x, jaw[i].y + 0.45f);
}

/* Between the lower lip and the chin. */
static void add_chin(const Face *face, const Closure *lips, float rise, Cursor *at) {
    const Point lip = face->outer_lower[5], chin = face->oval[18];
    const float lip_rise = inner_displacement(lips, 0.0f, 1).y, shares[2] = {0.4f, 0.7f};
    for (int32_t k = 0; k < 2; k++) {
        const float share = shares[k];
        Motion *motion = add_point(at, lip.x + share * (chin.x - lip.x), lip.y + share * (chin.y - lip.y));
        motion->of[GAP].y = FULL_GAP * 0.55f * (1.0f - share);
        motion->of[JAW].y = JAW_TRAVEL * (0.35f + 0.65f * share);
        motion->of[PRESS].y = -0.02f * (1.0f - share);
        motion->of[DENTAL].y = -0.03f * (1.0f - share);
        motion->of[CLOSE].y = lip_rise + share * (rise - lip_rise);
    }
}

/* Beside a corner of the mouth, near and far, and in the fold between it and the nose. */
static void add_cheek(Point corner, Point edge, Point wing, Point closes, float outward, float rise, Cursor *at) {
    const float shares[3] = {0.3f, 0.65f, 0.35f}, levels[3] = {0.05f, 0.05f, 0.4f};
    Motion *shadow = add_point(at, corner.x + 0.08f * outward, corner.y);
    shadow->of[JAW].y = 0.11f;
    shadow->of[ROUND].x = -0.17f * outward;
    shadow->of[SPREAD] = (Point){0.10f * outward, -0.018f};
    shadow->of[PRESS].x = -0.03f * outward;
    shadow->of[CLOSE] = (Point){0.9f * closes.x, 0.9f * closes.y};
    for (int32_t k = 0; k < 3; k++) {
        const float share = shares[k], level = levels[k], near = powf(1.0f - share, 1.5f);
        Motion *motion = add_point(at, corner.x + share * (edge.x - corner.x), corner.y + level);
        motion->of[GAP].y = FULL_GAP * 0.12f * level;
        motion->of[JAW].y = JAW_TRAVEL * (0.15f + 0.8f * level);
        motion->of[ROUND].x = -0.14f * near * outward;
        motion->of[SPREAD] = (Point){0.08f * near * outward, -0.018f * near};
        motion->of[CLOSE] = (Point){near * closes.x, near * closes.y + 0.5f * level * rise};
    }
    Motion *fold = add_point(at, 0.55f * corner.x + 0.45f * wing.x + 0.1f * outward, 0.55f * corner.y + 0.45f * wing.y);
    fold->of[JAW].y = 0.03f;
    fold->of[ROUND].x = -0.06f * outward;
    fold->of[SPREAD] = (Point){0.04f * outward, -0.015f};
    fold->of[CLOSE] = (Point){0.4f * closes.x, 0.4f * closes.y};
}

static void add_cheeks(const Face *face, const Closure *lips, float rise, Cursor *at) {
    for (int32_t k = 0; k < 2; k++) {
        const Point corner = face->outer_upper[k ? LIP - 1 : 0], closes = inner_displacement(lips, k ? 1.0f : -1.0f, 1);
        const float away = corner.x - lips->own->middle, outward = (float)((away > 0.0f) - (away < 0.0f));
        add_cheek(corner, face->oval[k ? 10 : 26], face->nose[3 + k], closes, outward, rise, at);
    }
}

/* Points that never move: the nose, outside the cheeks, below the chin, and across the eyes' level. */
static void add_fixed(const Face *face, Cursor *at) {
    const float left = face->oval[26].x, right = face->oval[10].x, chin = face->oval[18].y;
    const float beside[4][2] = {{0.15f, -0.5f}, {0.15f, 0.1f}, {0.3f, 0.7f}, {0.3f, 1.3f}};
    for (int32_t i = 0; i < NOSE; i++) add_point(at, face->nose[i].x, face->nose[i].y);
    for (int32_t i = 0; i < 5; i++) add_point(at, -1.5f + 0.75f * (float)i, -1.1f);
    for (int32_t i = 0; i < 4; i++) {
        add_point(at, left - beside[i][0], beside[i][1]);
        add_point(at, right + beside[i][0], beside[i][1]);
    }
    for (int32_t i = 0; i < 7; i++) add_point(at, -1.5f + 0.5f * (float)i, chin + 0.65f);
}

/* shared_points and lip_points: of the upper layer and of the lower one, the shared points first. */
static void place_points(const Face *face, const Face *rest, const Closure *lips, Point *positions, Motion *motion) {
    const float rise = chin_rise(face, rest, lips);
    Cursor at = {positions, motion};
    add_jaw(face, rise, &at);
    add_chin(face, lips, rise, &at);
    add_cheeks(face, lips, rise, &at);
    add_fixed(face, &at);
    add_lip(face, rest, lips, 0, &at);
    memcpy(positions + NUM_POINTS, positions, NUM_SHARED * sizeof *positions);
    memcpy(motion + NUM_POINTS, motion, NUM_SHARED * sizeof *motion);
    Cursor lower = {positions + NUM_POINTS + NUM_SHARED, motion + NUM_POINTS + NUM_SHARED};
    add_lip(face, rest, lips, 1, &lower);
}

/* ---- A frame's mouth --------------------------------------------------------------------------------------------- */

_Static_assert(NUM_LANDMARKS == sizeof(Face) / sizeof(Point), "landmarks of a face");

/* MouthAxes.from_image. */
static void find_units(const FrameAxes *axes, float to_units[6]) {
    const float x = axes->origin[0] - axes->corner[0], y = axes->origin[1] - axes->corner[1];
    const float across = axes->x_axis[0] / axes->unit_px, down = axes->x_axis[1] / axes->unit_px;
    const float matrix[6] = {across, down, -(across * x + down * y), -down, across, down * x - across * y};
    memcpy(to_units, matrix, sizeof matrix);
}

/* Landmarks of a frame (NUM_LANDMARKS,), pixels → mouth units. */
static void transform_face(const Point *pixels, const float *corner, const float *to_units, Face *face) {
    for (int32_t i = 0; i < NUM_LANDMARKS; i++) {
        const float x = pixels[i].x - corner[0], y = pixels[i].y - corner[1];
        const Point point = {to_units[0] * x + to_units[1] * y + to_units[2],
                             to_units[3] * x + to_units[4] * y + to_units[5]};
        memcpy((char *)face + (size_t)i * sizeof point, &point, sizeof point);
    }
}

/* MouthPose.yaw; any units. */
static float measure_yaw(const Face *face) {
    const Point left = face->left_upper_lid[0], right = face->right_upper_lid[8], tip = face->nose[1];
    const float across = right.x - left.x, down = right.y - left.y;
    const float aside = (tip.x - 0.5f * (left.x + right.x)) * across + (tip.y - 0.5f * (left.y + right.y)) * down;
    return clamp_f(1.66f * aside / max_f(across * across + down * down, 1e-12f), -0.7f, 0.7f);
}

/* lip_contours.lip_heights of one lip, between its edges (LIP,) each. */
static float lip_height(const Point *edge, const Point *other) {
    float sum = 0.0f;
    for (int32_t i = 4; i < 7; i++) sum += sqrtf(squared(edge[i].x - other[i].x) + squared(edge[i].y - other[i].y));
    return sum / 3.0f;
}

static void sum_up(const Face *face, MouthMeasures *mouth) {
    const LipLines *own = &mouth->own, *rest = &mouth->rest;
    mouth->first_x = own->x[0];
    mouth->step_x = (own->x[LINE_POINTS - 1] - own->x[0]) / (float)(LINE_POINTS - 1);
    mouth->middle = own->middle;
    mouth->half_width = own->half_width;
    mouth->own_gap = own->own_gap;
    mouth->yaw = measure_yaw(face);
    mouth->upper_lip = lip_height(face->outer_upper, face->inner_upper);
    mouth->lower_lip = lip_height(face->inner_lower, face->outer_lower);
    mouth->seam[0] = rest->middle;
    mouth->seam[1] = line_at(rest->middle, rest->x, rest->closed, LINE_POINTS);
    mouth->drop = rest->lower[LINE_POINTS / 2] - rest->closed[LINE_POINTS / 2];
}

/* Measures a frame's mouth and places its control points.
 *
 * shown, rest (NUM_LANDMARKS,): landmarks that the frame shows, and those of its head at rest; pixels of the frame. mouth
 * is written, and so are positions (2, NUM_POINTS) and motion (2, NUM_POINTS), mouth units.
 */
EXPORT void measure_mouth(const FrameAxes *axes, const Point *shown, const Point *rest, MouthMeasures *mouth,
                          Point *positions, Motion *motion) {
    Face face, at_rest;
    find_units(axes, mouth->to_units);
    transform_face(shown, axes->corner, mouth->to_units, &face);
    transform_face(rest, axes->corner, mouth->to_units, &at_rest);
    measure_lips(face.inner_upper, face.inner_lower, LIP, &mouth->own);
    measure_lips(at_rest.inner_upper, at_rest.inner_lower, LIP, &mouth->rest);
    sum_up(&face, mouth);
    const Closure lips = {&mouth->own, &mouth->rest};
    place_points(&face, &at_rest, &lips, positions, motion);
}
