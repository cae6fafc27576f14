/* Two halves of 16 bits in a word: SMLAD multiplies both with those of another word and adds both products. Elsewhere plain C
   gives the same numbers. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the weights are packed for a little-endian processor"
#endif
#if defined(__GNUC__)
typedef uint32_t __attribute__((may_alias)) policy_word;
#define policy_load_word(p) (*(const policy_word *)(const void *)(p))
#else
static inline uint32_t policy_load_word(const void *p) {
  const unsigned char *b = (const unsigned char *)p;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
#endif
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
#define policy_smlad(x, y, sum) ((uint32_t)__builtin_arm_smlad((int32_t)(x), (int32_t)(y), (int32_t)(sum)))
#else
static inline uint32_t policy_smlad(uint32_t x, uint32_t y, uint32_t sum) {
  return sum + (uint32_t)((int16_t)x * (int16_t)y) + (uint32_t)((int16_t)(x >> 16) * (int16_t)(y >> 16));
}
#endif
static inline uint32_t policy_sum_of_pairs(const int16_t *x, int pairs) {
  uint32_t all = 0;
  POLICY_ROLLED
  for (int i = 0; i < pairs; ++i) all = policy_smlad(policy_load_word(x + 2 * i), 0x00010001u, all);
  return all;
}
