/* x in whole steps, half to even, within limits: the rounding in integers, for processors without a floating-point unit.
   NaN counts as the lower limit. */
static inline int32_t policy_to_grid_soft(float x, float steps_per_unit, int32_t low, int32_t high) {
  policy_bits q;
  q.value = x * steps_per_unit;
  const uint32_t size = q.bits & 0x7fffffffu;
  const int32_t down = 150 - (int32_t)(size >> 23);
  int32_t steps = 0;
  if (size > 0x7f800000u) return low;
  if (down < 6) {
    steps = 1 << 18;
  } else if (down < 25) {
    const uint32_t digits = (size & 0x7fffffu) | 0x800000u;
    steps = (int32_t)((digits + ((1u << (down - 1)) - 1u) + ((digits >> down) & 1u)) >> down);
  }
  steps = q.bits >> 31 ? -steps : steps;
  return steps < low ? low : steps > high ? high : steps;
}
