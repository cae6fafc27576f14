/* x * sigmoid(x), fast variant: absolute error at most 8e-4, NaN stays NaN. relu(x) less a bump, |x| * w^8 with a
   quartic w (our own fit); the bump ends as a constant 7.1e-4 beyond |x| = 9.5. No division. */
static inline float policy_silu(float x) {
  float a = policy_abs(x);
  a = a > 9.5f ? 9.5f : a;
  const float s = a * a;
  float w = (a * -0.0597487167f + 0.918171465f) + s * ((a * 2.43506394e-3f + -1.234088e-2f) + s * -1.28961794e-4f);
  w *= w;
  w *= w;
  w *= w;
  return (x < 0.0f ? 0.0f : x) - a * w;
}
