"""train: environment -> policy (PPO, SAC, distillation)."""
