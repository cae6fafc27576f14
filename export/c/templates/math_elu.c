/* x above zero, alpha * (exp(x) - 1) below, exact variant: absolute error at most 2e-7 * |alpha|, and relative 4e-7
   near zero. NaN stays NaN. */
static inline float policy_elu(float x, float alpha) {
  float below = x > 0.0f ? 0.0f : x;
  below = below < -87.0f ? -87.0f : below;
  float scale;
  const float rest = policy_exp_rest(below, &scale);
  const float curve = alpha * (scale * rest + (scale - 1.0f));
  return x > 0.0f ? x : curve;
}
