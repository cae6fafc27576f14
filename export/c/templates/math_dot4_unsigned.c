/* Weights of every lane: four of 8 bits; x: four of 8 bits without a sign. */
static inline policy_ivec policy_dot4_unsigned(policy_ivec sum, const int8_t *w, int32_t x) {
#if defined(__AVX512VNNI__) && POLICY_LANES == 16
  return (policy_ivec)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(x), _mm512_loadu_si512((const void *)w));
#else
  for (int k = 0; k < POLICY_LANES; ++k)
    for (int j = 0; j < 4; ++j) policy_lane(sum, k) += w[4 * k + j] * (int32_t)((uint32_t)x >> (8 * j) & 0xffu);
  return sum;
#endif
}
