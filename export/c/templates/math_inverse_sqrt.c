/* 1 / sqrt(x) for normal x > 0 by four Newton steps, without libm. Relative error at most 3e-7. */
static inline float policy_inverse_sqrt(float x) {
  policy_bits guess;
  guess.value = x;
  guess.bits = 0x5f375a86u - (guess.bits >> 1);
  float y = guess.value;
  for (int k = 0; k < 4; ++k) y = y * (1.5f - 0.5f * x * y * y);
  return y;
}
