/* Sums of integer products, four rows at a time, weights of 2 bits: u = w + 2 without a sign. A word holds those of four inputs:
   of two in the lower bytes of its halves, of the next two in the upper ones. A row is sum x u - 2 sum x, modulo 2^32. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
#define POLICY_2_BITS(in, at, a)                                                                   \
  __asm__("ldr %[v], [%[x], %[place]]\n\t"                                                         \
          "and %[t], %[m], %[word]\n\tsmlad %[s0], %[v], %[t], %[s0]\n\t"                          \
          "and %[t], %[m], %[word], lsr #2\n\tsmlad %[s1], %[v], %[t], %[s1]\n\t"                  \
          "and %[t], %[m], %[word], lsr #4\n\tsmlad %[s2], %[v], %[t], %[s2]\n\t"                  \
          "and %[t], %[m], %[word], lsr #6\n\tsmlad %[s3], %[v], %[t], %[s3]"                      \
          : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [v] "=&r"(v), [t] "=&r"(t) \
          : [x] "r"(in), [word] "r"(a), [m] "r"(0x00030003u), [place] "i"(4 * (at))                \
          : "memory")
#define POLICY_2_BITS_UP(in, at, a)                                                                \
  __asm__("ldr %[v], [%[x], %[place]]\n\t"                                                         \
          "and %[t], %[m], %[word], lsr #8\n\tsmlad %[s0], %[v], %[t], %[s0]\n\t"                  \
          "and %[t], %[m], %[word], lsr #10\n\tsmlad %[s1], %[v], %[t], %[s1]\n\t"                 \
          "and %[t], %[m], %[word], lsr #12\n\tsmlad %[s2], %[v], %[t], %[s2]\n\t"                 \
          "and %[t], %[m], %[word], lsr #14\n\tsmlad %[s3], %[v], %[t], %[s3]"                     \
          : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [v] "=&r"(v), [t] "=&r"(t) \
          : [x] "r"(in), [word] "r"(a), [m] "r"(0x00030003u), [place] "i"(4 * (at))                \
          : "memory")
#else
#define POLICY_2_BITS(in, at, a)                                                              \
  (t = 0x00030003u, v = policy_load_word((in) + 2 * (at)), s0 = policy_smlad(v, (a) & t, s0), \
   s1 = policy_smlad(v, (a) >> 2 & t, s1), s2 = policy_smlad(v, (a) >> 4 & t, s2),            \
   s3 = policy_smlad(v, (a) >> 6 & t, s3))
#define POLICY_2_BITS_UP(in, at, a)                                                                \
  (t = 0x00030003u, v = policy_load_word((in) + 2 * (at)), s0 = policy_smlad(v, (a) >> 8 & t, s0), \
   s1 = policy_smlad(v, (a) >> 10 & t, s1), s2 = policy_smlad(v, (a) >> 12 & t, s2),               \
   s3 = policy_smlad(v, (a) >> 14 & t, s3))
#endif
/* sum[rows], and up to three more, of pairs of inputs; returns the weights of the next row. */
POLICY_APART static const uint16_t *policy_sums_2bits_pairs(const uint16_t *w, const int16_t *x, int pairs, int rows,
                                                          uint32_t *sum) {
  const uint32_t all = 0u - 2u * policy_sum_of_pairs(x, pairs);
  for (; rows > 0; rows -= 4, sum += 4) {
    uint32_t s0 = all, s1 = all, s2 = all, s3 = all, v, t;
    const int16_t *in = x;
    int n = pairs;
    POLICY_ROLLED
    for (; n >= 4; n -= 4, in += 8, w += 4) {
      const uint32_t a = policy_load_word(w), b = policy_load_word(w + 2);
      POLICY_2_BITS(in, 0, a);
      POLICY_2_BITS_UP(in, 1, a);
      POLICY_2_BITS(in, 2, b);
      POLICY_2_BITS_UP(in, 3, b);
    }
    POLICY_ROLLED
    for (; n > 0; n -= 2, in += 4, w += 2) {
      const uint32_t a = policy_load_word(w);
      POLICY_2_BITS(in, 0, a);
      if (n > 1) POLICY_2_BITS_UP(in, 1, a);
    }
    sum[0] = s0;
    sum[1] = s1;
    sum[2] = s2;
    sum[3] = s3;
  }
  return w;
}
