/* Sums of integer products, two rows and two inputs to a word of weights: bytes u[r][i], w[r+1][i], u[r][i+1], w[r+1][i+1],
   with u = w + 128 and without a sign. As a pair of halves the word is 256 w[r+1] + u[r], so that one load and one extraction
   feed two SMLAD, each of two products: the first gives A = sum x (256 w[r+1] + u[r]), the second B = sum x w[r+1], and row r
   is A - 256 B - 128 sum x, modulo 2^32. Elsewhere plain C gives the same numbers. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
#define POLICY_PAIR(u)                                                                                               \
  __asm__("ldr %[v], [%[in], %[at]]\n\tldr %[a], [%[w], %[at_a]]\n\tldr %[b], [%[w], %[at_b]]\n\t"                   \
          "smlad %[s0], %[v], %[a], %[s0]\n\tsxtb16 %[a], %[a], ror #8\n\tsmlad %[s2], %[v], %[b], %[s2]\n\t"        \
          "sxtb16 %[b], %[b], ror #8\n\tsmlad %[s1], %[v], %[a], %[s1]\n\tsmlad %[s3], %[v], %[b], %[s3]"            \
          : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [v] "=&r"(v), [a] "=&r"(a), [b] "=&r"(b)     \
          : [in] "r"(in), [w] "r"(w), [at] "i"(4 * (u)), [at_a] "i"(8 * (u)), [at_b] "i"(8 * (u) + 4)                \
          : "memory")
#define policy_odd(w) ((uint32_t)__builtin_arm_sxtb16((int32_t)((w) >> 8 | (w) << 24)))
#else
#define POLICY_PAIR(u)                                                                             \
  (v = policy_load_word(in + 2 * (u)), a = policy_load_word(w + 8 * (u)), b = policy_load_word(w + 8 * (u) + 4), \
   s0 = policy_smlad(v, a, s0), s1 = policy_smlad(v, policy_odd(a), s1), s2 = policy_smlad(v, b, s2),            \
   s3 = policy_smlad(v, policy_odd(b), s3))
/* Bytes 1 and 3 as two halves with their signs. */
static inline uint32_t policy_odd(uint32_t w) {
  return ((uint32_t)(int32_t)(int8_t)(w >> 8) & 0xffffu) | (uint32_t)(int32_t)(int8_t)(w >> 24) << 16;
}
#endif
/* sum[rows] of pairs of inputs; returns the weights of the next row. */
POLICY_APART static const uint8_t *policy_sums_pairs(const uint8_t *w, const int16_t *x, int pairs, int rows, uint32_t *sum) {
  const uint32_t all = 0u - 128u * policy_sum_of_pairs(x, pairs);
  uint32_t v, a, b;
  for (; rows > 2; rows -= 4, sum += 4) {
    uint32_t s0 = all, s1 = 0, s2 = all, s3 = 0;
    const int16_t *in = x;
    int n = pairs;
    POLICY_ROLLED
    for (; n >= 4; n -= 4, in += 8, w += 32) {
      POLICY_PAIR(0);
      POLICY_PAIR(1);
      POLICY_PAIR(2);
      POLICY_PAIR(3);
    }
    if (n & 2) {
      POLICY_PAIR(0);
      POLICY_PAIR(1);
      in += 4;
      w += 16;
    }
    if (n & 1) {
      POLICY_PAIR(0);
      w += 8;
    }
    sum[0] = s0 - 256u * s1;
    sum[1] = s1;
    sum[2] = s2 - 256u * s3;
    sum[3] = s3;
  }
  if (rows > 0) {
    uint32_t s0 = all, s1 = 0;
    POLICY_ROLLED
    for (int i = 0; i < pairs; ++i, w += 4) {
      v = policy_load_word(x + 2 * i);
      a = policy_load_word(w);
      s0 = policy_smlad(v, a, s0);
      s1 = policy_smlad(v, policy_odd(a), s1);
    }
    sum[0] = s0 - 256u * s1;
    sum[1] = s1;
  }
  return w;
}
