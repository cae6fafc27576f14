/* Weights of every lane: two of 16 bits; x: two of 16 bits. */
static inline policy_ivec policy_dot2(policy_ivec sum, const int16_t *w, int32_t x) {
#if defined(__AVX512VNNI__) && POLICY_LANES == 16
  return (policy_ivec)_mm512_dpwssd_epi32((__m512i)sum, _mm512_loadu_si512((const void *)w), _mm512_set1_epi32(x));
#elif defined(__AVX512BW__) && POLICY_LANES == 16
  return sum + (policy_ivec)_mm512_madd_epi16(_mm512_loadu_si512((const void *)w), _mm512_set1_epi32(x));
#elif defined(__AVX2__) && POLICY_LANES == 8
  return sum + (policy_ivec)_mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(const void *)w), _mm256_set1_epi32(x));
#else
  const int32_t x0 = (int16_t)((uint32_t)x & 0xffffu), x1 = (int16_t)((uint32_t)x >> 16);
  for (int k = 0; k < POLICY_LANES; ++k)
    policy_lane(sum, k) = (int32_t)((uint32_t)policy_lane(sum, k) + (uint32_t)(w[2 * k] * x0) + (uint32_t)(w[2 * k + 1] * x1));
  return sum;
#endif
}
