/* tanh(x), exact variant: absolute error at most 5e-7, |result| <= 1, odd, NaN stays NaN. An odd polynomial over an
   even one, minimax on [0, 7.9] (our own fit, then refined in float32); numerator and denominator are independent
   chains, which hides latency. Past the clamp the result is constant, within 1.9e-7 of 1. */
static inline float policy_tanh(float x) {
  x = x < -7.9f ? -7.9f : x;
  x = x > 7.9f ? 7.9f : x;
  const float s = x * x;
  float q = s + 971.445801f;
  float p = s * 46.4861984f + 12020.6006f;
  q = q * s + 97075.0f;
  p = p * s + 527119.125f;
  q = q * s + 1886991.88f;
  p = p * s + 4079643.5f;
  q = q * s + 4079645.75f;
  return x * p / q;
}
