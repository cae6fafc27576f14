/* 1 / (1 + exp(-x)), fast variant: absolute error at most 8e-4, 0 and 1 to within 2e-6 beyond |x| = 7.2, NaN stays NaN.
   No division: 1/2 plus x times a minimax polynomial of |x| (our own fit). */
static inline float policy_sigmoid(float x) {
  x = x < -7.2f ? -7.2f : x;
  x = x > 7.2f ? 7.2f : x;
  const float a = policy_abs(x), s = x * x;
  const float low = a * -1.45331273e-3f + 0.251690664f;
  const float middle = a * 7.40254857e-3f + -2.63397039e-2f;
  const float high = a * 3.4634205e-5f + -8.33323623e-4f;
  return 0.5f + x * (low + s * (middle + s * high));
}
