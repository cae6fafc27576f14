/* The greater and the smaller of every lane of v and one number; of a NaN and a number, the number. Spelled out, as GCC
   makes compares and selections of the same thing written with ?: in a loop. */
#if defined(__AVX512F__) && POLICY_LANES == 16
#define policy_lanes_at_least(v, low) ((policy_vec)_mm512_max_ps((__m512)(v), _mm512_set1_ps(low)))
#define policy_lanes_at_most(v, high) ((policy_vec)_mm512_min_ps((__m512)(v), _mm512_set1_ps(high)))
#elif defined(__AVX2__) && POLICY_LANES == 8
#define policy_lanes_at_least(v, low) ((policy_vec)_mm256_max_ps((__m256)(v), _mm256_set1_ps(low)))
#define policy_lanes_at_most(v, high) ((policy_vec)_mm256_min_ps((__m256)(v), _mm256_set1_ps(high)))
#elif defined(__ARM_FEATURE_DOTPROD) && POLICY_LANES == 4
#define policy_lanes_at_least(v, low) ((policy_vec)vmaxnmq_f32((float32x4_t)(v), vdupq_n_f32(low)))
#define policy_lanes_at_most(v, high) ((policy_vec)vminnmq_f32((float32x4_t)(v), vdupq_n_f32(high)))
#else
static inline policy_vec policy_lanes_at_least(policy_vec v, float low) {
  for (int k = 0; k < POLICY_LANES; ++k) policy_lane(v, k) = policy_lane(v, k) > low ? policy_lane(v, k) : low;
  return v;
}
static inline policy_vec policy_lanes_at_most(policy_vec v, float high) {
  for (int k = 0; k < POLICY_LANES; ++k) policy_lane(v, k) = policy_lane(v, k) < high ? policy_lane(v, k) : high;
  return v;
}
#endif
