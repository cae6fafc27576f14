#if POLICY_LANES > 1
typedef int8_t policy_bytes __attribute__((vector_size(POLICY_LANES), aligned(1), may_alias));
#define policy_load_int8(p) __builtin_convertvector(*(const policy_bytes *)(p), policy_vec)
#else
#define policy_load_int8(p) ((float)*(p))
#endif
