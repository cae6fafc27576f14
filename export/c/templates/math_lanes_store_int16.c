/* Every lane and a number, as 16 bits. */
static inline void policy_lanes_store_int16(int16_t *to, policy_ivec v, int32_t shift) {
  v += shift;
#if defined(__AVX2__) && POLICY_LANES == 8
  const __m256i wide = (__m256i)v;
  const __m128i low = _mm256_castsi256_si128(wide), high = _mm256_extracti128_si256(wide, 1);
  _mm_storeu_si128((__m128i *)(void *)to, _mm_packs_epi32(low, high));
#elif defined(__AVX512F__) && POLICY_LANES == 16
  _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtepi32_epi16((__m512i)v));
#elif defined(__ARM_FEATURE_DOTPROD) && POLICY_LANES == 4
  vst1_s16(to, vmovn_s32((int32x4_t)v));
#else
  for (int k = 0; k < POLICY_LANES; ++k) to[k] = (int16_t)policy_lane(v, k);
#endif
}
