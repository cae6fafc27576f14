/* Times a policy from C, in groups of calls: the one stopwatch of every compiled contestant. */
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef void (*step_t)(const float *obs, float *state, float *action);

static double wall_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

#if defined(__x86_64__)
#include <x86intrin.h>
/* Fenced, so that no instruction of the call is counted before or after it. */
static inline uint64_t before(void) {
  _mm_lfence();
  const uint64_t ticks = __rdtsc();
  _mm_lfence();
  return ticks;
}
static inline uint64_t after(void) {
  unsigned int core;
  const uint64_t ticks = __rdtscp(&core);
  _mm_lfence();
  return ticks;
}
static inline void fence(void) { _mm_lfence(); }
/* Nanoseconds of a tick, over ``milliseconds`` of the system's clock. */
double timer_tick_ns(double milliseconds) {
  const double start = wall_ns();
  const uint64_t first = before();
  while (wall_ns() - start < milliseconds * 1e6) {
  }
  const uint64_t last = after();
  return (wall_ns() - start) / (double)(last - first);
}
#else
static inline uint64_t before(void) { return (uint64_t)wall_ns(); }
static inline uint64_t after(void) { return (uint64_t)wall_ns(); }
static inline void fence(void) { __asm__ volatile("" ::: "memory"); }
double timer_tick_ns(double milliseconds) { return milliseconds > 0 ? 1.0 : 0.0; }
#endif

/* Ticks of ``groups`` groups of GROUP calls each into elapsed, rotating over rows of ``width`` values; the state is carried
   on. A group and not one call, because the counter of some processors moves in steps of 10 ns; the fence between two calls
   keeps one from starting before the other has ended. */
#define GROUP 8
void timer_run(step_t step, int32_t groups, const float *rows, int32_t count, int32_t width, float *state, float *action,
               uint64_t *elapsed) {
  int32_t row = 0;
  for (int32_t group = 0; group < groups; ++group) {
    const uint64_t start = before();
    for (int32_t call = 0; call < GROUP; ++call) {
      step(rows + (size_t)row * (size_t)width, state, action);
      fence();
      row = row + 1 < count ? row + 1 : 0;
    }
    elapsed[group] = after() - start;
  }
}

/* An empty policy: what the stopwatch shows where nothing is done. */
void timer_empty(const float *obs, float *state, float *action) {
  (void)obs;
  (void)state;
  (void)action;
}
