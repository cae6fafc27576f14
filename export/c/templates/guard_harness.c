/* What a board's host reaches of the guard by name; beside harness.c. */
#include "guard.h"

#define KEPT __attribute__((used))

extern float pilotfish_obs[], pilotfish_state[];
extern policy_action_t pilotfish_action[];

KEPT policy_guard_t pilotfish_guard;
KEPT uint32_t pilotfish_guard_age_us, pilotfish_guard_flags;

KEPT void pilotfish_guard_init(void);
KEPT void pilotfish_guard_reset(void);
KEPT void pilotfish_guard_step(void);
KEPT void pilotfish_guard_late(void);

void pilotfish_guard_init(void) { policy_guard_init(&pilotfish_guard, pilotfish_state); }

void pilotfish_guard_reset(void) { policy_guard_reset(&pilotfish_guard, pilotfish_state); }

void pilotfish_guard_step(void) {
  pilotfish_guard_flags =
      policy_guard_step(&pilotfish_guard, pilotfish_obs, pilotfish_guard_age_us, pilotfish_state, pilotfish_action, 0);
}

void pilotfish_guard_late(void) { pilotfish_guard_flags = policy_guard_late(&pilotfish_guard, pilotfish_obs, pilotfish_action); }
