/* Sums of integer products, four rows at a time, weights of 4 bits: u = w + 8 without a sign, the four of an input in 16 bits.
   Shifts alone take the rows apart: with A_k the sum of x times all bits from row k on, row k is A_k - 16 A_(k+1). A row is
   sum x u - 8 sum x, modulo 2^32. */
#if defined(__GNUC__) && defined(__ARM_ARCH_6M__)
/* Written out, as compilers keep sums in memory: r0 weights, r1 inputs, r2 bits of four rows, r3 an input, r4 bits from a row on,
   r8 and r5 to r7 the sums A_0 to A_3. */
#define POLICY_ROWS_4(x)                                       \
  "ldrh r3, [r1, #" x "]\n\tsxth r3, r3\n\t"                   \
  "lsrs r4, r2, #4\n\tmuls r4, r3, r4\n\tadds r5, r5, r4\n\t"  \
  "lsrs r4, r2, #8\n\tmuls r4, r3, r4\n\tadds r6, r6, r4\n\t"  \
  "lsrs r4, r2, #12\n\tmuls r4, r3, r4\n\tadds r7, r7, r4\n\t" \
  "muls r2, r3, r2\n\tadd r8, r2\n\t"
#define POLICY_INPUT_4(x, w)                   \
  "ldrh r2, [r0, #" w "]\n\t" POLICY_ROWS_4(x)
__attribute__((naked, noinline)) static const uint16_t *policy_four_rows_4bits(const uint16_t *w, const int16_t *x,
                                                                              const int16_t *end, uint32_t *sum) {
  __asm__ volatile(
      ".syntax unified\n\tpush {r3-r7, lr}\n\tmov r4, r8\n\tpush {r4}\n\tmovs r5, #0\n\tmovs r6, #0\n\tmovs r7, #0\n\t"
      "mov r8, r5\n\tmov lr, r2\n\tsubs r2, r2, r1\n\tlsrs r2, r2, #4\n\tlsls r2, r2, #4\n\tadds r2, r2, r1\n\t"
      "mov ip, r2\n\tb 2f\n1:\n\t"
      POLICY_INPUT_4("0", "0")
      POLICY_INPUT_4("2", "2")
      POLICY_INPUT_4("4", "4")
      POLICY_INPUT_4("6", "6")
      POLICY_INPUT_4("8", "8")
      POLICY_INPUT_4("10", "10")
      POLICY_INPUT_4("12", "12")
      POLICY_INPUT_4("14", "14")
      "adds r1, r1, #16\n\tadds r0, r0, #16\n2:\n\tcmp r1, ip\n\tbne 1b\n\tb 4f\n3:\n\t"
      POLICY_INPUT_4("0", "0")
      POLICY_INPUT_4("2", "2")
      "adds r1, r1, #4\n\tadds r0, r0, #4\n4:\n\tcmp r1, lr\n\tbne 3b\n\t"
      "mov r4, r8\n\tpop {r1}\n\tpop {r3}\n\tmov r8, r1\n\tstm r3!, {r4-r7}\n\tpop {r4-r7, pc}");
}
#else
#define POLICY_4_BITS(x, bits)                                                                             \
  (v = (uint32_t)(int32_t)(x), u = (bits), s0 += v * u, s1 += v * (u >> 4), s2 += v * (u >> 8), \
   s3 += v * (u >> 12))
static inline const uint16_t *policy_four_rows_4bits(const uint16_t *w, const int16_t *x, const int16_t *end, uint32_t *sum) {
  uint32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, v, u;
  for (; x < end; ++x, ++w) POLICY_4_BITS(*x, *w);
  sum[0] = s0;
  sum[1] = s1;
  sum[2] = s2;
  sum[3] = s3;
  return w;
}
#endif
/* sum[rows], and up to three more, of pairs of inputs; returns the weights of the next row. */
POLICY_APART static const uint16_t *policy_sums_4bits(const uint16_t *w, const int16_t *x, int pairs, int rows, uint32_t *sum) {
  uint32_t all = 0;
  POLICY_ROLLED
  for (int i = 0; i < 2 * pairs; ++i) {
    const int32_t v = x[i];
    all += (uint32_t)v;
  }
  all = 0u - 8u * all;
  for (; rows > 0; rows -= 4, sum += 4) {
    w = policy_four_rows_4bits(w, x, x + 2 * pairs, sum);
    for (int k = 0; k < 3; ++k) sum[k] += all - 16u * sum[k + 1];
    sum[3] += all;
  }
  return w;
}
