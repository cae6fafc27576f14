/* POLICY_LANES int8 weights as floats. Clang converts the vector in one step; GCC (12) does that number by number,
   but turns this loop into one widening load. */
#if POLICY_LANES > 1 && defined(__clang__)
typedef int8_t policy_bytes __attribute__((vector_size(POLICY_LANES), aligned(1), may_alias));
#define policy_load_int8(p) __builtin_convertvector(*(const policy_bytes *)(p), policy_vec)
#elif POLICY_LANES > 1
typedef int32_t policy_ints __attribute__((vector_size(4 * POLICY_LANES)));
static inline policy_vec policy_load_int8(const int8_t *p) {
  policy_ints wide;
  for (int k = 0; k < POLICY_LANES; ++k) wide[k] = p[k];
  return __builtin_convertvector(wide, policy_vec);
}
#else
#define policy_load_int8(p) ((float)*(p))
#endif
