/* Two float16 that lie side by side, in one load: two conversions of the FPU, where it has them. */
#if defined(__GNUC__) && defined(__ARM_FP16_FORMAT_IEEE) && defined(__ARM_FP) && !defined(__aarch64__)
typedef float __attribute__((may_alias)) policy_two;
#define policy_load_two(p) (*(const policy_two *)(const void *)(p))
static inline float policy_low(float two) {
  float value;
  __asm__("vcvtb.f32.f16 %0, %1" : "=t"(value) : "t"(two));
  return value;
}
static inline float policy_high(float two) {
  float value;
  __asm__("vcvtt.f32.f16 %0, %1" : "=t"(value) : "t"(two));
  return value;
}
#else
typedef uint32_t policy_two;
#define policy_load_two(p) ((uint32_t)(p)[0] | (uint32_t)(p)[1] << 16)
#define policy_low(two) policy_half((uint16_t)((two) & 0xffffu))
#define policy_high(two) policy_half((uint16_t)((two) >> 16))
#endif
