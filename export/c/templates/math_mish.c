/* x * tanh(log(1 + exp(x))): relative error at most 8e-7 for x > -80, absolute 1e-33 below, NaN stays NaN.
   With e = exp(x) it is x * n / (n + 2), n = e * (e + 2); above 20 it is x to within a float's rounding. */
static inline float policy_mish(float x) {
  float below = x > 20.0f ? 20.0f : x;
  below = below < -87.0f ? -87.0f : below;
  float scale;
  const float rest = policy_exp_rest(below, &scale);
  const float e = scale + scale * rest, n = e * (e + 2.0f);
  const float curve = x * (n / (n + 2.0f));
  return x > 20.0f ? x : curve;
}
