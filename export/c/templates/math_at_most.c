static inline float policy_at_most(float x, float high) { return x > high ? high : x; }
