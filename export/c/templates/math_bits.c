/* A float and its bits. */
typedef union {
  float value;
  uint32_t bits;
} policy_bits;
