/* Start of a core: stack, static data, floating point, then an idle loop. */
#include <stdint.h>

extern uint32_t _data_load, _data_start, _data_end, _bss_start, _bss_end, _stack_top;

void Reset_Handler(void);
void pilotfish_start(void);
void pilotfish_idle(void);
#if defined(PILOTFISH_MAIN)
int main(void);
#endif

__attribute__((noinline, used)) void pilotfish_idle(void) {
  for (;;) __asm__ volatile("");
}

__attribute__((used)) void pilotfish_start(void) {
  /* volatile: keeps the compiler from turning the loops into calls of memcpy and memset. */
  volatile uint32_t *to = &_data_start;
  const volatile uint32_t *from = &_data_load;
  while (to < &_data_end) *to++ = *from++;
  for (to = &_bss_start; to < &_bss_end;) *to++ = 0;
#if defined(PILOTFISH_MAIN)
  main();
#endif
  pilotfish_idle();
}

#if defined(__riscv)

/* The core starts here: it has no vector table that would set the stack pointer. */
__attribute__((naked, used, section(".vectors"))) void Reset_Handler(void) {
  __asm__ volatile(
      "la sp, _stack_top\n\t"
#if defined(__riscv_flen)
      /* mstatus.FS = dirty: floating point on (RISC-V privileged architecture, mstatus). */
      "li t0, 0x6000\n\t"
      "csrs mstatus, t0\n\t"
#endif
      "j pilotfish_start");
}

#elif defined(__aarch64__)

__attribute__((naked, used, section(".vectors"))) void Reset_Handler(void) {
  __asm__ volatile(
      "adrp x0, _stack_top\n\t"
      "add x0, x0, :lo12:_stack_top\n\t"
      "mov sp, x0\n\t"
      "b pilotfish_start");
}

#else

static void stuck(void) {
  for (;;) __asm__ volatile("");
}

__attribute__((used)) void Reset_Handler(void) {
#if defined(__ARM_FP)
  /* CPACR: full access to the coprocessors 10 and 11, the FPU (Armv7-M ARM, B3.2.20). */
  *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  pilotfish_start();
}

typedef union {
  const void *stack;
  void (*handler)(void);
} vector_t;

/* Initial stack, reset, and the system exceptions up to SysTick (Armv7-M ARM, B1.5.2). */
__attribute__((used, section(".vectors"))) const vector_t vectors[16] = {
    {.stack = &_stack_top}, {.handler = Reset_Handler}, {.handler = stuck}, {.handler = stuck},
    {.handler = stuck},     {.handler = stuck},         {.handler = stuck}, {.handler = stuck},
    {.handler = stuck},     {.handler = stuck},         {.handler = stuck}, {.handler = stuck},
    {.handler = stuck},     {.handler = stuck},         {.handler = stuck}, {.handler = stuck}};

#endif
