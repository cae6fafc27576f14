/* exp(x) = scale * (1 + rest) for |x| <= 87: x = n ln2 + r, scale = 2^n, rest = exp(r) - 1 by a minimax polynomial
   (our own fit, even and odd powers apart; ln2 in two parts as in Cephes' expf.c, S. Moshier). Adding 1.5 * 2^23
   rounds to the nearest integer and leaves it in the low bits. Relative error of scale * (1 + rest): at most 2e-7. */
static inline float policy_exp_rest(float x, float *scale) {
  policy_bits shifted, power;
  shifted.value = x * 1.44269504088896341f + 12582912.0f;
  const float n = shifted.value - 12582912.0f;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  const float s = r * r;
  const float odd = s * 8.36651586e-3f + 1.66665435e-1f;
  const float even = (s * 1.38825376e-3f + 4.16672006e-2f) * s + 4.9999997e-1f;
  power.bits = (shifted.bits + 127u) << 23;
  *scale = power.value;
  return (odd * r + even) * s + r;
}
