/* log(1 + exp(x)): absolute error at most 3e-7 * max(1, |x|), NaN stays NaN. max(x, 0) + log(1 + t) with
   t = exp(-|x|), the logarithm by a minimax polynomial on [0, 1] (our own fit, even and odd powers apart). */
static inline float policy_softplus(float x) {
  float a = policy_abs(x);
  a = a > 87.0f ? 87.0f : a;
  float scale;
  const float rest = policy_exp_rest(-a, &scale);
  const float t = scale + scale * rest, s = t * t;
  const float odd = ((s * -6.45253342e-3f + -9.53219309e-2f) * s + -2.40730509e-1f) * s + -4.99874026e-1f;
  const float even = ((s * 3.608419e-2f + 1.67647362e-1f) * s + 3.31798196e-1f) * s + 9.99996424e-1f;
  return (x < 0.0f ? 0.0f : x) + (odd * t + even) * t;
}
