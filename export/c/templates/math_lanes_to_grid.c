/* Every lane in whole steps, half to even (by adding 1.5 * 2^23), within limits. */
static inline policy_ivec policy_lanes_to_grid(policy_vec v, float steps_per_unit, float low, float high) {
  v = policy_lanes_at_least(v * steps_per_unit, low);
  v = policy_lanes_at_most(v, high) + 12582912.0f;
#if POLICY_LANES > 1
  return (policy_ivec)v - 0x4b400000;
#else
  return (policy_ivec)(v - 12582912.0f);
#endif
}
