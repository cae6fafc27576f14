/* Loads that are issued one after the other are pipelined on small cores (one cycle each on a Cortex-M4, two when
   arithmetic stands between them). An empty statement that needs all their results keeps the compiler from mixing
   them with the arithmetic; it prints no instruction. */
#if defined(__GNUC__) && defined(__ARM_FP) && !defined(__aarch64__)
#define POLICY_IN_REGISTER(x) "+t"(x)
#define POLICY_TOGETHER(...) __asm__("" : __VA_ARGS__)
#elif defined(__GNUC__) && defined(__riscv_flen)
#define POLICY_IN_REGISTER(x) "+f"(x)
#define POLICY_TOGETHER(...) __asm__("" : __VA_ARGS__)
#else
#define POLICY_TOGETHER(...)
#endif
