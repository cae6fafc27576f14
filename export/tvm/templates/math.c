/* What kernels.o calls of the C library, for boards that have none. */
#include <stdint.h>

${functions}
float expf(float x);
float expf(float x) { return policy_exp(x); }
