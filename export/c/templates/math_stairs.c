typedef struct {
  const uint8_t *base;
  const int32_t *edges;
  int32_t last; /* cell */
  int32_t bits; /* of a cell */
} policy_staircase;

/* Rows of a layer that end on a staircase. A row has a multiplier and an offset that make its sum v. Steps climbed at v: those
   below its cell, and one more past the edge inside the cell, if any. Mirrored: the tables hold the side above 0; below it,
   steps are those of -v, downwards. */
POLICY_APART static void policy_stairs(const uint32_t *sum, const int32_t *row, int rows, int shift,
                                       const policy_staircase *stairs, int mirrored, int32_t first, int16_t *y) {
  const uint8_t *const base = stairs->base;
  const int32_t *const edges = stairs->edges;
  const int32_t last = stairs->last, bits = stairs->bits;
  POLICY_ROLLED
  for (int k = 0; k < rows; ++k) {
    const int32_t v = policy_scaled((int32_t)sum[k], row[2 * k], shift) + row[2 * k + 1];
    const int32_t sign = mirrored ? v >> 31 : 0, size = (v ^ sign) - sign;
    int32_t cell = size >> bits;
    cell = cell > last ? last : cell;
    if (!mirrored && cell < 0) cell = 0;
    int32_t steps = base[cell];
    steps += size > edges[steps];
    y[k] = (int16_t)(first + ((steps ^ sign) - sign));
  }
}
