/* Every lane, less than 2^22 in size, to the nearest integer, half to even (by adding 1.5 * 2^23). */
static inline policy_ivec policy_lanes_round(policy_vec v) {
  v += 12582912.0f;
#if POLICY_LANES > 1
  return (policy_ivec)v - 0x4b400000;
#else
  return (policy_ivec)(v - 12582912.0f);
#endif
}
