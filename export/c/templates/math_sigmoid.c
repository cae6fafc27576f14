/* 1 / (1 + exp(-x)), exact variant: relative error at most 3e-7 for x > -87, below that absolute 1.7e-38. NaN stays NaN. */
static inline float policy_sigmoid(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 87.0f ? 87.0f : x;
  float scale;
  const float rest = policy_exp_rest(-x, &scale);
  return 1.0f / (1.0f + (scale + scale * rest));
}
