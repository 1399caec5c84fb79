/* The head's motion on a grid of nodes, as HeadField. */
#include "native/kernel.h"

/* Where in the image each node's content comes from.
 *
 * nodes float32 (n, 2), pixels; basis float32 (5, n); matrix float32 (2, 5) → positions float32 (n, 2).
 */
HOT EXPORT void move_nodes(const float *restrict nodes, const float *restrict basis, const float *restrict matrix,
                           int32_t n, float *restrict positions) {
    const float *b0 = basis, *b1 = b0 + n, *b2 = b1 + n, *b3 = b2 + n, *b4 = b3 + n;
    const float *x = matrix, *y = matrix + 5;
    for (int32_t i = 0; i < n; i++) {
        float across = x[0] * b0[i] + x[1] * b1[i] + x[2] * b2[i] + x[3] * b3[i] + x[4] * b4[i];
        float down = y[0] * b0[i] + y[1] * b1[i] + y[2] * b2[i] + y[3] * b3[i] + y[4] * b4[i];
        positions[2 * i] = nodes[2 * i] + across;
        positions[2 * i + 1] = nodes[2 * i + 1] + down;
    }
}
