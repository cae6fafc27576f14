typedef union { float value; uint32_t bits; } policy_float;

/* exp(x) = scale * (1 + rest) for |x| <= 87: x = n ln2 + r, scale = 2^n, rest = exp(r) - 1 with the polynomial of
   Cephes (expf.c, S. Moshier). Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
   Relative error of scale * (1 + rest): at most 2e-7. */
static inline float policy_exp_rest(float x, float *scale) {
  policy_float shifted, power;
  shifted.value = x * 1.44269504088896341f + 12582912.0f;
  const float n = shifted.value - 12582912.0f;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  power.bits = (shifted.bits + 127u) << 23;
  *scale = power.value;
  return p * (r * r) + r;
}
