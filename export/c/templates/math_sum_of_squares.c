/* Sum of (x - mean)^2 over n values, in eight interleaved partial sums. */
static inline float policy_sum_of_squares(const float *x, float mean, int n) {
  float part[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
  int i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) part[k] += (x[i + k] - mean) * (x[i + k] - mean);
  for (; i < n; ++i) part[0] += (x[i] - mean) * (x[i] - mean);
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}
