/* exp(x), fast variant: relative error at most 1.2e-4 from -87 to 88 (at least 1e-38 below, at most 1.8e38 above), NaN stays
   NaN. 2^(n + r) with n rounded by adding 1.5 * 2^23 and a cubic minimax polynomial of r (our own fit). */
static inline float policy_exp(float x) {
  policy_bits shifted, power;
  float t = x * 1.44269504088896341f;
  t = t < -126.0f ? -126.0f : t;
  t = t > 127.0f ? 127.0f : t;
  shifted.value = t + 12582912.0f;
  const float r = t - (shifted.value - 12582912.0f);
  power.bits = (shifted.bits + 127u) << 23;
  const float p = (r * 0.0551712178f + 0.242611145f) * (r * r) + (r * 0.693261114f + 0.999928085f);
  return p * power.value;
}
