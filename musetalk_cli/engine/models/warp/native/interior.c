/* Gap between the lips (height, width), jaw, width and tongue → cavity, tongue and teeth, drawn into a frame's planes
 * (mouth_interior.py, tint.py). */
#include "models/warp/native/stages.h"

static const float BLACK = 16.0f, NEUTRAL = 128.0f;
static const float TEXTURE_LEFT = -0.56f, TEXTURE_TOP = -0.22f; /* of a row of teeth, mouth units */
static const float LOWER_EDGE = 0.028f;
static const float TEETH_TRAVEL = 0.165f; /* travel of lower teeth and tongue at J = 1 */
static const float ARCH_DEPTH = 1.1f;     /* of the dental arch, mouth units per squared distance from its middle */
static const float MIN_YAW = 0.02f;       /* tangent of the yaw below which a head counts as frontal */
static const float TIP_BEHIND = 0.016f;   /* how far above the upper teeth's edge the tip of the tongue ends */
static const float LEAST_COVERAGE = 0.002f;
static const float FINE_GAP = 0.02f; /* between the lips of an open mouth, mouth units: the least gap */

/* A Tint: levels (num_levels,) ascending, colours (num_levels, 2). No tint has no levels. */
typedef struct {
    const float *levels, *colours;
    int32_t num_levels;
    float naturalness, cast[2], skin_luma;
} Tint;

/* A MouthInterior. Rows of teeth uint8 (texture_height, texture_width, 4): Y, Cb, Cr and alpha, in a margin of one
 * pixel of zeros; `scale` pixels are one mouth unit. Colours are Y, Cb, Cr. */
typedef struct MouthInterior {
    const uint8_t *upper_teeth, *lower_teeth;
    int32_t texture_height, texture_width;
    float scale, deep[3], cavity[3], tongue[3];
    Tint tint;
} MouthInterior;

/* ---- How much of each pixel lies between the lips ---------------------------------------------------------------- */

/* base 0..1 to the power of a positive exponent; relative error below 1e-3. */
static float power(float base, float exponent) {
    if (!(base > 1e-30f)) return 0.0f;
    union { float value; int32_t bits; } split = {base};
    int32_t doublings = (split.bits >> 23) - 127;
    split.bits -= doublings * (1 << 23); /* 1 … 2 */
    float s = (split.value - 1.0f) / (split.value + 1.0f), squared = s * s;
    float rest = 2.0f * s * (1.0f + squared * (1.0f / 3.0f + squared * (1.0f / 5.0f + squared * (1.0f / 7.0f))));
    return exp_negative(min_f(exponent * ((float)doublings * 0.693147181f + rest), 0.0f));
}

/* The lip gap that the mouth shape asks for, at `side` -1..1 between the corners. */
static float wanted_gap(const WantedGap *wanted, float side) {
    side = clamp_f(side, -1.0f, 1.0f);
    float squared = side * side, pinched = squared * (1.0f / (0.82f * 0.82f));
    float arch = power(1.0f - squared, 0.62f), pinch = power(max_f(1.0f - pinched, 0.0f), 0.75f) - arch;
    return wanted->gap * arch + wanted->purse * pinch - wanted->closing * (1.0f - squared);
}

HOT static void cover_pixels(const float *restrict upper, const float *restrict lower, const float *restrict inward,
                             float soft, size_t pixels, float *restrict coverage) {
    for (size_t i = 0; i < pixels; i++) {
        float outside = clamp_f(0.5f - upper[i] * soft, 0.0f, 1.0f) + clamp_f(0.5f - lower[i] * soft, 0.0f, 1.0f) - 1.0f;
        coverage[i] = max_f(outside, 0.0f) * smoothstep(inward[i], 0.0f, 0.035f);
    }
}

/* LayerDistances.coverage, less where an open mouth's warped lips miss each other.
 *
 * upper, lower (height, width): distances inside the layers, pixels. inward (height, width): mouth units. edge_px: width
 * of the lips' edges. coverage (height, width) is written.
 */
EXPORT void lip_coverage(const float *upper, const float *lower, const float *inward, float unit_px,
                         float edge_px, const WantedGap *wanted, int32_t height, int32_t width, float *coverage) {
    const size_t pixels = (size_t)height * (size_t)width;
    cover_pixels(upper, lower, inward, 1.0f / edge_px, pixels, coverage);
    if (wanted->half_width == 0.0f) return;
    for (size_t i = 0; i < pixels; i++) {
        if (coverage[i] == 0.0f) continue;
        float gap = wanted_gap(wanted, 1.0f - inward[i] / wanted->half_width);
        float apart = max_f((-upper[i] - lower[i]) / unit_px, FINE_GAP);
        coverage[i] *= smoothstep(gap / apart, 0.2f, 0.7f);
    }
}

/* ---- What is seen between them ----------------------------------------------------------------------------------- */

/* Rows of pixels while they are drawn: positions on the dental arch and below the closed seam, distances to the lips,
 * all in mouth units; and the colours. */
typedef struct {
    float x[RUN_PX], y[RUN_PX], below_upper[RUN_PX], above_lower[RUN_PX];
    float luma[RUN_PX], blue[RUN_PX], red[RUN_PX];
    float hidden[RUN_PX]; /* share of the lower teeth that the tongue covers; written where its tip is raised */
} InteriorRow;

/* What follows from the pose alone. */
typedef struct {
    float rounding, spread, travel;
} Articulation;

static Articulation articulate(const InteriorPose *pose) {
    Articulation found = {max_f(-pose->width, 0.0f), max_f(pose->width, 0.0f), 0.0f};
    /* The first tenth of the jaw's travel parts only the lips: /s/ keeps the teeth together. */
    found.travel = TEETH_TRAVEL * max_f(pose->jaw - 0.1f, 0.0f) / 0.9f * (1.0f - 0.35f * found.spread);
    return found;
}

/* Positions of `length` pixels of row y from column `left` on. */
HOT static void place_row(const InteriorPose *pose, const LipOpening *opening, int32_t y, int32_t left, int32_t length,
                      InteriorRow *row) {
    const float *to_units = pose->to_units, per_px = 1.0f / opening->unit_px;
    const size_t first = (size_t)y * (size_t)opening->width + (size_t)left;
    const float at_x = to_units[1] * (float)y + to_units[2] - pose->middle[0];
    const float at_y = to_units[4] * (float)y + to_units[5] - pose->middle[1];
    for (int32_t j = 0; j < length; j++) {
        row->x[j] = to_units[0] * (float)(left + j) + at_x;
        row->y[j] = to_units[3] * (float)(left + j) + at_y;
        row->below_upper[j] = -opening->upper[first + (size_t)j] * per_px;
        row->above_lower[j] = -opening->lower[first + (size_t)j] * per_px;
    }
    if (fabsf(pose->yaw) < MIN_YAW) return;
    const float slant = ARCH_DEPTH * pose->yaw; /* see _to_dental_arch */
    for (int32_t j = 0; j < length; j++) {
        row->x[j] = 2.0f * row->x[j] / (1.0f + sqrtf(max_f(1.0f - 4.0f * slant * row->x[j], 0.05f)));
    }
}

/* The cavity, and on it the tongue: a soft mound with a furrow. */
HOT static void draw_cavity(const MouthInterior *face, const Articulation *pose, int32_t length, InteriorRow *row) {
    const float *deep = face->deep, *cavity = face->cavity, *tongue = face->tongue, travel = pose->travel;
    for (int32_t j = 0; j < length; j++) {
        float x = row->x[j], front = smoothstep(row->y[j], 0.0f, 0.22f + travel);
        float inward = row->y[j] - 0.05f - 0.26f * travel - 0.8f * x * x;
        float coverage = smoothstep(inward, 0.0f, 0.06f) * smoothstep(0.40f - fabsf(x), 0.0f, 0.18f);
        /* It is lit from the front: its back, which is higher in the image, lies in the dark. */
        float light = 0.5f + 0.5f * smoothstep(inward, 0.0f, 0.09f);
        float furrow = exp_negative(-x * x * (1.0f / (0.035f * 0.035f)));
        light *= 1.0f - 0.14f * furrow * smoothstep(inward, 0.04f, 0.12f);
        float luma = deep[0] + (cavity[0] - deep[0]) * front;
        float blue = deep[1] + (cavity[1] - deep[1]) * front, red = deep[2] + (cavity[2] - deep[2]) * front;
        row->luma[j] = luma + (BLACK + (tongue[0] - BLACK) * light - luma) * coverage;
        row->blue[j] = blue + (tongue[1] - blue) * coverage;
        row->red[j] = red + (tongue[2] - red) * coverage;
    }
}

/* MouthInterior._add_tip: the tongue's raised tip. upper_edge, lower_edge: of the middle teeth, below the closed seam. */
HOT static void draw_tip(const MouthInterior *face, const InteriorPose *pose, float upper_edge, float lower_edge,
                         int32_t length, InteriorRow *row) {
    const float *tongue = face->tongue, rise = pose->tip_rise, out = pose->tip_out;
    const float behind = TIP_BEHIND * (1.0f - 0.5f * out), bend = 1.7f - 0.7f * out, reach = 0.26f + 0.05f * out;
    const float rim = 0.34f - 0.2f * out, risen = smoothstep(rise, 0.0f, 0.3f);
    for (int32_t j = 0; j < length; j++) {
        float x = row->x[j], squared = x * x, aside = fabsf(x);
        float below_lower = row->y[j] - lower_edge;
        /* It rises from behind the lower teeth to behind the upper ones, and out to just below their edge. */
        float low = below_lower - 0.02f, high = row->y[j] - upper_edge + behind;
        float inward = low + (high - low) * rise - bend * squared;
        float coverage = smoothstep(inward, 0.0f, 0.03f) * smoothstep(reach - aside, 0.0f, 0.10f) * risen;
        /* Its underside turns away from the light; what has come out is lit. */
        float light = 1.0f - rim * (1.0f - smoothstep(inward, 0.0f, 0.05f));
        light *= 1.0f - 0.42f * (1.0f - out) * smoothstep(inward, 0.02f, 0.16f);
        light *= 1.0f - (0.3f - 0.1f * out) * smoothstep(aside, 0.06f, 0.28f);
        light *= 1.0f - 0.12f * exp_negative(-squared * (1.0f / (0.03f * 0.03f))) * smoothstep(inward, 0.03f, 0.10f);
        /* Where it lies on the lower teeth, it rounds off towards its lower edge. */
        light *= 1.0f - 0.3f * out * smoothstep(below_lower, 0.0f, 0.06f);
        row->hidden[j] = coverage * out * smoothstep(0.06f - below_lower - 0.6f * squared, 0.0f, 0.03f);
        row->luma[j] += (BLACK + (tongue[0] - BLACK) * light - row->luma[j]) * coverage;
        row->blue[j] += (tongue[1] - row->blue[j]) * coverage;
        row->red[j] += (tongue[2] - row->red[j]) * coverage;
    }
}

/* Four bytes as floats. */
static inline float4 load_bytes4(const uint8_t *bytes) {
    typedef uint8_t byte4 __attribute__((vector_size(4)));
    byte4 loaded;
    memcpy(&loaded, bytes, sizeof loaded);
    return __builtin_convertvector(loaded, float4);
}

/* A bilinear sample of a row of teeth at x, y pixels of its own; zero beyond its edges. False where nothing is there. */
static inline int sample_teeth(const uint8_t *texture, int32_t height, int32_t width, float x, float y, float4 *tooth) {
    x = clamp_f(x + 1.0f, 0.0f, (float)(width + 1));
    y = clamp_f(y + 1.0f, 0.0f, (float)(height + 1));
    int32_t column = min_i((int32_t)x, width), row = min_i((int32_t)y, height);
    const size_t stride = 4 * (size_t)(width + 2);
    const uint8_t *first = texture + (size_t)row * stride + 4 * (size_t)column, *second = first + stride;
    if ((first[3] | first[7] | second[3] | second[7]) == 0) return 0; /* as for four of five pixels */
    float across = x - (float)column, along = y - (float)row;
    float4 a = load_bytes4(first), b = load_bytes4(first + 4);
    float4 c = load_bytes4(second), d = load_bytes4(second + 4);
    float4 top = a + (b - a) * across, bottom = c + (d - c) * across;
    *tooth = top + (bottom - top) * along;
    return 1;
}

/* Composite a row of teeth over the colours. edge: of the middle tooth, below the closed seam; strength 0..1. Pixels
 * without coverage (length,) are skipped. hidden (length,): the share of each pixel that something covers, or NULL. */
static void draw_teeth(const MouthInterior *face, const uint8_t *texture, float edge, float strength,
                       const float *coverage, const float *hidden, int32_t length, InteriorRow *row) {
    const float left = TEXTURE_LEFT, top = edge + TEXTURE_TOP, scale = face->scale;
    for (int32_t j = 0; j < length; j++) {
        if (coverage[j] == 0.0f) continue;
        float across = (row->x[j] - left) * scale - 0.5f, down = (row->y[j] - top) * scale - 0.5f;
        float4 tooth;
        if (!sample_teeth(texture, face->texture_height, face->texture_width, across, down, &tooth)) continue;
        float alpha = tooth[3] * (strength / 255.0f);
        if (hidden != NULL) alpha *= 1.0f - hidden[j];
        row->luma[j] += (tooth[0] - row->luma[j]) * alpha;
        row->blue[j] += (tooth[1] - row->blue[j]) * alpha;
        row->red[j] += (tooth[2] - row->red[j]) * alpha;
    }
}

/* Less light falls on what lies deep between the lips. */
HOT static void shade_interior(const Articulation *pose, int32_t length, InteriorRow *row) {
    for (int32_t j = 0; j < length; j++) {
        float upper = row->below_upper[j], lower = row->above_lower[j];
        float shade = (0.34f + 0.66f * smoothstep(upper, -0.01f, 0.055f)) * (1.0f - 0.45f * pose->rounding);
        /* Little light enters between lips that are hardly apart. */
        shade *= 0.7f + 0.3f * smoothstep(upper + lower, 0.0f, 0.15f);
        shade *= 0.72f + 0.28f * smoothstep(lower, -0.005f, 0.035f);
        shade *= 1.0f - 0.45f * smoothstep(fabsf(row->x[j]), 0.22f, 0.47f);
        row->luma[j] = BLACK + (row->luma[j] - BLACK) * shade;
        row->blue[j] = NEUTRAL + (row->blue[j] - NEUTRAL) * (0.5f + 0.5f * shade);
        /* Light in shadow has passed through lips and cheeks, and is redder. */
        row->red[j] = NEUTRAL + (row->red[j] - NEUTRAL) * (0.5f + 0.5f * shade) + 7.0f * (1.0f - shade);
    }
}

/* The colour (2,) that pixels of this luma have in a tinted image: linear between the levels, level beyond them. */
static void usual_colour(const Tint *tint, float luma, float *colour) {
    const int32_t last = tint->num_levels - 1;
    int32_t before = last;
    while (before > 0 && !(tint->levels[before] <= luma)) before--;
    const int32_t after = min_i(before + 1, last);
    float span = tint->levels[after] - tint->levels[before];
    float share = span > 0.0f ? clamp_f((luma - tint->levels[before]) / span, 0.0f, 1.0f) : 0.0f;
    for (int32_t k = 0; k < 2; k++) {
        float from = tint->colours[2 * before + k], to = tint->colours[2 * after + k];
        colour[k] = from + (to - from) * share;
    }
}

/* Tint.apply: give the colours the image's tint; luma stays. */
static void apply_tint(const Tint *tint, const float *coverage, int32_t length, InteriorRow *row) {
    const float per_luma = 1.0f / max_f(tint->skin_luma - BLACK, 1.0f);
    for (int32_t j = 0; j < length; j++) {
        if (coverage[j] == 0.0f) continue;
        float usual[2], light = clamp_f((row->luma[j] - BLACK) * per_luma, 0.0f, 1.2f);
        usual_colour(tint, row->luma[j], usual);
        float blue = row->blue[j] + tint->cast[0] * light, red = row->red[j] + tint->cast[1] * light;
        row->blue[j] = usual[0] + tint->naturalness * (blue - usual[0]);
        row->red[j] = usual[1] + tint->naturalness * (red - usual[1]);
    }
}

/* MouthInterior._compose: Y, Cb, Cr of `length` pixels of row y, from column `left` on. */
static void compose_row(const MouthInterior *face, const InteriorPose *pose, const LipOpening *opening, int32_t y,
                        int32_t left, int32_t length, InteriorRow *row) {
    const Articulation mouth = articulate(pose);
    const float *coverage = opening->coverage + (size_t)y * (size_t)opening->width + (size_t)left;
    const float upper_edge = pose->upper_edge + 0.010f * mouth.spread - 0.035f * mouth.rounding;
    place_row(pose, opening, y, left, length, row);
    draw_cavity(face, &mouth, length, row);
    const float lower_edge = LOWER_EDGE + mouth.travel;
    const int has_tip = pose->tip_rise > 0.0f;
    if (has_tip) draw_tip(face, pose, upper_edge, lower_edge, length, row);
    draw_teeth(face, face->lower_teeth, lower_edge, 0.9f * (1.0f - 0.9f * mouth.rounding), coverage,
               has_tip ? row->hidden : NULL, length, row);
    /* Protruded lips cover the upper teeth and keep the light out. */
    draw_teeth(face, face->upper_teeth, upper_edge, 1.0f, coverage, NULL, length, row);
    shade_interior(&mouth, length, row);
    if (face->tint.num_levels > 0) apply_tint(&face->tint, coverage, length, row);
}

/* ---- Into the planes --------------------------------------------------------------------------------------------- */

static uint8_t to_byte(float value) { return (uint8_t)(int32_t)clamp_f(value + 0.5f, 0.0f, 255.0f); }

HOT static void write_luma(const InteriorRow *row, const float *coverage, int32_t length, uint8_t *luma) {
    for (int32_t j = 0; j < length; j++) {
        float under = (float)luma[j];
        luma[j] = to_byte(under + (row->luma[j] - under) * coverage[j]);
    }
}

/* Chroma of two rows of pixels: each sample is the mean of four. */
HOT static void write_chroma(const InteriorRow *rows, const float *first, const float *second, int32_t length,
                         uint8_t *chroma) {
    for (int32_t j = 0; j < length; j += 2, chroma += 2) {
        float a = first[j], b = first[j + 1], c = second[j], d = second[j + 1];
        float under = 1.0f - 0.25f * (a + b + c + d);
        float blue = a * rows[0].blue[j] + b * rows[0].blue[j + 1] + c * rows[1].blue[j] + d * rows[1].blue[j + 1];
        float red = a * rows[0].red[j] + b * rows[0].red[j + 1] + c * rows[1].red[j] + d * rows[1].red[j + 1];
        chroma[0] = to_byte((float)chroma[0] * under + 0.25f * blue);
        chroma[1] = to_byte((float)chroma[1] * under + 0.25f * red);
    }
}

/* The span of columns, aligned to even ones, that is covered in two rows of coverage (2, width). */
static void covered_span(const float *coverage, int32_t width, int32_t *left, int32_t *right) {
    const float *first = coverage, *second = coverage + width;
    int32_t low = 0, high = width;
    while (low < width && !(max_f(first[low], second[low]) > LEAST_COVERAGE)) low++;
    while (high > low && !(max_f(first[high - 1], second[high - 1]) > LEAST_COVERAGE)) high--;
    *left = low / 2 * 2;
    *right = min_i((high + 1) / 2 * 2, width);
}

/* MouthInterior.draw: draw the interior into the planes of a box of pixels, whose sides are even. */
EXPORT void draw_interior(const MouthInterior *face, const InteriorPose *pose, const LipOpening *opening,
                          const BoxPlanes *planes) {
    InteriorRow rows[2];
    const int32_t width = opening->width;
    for (int32_t y = 0; y + 1 < opening->height; y += 2) {
        const float *first = opening->coverage + (size_t)y * (size_t)width, *second = first + width;
        int32_t left, right;
        covered_span(first, width, &left, &right);
        for (int32_t start = left; start < right; start += RUN_PX) {
            const int32_t length = min_i(RUN_PX, right - start);
            for (int32_t k = 0; k < 2; k++) {
                compose_row(face, pose, opening, y + k, start, length, &rows[k]);
                write_luma(&rows[k], (k == 0 ? first : second) + start, length,
                           planes->luma + (y + k) * planes->luma_stride + start);
            }
            write_chroma(rows, first + start, second + start, length,
                         planes->chroma + y / 2 * planes->chroma_stride + start);
        }
    }
}
