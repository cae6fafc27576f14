/* A float16, given as its bits, exactly; never infinite, never NaN. */
static inline float policy_half(uint16_t bits) {
#if defined(__ARM_FP16_FORMAT_IEEE) && defined(__ARM_FP)
  union {
    uint16_t bits;
    __fp16 value;
  } half;
  half.bits = bits;
  return (float)half.value;
#else
  const uint32_t size = bits & 0x7fffu;
  policy_bits wide;
  if (size < 0x400u)
    wide.value = (float)(int32_t)size * 5.9604644775390625e-8f; /* below the smallest exponent: steps of 2^-24 */
  else
    wide.bits = (size << 13) + 0x38000000u;
  wide.bits |= (uint32_t)(bits & 0x8000u) << 16;
  return wide.value;
#endif
}
