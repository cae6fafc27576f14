/* The int8 grid of QuantizeLinear and DequantizeLinear, with the zero point taken into the limits:
   round half to even (by adding 1.5 * 2^23), saturated, times the step. */
static inline float policy_round_to_grid(float x, float step, float low, float high) {
  float q = x / step;
  q = q < low ? low : q;
  q = q > high ? high : q;
  const float shifted = q + 12582912.0f;
  return (shifted - 12582912.0f) * step;
}
