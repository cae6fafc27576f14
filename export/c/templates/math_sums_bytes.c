/* Sums of integer products, four rows at a time: bytes u = w + 128 without a sign, as Thumb-1 loads them at an immediate
   offset; a row is sum x u - 128 sum x, modulo 2^32. */
#if defined(__GNUC__) && defined(__ARM_ARCH_6M__)
/* Written out: four sums, an input, a weight and two pointers fill the eight registers that Thumb-1 calculates with, and
   compilers keep one of them to themselves. r0 weights, r1 inputs, r2 their end, r3 sums: where they start, then results. */
#define POLICY_ROW(at, sum) "ldrb r2, [r0, #" at "]\n\tmuls r2, r3, r2\n\tadds " sum ", " sum ", r2\n\t"
#define POLICY_INPUT(x, w0, w1, w2, w3) \
  "ldrh r3, [r1, #" x "]\n\tsxth r3, r3\n\t" POLICY_ROW(w0, "r4") POLICY_ROW(w1, "r5") POLICY_ROW(w2, "r6") POLICY_ROW(w3, "r7")
__attribute__((naked, noinline)) static const uint8_t *policy_four_rows(const uint8_t *w, const int16_t *x,
                                                                        const int16_t *end, uint32_t *sum) {
  __asm__ volatile(
      ".syntax unified\n\tpush {r3-r7, lr}\n\tldm r3!, {r4-r7}\n\tmov lr, r2\n\tsubs r2, r2, r1\n\t"
      "lsrs r2, r2, #4\n\tlsls r2, r2, #4\n\tadds r2, r2, r1\n\tmov ip, r2\n\tb 2f\n1:\n\t"
      POLICY_INPUT("0", "0", "1", "2", "3")
      POLICY_INPUT("2", "4", "5", "6", "7")
      POLICY_INPUT("4", "8", "9", "10", "11")
      POLICY_INPUT("6", "12", "13", "14", "15")
      POLICY_INPUT("8", "16", "17", "18", "19")
      POLICY_INPUT("10", "20", "21", "22", "23")
      POLICY_INPUT("12", "24", "25", "26", "27")
      POLICY_INPUT("14", "28", "29", "30", "31")
      "adds r1, r1, #16\n\tadds r0, r0, #32\n2:\n\tcmp r1, ip\n\tbne 1b\n\tb 4f\n3:\n\t"
      POLICY_INPUT("0", "0", "1", "2", "3")
      "adds r1, r1, #2\n\tadds r0, r0, #4\n4:\n\tcmp r1, lr\n\tbne 3b\n\t"
      "pop {r3}\n\tstm r3!, {r4-r7}\n\tpop {r4-r7, pc}");
}
#else
static inline const uint8_t *policy_four_rows(const uint8_t *w, const int16_t *x, const int16_t *end, uint32_t *sum) {
  uint32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  for (; x < end; ++x, w += 4) {
    const uint32_t v = (uint32_t)(int32_t)*x;
    s0 += v * w[0];
    s1 += v * w[1];
    s2 += v * w[2];
    s3 += v * w[3];
  }
  sum[0] = s0;
  sum[1] = s1;
  sum[2] = s2;
  sum[3] = s3;
  return w;
}
#endif
/* sum[rows], and up to three more; returns the weights of the next row. */
POLICY_APART static const uint8_t *policy_sums_bytes(const uint8_t *w, const int16_t *x, int inputs, int rows, uint32_t *sum) {
  uint32_t all = 0;
  POLICY_ROLLED
  for (int i = 0; i < inputs; ++i) {
    const int32_t v = x[i];
    all += (uint32_t)v;
  }
  all = 0u - 128u * all;
  for (; rows > 0; rows -= 4, sum += 4) {
    sum[0] = sum[1] = sum[2] = sum[3] = all;
    w = policy_four_rows(w, x, x + inputs, sum);
  }
  return w;
}
