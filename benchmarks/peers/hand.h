/* The yardstick: a policy as a person writes it who knows the processor. Explicit vectors as wide as the machine has,
   weights in the order in which they are read, as many sums in registers as hide the multiplier's latency. */
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
#define INLINE static inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))

INLINE vf splat(float x) { return x - (vf){0}; }
INLINE vf pick(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
INLINE vf at_most(vf x, float high) { return pick(x < high, x, splat(high)); }
INLINE vf at_least(vf x, float low) { return pick(x > low, x, splat(low)); }
INLINE vf relu(vf x) { return at_least(x, 0.0f); }

/* x P(x^2) / Q(x^2), fitted in the maximum norm on [0, 7.6]; within 6e-7 of tanh in float32. */
INLINE vf tanh_v(vf x) {
  x = at_least(at_most(x, 7.6f), -7.6f);
  const vf y = x * x;
  const vf p = x * (0.9999995827674866f + y * (0.1294945329427719f + y * (0.0029773495625704527f + y * 1.1730921869457234e-05f)));
  const vf q =
      1.0f + y * (0.46282631158828735f + y * (0.023921193554997444f + y * (0.00024249425041489303f + y * 2.5595980446269095e-07f)));
  return p / q;
}
INLINE vf sigmoid_v(vf x) { return 0.5f + 0.5f * tanh_v(0.5f * x); }

/* y = W x + b for K vectors of outputs at once; w[input][K], PHASES sums per output so that enough are in flight. */
INLINE void dense_block(const float *x, int n, const vf *w, const vf *b, vf *y, const int K, const int PHASES) {
  vf sums[8][16];
  for (int k = 0; k < K; ++k) sums[0][k] = b[k];
  for (int p = 1; p < PHASES; ++p)
    for (int k = 0; k < K; ++k) sums[p][k] = (vf){0};
  int i = 0;
  for (; i + PHASES <= n; i += PHASES) {
#pragma GCC unroll 8
    for (int p = 0; p < PHASES; ++p) {
      const vf xi = splat(x[i + p]);
#pragma GCC unroll 16
      for (int k = 0; k < K; ++k) sums[p][k] += xi * w[(i + p) * K + k];
    }
  }
  for (; i < n; ++i) {
    const vf xi = splat(x[i]);
    for (int k = 0; k < K; ++k) sums[0][k] += xi * w[i * K + k];
  }
  for (int k = 0; k < K; ++k) {
    vf sum = sums[0][k];
    for (int p = 1; p < PHASES; ++p) sum += sums[p][k];
    y[k] = sum;
  }
}

/* Integers: 4 bytes of inputs (4 int8 or 2 int16) are multiplied and added by one instruction.
   Never maddubs: its 16-bit sums of two 8-bit products saturate. */
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define OFFSET 128 /* int8 activations are unsigned for the instruction; the first sum takes it off again */
typedef uint8_t narrow;
typedef int16_t wide;
#if LANES == 16
INLINE vi dot(vi sum, vi x, vi w) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w); }
INLINE vi dot_wide(vi sum, vi x, vi w) { return (vi)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)x, (__m512i)w); }
#else
INLINE vi dot(vi sum, vi x, vi w) { return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w); }
INLINE vi dot_wide(vi sum, vi x, vi w) { return (vi)_mm256_dpwssd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w); }
#endif
#elif defined(__AVX2__)
#define OFFSET 0
typedef int16_t narrow;
typedef int16_t wide;
#if LANES == 16
INLINE vi dot(vi sum, vi x, vi w) { return sum + (vi)_mm512_madd_epi16((__m512i)x, (__m512i)w); }
#else
INLINE vi dot(vi sum, vi x, vi w) { return sum + (vi)_mm256_madd_epi16((__m256i)x, (__m256i)w); }
#endif
INLINE vi dot_wide(vi sum, vi x, vi w) { return dot(sum, x, w); }
#else
#define OFFSET 0
typedef int32_t narrow;
typedef int32_t wide;
INLINE vi dot(vi sum, vi x, vi w) { return sum + x * w; }
INLINE vi dot_wide(vi sum, vi x, vi w) { return sum + x * w; }
#endif

typedef narrow vnarrow __attribute__((vector_size(sizeof(narrow) * LANES)));
typedef wide vwide __attribute__((vector_size(sizeof(wide) * LANES)));

/* clip(round(x / scale), low, high) for one vector; low and high are the ends of the grid less its zero point. */
INLINE vi on_grid(vf x, float inverse, float low, float high) {
  const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to the nearest even integer */
  return (vi)(at_least(at_most(x * inverse, high), low) + magic) - (vi)splat(magic);
}

/* n activations (a multiple of LANES) onto an int8 grid, OFFSET added where the products want it. */
INLINE void quantize_narrow(const vf *x, int n, float inverse, int32_t zero, narrow *q) {
  for (int i = 0; i < n / LANES; ++i) {
    const vi r = on_grid(x[i], inverse, (float)(-128 - zero), (float)(127 - zero));
    const vnarrow packed = __builtin_convertvector(r + (OFFSET ? zero + OFFSET : 0), vnarrow);
    memcpy(q + i * LANES, &packed, sizeof packed);
  }
}

/* The same onto an int16 grid around zero. */
INLINE void quantize_wide(const vf *x, int n, float inverse, wide *q) {
  for (int i = 0; i < n / LANES; ++i) {
    const vwide packed = __builtin_convertvector(on_grid(x[i], inverse, -32768.0f, 32767.0f), vwide);
    memcpy(q + i * LANES, &packed, sizeof packed);
  }
}

/* y = (W q + b) * scale + bias per output, K vectors of outputs at once; w[4 bytes of inputs][K][LANES]. */
INLINE void dense_integer(const void *q, int groups, const vi *w, const vi *b, const vf *scale, const vf *bias, vf *y, const int K,
                          const int PHASES, const int WIDE) {
  vi sums[8][16];
  for (int k = 0; k < K; ++k) sums[0][k] = b[k];
  for (int p = 1; p < PHASES; ++p)
    for (int k = 0; k < K; ++k) sums[p][k] = (vi){0};
  for (int i = 0; i < groups; i += PHASES) {
#pragma GCC unroll 8
    for (int p = 0; p < PHASES; ++p) {
      int32_t group;
      memcpy(&group, (const char *)q + (i + p) * 4, 4);
      const vi x = group - (vi){0};
#pragma GCC unroll 16
      for (int k = 0; k < K; ++k)
        sums[p][k] = WIDE ? dot_wide(sums[p][k], x, w[(i + p) * K + k]) : dot(sums[p][k], x, w[(i + p) * K + k]);
    }
  }
  for (int k = 0; k < K; ++k) {
    vi sum = sums[0][k];
    for (int p = 1; p < PHASES; ++p) sum += sums[p][k];
    y[k] = __builtin_convertvector(sum, vf) * scale[k] + bias[k];
  }
}
