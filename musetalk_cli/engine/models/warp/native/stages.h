/* The stages of a face, which face.c calls one after the other, and what they are given. Each says more where it is. */
#ifndef WARP_STAGES_H
#define WARP_STAGES_H

#include "models/warp/native/pixels/region.h"

/* The next `count` floats of the memory, of which `used` are taken; NULL where these are only counted. */
static inline float *take(float *memory, size_t *used, size_t count) {
    float *taken = memory == NULL ? NULL : memory + *used;
    *used += count;
    return taken;
}

/* ---- frame.c ----------------------------------------------------------------------------------------------------- */

/* A frame of the avatar, and a copy to be drawn: planar I420, uint8 (height · 3/2, width). */
typedef struct {
    const uint8_t *shown;
    uint8_t *drawn;
    int32_t height, width;
} Frame;

/* ---- mouth.c ----------------------------------------------------------------------------------------------------- */

/* The image's inner lip contours as functions of x, mouth units; `upper` and `lower` (num_points,), at equal steps. */
typedef struct {
    const float *upper, *lower;
    int32_t num_points;
    float first_x, step_x, middle, half_width;
    float most_tucked; /* of the lower lip behind the upper teeth */
} LipContours;

/* Nodes: distances (rows, columns, num_distances), mapped (2, rows, columns, 2). The lips' box begins `top` rows down
 * and `left` columns across, one cell before its first pixel. */
typedef struct {
    const float *distances, *mapped;
    int32_t rows, columns, num_distances, cell_px, top, left;
} LipNodes;

/* The arrays of the lips' box (height, width). upper, lower, inward, alpha: as in LayerDistances. upper_positions and
 * lower_positions (height, width, 2): where pixels come from in each layer. For lips that the image shows closed,
 * `upper_positions` is NULL, and the lower ones are those of the layer that each pixel shows. */
typedef struct {
    int32_t height, width;
    float *upper, *lower, *inward, *alpha, *upper_positions, *lower_positions;
} LipPixels;

/* An open mouth's lips are stretched over the rims, where they are mixed with teeth: depth of the upper and lower rim
 * in pixels, and the direction downwards (2,). */
typedef struct {
    float upper_px, lower_px, down_x, down_y;
} LipRims;

/* ---- interior.c -------------------------------------------------------------------------------------------------- */

typedef struct MouthInterior MouthInterior;

/* What is drawn in a frame. to_units (2, 3): the box's pixels to the skull's mouth units. middle, yaw: as in
 * TeethPlacement. upper_edge: of the middle incisors, below the closed seam, mouth units. jaw 0..1, width -1..1.
 * tip_rise 0..1: how far the tip of the tongue is on its way to the upper teeth; tip_out 0..1: between the teeth. */
typedef struct {
    float to_units[6], middle[2], yaw, upper_edge, jaw, width, tip_rise, tip_out;
} InteriorPose;

/* The gap between the lips in a box of pixels, (height, width) each. coverage: share of a pixel that lies between the
 * lips. upper, lower: distances inside the layers in pixels, of which unit_px are one mouth unit. */
typedef struct {
    const float *coverage, *upper, *lower;
    int32_t height, width;
    float unit_px;
} LipOpening;

/* What opens the lips of an image that shows an open mouth: shares of the gap, mouth units (wanted_gap); half_width of
 * the inner mouth, and 0 for an image of closed lips. */
typedef struct {
    float gap, purse, closing, half_width;
} WantedGap;

/* ---- The stages, in their order ---------------------------------------------------------------------------------- */

EXPORT void copy_around(const Frame *frame, int32_t left, int32_t top, int32_t width, int32_t height);
EXPORT void move_nodes(const float *nodes, const float *basis, const float *matrix, int32_t n, float *positions);
EXPORT void backward_map(const float *fields, const float *weights, int32_t num_components, const float *targets,
                         ptrdiff_t target_stride, const float *origin, int32_t cell_px, int32_t rows, int32_t columns,
                         float *scratch, float *mapped);
EXPORT void layer_distances(const float *mapped, const LipContours *lips, const float *to_units, float unit_px,
                            int32_t cell_px, float tuck, int32_t rows, int32_t columns, int32_t num_distances, float
                            *scratch, float *distances);
EXPORT void blend_layers(const float *mapped, const float *distances, int32_t cell_px, int32_t rows, int32_t columns,
                         int32_t num_distances, ptrdiff_t stride, float *positions);
EXPORT void lip_pixels(const LipNodes *nodes, const LipRims *rims, const LipPixels *pixels);
EXPORT void shade_lips(uint8_t *luma, ptrdiff_t stride, const float *upper, const float *lower, const float *inward,
                       float unit_px, float own_gap, int32_t height, int32_t width);
EXPORT void lip_coverage(const float *upper, const float *lower, const float *inward, float unit_px, float edge_px,
                         const WantedGap *wanted, int32_t height, int32_t width, float *coverage);
EXPORT void draw_interior(const MouthInterior *face, const InteriorPose *pose, const LipOpening *opening, const
                          BoxPlanes *planes);
EXPORT void split_chroma(const uint8_t *chroma, const Frame *frame, int32_t left, int32_t top, int32_t width, int32_t
                         height);

#endif
