/* What a board's host reaches by name: buffers, and two functions that act on them. */
#include "policy.h"

#define KEPT __attribute__((used))

KEPT float pilotfish_obs[POLICY_OBS_SIZE];
KEPT float pilotfish_state[POLICY_STATE_SIZE > 0 ? POLICY_STATE_SIZE : 1];
KEPT policy_action_t pilotfish_action[POLICY_ACTION_COUNT];

/* {observation, state, values of an action, 1 if the action is an index} */
KEPT const int32_t pilotfish_sizes[4] = {POLICY_OBS_SIZE, POLICY_STATE_SIZE, POLICY_ACTION_COUNT, POLICY_ACTION_DISCRETE};

KEPT void pilotfish_reset(void);
KEPT void pilotfish_step(void);

void pilotfish_reset(void) { policy_reset(pilotfish_state); }

void pilotfish_step(void) { policy_step(pilotfish_obs, pilotfish_state, pilotfish_action); }
