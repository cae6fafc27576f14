/* Sums of integer products, four rows at a time, weights of 3 bits: u = w + 4 without a sign, the four of an input in 12 bits.
   Six inputs have 16 bits each, and the upper 4 of these hold two inputs more; what is left of the inputs has 16 bits each.
   Shifts alone take the rows apart: with A_k the sum of x times all bits from row k on, row k is A_k - 8 A_(k+1). A row is
   sum x u - 4 sum x, modulo 2^32. */
#if defined(__GNUC__) && defined(__ARM_ARCH_6M__)
/* Written out, as compilers keep sums in memory: r0 weights, r1 inputs, r2 bits of four rows, r3 an input, r4 bits from a row on,
   r8 and r5 to r7 the sums A_0 to A_3. */
#define POLICY_ROWS_3(x)                                       \
  "ldrh r3, [r1, #" x "]\n\tsxth r3, r3\n\t"                   \
  "lsrs r4, r2, #23\n\tmuls r4, r3, r4\n\tadds r5, r5, r4\n\t" \
  "lsrs r4, r2, #26\n\tmuls r4, r3, r4\n\tadds r6, r6, r4\n\t" \
  "lsrs r4, r2, #29\n\tmuls r4, r3, r4\n\tadds r7, r7, r4\n\t" \
  "lsrs r2, r2, #20\n\tmuls r2, r3, r2\n\tadd r8, r2\n\t"
#define POLICY_INPUT_3(x, w)                                       \
  "ldrh r2, [r0, #" w "]\n\tlsls r2, r2, #20\n\t" POLICY_ROWS_3(x)
#define POLICY_REST_3(x, w0, w1, w2)                                                                                      \
  "ldrh r2, [r0, #" w0 "]\n\tlsrs r2, r2, #12\n\t"                                                                        \
  "ldrh r4, [r0, #" w1 "]\n\tlsrs r4, r4, #12\n\tlsls r4, r4, #4\n\torrs r2, r4\n\t"                                      \
  "ldrh r4, [r0, #" w2 "]\n\tlsrs r4, r4, #12\n\tlsls r4, r4, #8\n\torrs r2, r4\n\tlsls r2, r2, #20\n\t" POLICY_ROWS_3(x)
__attribute__((naked, noinline)) static const uint16_t *policy_four_rows_3bits(const uint16_t *w, const int16_t *x,
                                                                              const int16_t *end, uint32_t *sum) {
  __asm__ volatile(
      ".syntax unified\n\tpush {r3-r7, lr}\n\tmov r4, r8\n\tpush {r4}\n\tmovs r5, #0\n\tmovs r6, #0\n\tmovs r7, #0\n\t"
      "mov r8, r5\n\tmov lr, r2\n\tsubs r2, r2, r1\n\tlsrs r2, r2, #4\n\tlsls r2, r2, #4\n\tadds r2, r2, r1\n\t"
      "mov ip, r2\n\tb 2f\n1:\n\t"
      POLICY_INPUT_3("0", "0")
      POLICY_INPUT_3("2", "2")
      POLICY_INPUT_3("4", "4")
      POLICY_INPUT_3("6", "6")
      POLICY_INPUT_3("8", "8")
      POLICY_INPUT_3("10", "10")
      POLICY_REST_3("12", "0", "4", "8")
      POLICY_REST_3("14", "2", "6", "10")
      "adds r1, r1, #16\n\tadds r0, r0, #12\n2:\n\tcmp r1, ip\n\tbeq 6f\n\tb 1b\n6:\n\tb 4f\n3:\n\t"
      POLICY_INPUT_3("0", "0")
      POLICY_INPUT_3("2", "2")
      "adds r1, r1, #4\n\tadds r0, r0, #4\n4:\n\tcmp r1, lr\n\tbne 3b\n\t"
      "mov r4, r8\n\tpop {r1}\n\tpop {r3}\n\tmov r8, r1\n\tstm r3!, {r4-r7}\n\tpop {r4-r7, pc}");
}
#else
#define POLICY_3_BITS(x, bits)                                                                             \
  (v = (uint32_t)(int32_t)(x), u = (bits), s0 += v * u, s1 += v * (u >> 3), s2 += v * (u >> 6), \
   s3 += v * (u >> 9))
static inline const uint16_t *policy_four_rows_3bits(const uint16_t *w, const int16_t *x, const int16_t *end, uint32_t *sum) {
  uint32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0, v, u;
  for (; end - x >= 8; x += 8, w += 6) {
    for (int k = 0; k < 6; ++k) POLICY_3_BITS(x[k], w[k] & 0xfffu);
    for (int k = 0; k < 2; ++k)
      POLICY_3_BITS(x[6 + k], (uint32_t)w[k] >> 12 | (uint32_t)w[2 + k] >> 12 << 4 | (uint32_t)w[4 + k] >> 12 << 8);
  }
  for (; x < end; ++x, ++w) POLICY_3_BITS(*x, *w);
  sum[0] = s0;
  sum[1] = s1;
  sum[2] = s2;
  sum[3] = s3;
  return w;
}
#endif
/* sum[rows], and up to three more, of pairs of inputs; returns the weights of the next row. */
POLICY_APART static const uint16_t *policy_sums_3bits(const uint16_t *w, const int16_t *x, int pairs, int rows, uint32_t *sum) {
  uint32_t all = 0;
  POLICY_ROLLED
  for (int i = 0; i < 2 * pairs; ++i) {
    const int32_t v = x[i];
    all += (uint32_t)v;
  }
  all = 0u - 4u * all;
  for (; rows > 0; rows -= 4, sum += 4) {
    w = policy_four_rows_3bits(w, x, x + 2 * pairs, sum);
    for (int k = 0; k < 3; ++k) sum[k] += all - 8u * sum[k + 1];
    sum[3] += all;
  }
  return w;
}
