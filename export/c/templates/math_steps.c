/* Rows of a layer that end on a grid. A row has a multiplier and an offset that make its sum v, 2^bits to a step and a half step
   more, so that a shift rounds to the nearest. */
POLICY_APART static void policy_steps(const uint32_t *sum, const int32_t *row, int rows, int shift, int bits, int32_t low,
                                      int32_t high, int16_t *y) {
  POLICY_ROLLED
  for (int k = 0; k < rows; ++k) {
    const int32_t step = (policy_scaled((int32_t)sum[k], row[2 * k], shift) + row[2 * k + 1]) >> bits;
    y[k] = (int16_t)(step < low ? low : step > high ? high : step);
  }
}
