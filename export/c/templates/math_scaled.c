/* (x * m) >> s for 16 <= s <= 31, |x| below 2^(s-1) and m below 2^30: the upper half of a product of 64 bits. A processor that
   multiplies 32 bits by 32 to 32 only does the same, to the bit, in four products. */
static inline int32_t policy_scaled(int32_t x, int32_t m, int s) {
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
  const int32_t xh = x >> 16, mh = m >> 16;
  const uint32_t xl = (uint32_t)x & 0xffffu, ml = (uint32_t)m & 0xffffu;
  const int32_t middle = xh * (int32_t)ml + (int32_t)xl * mh + (int32_t)((xl * ml) >> 16);
  return (int32_t)((uint32_t)(xh * mh) << (32 - s)) + (middle >> (s - 16));
#else
  return (int32_t)(((int64_t)(int32_t)((uint32_t)x << (32 - s)) * m) >> 32);
#endif
}
