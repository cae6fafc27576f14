/* max(0, min(1, slope * x + offset)), exact but for the rounding of the line. NaN stays NaN. */
static inline float policy_hard_sigmoid(float x, float slope, float offset) {
  float y = slope * x + offset;
  y = y < 0.0f ? 0.0f : y;
  return y > 1.0f ? 1.0f : y;
}
