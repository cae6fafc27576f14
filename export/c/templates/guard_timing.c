/* Timing of guarded decisions from inside the library, beside host_timing.c. Host builds only. */
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <time.h>

#include "guard.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const int32_t policy_guard_bytes;
int32_t policy_guard_time(int32_t calls, const float *observations, int32_t n_observations, int64_t *elapsed_ns);

#ifdef __cplusplus
}
#endif

/* Size of policy_guard_t, for callers that know it only by name. */
const int32_t policy_guard_bytes = (int32_t)sizeof(policy_guard_t);

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* As policy_time in host_timing.c, each decision through the guard; no deadline is judged. */
int32_t policy_guard_time(int32_t calls, const float *observations, int32_t n_observations, int64_t *elapsed_ns) {
  static float state[POLICY_STATE_SIZE + 1];
  static policy_guard_t guard;
  policy_action_t action[POLICY_ACTION_COUNT];
  int32_t row = 0;
  if (calls < 0 || n_observations <= 0 || observations == NULL || elapsed_ns == NULL) return -1;
  policy_guard_init(&guard, state);
  for (int32_t call = 0; call < calls; ++call) {
    const float *const obs = observations + (size_t)row * POLICY_OBS_SIZE;
    const int64_t start = now_ns();
    policy_guard_step(&guard, obs, 0, state, action, NULL);
    elapsed_ns[call] = now_ns() - start;
    row = row + 1 < n_observations ? row + 1 : 0;
  }
  return 0;
}
