/* tanh(x), fast variant: absolute error at most 1.2e-3, |result| < 1, odd, NaN stays NaN. No division: x times a
   polynomial of |x|, minimax on [0, 3.4] (our own fit), constant beyond. */
static inline float policy_tanh(float x) {
  x = x < -3.4f ? -3.4f : x;
  x = x > 3.4f ? 3.4f : x;
  const float a = policy_abs(x), s = x * x;
  const float low = a * -0.0196432807f + 1.01129047f;
  const float middle = a * 0.239287099f + -0.419294823f;
  const float high = a * 0.00464246f + -0.0547611101f;
  return x * (low + s * (middle + s * high));
}
