/* y[i] = tanh(x[i]) for n values; y may be x. Four at a time in the same steps, so that no step waits for the one
   before it, and with one division for the four: y0 = p0 / q0 = p0 q1 (q2 q3) / (q0 q1 q2 q3). Denominators lie between
   4e6 and 8e8, their product is far from both ends of a float's range. Absolute error at most 5e-7, as of policy_tanh;
   a NaN makes its three neighbours NaN as well. */
#define POLICY_FOUR(a) POLICY_TOGETHER(POLICY_IN_REGISTER(a##0), POLICY_IN_REGISTER(a##1), POLICY_IN_REGISTER(a##2), POLICY_IN_REGISTER(a##3))
#define POLICY_EACH(a, op, b) a##0 op b##0; a##1 op b##1; a##2 op b##2; a##3 op b##3; POLICY_FOUR(a)
#define POLICY_ALL(a, op, c) a##0 op c; a##1 op c; a##2 op c; a##3 op c; POLICY_FOUR(a)
#define POLICY_CLAMP(x, s) if (s > 62.41f) { x = x < 0.0f ? -7.9f : 7.9f; s = 62.41f; }
#if defined(__GNUC__)
__attribute__((noinline))
#endif
static void policy_tanh_many(const float *x, float *y, int n) {
  int i = 0;
  for (; i + 4 <= n; i += 4) {
    float x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
    POLICY_FOUR(x);
    float s0 = x0 * x0, s1 = x1 * x1, s2 = x2 * x2, s3 = x3 * x3;
    POLICY_FOUR(s);
    POLICY_CLAMP(x0, s0)
    POLICY_CLAMP(x1, s1)
    POLICY_CLAMP(x2, s2)
    POLICY_CLAMP(x3, s3)
    float q0 = s0 + 971.445801f, q1 = s1 + 971.445801f, q2 = s2 + 971.445801f, q3 = s3 + 971.445801f;
    POLICY_FOUR(q);
    POLICY_EACH(q, *=, s);
    POLICY_ALL(q, +=, 97075.0f);
    POLICY_EACH(q, *=, s);
    POLICY_ALL(q, +=, 1886991.88f);
    POLICY_EACH(q, *=, s);
    POLICY_ALL(q, +=, 4079645.75f);
    float p0 = s0 * 46.4861984f, p1 = s1 * 46.4861984f, p2 = s2 * 46.4861984f, p3 = s3 * 46.4861984f;
    POLICY_FOUR(p);
    POLICY_ALL(p, +=, 12020.6006f);
    POLICY_EACH(p, *=, s);
    POLICY_ALL(p, +=, 527119.125f);
    POLICY_EACH(p, *=, s);
    POLICY_ALL(p, +=, 4079643.5f);
    POLICY_EACH(p, *=, x);
    const float a = q0 * q1, b = q2 * q3;
    p0 *= q1;
    p1 *= q0;
    const float r = 1.0f / (a * b);
    p2 *= q3;
    p3 *= q2;
    const float ra = r * b, rb = r * a;
    y[i] = p0 * ra;
    y[i + 1] = p1 * ra;
    y[i + 2] = p2 * rb;
    y[i + 3] = p3 * rb;
  }
  for (; i < n; ++i) y[i] = policy_tanh(x[i]);
}
