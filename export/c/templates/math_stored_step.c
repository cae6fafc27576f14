/* The nearest step: v holds a half more than the value, and 2^bits to a step. */
static inline int32_t policy_stored_step(int32_t v, int bits, int32_t low, int32_t high) {
  const int32_t step = v >> bits;
  return step < low ? low : step > high ? high : step;
}
