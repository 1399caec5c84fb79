/* A whole face: the stages one after the other, so that Python calls C once for all frames of a batch (face.py). */
#include "models/warp/native/face.h"

/* Where the parts of the scratch memory are: floats. */
typedef struct {
    float *positions, *mapped, *distances, *stage, *coverage;
    LipPixels lips;
} FaceScratch;

/* Divides the memory; returns how many floats of it are used. */
static size_t divide_scratch(const FaceGrid *grid, const FaceMouth *mouth, float *memory, FaceScratch *scratch) {
    size_t used = 0;
    scratch->positions = take(memory, &used, 2 * (size_t)grid->rows * (size_t)grid->columns);
    if (mouth == NULL) return used;
    const size_t nodes = (size_t)mouth->rows * (size_t)mouth->columns;
    const size_t pixels = (size_t)mouth->lips_box[2] * (size_t)mouth->lips_box[3];
    scratch->mapped = take(memory, &used, 4 * nodes);
    scratch->distances = take(memory, &used, (size_t)mouth->num_distances * nodes);
    scratch->stage = take(memory, &used, 6 * nodes + (size_t)mouth->contours->num_points);
    scratch->coverage = take(memory, &used, pixels);
    LipPixels *lips = &scratch->lips;
    lips->height = mouth->lips_box[2];
    lips->width = mouth->lips_box[3];
    lips->upper = take(memory, &used, pixels);
    lips->lower = take(memory, &used, pixels);
    lips->inward = take(memory, &used, pixels);
    lips->alpha = take(memory, &used, pixels);
    lips->lower_positions = take(memory, &used, 2 * pixels);
    lips->upper_positions = mouth->has_open_lips ? take(memory, &used, 2 * pixels) : NULL;
    return used;
}

/* How many floats of memory draw_face needs. */
EXPORT size_t face_scratch(const FaceGrid *grid, const FaceMouth *mouth) {
    FaceScratch scratch;
    return divide_scratch(grid, mouth, NULL, &scratch);
}

/* EyeStates.box_in, from the nodes' positions: top, left, height, width. */
static void find_eyes(const FaceGrid *grid, const float *positions, int32_t box[4]) {
    float least[2] = {INFINITY, INFINITY}, most[2] = {-INFINITY, -INFINITY};
    for (int32_t row = 0; row < grid->eye_rows; row++) {
        size_t first = 2 * ((size_t)(grid->eye_top + row) * (size_t)grid->columns + (size_t)grid->eye_left);
        for (int32_t i = 0; i < 2 * grid->eye_columns; i++) {
            float shift = grid->nodes[first + (size_t)i] - positions[first + (size_t)i];
            least[i % 2] = min_f(shift, least[i % 2]);
            most[i % 2] = max_f(shift, most[i % 2]);
        }
    }
    const int32_t extents[2] = {grid->width, grid->height}, corner[2] = {grid->left, grid->top};
    for (int32_t k = 0; k < 2; k++) {
        double first = grid->eye_bounds[k] + least[k] - 1 - corner[k];
        double last = grid->eye_bounds[2 + k] + most[k] + 1 - corner[k];
        double extent = extents[k];
        double start = fmin(fmax(2 * floor(first / 2), 0), extent);
        double stop = fmin(fmax(2 * ceil(last / 2), start), extent);
        box[1 - k] = (int32_t)start;
        box[3 - k] = (int32_t)(stop - start);
    }
}

static void sample_box(const FaceGrid *grid, const FaceMouth *mouth, const FaceScratch *scratch,
                       const FaceImage *image, const int32_t box[4], const BoxPlanes *planes) {
    const int32_t none[4] = {0}, *lips = mouth == NULL ? none : mouth->lips_box;
    sample_region(scratch->positions, grid->columns, grid->cell_px,
                  mouth == NULL ? NULL : scratch->lips.lower_positions, lips[0], lips[1], lips[2], lips[3],
                  image->luma, image->chroma, image->height, image->width, image->corner_x, image->corner_y, planes,
                  box[0], box[1], box[2], box[3]);
}

/* Where the skin around the mouth comes from. */
static void map_mouth(const FaceGrid *grid, const FaceState *state, FaceScratch *scratch) {
    const FaceMouth *mouth = state->mouth;
    const ptrdiff_t stride = 2 * (ptrdiff_t)grid->columns;
    const int32_t rows = mouth->rows, columns = mouth->columns, num_distances = mouth->num_distances;
    float *positions = scratch->positions + mouth->top * stride + 2 * mouth->left;
    backward_map(state->fields, state->weights, state->num_components, positions, stride, mouth->origin,
                 grid->cell_px, rows, columns, scratch->stage, scratch->mapped);
    layer_distances(scratch->mapped, mouth->contours, mouth->to_units, mouth->unit_px, grid->cell_px, state->tuck,
                    rows, columns, num_distances, scratch->stage, scratch->distances);
    blend_layers(scratch->mapped, scratch->distances, grid->cell_px, rows, columns, num_distances, stride, positions);
    const LipNodes nodes = {scratch->distances, scratch->mapped, rows,           columns,
                            num_distances,      grid->cell_px,   mouth->lips_top, mouth->lips_left};
    lip_pixels(&nodes, &mouth->rims, &scratch->lips);
}

/* The lips' shading, and what is between them. */
static void draw_mouth(const FaceState *state, const FaceScratch *scratch, const BoxPlanes *region) {
    const FaceMouth *mouth = state->mouth;
    const LipPixels *lips = &scratch->lips;
    const int32_t top = mouth->lips_box[0], left = mouth->lips_box[1];
    const BoxPlanes planes = {region->luma + region->luma_stride * top + left,
                              region->chroma + region->chroma_stride * (top / 2) + left, region->luma_stride,
                              region->chroma_stride};
    shade_lips(planes.luma, planes.luma_stride, lips->upper, lips->lower, lips->inward, mouth->unit_px,
               mouth->own_gap, lips->height, lips->width);
    lip_coverage(lips->upper, lips->lower, lips->inward, mouth->unit_px, mouth->edge_px, &state->wanted,
                 lips->height, lips->width, scratch->coverage);
    const LipOpening opening = {scratch->coverage, lips->upper, lips->lower,
                                lips->height,    lips->width, mouth->unit_px};
    draw_interior(mouth->interior, &state->interior, &opening, &planes);
}

static void draw(const FaceGrid *grid, const FaceState *state, float *memory, const BoxPlanes *planes) {
    const FaceMouth *mouth = state->mouth;
    const FaceImage *image = state->image;
    FaceScratch scratch;
    divide_scratch(grid, mouth, memory, &scratch);
    const int32_t nodes = grid->rows * grid->columns, whole[4] = {0, 0, grid->height, grid->width};
    int32_t eye_box[4] = {0};
    if (grid->basis != NULL)
        move_nodes(grid->nodes, grid->basis, state->matrix, nodes, scratch.positions);
    else
        memcpy(scratch.positions, grid->nodes, 2 * (size_t)nodes * sizeof(float));
    if (state->eyes != NULL) find_eyes(grid, scratch.positions, eye_box);
    if (mouth != NULL) map_mouth(grid, state, &scratch);
    sample_box(grid, mouth, &scratch, image, whole, planes);
    if (mouth != NULL) {
        if (scratch.lips.upper_positions != NULL)
            blend_layer(scratch.lips.upper_positions, scratch.lips.alpha, scratch.lips.height, scratch.lips.width,
                        image->luma, image->chroma, image->height, image->width, planes, mouth->lips_box[0],
                        mouth->lips_box[1]);
        draw_mouth(state, &scratch, planes);
    }
    if (state->eyes != NULL) sample_box(grid, mouth, &scratch, state->eyes, eye_box, planes);
}

/* Draws a face. memory: face_scratch floats. luma, chroma: planes of the region, written to. */
EXPORT void draw_face(const FaceGrid *grid, const FaceState *state, float *memory, uint8_t *luma, uint8_t *chroma) {
    const BoxPlanes planes = {luma, chroma, grid->width, grid->width};
    draw(grid, state, memory, &planes);
}

static void draw_frame(const FaceGrid *grid, const FaceState *state, const Frame *frame, float *memory,
                       uint8_t *chroma) {
    uint8_t *luma = frame->drawn + (size_t)grid->top * (size_t)frame->width + (size_t)grid->left;
    const BoxPlanes planes = {luma, chroma, frame->width, grid->width};
    copy_around(frame, grid->left, grid->top, grid->width, grid->height);
    draw(grid, state, memory, &planes);
    split_chroma(chroma, frame, grid->left, grid->top, grid->width, grid->height);
}

/* Draws `count` frames, each with a face in it, as draw_face; what is outside of the region is as shown.
 *
 * states, frames (count,): the region lies within each frame. memory: as many floats as the largest face_scratch of the
 * mouths. chroma: memory for the region's, uint8 (height / 2, width / 2, 2).
 */
EXPORT void draw_frames(const FaceGrid *grid, const FaceState *states, const Frame *frames, int32_t count,
                        float *memory, uint8_t *chroma) {
    for (int32_t i = 0; i < count; i++) draw_frame(grid, &states[i], &frames[i], memory, chroma);
}
