/* exp(x), exact variant: the square of exp(x / 2), so that overflow gives infinity and underflow zero. Relative error
   at most 4e-7 down to the smallest normal float. NaN stays NaN. */
static inline float policy_exp(float x) {
  x = x < -174.0f ? -174.0f : x;
  x = x > 174.0f ? 174.0f : x;
  float scale;
  const float rest = policy_exp_rest(0.5f * x, &scale);
  const float half = scale + scale * rest;
  return half * half;
}
