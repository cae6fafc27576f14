/* A vector of 32-bit sums, and what adds to it the products of two 16-bit or four 8-bit neighbors at once. Where the processor
   has no instruction for that, a loop gives the same numbers. Little-endian, as the neighbors are loaded as one word. */
#if POLICY_LANES > 1
typedef int32_t policy_ivec __attribute__((vector_size(4 * POLICY_LANES)));
typedef int32_t __attribute__((may_alias, aligned(1))) policy_neighbors;
#define policy_sum(v, k) ((v)[k])
#define policy_to_float(v) __builtin_convertvector(v, policy_vec)
#define policy_load_neighbors(p) (*(const policy_neighbors *)(const void *)(p))
#else
typedef int32_t policy_ivec;
#define policy_sum(v, k) (v)
#define policy_to_float(v) ((float)(v))
static inline int32_t policy_load_neighbors(const void *p) {
  const unsigned char *b = (const unsigned char *)p;
  return (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
}
#endif
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif
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
    policy_sum(sum, k) = (int32_t)((uint32_t)policy_sum(sum, k) + (uint32_t)(w[2 * k] * x0) + (uint32_t)(w[2 * k + 1] * x1));
  return sum;
#endif
}
/* Weights of every lane: four of 8 bits; x: four of 8 bits without a sign. */
static inline policy_ivec policy_dot4_unsigned(policy_ivec sum, const int8_t *w, int32_t x) {
#if defined(__AVX512VNNI__) && POLICY_LANES == 16
  return (policy_ivec)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(x), _mm512_loadu_si512((const void *)w));
#else
  for (int k = 0; k < POLICY_LANES; ++k)
    for (int j = 0; j < 4; ++j) policy_sum(sum, k) += w[4 * k + j] * (int32_t)((uint32_t)x >> (8 * j) & 0xffu);
  return sum;
#endif
}
/* The same for x with signs. */
static inline policy_ivec policy_dot4_signed(policy_ivec sum, const int8_t *w, int32_t x) {
#if defined(__ARM_FEATURE_DOTPROD) && POLICY_LANES == 4
  return (policy_ivec)vdotq_s32((int32x4_t)sum, vld1q_s8(w), vreinterpretq_s8_s32(vdupq_n_s32(x)));
#else
  for (int k = 0; k < POLICY_LANES; ++k)
    for (int j = 0; j < 4; ++j) policy_sum(sum, k) += w[4 * k + j] * (int8_t)((uint32_t)x >> (8 * j) & 0xffu);
  return sum;
#endif
}
