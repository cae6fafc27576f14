/* A staircase that is the same on both sides of 0, with the sign changed: the tables hold the upper side. */
static inline int32_t policy_odd_stairs(int32_t v, const uint8_t *base, int32_t last, const int32_t *edges, int bits) {
  const int32_t sign = v >> 31, size = (v ^ sign) - sign;
  int32_t cell = size >> bits;
  cell = cell > last ? last : cell;
  int32_t climbed = base[cell];
  climbed += size > edges[climbed];
  return (climbed ^ sign) - sign;
}
