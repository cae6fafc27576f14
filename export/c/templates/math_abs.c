static inline float policy_abs(float x) { return x < 0.0f ? -x : x; }
