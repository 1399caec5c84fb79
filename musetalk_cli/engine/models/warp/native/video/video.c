/* A frame of a video: all that its mouth is drawn with, prepared in one call, and the face for a mouth shape in another
 * (video.py). A prepared frame is one block of memory that Python keeps. */
#include "models/warp/native/face.h"
#include "models/warp/native/video/video.h"

enum { NUM_SIDES = 2 * NUM_COMPONENTS };

/* A box: the first row and column, and how many there are. */
typedef struct {
    int32_t top, left, rows, columns;
} Box;

/* Where a mouth is in its frame: the region that it moves, pixels; the nodes that it moves, of a grid over the region; the
 * nodes around the lips' box, from the first of those on; and the lips' box, the region's pixels. */
typedef struct {
    Box region, moved, lips, lips_px;
} MouthPlace;

/* All frames of a video. axes: of their mouths, whose corners are those of the regions. shown, rest: as measure_mouth takes
 * them, (NUM_LANDMARKS,) each. What follows is the same for all. upper_edge: how far the upper teeth reach below the closed
 * seam, as a share of what the lower lip does, at least and at most. parts, reach, fade: as of Splines and SplineNodes. */
typedef struct {
    const Point *shown, *rest;
    const FrameAxes *axes;
    const MouthPlace *places;
    const MouthInterior *interior;
    int32_t cell_px;
    float edge_px, most_tucked, upper_edge[3], reach[4], fade[2], parts[NUM_SIDES * NUM_PARTS];
} VideoTrack;

/* A prepared frame. inside: as of SplineNodes. */
typedef struct {
    MouthPlace place;
    FaceMouth mouth;
    LipContours contours;
    Splines splines;
    SplineNodes nodes;
    float seam[2], upper_edge, yaw, upper[LINE_POINTS], lower[LINE_POINTS];
    float positions[2 * 2 * NUM_POINTS], solved[2 * (NUM_POINTS + 3) * NUM_SIDES];
    uint8_t inside[];
} VideoFrame;

/* What only preparing needs. */
typedef struct {
    MouthMeasures mouth;
    Motion motion[2 * NUM_POINTS];
} Preparation;

/* ---- Preparing --------------------------------------------------------------------------------------------------- */

static size_t floats_of(size_t bytes) { return (bytes + sizeof(float) - 1) / sizeof(float); }

/* How many bytes a prepared frame takes. */
EXPORT size_t video_frame_size(const MouthPlace *place) {
    return sizeof(VideoFrame) + (size_t)place->moved.rows * (size_t)place->moved.columns;
}

/* How many floats of memory prepare_frame needs. */
EXPORT size_t prepare_scratch(const MouthPlace *place) {
    const size_t splines = splines_scratch(NUM_SHARED, NUM_POINTS, NUM_SIDES);
    const size_t outline = outline_scratch(place->moved.rows, place->moved.columns);
    return floats_of(sizeof(Preparation)) + (splines > outline ? splines : outline);
}

/* Depth of a rim of an open mouth's lips, whose height is given; mouth_warp.rim_depths. Mouth units. */
static float rim_depth(float own_gap, float lip) {
    const float gaps[3] = {0.0f, 0.1f, 0.35f}, depths[3] = {0.0f, 0.045f, 0.08f};
    return min_f(line_at(own_gap, gaps, depths, 3), 0.3f * lip);
}

static void set_contours(const VideoTrack *track, const MouthMeasures *measured, VideoFrame *frame) {
    const float *edge = track->upper_edge;
    memcpy(frame->upper, measured->own.upper, sizeof frame->upper);
    memcpy(frame->lower, measured->own.lower, sizeof frame->lower);
    frame->contours = (LipContours){frame->upper,          frame->lower,         LINE_POINTS,
                                    measured->first_x,     measured->step_x,     measured->middle,
                                    measured->half_width, track->most_tucked};
    memcpy(frame->seam, measured->seam, sizeof frame->seam);
    frame->upper_edge = clamp_f(edge[0] * measured->drop, edge[1], edge[2]);
    frame->yaw = measured->yaw;
}

static void set_mouth(const VideoTrack *track, const MouthMeasures *measured, float unit_px, VideoFrame *frame) {
    const Box moved = frame->place.moved, lips = frame->place.lips, lips_px = frame->place.lips_px;
    const float first = 0.5f * (float)(track->cell_px - 1) - (float)track->cell_px;
    const int32_t is_open = measured->own_gap > 0.0f;
    FaceMouth *mouth = &frame->mouth;
    memset(mouth, 0, sizeof *mouth);
    mouth->contours = &frame->contours;
    mouth->interior = track->interior;
    mouth->top = moved.top;
    mouth->left = moved.left;
    mouth->rows = moved.rows;
    mouth->columns = moved.columns;
    mouth->lips_top = lips.top;
    mouth->lips_left = lips.left;
    memcpy(mouth->lips_box, &lips_px, sizeof mouth->lips_box);
    mouth->num_distances = is_open ? 6 : 4;
    mouth->has_open_lips = is_open;
    mouth->origin[0] = (float)(moved.left * track->cell_px) + first;
    mouth->origin[1] = (float)(moved.top * track->cell_px) + first;
    memcpy(mouth->to_units, measured->to_units, sizeof mouth->to_units);
    mouth->unit_px = unit_px;
    mouth->own_gap = measured->own_gap;
    mouth->edge_px = track->edge_px;
    mouth->rims.down_x = measured->to_units[3] * unit_px;
    mouth->rims.down_y = measured->to_units[4] * unit_px;
    if (!is_open) return;
    mouth->rims.upper_px = unit_px * rim_depth(measured->own_gap, measured->upper_lip);
    mouth->rims.lower_px = unit_px * rim_depth(measured->own_gap, measured->lower_lip);
}

static void set_nodes(const VideoTrack *track, VideoFrame *frame) {
    const float *units = frame->mouth.to_units, *origin = frame->mouth.origin, cell = (float)track->cell_px;
    const float determinant = (units[0] * units[4] - units[1] * units[3]) * cell;
    const float per = determinant != 0.0f ? 1.0f / determinant : 1.0f;
    frame->nodes = (SplineNodes){
        .inside = frame->inside,
        .rows = frame->place.moved.rows,
        .columns = frame->place.moved.columns,
        .first = {units[0] * origin[0] + units[1] * origin[1] + units[2],
                  units[3] * origin[0] + units[4] * origin[1] + units[5]},
        .across = {units[0] * cell, units[3] * cell},
        .down = {units[1] * cell, units[4] * cell},
        .to_cells = {units[4] * per, -units[1] * per, -units[3] * per, units[0] * per},
    };
    memcpy(frame->nodes.reach, track->reach, sizeof track->reach);
    memcpy(frame->nodes.fade, track->fade, sizeof track->fade);
    frame->splines = (Splines){frame->positions, frame->solved, track->parts, NUM_SHARED, NUM_POINTS, NUM_SIDES};
}

/* Prepares frame number `index`.
 *
 * mask uint8 (rows, columns): 1 for those nodes that it moves which lie within the face's outline. memory:
 * prepare_scratch floats. frame is written, video_frame_size bytes; it stays where it is, and so does the track.
 */
EXPORT void prepare_frame(const VideoTrack *track, int32_t index, const uint8_t *mask, float *memory,
                          VideoFrame *frame) {
    const FrameAxes *axes = track->axes + index;
    const size_t face = (size_t)index * NUM_LANDMARKS;
    Preparation *made = (Preparation *)(void *)memory;
    float *scratch = memory + floats_of(sizeof *made);
    frame->place = track->places[index];
    measure_mouth(axes, track->shown + face, track->rest + face, &made->mouth, (Point *)(void *)frame->positions,
                  made->motion);
    set_contours(track, &made->mouth, frame);
    set_mouth(track, &made->mouth, axes->unit_px, frame);
    set_nodes(track, frame);
    fade_at_outline(mask, frame->nodes.rows, frame->nodes.columns, axes->unit_px / (float)track->cell_px,
                    made->mouth.yaw, scratch, frame->inside);
    solve_splines(frame->positions, (const float *)(const void *)made->motion, NUM_SHARED, NUM_POINTS, NUM_SIDES,
                  scratch, frame->solved);
}

/* ---- Drawing ----------------------------------------------------------------------------------------------------- */

/* What a mouth does: the weights of its components, what opens the lips of an image of an open mouth, and what moves
 * between them, as of WantedGap and InteriorPose. */
typedef struct {
    float weights[NUM_COMPONENTS], gap, purse, closing, jaw, width, tip_rise, tip_out;
} MouthMove;

/* Parts of the memory. */
typedef struct {
    float *face, *displace, *field;
    uint8_t *luma, *chroma;
} VideoScratch;

/* Divides the memory; returns how many floats of it are used. */
static size_t divide_scratch(const FaceGrid *grid, const VideoFrame *frame, float *memory, VideoScratch *scratch) {
    const size_t pixels = (size_t)grid->height * (size_t)grid->width;
    const size_t nodes = (size_t)frame->nodes.rows * (size_t)frame->nodes.columns;
    size_t used = 0;
    scratch->face = take(memory, &used, face_scratch(grid, &frame->mouth));
    scratch->displace = take(memory, &used, displace_scratch(&frame->splines, &frame->nodes));
    scratch->field = take(memory, &used, 4 * nodes);
    scratch->luma = (uint8_t *)take(memory, &used, pixels); /* twice as high and wide */
    scratch->chroma = (uint8_t *)take(memory, &used, floats_of(pixels / 2));
    return used;
}

/* How many floats of memory draw_video_face needs. */
EXPORT size_t video_scratch(const FaceGrid *grid, const VideoFrame *frame) {
    VideoScratch scratch;
    return divide_scratch(grid, frame, NULL, &scratch);
}

/* Sets what the inside of the mouth does; TeethPlacement, and the affine map from the pixels of the lips' box. */
static void set_interior(const VideoFrame *frame, const MouthMove *move, InteriorPose *pose) {
    const float *units = frame->mouth.to_units;
    const float left = (float)frame->place.lips_px.left, top = (float)frame->place.lips_px.top;
    *pose = (InteriorPose){
        .to_units = {units[0], units[1], units[0] * left + units[1] * top + units[2],
                     units[3], units[4], units[3] * left + units[4] * top + units[5]},
        .middle = {frame->seam[0], frame->seam[1]},
        .yaw = frame->yaw,
        .upper_edge = frame->upper_edge,
        .jaw = move->jaw,
        .width = move->width,
        .tip_rise = move->tip_rise,
        .tip_out = move->tip_out,
    };
}

/* Draws the face of a prepared frame.
 *
 * grid: over a region of this size, its nodes in the region's own pixels. shown uint8 (height · 3/2, width): the frame,
 * planar I420. memory: video_scratch floats. luma, chroma: planes of the region, written to.
 */
EXPORT void draw_video_face(const FaceGrid *grid, const VideoFrame *frame, const MouthMove *move, const uint8_t *shown,
                            int32_t height, int32_t width, float *memory, uint8_t *luma, uint8_t *chroma) {
    const Box region = frame->place.region;
    VideoScratch scratch;
    divide_scratch(grid, frame, memory, &scratch);
    take_region(shown, height, width, region.left, region.top, region.rows, region.columns, scratch.luma,
                scratch.chroma);
    displace_nodes(&frame->splines, &frame->nodes, move->weights, scratch.displace, scratch.field);
    const FaceImage image = {scratch.luma, scratch.chroma, region.rows, region.columns, 0.0f, 0.0f};
    FaceState state = {.image = &image, .mouth = &frame->mouth, .fields = scratch.field, .num_components = 1};
    state.weights[0] = 1.0f;
    state.tuck = move->weights[DENTAL];
    if (frame->mouth.has_open_lips)
        state.wanted = (WantedGap){move->gap, move->purse, move->closing, frame->contours.half_width};
    set_interior(frame, move, &state.interior);
    draw_face(grid, &state, scratch.face, luma, chroma);
}
