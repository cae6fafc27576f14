/* Two 16-bit multiply-adds at once: one instruction where the processor has it, the same numbers in plain C elsewhere.
   Little-endian: the first of two neighbors is the low half. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the weights are packed for a little-endian processor"
#endif
#if defined(__GNUC__)
typedef uint32_t __attribute__((may_alias)) policy_word;
#define policy_load_word(p) (*(const policy_word *)(const void *)(p))
#define POLICY_HELD(...) __asm__("" : __VA_ARGS__)
#else
static inline uint32_t policy_load_word(const void *p) {
  const unsigned char *b = (const unsigned char *)p;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
#define POLICY_HELD(...)
#endif
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(__aarch64__)
#define policy_even(w) ((uint32_t)__builtin_arm_sxtb16((int32_t)(w)))
#define policy_odd(w) ((uint32_t)__builtin_arm_sxtb16((int32_t)((w) >> 8 | (w) << 24)))
#define policy_smlad(a, b, sum) __builtin_arm_smlad((int32_t)(a), (int32_t)(b), sum)
#else
/* Bytes 0 and 2, or 1 and 3, as two halves with their signs. */
static inline uint32_t policy_even(uint32_t w) {
  return ((uint32_t)(int32_t)(int8_t)w & 0xffffu) | (uint32_t)(int32_t)(int8_t)(w >> 16) << 16;
}
static inline uint32_t policy_odd(uint32_t w) { return policy_even(w >> 8); }
static inline int32_t policy_smlad(uint32_t a, uint32_t b, int32_t sum) {
  return sum + (int16_t)a * (int16_t)b + (int16_t)(a >> 16) * (int16_t)(b >> 16);
}
#endif
