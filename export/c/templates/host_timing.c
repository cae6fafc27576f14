/* Timing from inside the library, so that no interpreter is in the figure. Host builds only. */
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <time.h>

#include "policy.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const int32_t policy_sizes[4];
int32_t policy_time(int32_t calls, const float *observations, int32_t n_observations, int64_t *elapsed_ns);

#ifdef __cplusplus
}
#endif

/* {observation, state, values of an action, 1 if the action is an index} */
const int32_t policy_sizes[4] = {POLICY_OBS_SIZE, POLICY_STATE_SIZE, POLICY_ACTION_COUNT, POLICY_ACTION_DISCRETE};

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Time ``calls`` decisions one by one into elapsed_ns[calls], rotating over observations[n_observations][POLICY_OBS_SIZE].
   The recurrent state is carried from call to call. Each entry includes one reading of the clock (some 20 ns).
   Returns 0, or -1 for senseless arguments. */
int32_t policy_time(int32_t calls, const float *observations, int32_t n_observations, int64_t *elapsed_ns) {
  static float state[POLICY_STATE_SIZE + 1];
  policy_action_t action[POLICY_ACTION_COUNT];
  int32_t row = 0;
  if (calls < 0 || n_observations <= 0 || observations == NULL || elapsed_ns == NULL) return -1;
  policy_reset(state);
  for (int32_t call = 0; call < calls; ++call) {
    const float *const obs = observations + (size_t)row * POLICY_OBS_SIZE;
    const int64_t start = now_ns();
    policy_step(obs, state, action);
    elapsed_ns[call] = now_ns() - start;
    row = row + 1 < n_observations ? row + 1 : 0;
  }
  return 0;
}
