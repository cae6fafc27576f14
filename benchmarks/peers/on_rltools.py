"""RLtools (github.com/rl-tools/rl-tools): its templates for CPUs, weights as constants, and its hand-unrolled dense layer."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

from .contestant import Contestant, Missing, NotOffered
from .native import from_c
from .subject import Subject

FLAGS = ["-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fPIC", "-shared", "-Wl,-Bsymbolic"]
HEAD = """#include <cstring>
#include <rl_tools/operations/cpu.h>
{includes}
namespace rlt = rl_tools;
using Device = {device};
using TI = Device::index_t;
using Types = rlt::numeric_types::Policy<float>;
namespace af = rlt::nn::activation_functions;
template <TI N> using Row = rlt::Matrix<rlt::matrix::Specification<float, TI, 1, N, true>>;
{tables}
"""
MLP = """using Config = rlt::nn_models::mlp::Configuration<Types, TI, {outs}, 3, {hidden}, af::{function}, af::IDENTITY>;
using Shape = rlt::tensor::Shape<TI, 1, 1, {ins}>;
using Net = rlt::nn_models::mlp::NeuralNetwork<Config, rlt::nn::capability::Forward<true, true>, Shape>;
static constexpr Net net = {{ {{ {{w0}}, {{b0}} }}, {{ {{ {{w1}}, {{b1}} }} }}, {{ {{w2}}, {{b2}} }} }};
static Net::Buffer<false> buffers;
extern "C" void rltools_step(const float *obs, float *, float *action) {{
  Device device;
  bool rng = false;
  Row<{ins}> in;
  Row<{outs}> out;
  in._data = const_cast<float *>(obs);
  out._data = action;
  rlt::evaluate(device, net, in, out, buffers, rng);
}}
"""
GRU = """using Cell = rlt::nn::layers::gru::Layer<rlt::nn::layers::gru::Configuration<Types, TI, {hidden}>,
    rlt::nn::capability::Forward<false>, rlt::tensor::Shape<TI, 1, 1, {ins}>>;
using Head = rlt::nn::layers::dense::Layer<rlt::nn::layers::dense::Configuration<Types, TI, {outs}, af::IDENTITY>,
    rlt::nn::capability::Forward<false>, rlt::tensor::Shape<TI, 1, 1, {hidden}>>;
static Cell cell;
static Cell::Buffer<false> cell_buffer;
static Cell::State<false> cell_state;
static Head head;
static Head::Buffer<false> head_buffer;
static const bool loaded = [] {{
  std::memcpy(cell.weights_input.parameters._data, w0, sizeof w0);
  std::memcpy(cell.biases_input.parameters._data, b0, sizeof b0);
  std::memcpy(cell.weights_hidden.parameters._data, w1, sizeof w1);
  std::memcpy(cell.biases_hidden.parameters._data, b1, sizeof b1);
  std::memcpy(head.weights.parameters._data, w2, sizeof w2);
  std::memcpy(head.biases.parameters._data, b2, sizeof b2);
  return true;
}}();
extern "C" void rltools_step(const float *obs, float *state, float *action) {{
  Device device;
  bool rng = false;
  rlt::Tensor<rlt::tensor::Specification<float, TI, rlt::tensor::Shape<TI, 1, {ins}>, true>> in;
  rlt::Tensor<rlt::tensor::Specification<float, TI, rlt::tensor::Shape<TI, 1, {hidden}>, true>> h;
  static float memory[{hidden}];
  in._data = const_cast<float *>(obs);
  h._data = memory; // not a tensor with memory of its own: evaluate_step writes into a copy of its argument
  std::memcpy(cell_state.state._data, state, sizeof(float) * {hidden});
  cell_state.step._data[0] = 0; // or it would start a new sequence, with a state of its own
  rlt::evaluate_step(device, cell, in, cell_state, h, cell_buffer, rng);
  std::memcpy(state, h._data, sizeof(float) * {hidden});
  Row<{hidden}> hidden;
  Row<{outs}> out;
  hidden._data = h._data;
  out._data = action;
  rlt::evaluate(device, head, hidden, out, head_buffer, rng);
}}
"""
OPERATIONS = {
    "RLtools": ("rlt::devices::DefaultCPU", []),
    "RLtools, unrolled layers": ("rlt::devices::DefaultARM", ["nn/layers/dense/operations_arm/opt.h"]),
}
"""Label -> (device, headers before the others). The unrolled layers were written for Arm and are plain C++."""


def versions() -> dict[str, str]:
    root, compiler = _root(), _compiler()
    text = (root / "include/rl_tools/version.h").read_text()
    commit = re.search(r"define RL_TOOLS_COMMIT_HASH ([0-9a-f]{7})", text)  # "always delayed", says the file
    first = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()[0]
    return {"rl-tools": f"after {commit.group(1)}" if commit else "unknown", "compiler": first, "flags": " ".join(FLAGS)}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:
    if subject.quantized:
        raise NotOffered("RLtools has no int8 layers")
    if subject.state:
        return [_built("RLtools", _recurrent(subject), subject, scratch)]
    made = []
    for label, (device, headers) in OPERATIONS.items():
        made.append(_built(label, _mlp(subject, device, headers), subject, scratch))
    return made


def _mlp(subject: Subject, device: str, headers: list[str]) -> str:
    names = [layer["name"] for layer in subject.layers if layer["kind"] == "linear"]
    functions = {layer["function"] for layer in subject.layers if layer["kind"] == "activation"}
    tables = [_table(f"w{i}", subject.matrix(f"{name}.weight")) for i, name in enumerate(names)]
    tables += [_table(f"b{i}", subject.weights[f"{name}.bias"]) for i, name in enumerate(names)]
    head = _head(device, [*headers, "nn_models/mlp/operations_generic.h"], tables)
    ins, _, outs = subject.sizes
    return head + MLP.format(ins=ins, hidden=subject.layers[0]["out_size"], outs=outs, function=functions.pop().upper())


def _recurrent(subject: Subject) -> str:
    cell, last = subject.layers[0]["name"], subject.layers[1]["name"]
    named = {"w0": f"{cell}.weight_ih", "b0": f"{cell}.bias_ih", "w1": f"{cell}.weight_hh", "b1": f"{cell}.bias_hh"}
    named |= {"w2": f"{last}.weight", "b2": f"{last}.bias"}
    tables = [_table(name, subject.matrix(tensor)) for name, tensor in named.items()]
    headers = ["nn/layers/gru/operations_generic.h", "nn/layers/dense/operations_generic.h"]
    ins, hidden, outs = subject.sizes
    return _head(OPERATIONS["RLtools"][0], headers, tables) + GRU.format(ins=ins, hidden=hidden, outs=outs)


def _head(device: str, headers: list[str], tables: list[str]) -> str:
    arm = [f"operations/arm/group_{group}.h" for group in (1, 2, 3)] if "ARM" in device else []
    includes = "\n".join(f"#include <rl_tools/{header}>" for header in (*arm, *headers))
    text = HEAD.format(includes=includes, device=device, tables="\n".join(tables))
    # Two devices' headers do not go together; the Arm one needs nothing of the CPU's.
    return text.replace("#include <rl_tools/operations/cpu.h>", "#include <rl_tools/rl_tools.h>") if arm else text


def _built(label: str, text: str, subject: Subject, scratch: Path) -> Contestant:
    source = scratch / f"{re.sub(r'[^a-z]', '_', label.lower())}.cpp"
    library = source.with_suffix(".so")
    source.write_text(text)
    command = [_compiler(), *FLAGS, f"-I{_root() / 'include'}", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise NotOffered(f"{label} does not compile: {errors[0][-250:] if errors else done.stderr[-250:]}")
    return from_c(label, "rl_tools::evaluate", ctypes.CDLL(str(library)).rltools_step, subject, scratch)


def _table(name: str, values: np.ndarray) -> str:
    words = ",".join(f"{float(v):.9g}f" if not float(v).is_integer() else f"{float(v):.1f}f" for v in values.reshape(-1))
    return f"static const float {name}[{values.size}] = {{{words}}};"


def _root() -> Path:
    root = Path(os.environ.get("BENCH_RL_TOOLS") or "rl-tools").absolute()
    if not (root / "include/rl_tools/rl_tools.h").is_file():
        raise Missing("the source tree of rl-tools (say where with --rl-tools)")
    return root


def _compiler() -> str:
    found = shutil.which(os.environ.get("CXX") or "g++")
    if found is None:
        raise Missing("a C++ compiler (g++, or the one that CXX names)")
    return found
