/* The pixels of a region: taken from a frame, and resampled into its planes. */
#ifndef WARP_REGION_H
#define WARP_REGION_H

#include "native/kernel.h"

/* The planes of a region, or of a box within it: first pixels, and the bytes from one row to the next. */
typedef struct {
    uint8_t *luma, *chroma;
    ptrdiff_t luma_stride, chroma_stride;
} BoxPlanes;

/* ---- upsampling.c ------------------------------------------------------------------------------------------------ */

EXPORT void take_region(const uint8_t *frame, int32_t height, int32_t width, int32_t left, int32_t top,
                        int32_t region_height, int32_t region_width, uint8_t *doubled, uint8_t *chroma);

/* ---- sampling.c -------------------------------------------------------------------------------------------------- */

EXPORT void sample_region(const float *positions, int32_t columns, int32_t cell_px, const float *lips, int32_t
                          lips_top, int32_t lips_left, int32_t lips_height, int32_t lips_width, const uint8_t
                          *source_luma, const uint8_t *source_chroma, int32_t source_height, int32_t source_width,
                          float corner_x, float corner_y, const BoxPlanes *planes, int32_t top, int32_t left, int32_t
                          box_height, int32_t box_width);
EXPORT void blend_layer(const float *positions, const float *alpha, int32_t height, int32_t box_width, const uint8_t
                        *source_luma, const uint8_t *source_chroma, int32_t source_height, int32_t source_width,
                        const BoxPlanes *planes, int32_t top, int32_t left);

#endif
