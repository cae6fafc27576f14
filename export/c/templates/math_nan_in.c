/* NaN if one of n values is NaN, else 0: integers cannot carry it, and a broken sensor must not look like a healthy action. */
static inline float policy_nan_in(const float *x, int n) {
  uint32_t broken = 0;
  policy_bits one;
  POLICY_ROLLED
  for (int i = 0; i < n; ++i) {
    one.value = x[i];
    broken |= (uint32_t)(one.bits << 1 > 0xff000000u);
  }
  one.bits = broken ? 0x7fc00000u : 0u;
  return one.value;
}
