/* x * sigmoid(x), exact variant: absolute error at most 4e-7 * max(1, |x|), below -87 at most 2e-36; NaN stays NaN. */
static inline float policy_silu(float x) {
  x = x < -87.0f ? -87.0f : x;
  return x * policy_sigmoid(x);
}
