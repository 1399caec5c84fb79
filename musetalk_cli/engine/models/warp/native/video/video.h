/* The stages that prepare and draw a video's frame, which video.c calls one after the other, and what they are given. Each
 * says more where it is. */
#ifndef WARP_VIDEO_H
#define WARP_VIDEO_H

#include "models/warp/native/video/contours.h"

/* ---- points.c ---------------------------------------------------------------------------------------------------- */

/* Components of a mouth shape, in the order of COMPONENTS. */
enum { GAP, JAW, ROUND, SPREAD, PRESS, DENTAL, PURSE, CLOSE, NUM_COMPONENTS };
typedef struct {
    Point of[NUM_COMPONENTS];
} Motion;

/* Landmarks of a face, and control points of a layer of its skin: the first NUM_SHARED are those of both layers. */
enum { NUM_LANDMARKS = 131, NUM_SHARED = 64, NUM_POINTS = 96 };

/* A mouth's axes in a frame, geometry.MouthAxes; corner: of the region in whose pixels the mouth is measured. */
typedef struct {
    float origin[2], x_axis[2], unit_px, corner[2];
} FrameAxes;

/* What a mouth is drawn with; mouth units. own, rest: lines of the lips that the frame shows, and of those at rest.
 * to_units (2, 3): from the region's pixels. first_x, step_x: of own. yaw: MouthPose.yaw. upper_lip, lower_lip: their
 * heights. seam: middle of the closed lips; drop: from there to the lower lip at rest. */
typedef struct {
    LipLines own, rest;
    float to_units[6], first_x, step_x, middle, half_width, own_gap, yaw, upper_lip, lower_lip, seam[2], drop;
} MouthMeasures;

/* ---- displace.c -------------------------------------------------------------------------------------------------- */

/* Splines of both layers: points (2, count, 2), of which the first num_shared are the same in both. solved (2, count + 3,
 * num_sides): coefficients of each side of the motion, and parts (num_sides, NUM_PARTS), to which part it belongs. */
enum { NUM_PARTS = 4 };
typedef struct {
    const float *points, *solved, *parts;
    int32_t num_shared, count, num_sides;
} Splines;

/* Nodes where they are evaluated, mouth units: the first one, and the steps to the next column and row. inside (rows,
 * columns): share, 0..255, of what fades out at the outline. reach: left, right, top and bottom of all motion, and the
 * distances from there between which it fades in. to_cells (2, 2): mouth units to cells, the steps between nodes. */
typedef struct {
    const uint8_t *inside;
    int32_t rows, columns;
    float first[2], across[2], down[2], reach[4], fade[2], to_cells[4];
} SplineNodes;

/* ---- The stages, in their order ---------------------------------------------------------------------------------- */

EXPORT void measure_mouth(const FrameAxes *axes, const Point *shown, const Point *rest, MouthMeasures *mouth,
                          Point *positions, Motion *motion);
EXPORT size_t splines_scratch(int32_t num_shared, int32_t count, int32_t num_sides);
EXPORT void solve_splines(const float *points, const float *motion, int32_t num_shared, int32_t count, int32_t num_sides,
                          float *memory, float *coefficients);
EXPORT size_t outline_scratch(int32_t rows, int32_t columns);
EXPORT void fade_at_outline(const uint8_t *mask, int32_t rows, int32_t columns, float per_unit, float yaw,
                            float *memory, uint8_t *inside);
EXPORT size_t displace_scratch(const Splines *splines, const SplineNodes *nodes);
EXPORT void displace_nodes(const Splines *splines, const SplineNodes *nodes, const float *weights, float *memory,
                           float *field);

#endif
