/* Weights of every lane: four of 8 bits; x: four of 8 bits. */
static inline policy_ivec policy_dot4_signed(policy_ivec sum, const int8_t *w, int32_t x) {
#if defined(__ARM_FEATURE_DOTPROD) && POLICY_LANES == 4
  return (policy_ivec)vdotq_s32((int32x4_t)sum, vld1q_s8(w), vreinterpretq_s8_s32(vdupq_n_s32(x)));
#else
  for (int k = 0; k < POLICY_LANES; ++k)
    for (int j = 0; j < 4; ++j) policy_lane(sum, k) += w[4 * k + j] * (int8_t)((uint32_t)x >> (8 * j) & 0xffu);
  return sum;
#endif
}
