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

/* int8: groups of GROUP inputs are multiplied and added by one instruction. */
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define GROUP 4
#define OFFSET 128 /* activations are unsigned for the instruction; the bias takes it off again */
typedef uint8_t activation;
typedef int8_t weight;
INLINE vi dot(vi sum, vi x, vi w) {
#if defined(__AVX512VNNI__) && LANES == 16
  return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
#elif defined(__AVXVNNI__)
  return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
#else
  return (vi)_mm256_dpbusd_epi32((__m256i)sum, (__m256i)x, (__m256i)w);
#endif
}
#elif defined(__AVX2__)
/* Not maddubs: its 16-bit sums of two 8-bit products saturate. */
#define GROUP 2
#define OFFSET 0
typedef int16_t activation;
typedef int16_t weight;
INLINE vi dot(vi sum, vi x, vi w) {
#if LANES == 16
  return sum + (vi)_mm512_madd_epi16((__m512i)x, (__m512i)w);
#else
  return sum + (vi)_mm256_madd_epi16((__m256i)x, (__m256i)w);
#endif
}
#else
#define GROUP 1
#define OFFSET 0
typedef int32_t activation;
typedef int32_t weight;
INLINE vi dot(vi sum, vi x, vi w) { return sum + x * w; }
#endif

typedef activation va __attribute__((vector_size(sizeof(activation) * LANES)));

/* n activations (a multiple of LANES) onto their grid: clip(round(x / scale) + zero). */
INLINE void quantize(const vf *x, int n, float inverse, float zero, activation *q) {
  const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to the nearest even integer */
  for (int i = 0; i < n / LANES; ++i) {
    vf y = at_least(at_most(x[i] * inverse, 127.0f - zero), -128.0f - zero) + magic;
    vi r = (vi)y - (vi)splat(magic) + (OFFSET ? (int32_t)zero + OFFSET : 0);
    va packed = __builtin_convertvector(r, va);
    memcpy(q + i * LANES, &packed, sizeof packed);
  }
}

/* y = (W q + b) * scale per output, K vectors of outputs at once; w[input group][K], each LANES * GROUP weights. */
INLINE void dense_int8(const activation *q, int groups, const vi *w, const vi *b, const vf *scale, const vf *bias, vf *y, const int K,
                       const int PHASES) {
  vi sums[8][16];
  for (int k = 0; k < K; ++k) sums[0][k] = b[k];
  for (int p = 1; p < PHASES; ++p)
    for (int k = 0; k < K; ++k) sums[p][k] = (vi){0};
  for (int i = 0; i < groups; i += PHASES) {
#pragma GCC unroll 8
    for (int p = 0; p < PHASES; ++p) {
      int32_t group;
      memcpy(&group, q + (i + p) * GROUP, sizeof group);
      const vi x = group - (vi){0};
#pragma GCC unroll 16
      for (int k = 0; k < K; ++k) sums[p][k] = dot(sums[p][k], x, w[(i + p) * K + k]);
    }
  }
  for (int k = 0; k < K; ++k) {
    vi sum = sums[0][k];
    for (int p = 1; p < PHASES; ++p) sum += sums[p][k];
    y[k] = __builtin_convertvector(sum, vf) * scale[k] + bias[k];
  }
}
