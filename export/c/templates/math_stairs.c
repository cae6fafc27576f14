/* Steps of a staircase that v has climbed: those below its cell, and one more past the edge inside the cell, if any. */
static inline int32_t policy_stairs(int32_t v, const uint8_t *base, int32_t last, const int32_t *edges, int bits) {
  int32_t cell = v >> bits;
  cell = cell < 0 ? 0 : cell > last ? last : cell;
  const int32_t climbed = base[cell];
  return climbed + (v > edges[climbed]);
}
