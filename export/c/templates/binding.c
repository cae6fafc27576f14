/* policy.so as a Python object: NumPy arrays in, NumPy arrays out, nothing in between. Host builds only; policy.c and
   policy.h know nothing of it. It holds no policy: the sizes come from the library that it is given, so the same
   binding serves every policy. Limited API of CPython 3.11: one build serves every later version.

   Measured on one x86-64 core around an empty C function, as the least of 40 blocks of 20,000 calls, without the loop:
   with the arrays' own fields read through NumPy's headers 0.016 us a call, with the buffer protocol 0.113; with a new
   result array per call 0.086, with the spare ones below 0.014; giving up the interpreter lock adds 0.037. The limited
   API costs nothing (each within 0.003 of the full one). Addresses bound once and no argument at all: 0.019. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>

#include <dlfcn.h>
#include <stdint.h>

#define READABLE (NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED)
#define WRITABLE (READABLE | NPY_ARRAY_WRITEABLE)

typedef void step_function(const float *obs, float *state, void *action);
typedef void reset_function(float *state);

enum blocked { OPEN, BUSY, CLOSED };

typedef struct {
  PyObject_HEAD
  void *library; /* dlopen's handle: the code stays mapped as long as this object lives unclosed */
  step_function *step;
  reset_function *reset;
  enum blocked blocked; /* BUSY: another thread is inside, without the interpreter lock */
  npy_intp obs_size, state_size, action_size;
  int discrete;
  double multiply_adds;                  /* of one decision */
  double release_at, release_batch_at;   /* the lock is given up around this many or more: a decision, a batch */
  PyArrayObject *obs, *state;       /* float32 buffers of this size (state: at least 1) that the caller keeps private */
  PyObject *prepare, *prepare_rows; /* any obs -> into the buffer; any rows -> float32 array; both raise in words */
  PyObject *refuse;                 /* (out, shape, obs) -> raises: out is not such an array, or shares memory with obs */
  PyArrayObject *spare[2];          /* results given out earlier; used again when nobody else holds them */
  unsigned turn;
} Policy;

static PyArray_Descr *float32, *int64;

/* ---- what an array must be ---- */

static inline int fits(PyObject *object, PyArray_Descr *type, int flags, int axes, npy_intp rows, npy_intp columns) {
  PyArrayObject *const array = (PyArrayObject *)object;
  if (!PyArray_CheckExact(object) || PyArray_DESCR(array) != type || PyArray_NDIM(array) != axes) return 0;
  if ((PyArray_FLAGS(array) & flags) != flags || PyArray_DIM(array, axes - 1) != columns) return 0;
  return axes == 1 || rows < 0 || PyArray_DIM(array, 0) == rows;
}

static inline PyArray_Descr *action_type(const Policy *self) { return self->discrete ? int64 : float32; }

/* Raise what the session's own check says about this output; it knows the words. */
static PyObject *refused(Policy *self, PyObject *obs, PyObject *out, npy_intp rows) {
  PyObject *const shape = rows < 0 ? Py_BuildValue("(n)", (Py_ssize_t)self->action_size)
                                   : Py_BuildValue("(nn)", (Py_ssize_t)rows, (Py_ssize_t)self->action_size);
  PyObject *const answer = shape ? PyObject_CallFunctionObjArgs(self->refuse, out, shape, obs, NULL) : NULL;
  Py_XDECREF(shape);
  Py_XDECREF(answer);
  if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "out: not an array that the action fits into");
  return NULL;
}

static int overlap(PyArrayObject *a, PyArrayObject *b) {
  const char *const x = PyArray_BYTES(a), *const y = PyArray_BYTES(b);
  const size_t x_bytes = (size_t)PyArray_SIZE(a) * 4; /* observations are float32 */
  const size_t y_bytes = (size_t)PyArray_SIZE(b) * (PyArray_DESCR(b) == int64 ? 8 : 4);
  return (uintptr_t)x < (uintptr_t)y + y_bytes && (uintptr_t)y < (uintptr_t)x + x_bytes;
}

/* ---- deciding ---- */

static PyObject *unavailable(const Policy *self) {
  PyErr_SetString(PyExc_RuntimeError, self->blocked == CLOSED
                                          ? "this session is closed"
                                          : "this session is deciding in another thread: open one session per thread");
  return NULL;
}

static inline void decide(const Policy *self, const float *obs, float *state, void *action) {
  if (self->discrete) {
    int32_t index = 0;
    self->step(obs, state, &index);
    *(int64_t *)action = index;
  } else {
    self->step(obs, state, action);
  }
}

static void decide_rows(const Policy *self, const float *obs, float *state, char *action, npy_intp rows) {
  const npy_intp stride = self->action_size * (self->discrete ? 8 : 4);
  for (npy_intp row = 0; row < rows; ++row) decide(self, obs + row * self->obs_size, state, action + row * stride);
}

/* From here to the end of the decision no Python code runs in this thread: the arrays stay as they were checked. */
static inline int run(Policy *self, PyArrayObject *obs, PyArrayObject *action, npy_intp rows, double release_at) {
  const float *const from = PyArray_DATA(obs);
  float *const state = PyArray_DATA(self->state);
  char *const to = PyArray_DATA(action);
  if (self->blocked != OPEN) {
    unavailable(self);
    return -1;
  }
  if (self->multiply_adds * (double)rows < release_at) {
    decide_rows(self, from, state, to, rows);
    return 0;
  }
  self->blocked = BUSY; /* the policy's scratch memory serves one thread at a time */
  Py_BEGIN_ALLOW_THREADS
  decide_rows(self, from, state, to, rows);
  Py_END_ALLOW_THREADS
  self->blocked = OPEN;
  return 0;
}

/* A result array that nobody else can see: a spare one if it is whole and ours alone, else a new one. */
static PyArrayObject *result(Policy *self) {
  const unsigned turn = self->turn ^= 1;
  PyArrayObject *const old = self->spare[turn];
  const int flags = WRITABLE | NPY_ARRAY_OWNDATA;
  if (old != NULL && Py_REFCNT((PyObject *)old) == 1 &&
      fits((PyObject *)old, action_type(self), flags, 1, 1, self->action_size) && PyArray_BASE(old) == NULL &&
      ((PyArrayObject_fields *)old)->weakreflist == NULL) {
    Py_INCREF((PyObject *)old);
    return old;
  }
  npy_intp size = self->action_size;
  PyArray_Descr *const type = action_type(self);
  Py_INCREF((PyObject *)type);
  PyArrayObject *const fresh = (PyArrayObject *)PyArray_NewFromDescr(&PyArray_Type, type, 1, &size, NULL, NULL, 0, NULL);
  if (fresh == NULL) return NULL;
  PyArrayObject *const dropped = self->spare[turn];
  Py_INCREF((PyObject *)fresh);
  self->spare[turn] = fresh;
  Py_XDECREF((PyObject *)dropped);
  return fresh;
}

static PyObject *act(PyObject *object, PyObject *obs) {
  Policy *const self = (Policy *)object;
  /* First the result: making one may collect garbage, which may run Python code that calls back into this object. */
  PyArrayObject *const action = result(self);
  if (action == NULL) return NULL;
  if (!fits(obs, float32, READABLE, 1, 1, self->obs_size)) {
    PyObject *const done = PyObject_CallFunctionObjArgs(self->prepare, obs, NULL);
    if (done == NULL) goto failed;
    Py_DECREF(done);
    obs = (PyObject *)self->obs;
  }
  if (run(self, (PyArrayObject *)obs, action, 1, self->release_at) == 0) return (PyObject *)action;
failed:
  Py_DECREF(action);
  return NULL;
}

static PyObject *act_into(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
  Policy *const self = (Policy *)object;
  if (count != 2) return PyErr_Format(PyExc_TypeError, "act_into(obs, out) takes 2 arguments, not %zd", count);
  PyObject *obs = arguments[0], *const out = arguments[1];
  if (!fits(obs, float32, READABLE, 1, 1, self->obs_size)) {
    PyObject *const done = PyObject_CallFunctionObjArgs(self->prepare, obs, NULL);
    if (done == NULL) return NULL;
    Py_DECREF(done);
    obs = (PyObject *)self->obs;
  }
  if (!fits(out, action_type(self), WRITABLE, 1, 1, self->action_size) || overlap((PyArrayObject *)obs, (PyArrayObject *)out))
    return refused(self, obs, out, -1);
  if (run(self, (PyArrayObject *)obs, (PyArrayObject *)out, 1, self->release_at)) return NULL;
  Py_RETURN_NONE;
}

static PyObject *act_batch(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
  Policy *const self = (Policy *)object;
  if (count != 1 && count != 2)
    return PyErr_Format(PyExc_TypeError, "act_batch(obs, out=None) takes 1 or 2 arguments, not %zd", count);
  if (self->state_size) return PyErr_Format(PyExc_ValueError, "act_batch: a recurrent policy has one state, not one per row");
  PyObject *rows, *out = count == 2 && arguments[1] != Py_None ? arguments[1] : NULL;
  if (fits(arguments[0], float32, READABLE, 2, -1, self->obs_size)) {
    rows = arguments[0];
    Py_INCREF(rows);
  } else {
    rows = PyObject_CallFunctionObjArgs(self->prepare_rows, arguments[0], NULL);
    if (rows == NULL) return NULL;
  }
  if (out != NULL) {
    Py_INCREF(out);
  } else {
    const int whole = fits(rows, float32, READABLE, 2, -1, self->obs_size);
    npy_intp shape[2] = {whole ? PyArray_DIM((PyArrayObject *)rows, 0) : 0, self->action_size};
    PyArray_Descr *const type = action_type(self);
    Py_INCREF((PyObject *)type);
    out = PyArray_NewFromDescr(&PyArray_Type, type, 2, shape, NULL, NULL, 0, NULL);
  }
  /* Both are looked at once more: what ran since then may have changed a shape. */
  if (out == NULL) {
  } else if (!fits(rows, float32, READABLE, 2, -1, self->obs_size)) {
    PyErr_SetString(PyExc_ValueError, "observation: not rows that the policy reads");
  } else {
    const npy_intp n = PyArray_DIM((PyArrayObject *)rows, 0);
    if (!fits(out, action_type(self), WRITABLE, 2, n, self->action_size) ||
        overlap((PyArrayObject *)rows, (PyArrayObject *)out)) {
      refused(self, rows, out, n);
    } else if (run(self, (PyArrayObject *)rows, (PyArrayObject *)out, n, self->release_batch_at) == 0) {
      Py_DECREF(rows);
      return out;
    }
  }
  Py_DECREF(rows);
  Py_XDECREF(out);
  return NULL;
}

static PyObject *reset(PyObject *object, PyObject *Py_UNUSED(ignored)) {
  Policy *const self = (Policy *)object;
  if (self->blocked != OPEN) return unavailable(self);
  self->reset(PyArray_DATA(self->state));
  Py_RETURN_NONE;
}

/* ---- life ---- */

static PyObject *close_(PyObject *object, PyObject *Py_UNUSED(ignored)) {
  Policy *const self = (Policy *)object;
  if (self->blocked == BUSY) return unavailable(self);
  self->blocked = CLOSED;
  if (self->library != NULL) dlclose(self->library);
  self->library = NULL;
  Py_RETURN_NONE;
}

/* A function's address through a union: ISO C converts no object pointer to a function pointer. */
static void *symbol(Policy *self, const char *name) {
  void *const found = dlsym(self->library, name);
  if (found == NULL && !PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "no %s in the library", name);
  return found;
}

static int bind(Policy *self, PyObject *path) {
  union {
    void *address;
    step_function *step;
    reset_function *reset;
  } step, reset_;
  PyObject *const bytes = PyUnicode_EncodeFSDefault(path);
  if (bytes == NULL) return -1;
  self->library = dlopen(PyBytes_AsString(bytes), RTLD_NOW | RTLD_LOCAL);
  Py_DECREF(bytes);
  if (self->library == NULL) {
    PyErr_Format(PyExc_OSError, "%s", dlerror());
    return -1;
  }
  const int32_t *const sizes = symbol(self, "policy_sizes");
  step.address = symbol(self, "policy_step");
  reset_.address = symbol(self, "policy_reset");
  if (PyErr_Occurred()) return -1;
  self->obs_size = sizes[0], self->state_size = sizes[1], self->action_size = sizes[2], self->discrete = sizes[3] != 0;
  self->step = step.step, self->reset = reset_.reset;
  const npy_intp state = self->state_size > 1 ? self->state_size : 1;
  if (self->obs_size < 1 || self->state_size < 0 || self->action_size < 1 || (self->discrete && self->action_size != 1) ||
      !fits((PyObject *)self->obs, float32, WRITABLE, 1, 1, self->obs_size) ||
      !fits((PyObject *)self->state, float32, WRITABLE, 1, 1, state)) {
    PyErr_SetString(PyExc_ValueError, "the buffers are not of the library's sizes");
    return -1;
  }
  self->blocked = OPEN;
  return 0;
}

static PyObject *new_(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
  static char *names[] = {"path", "obs", "state", "prepare", "prepare_rows", "refuse", "multiply_adds", "release_at",
                          "release_batch_at", NULL};
  PyObject *path, *obs, *state, *prepare, *prepare_rows, *refuse;
  double multiply_adds, release_at, release_batch_at;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "UOOOOOddd", names, &path, &obs, &state, &prepare, &prepare_rows,
                                   &refuse, &multiply_adds, &release_at, &release_batch_at))
    return NULL;
  allocfunc const allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  Policy *const self = (Policy *)allocate(type, 0); /* filled with zeros */
  if (self == NULL) return NULL;
  self->blocked = CLOSED;
  self->multiply_adds = multiply_adds;
  self->release_at = release_at, self->release_batch_at = release_batch_at;
  Py_INCREF(obs), Py_INCREF(state), Py_INCREF(prepare), Py_INCREF(prepare_rows), Py_INCREF(refuse);
  self->obs = (PyArrayObject *)obs, self->state = (PyArrayObject *)state;
  self->prepare = prepare, self->prepare_rows = prepare_rows, self->refuse = refuse;
  if (bind(self, path) == 0) return (PyObject *)self;
  Py_DECREF(self);
  return NULL;
}

static int traverse(PyObject *object, visitproc visit, void *arg) {
  Policy *const self = (Policy *)object;
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->prepare);
  Py_VISIT(self->prepare_rows);
  Py_VISIT(self->refuse);
  return 0;
}

static void dealloc(PyObject *object) {
  Policy *const self = (Policy *)object;
  PyTypeObject *const type = Py_TYPE(object);
  freefunc const release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  PyObject_GC_UnTrack(object);
  if (self->library != NULL) dlclose(self->library);
  PyArrayObject *const arrays[] = {self->obs, self->state, self->spare[0], self->spare[1]};
  for (size_t i = 0; i < sizeof arrays / sizeof *arrays; ++i) Py_XDECREF((PyObject *)arrays[i]);
  Py_XDECREF(self->prepare), Py_XDECREF(self->prepare_rows), Py_XDECREF(self->refuse);
  release(object);
  Py_DECREF((PyObject *)type);
}

static PyMethodDef methods[] = {
    {"act", act, METH_O, "act(obs) -> action\n--\n\nfloat32 [n] -> float32 [m], or int64 [1]. Advances the state."},
    {"act_into", (PyCFunction)(void (*)(void))act_into, METH_FASTCALL,
     "act_into(obs, out)\n--\n\nThe same into an array that is there."},
    {"act_batch", (PyCFunction)(void (*)(void))act_batch, METH_FASTCALL,
     "act_batch(obs, out=None) -> out\n--\n\nfloat32 [N, n] -> float32 [N, m], or int64 [N, 1]: N separate decisions."},
    {"reset", reset, METH_NOARGS, "reset()\n--\n\nStart an episode."},
    {"close", close_, METH_NOARGS, "close()\n--\n\nLet the library go."},
    {NULL, NULL, 0, NULL}};
static PyType_Slot slots[] = {{Py_tp_new, new_},         {Py_tp_dealloc, dealloc}, {Py_tp_traverse, traverse},
                              {Py_tp_methods, methods}, {0, NULL}};
static PyType_Spec spec = {"policy_binding.Policy", sizeof(Policy), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};

static int execute(PyObject *module) {
  import_array1(-1);
  float32 = PyArray_DescrFromType(NPY_FLOAT32);
  int64 = PyArray_DescrFromType(NPY_INT64);
  PyObject *const type = PyType_FromModuleAndSpec(module, &spec, NULL);
  if (type == NULL || float32 == NULL || int64 == NULL) return -1;
  const int code = PyModule_AddObjectRef(module, "Policy", type);
  Py_DECREF(type);
  return code;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "policy_binding", NULL, 0, NULL, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_policy_binding(void) { return PyModuleDef_Init(&definition); }
