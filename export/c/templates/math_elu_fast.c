/* x above zero, alpha * (exp(x) - 1) below; fast variant: absolute error at most 4e-4 * |alpha|, continuous at zero,
   constant below -8, NaN stays NaN. exp(x) is a cubic of x (our own minimax fit), to the power of eight. */
static inline float policy_elu(float x, float alpha) {
  float below = x > 0.0f ? 0.0f : x;
  below = below < -8.0f ? -8.0f : below;
  float w = below * (below * (below * 2.56078027e-4f + 7.67752808e-3f) + 0.124936596f) + 1.0f;
  w *= w;
  w *= w;
  w *= w;
  const float curve = alpha * (w - 1.0f);
  return x > 0.0f ? x : curve;
}
