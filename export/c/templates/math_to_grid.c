/* x in whole steps, half to even (by adding 1.5 * 2^23), within limits. NaN counts as the lower limit. */
static inline int32_t policy_to_grid(float x, float steps_per_unit, float low, float high) {
  policy_bits q;
  q.value = x * steps_per_unit;
  q.value = q.value > low ? q.value : low;
  q.value = q.value < high ? q.value : high;
  q.value += 12582912.0f;
  return (int32_t)(q.bits - 0x4b400000u);
}
