/* Vector registers, where the compiler has them; single floats elsewhere: the code that uses them is the same. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__) || defined(__ARM_NEON))
#if defined(__AVX512F__) && POLICY_WIDEST >= 16
#define POLICY_LANES 16
#elif defined(__AVX__) && POLICY_WIDEST >= 8
#define POLICY_LANES 8
#else
#define POLICY_LANES 4
#endif
typedef float policy_vec __attribute__((vector_size(4 * POLICY_LANES)));
typedef float policy_vec_anywhere __attribute__((vector_size(4 * POLICY_LANES), aligned(4), may_alias));
#define policy_load(p) ((policy_vec)(*(const policy_vec_anywhere *)(p)))
#define policy_store(p, v) (*(policy_vec_anywhere *)(p) = (v))
#else
#define POLICY_LANES 1
typedef float policy_vec;
#define policy_load(p) (*(p))
#define policy_store(p, v) (*(p) = (v))
#endif
static inline policy_vec policy_zero(void) {
  policy_vec zero = {0.0f};
  return zero;
}
/* After POLICY_UNKNOWN the compiler no longer knows where p points to. It then reads a number that it has just stored
   back from memory, repeated in all lanes by one load; from the stored register that takes two or three instructions. */
#if defined(__GNUC__)
#define POLICY_UNKNOWN(p) __asm__("" : "+r"(p))
#else
#define POLICY_UNKNOWN(p)
#endif
