/* The frame around a face. */
#include "models/warp/native/stages.h"

/* A plane of a frame and a box of it, in samples; `first`: of the plane, in both frames. */
typedef struct {
    size_t first;
    int32_t height, width, left, top, box_width, box_height;
} PlaneBox;

static PlaneBox plane_box(const Frame *frame, int32_t plane, int32_t left, int32_t top, int32_t width,
                          int32_t height) {
    const size_t samples = (size_t)frame->height * (size_t)frame->width;
    if (plane == 0) return (PlaneBox){0, frame->height, frame->width, left, top, width, height};
    return (PlaneBox){samples + (size_t)(plane - 1) * (samples / 4), frame->height / 2, frame->width / 2,
                      left / 2, top / 2, width / 2, height / 2};
}

/* Copies what is shown outside of a box, all of whose numbers are even. */
EXPORT void copy_around(const Frame *frame, int32_t left, int32_t top, int32_t width, int32_t height) {
    for (int32_t plane = 0; plane < 3; plane++) {
        const PlaneBox box = plane_box(frame, plane, left, top, width, height);
        const size_t row = (size_t)box.width, before = (size_t)box.left, behind = before + (size_t)box.box_width;
        const size_t below = (size_t)(box.top + box.box_height);
        const uint8_t *shown = frame->shown + box.first;
        uint8_t *drawn = frame->drawn + box.first;
        memcpy(drawn, shown, row * (size_t)box.top);
        for (size_t at = row * (size_t)box.top; at < row * below; at += row) {
            memcpy(drawn + at, shown + at, before);
            memcpy(drawn + at + behind, shown + at + behind, row - behind);
        }
        memcpy(drawn + row * below, shown + row * below, row * ((size_t)box.height - below));
    }
}

HOT static void split_row(const uint8_t *restrict chroma, int32_t count, uint8_t *restrict blue,
                          uint8_t *restrict red) {
    for (int32_t i = 0; i < count; i++) {
        blue[i] = chroma[2 * i];
        red[i] = chroma[2 * i + 1];
    }
}

/* Writes the chroma of a box, uint8 (height / 2, width / 2, 2), into its planes. */
EXPORT void split_chroma(const uint8_t *chroma, const Frame *frame, int32_t left, int32_t top, int32_t width,
                         int32_t height) {
    const PlaneBox blue = plane_box(frame, 1, left, top, width, height);
    const size_t apart = plane_box(frame, 2, left, top, width, height).first - blue.first;
    uint8_t *row = frame->drawn + blue.first + (size_t)blue.top * (size_t)blue.width + (size_t)blue.left;
    for (int32_t i = 0; i < blue.box_height; i++, row += blue.width, chroma += width)
        split_row(chroma, blue.box_width, row, row + apart);
}
