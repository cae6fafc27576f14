/* x * sigmoid(x), exact variant: absolute error at most 4e-7 * max(1, |x|); NaN stays NaN. */
static inline float policy_silu(float x) { return x * policy_sigmoid(x); }
