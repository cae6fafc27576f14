/* Stands in for libcuda where there is no GPU: the calls of runtime/cuda_driver.py, with memory of the processor behind them.
   Device addresses carry a mark, so that one which is taken for a host address (or the reverse) is refused and not followed;
   a stream executes at once, or records while it is captured; and what is allocated is counted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MARK (1ull << 56)
#define INVALID 1
#define BAD_ADDRESS 700
#define CAPTURING 900
#define OPERATIONS 256

typedef struct { void (*call)(void *); void *to; const void *from; size_t bytes; } operation;
typedef struct { operation steps[OPERATIONS]; int count; } graph;
typedef struct { graph *recorded; } stream;
typedef struct { struct timespec at; } event;

int standin_live = 0, standin_allocations = 0, standin_launches = 0;
static int capturing = 0;

static void *grab(size_t bytes) { standin_live++; standin_allocations++; return calloc(1, bytes ? bytes : 1); }
static int drop(void *p) { standin_live--; free(p); return 0; }
static int is_device(uint64_t a) { return (a & MARK) != 0; }
static void *behind(uint64_t a) { return (void *)(uintptr_t)(a & ~MARK); }

static int put(stream *s, operation step) {
    if (s->recorded) {
        if (s->recorded->count == OPERATIONS) return INVALID;
        s->recorded->steps[s->recorded->count++] = step;
    } else if (step.call) {
        step.call(step.to);
    } else {
        memcpy(step.to, step.from, step.bytes);
    }
    return 0;
}

int standin_enqueue(void *s, void (*call)(void *), void *argument) { return put(s, (operation){call, argument, 0, 0}); }

int cuInit(unsigned flags) { return flags ? INVALID : getenv("STANDIN_BROKEN") ? 999 : 0; }
int cuDriverGetVersion(int *v) { *v = 12060; return 0; }
int cuDeviceGetCount(int *n) { *n = getenv("STANDIN_NO_DEVICE") ? 0 : 1; return 0; }
int cuDeviceGet(int *d, int ordinal) { *d = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int d) { (void)d; strncpy(name, "Stand-in", (size_t)length); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int d) {
    const char *capability = getenv("STANDIN_CAPABILITY");
    char *rest;
    long major = strtol(capability ? capability : "8.7", &rest, 10);
    (void)d;
    *value = attribute == 75 ? (int)major : attribute == 76 ? atoi(rest + 1) : attribute == 18;
    return 0;
}
int cuDevicePrimaryCtxSetFlags_v2(int d, unsigned flags) { (void)d; return flags == 1 ? 0 : INVALID; }
int cuDevicePrimaryCtxRetain(void **c, int d) { (void)d; *c = grab(1); return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { (void)d; standin_live--; return 0; }
int cuCtxSetCurrent(void *c) { return c ? 0 : INVALID; }
int cuMemAlloc_v2(uint64_t *a, size_t bytes) { *a = (uint64_t)(uintptr_t)grab(bytes) | MARK; return capturing ? CAPTURING : 0; }
int cuMemFree_v2(uint64_t a) { return is_device(a) ? drop(behind(a)) : BAD_ADDRESS; }
int cuMemHostAlloc(void **p, size_t bytes, unsigned flags) { *p = grab(bytes); return flags == 2 ? 0 : INVALID; }
int cuMemHostGetDevicePointer_v2(uint64_t *a, void *p, unsigned flags) { *a = (uint64_t)(uintptr_t)p | MARK; return (int)flags; }
int cuMemFreeHost(void *p) { return drop(p); }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *s) {
    if (!is_device(to) || is_device((uintptr_t)from)) return BAD_ADDRESS;
    return put(s, (operation){0, behind(to), from, bytes});
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *s) {
    if (is_device((uintptr_t)to) || !is_device(from)) return BAD_ADDRESS;
    return put(s, (operation){0, to, behind(from), bytes});
}
int cuStreamCreate(void **s, unsigned flags) { *s = grab(sizeof(stream)); return flags == 1 ? 0 : INVALID; }
int cuStreamDestroy_v2(void *s) { return drop(s); }
int cuStreamSynchronize(void *s) { return ((stream *)s)->recorded ? CAPTURING : 0; }
int cuStreamBeginCapture_v2(void *s, int mode) {
    if (getenv("STANDIN_NO_GRAPHS") || mode != 1 || capturing) return CAPTURING;
    capturing = 1;
    ((stream *)s)->recorded = grab(sizeof(graph));
    return 0;
}
int cuStreamEndCapture(void *s, void **g) {
    if (!capturing) return INVALID;
    capturing = 0;
    *g = ((stream *)s)->recorded;
    ((stream *)s)->recorded = 0;
    return 0;
}
int cuGraphInstantiateWithFlags(void **ready, void *g, unsigned long long flags) {
    *ready = grab(sizeof(graph));
    memcpy(*ready, g, sizeof(graph));
    return (int)flags;
}
int cuGraphLaunch(void *g, void *s) {
    graph *ready = g;
    int wrong = 0;
    standin_launches++;
    for (int i = 0; i < ready->count && !wrong; i++) wrong = put(s, ready->steps[i]);
    return wrong;
}
int cuGraphDestroy(void *g) { return g ? drop(g) : INVALID; }
int cuGraphExecDestroy(void *g) { return drop(g); }
int cuEventCreate(void **e, unsigned flags) { *e = grab(sizeof(event)); return (int)flags; }
int cuEventRecord(void *e, void *s) { return s ? clock_gettime(CLOCK_MONOTONIC, &((event *)e)->at) : INVALID; }
int cuEventSynchronize(void *e) { return e ? 0 : INVALID; }
int cuEventElapsedTime(float *ms, void *begin, void *end) {
    struct timespec *a = &((event *)begin)->at, *b = &((event *)end)->at;
    *ms = (float)((double)(b->tv_sec - a->tv_sec) * 1e3 + (double)(b->tv_nsec - a->tv_nsec) / 1e6);
    return 0;
}
int cuEventDestroy_v2(void *e) { return drop(e); }
int cuGetErrorString(int code, const char **text) {
    *text = code == CAPTURING ? "operation not permitted when stream is capturing" : code == BAD_ADDRESS ? "an illegal memory access was encountered" : "unknown";
    return 0;
}
