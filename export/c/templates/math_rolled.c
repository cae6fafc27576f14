/* POLICY_APART: one copy of a function that several layers call, with all registers for itself. POLICY_ROLLED before a loop: it
   is not unrolled, as that would cost more flash than it saves time. */
#if defined(__GNUC__)
#define POLICY_APART __attribute__((noinline))
#else
#define POLICY_APART
#endif
#if defined(__clang__)
#define POLICY_ROLLED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define POLICY_ROLLED _Pragma("GCC unroll 1")
#else
#define POLICY_ROLLED
#endif
