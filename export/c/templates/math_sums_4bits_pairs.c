/* Sums of integer products, four rows at a time, weights of 4 bits: u = w + 8 without a sign. A word holds those of two inputs,
   one in each half, row k from bit 4 k on: one AND with a shifted operand feeds one SMLAD of two products. A row is
   sum x u - 8 sum x, modulo 2^32. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
#define POLICY_4_BITS(in, at, a)                                                                   \
  __asm__("ldr %[v], [%[x], %[place]]\n\t"                                                         \
          "and %[t], %[m], %[word]\n\tsmlad %[s0], %[v], %[t], %[s0]\n\t"                          \
          "and %[t], %[m], %[word], lsr #4\n\tsmlad %[s1], %[v], %[t], %[s1]\n\t"                  \
          "and %[t], %[m], %[word], lsr #8\n\tsmlad %[s2], %[v], %[t], %[s2]\n\t"                  \
          "and %[t], %[m], %[word], lsr #12\n\tsmlad %[s3], %[v], %[t], %[s3]"                     \
          : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [v] "=&r"(v), [t] "=&r"(t) \
          : [x] "r"(in), [word] "r"(a), [m] "r"(0x000f000fu), [place] "i"(4 * (at))                \
          : "memory")
#else
#define POLICY_4_BITS(in, at, a)                                                              \
  (t = 0x000f000fu, v = policy_load_word((in) + 2 * (at)), s0 = policy_smlad(v, (a) & t, s0), \
   s1 = policy_smlad(v, (a) >> 4 & t, s1), s2 = policy_smlad(v, (a) >> 8 & t, s2),            \
   s3 = policy_smlad(v, (a) >> 12 & t, s3))
#endif
/* sum[rows], and up to three more, of pairs of inputs; returns the weights of the next row. */
POLICY_APART static const uint16_t *policy_sums_4bits_pairs(const uint16_t *w, const int16_t *x, int pairs, int rows,
                                                          uint32_t *sum) {
  const uint32_t all = 0u - 8u * policy_sum_of_pairs(x, pairs);
  for (; rows > 0; rows -= 4, sum += 4) {
    uint32_t s0 = all, s1 = all, s2 = all, s3 = all, v, t;
    const int16_t *in = x;
    int n = pairs;
    POLICY_ROLLED
    for (; n >= 4; n -= 4, in += 8, w += 8) {
      const uint32_t a = policy_load_word(w), b = policy_load_word(w + 2);
      const uint32_t c = policy_load_word(w + 4), d = policy_load_word(w + 6);
      POLICY_4_BITS(in, 0, a);
      POLICY_4_BITS(in, 1, b);
      POLICY_4_BITS(in, 2, c);
      POLICY_4_BITS(in, 3, d);
    }
    POLICY_ROLLED
    for (; n > 0; --n, in += 2, w += 2) {
      const uint32_t a = policy_load_word(w);
      POLICY_4_BITS(in, 0, a);
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
  }
  return w;
}
