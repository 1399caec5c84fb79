/* What a face is drawn from, and what face.c does with it. */
#ifndef WARP_FACE_H
#define WARP_FACE_H

#include "models/warp/native/stages.h"

/* The grid over a face's region, `height` by `width` pixels, whose first one is at `left` and `top` in the image. nodes
 * float32 (rows, columns, 2); basis float32 (5, rows, columns), as move_nodes takes it, or NULL where no head moves.
 * The eyes lie within eye_bounds: left, top, right, bottom, pixels of the image; and they move as eye_rows by
 * eye_columns of the nodes do, from eye_top and eye_left on. */
typedef struct {
    const float *nodes, *basis;
    int32_t rows, columns, cell_px, height, width, left, top;
    int32_t eye_top, eye_left, eye_rows, eye_columns;
    double eye_bounds[4];
} FaceGrid;

/* An upsampled image, or a part of one, as sample_region takes it. */
typedef struct {
    const uint8_t *luma, *chroma;
    int32_t height, width;
    float corner_x, corner_y;
} FaceImage;

/* A mouth in one image: the `rows` by `columns` nodes that it moves, from `top` and `left` on, the first at `origin`;
 * the lips' box, which begins lips_top and lips_left nodes within, and is lips_box (top, left, height, width) pixels of
 * the region. */
typedef struct {
    const LipContours *contours;
    const MouthInterior *interior;
    int32_t top, left, rows, columns, lips_top, lips_left, lips_box[4], num_distances, has_open_lips;
    float origin[2], to_units[6], unit_px, own_gap, edge_px;
    LipRims rims;
} FaceMouth;

/* What a face shows: an image, or what is other than there. eyes: a part of the image with its eyes drawn anew, or NULL.
 * mouth: NULL where it is at rest. matrix (2, 5): of the head, as move_nodes takes it. What the mouth does: fields and
 * their weights, as backward_map takes them; `tuck` 0..1 of the lower lip; and what is between the lips. */
enum { MAX_COMPONENTS = 16 };
typedef struct {
    const FaceImage *image, *eyes;
    const FaceMouth *mouth;
    const float *fields;
    int32_t num_components;
    float matrix[10], weights[MAX_COMPONENTS], tuck;
    WantedGap wanted;
    InteriorPose interior;
} FaceState;

EXPORT size_t face_scratch(const FaceGrid *grid, const FaceMouth *mouth);
EXPORT void draw_face(const FaceGrid *grid, const FaceState *state, float *memory, uint8_t *luma, uint8_t *chroma);

#endif
