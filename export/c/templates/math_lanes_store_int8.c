/* Every lane and a number, as 8 bits: the lower ones, for readers with and without a sign. */
static inline void policy_lanes_store_int8(int8_t *to, policy_ivec v, int32_t shift) {
  v += shift;
#if defined(__AVX512F__) && POLICY_LANES == 16
  _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8((__m512i)v));
#else
  for (int k = 0; k < POLICY_LANES; ++k) to[k] = (int8_t)policy_lane(v, k);
#endif
}
