/* |x|, exact: the sign bit cleared. NaN stays NaN. */
static inline float policy_abs(float x) {
  policy_bits word;
  word.value = x;
  word.bits &= 0x7fffffffu;
  return word.value;
}
