/* A vector of 32-bit sums. What adds to it takes the products of two 16-bit or four 8-bit neighbors at once; where the processor
   has no instruction for that, a loop gives the same numbers. Little-endian, as the neighbors are loaded as one word. */
#if POLICY_LANES > 1
typedef int32_t policy_ivec __attribute__((vector_size(4 * POLICY_LANES)));
typedef int32_t __attribute__((may_alias, aligned(1))) policy_neighbors;
#define policy_lane(v, k) ((v)[k])
#define policy_to_float(v) __builtin_convertvector(v, policy_vec)
#define policy_load_neighbors(p) (*(const policy_neighbors *)(const void *)(p))
#else
typedef int32_t policy_ivec;
#define policy_lane(v, k) (v)
#define policy_to_float(v) ((float)(v))
static inline int32_t policy_load_neighbors(const void *p) {
  const unsigned char *b = (const unsigned char *)p;
  return (int32_t)((uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
}
#endif
static inline policy_ivec policy_no_sum(void) { return (policy_ivec)policy_zero(); }
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif
